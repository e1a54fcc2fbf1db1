// Settings of pushes and pulls: the project of short names, what is accepted, and its limits. Not here: how settings are read
// (config-load.ts).
import { flag, integer, oneOf, optional, ratio, seconds, sizeBytes, text } from "../config-kinds.ts";

export const projectSettings = {
  default: optional(
    text({
      standard: "library",
      // The form of a project's name; `parseProjectName` of @berth/oci/reference parses it.
      pattern: /^(?=.{1,128}$)[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/,
      wanted: "a project's name",
      about:
        "The project of repositories that clients name with one segment: R/myapp is the repository myapp of it, under both names. It exists from the first start. Empty: such names are refused.",
    }),
  ),
  creation: oneOf(["administrators", "creators", "everyone"], {
    standard: "administrators",
    about:
      "Which users may create projects: administrators and creators, whom administrators name (administrators and creators are the same word for that), or every user. Who creates a project owns it. Changes at run time as well.",
  }),
  createOnPush: flag({
    standard: "false",
    about:
      "Whether a push to a project that does not exist creates it, private and owned by who pushes, where projects.creation lets that user create projects.",
  }),
  ownedPerUser: integer({
    standard: "100",
    min: 1,
    max: 1_000_000,
    about: "How many projects a user may own and still create another; administrators create as many as they want.",
  }),
};

export const pushSettings = {
  sparseImages: oneOf(["accept", "refuse"], {
    standard: "accept",
    about:
      "What becomes of an image that names layers which its repository does not have: accepted with a warning, as the distribution specification lets sparse content be, or refused with MANIFEST_BLOB_UNKNOWN. Its config and one layer must always be there.",
  }),
};

/** Each is a row; a higher number would be no limit any more. */
const OPEN_UPLOADS_MAX = 10_000_000;

export const limitSettings = {
  manifestBytes: sizeBytes({
    standard: "4MiB",
    min: "16KiB",
    max: "64MiB",
    about: "The largest manifest. 4MiB is what the distribution specification asks a registry to accept at least.",
  }),
  manifestMemoryBytes: sizeBytes({
    standard: "128MiB",
    min: "16KiB",
    max: "64GiB",
    about:
      "Memory for the manifests of one process that are being received and stored. When it is full, further ones wait a little, then get TOOMANYREQUESTS.",
  }),
  uploadBytes: sizeBytes({
    standard: "128GiB",
    min: "1MiB",
    max: "48TiB",
    about: "The largest blob. The default is the largest round size that S3 can take in 9000 parts of the default part size.",
  }),
  uploadAgeSeconds: seconds({
    standard: "24h",
    min: "1m",
    max: "30d",
    about: "How long an upload session may live before it is aborted and its bytes are reclaimed.",
  }),
  openUploadsPerAccount: integer({
    standard: "5000",
    min: 1,
    max: OPEN_UPLOADS_MAX,
    about:
      "Upload sessions of one account that are open at a time; further ones get UPLOADS_EXCEEDED. One that was left alone counts until limits.uploadAgeSeconds are over.",
  }),
  openUploadsPerProject: integer({ standard: "10000", min: 1, max: OPEN_UPLOADS_MAX, about: "The same of one project." }),
  openUploads: integer({ standard: "50000", min: 1, max: OPEN_UPLOADS_MAX, about: "The same of the whole registry." }),
  concurrentUploads: integer({
    standard: "512",
    min: 1,
    max: 100_000,
    about: "Requests with upload bytes that run at a time in one process; further ones wait a little, then get TOOMANYREQUESTS.",
  }),
  pageSize: integer({ standard: "1000", min: 1, max: 10_000, about: "The most entries of one page of a list, and the default for `n`." }),
  chunkMinBytes: sizeBytes({
    standard: "0",
    min: "0",
    max: "5GiB",
    about: "The smallest chunk asked of clients (OCI-Chunk-Min-Length). 0: not announced. 5MiB spares an S3 store from buffering parts.",
  }),
  requestsInFlight: integer({
    standard: "4096",
    min: 1,
    max: 1_000_000,
    about:
      "Requests that run at a time in one process; further ones wait a little, then get UNAVAILABLE. While some wait, the address that holds fewest comes first, and one that holds more than its share gives some back.",
  }),
  anonymousShare: ratio({
    standard: "0.5",
    about: "Which part of limits.requestsInFlight callers without an account hold at most while callers with one wait.",
  }),
};
