// Every setting of the server, once: its default, unit, bounds and meaning. The flags, the environment's names, `config.example.yaml`
// and the type `Config` all come from this. Not here: how values are read (config-load.ts) and shown (config-document.ts).
import { join } from "node:path";
import {
  databaseUrl,
  flag,
  httpUrl,
  integer,
  listenAddress,
  networks,
  oneOf,
  optional,
  origin,
  path,
  ratio,
  secret,
  seconds,
  type Setting,
  sizeBytes,
  showListenAddress,
  showSize,
  text,
} from "./config-kinds.ts";
import { carriesAuthorization } from "./platform/host-names.ts";

/** The exit code for a configuration that the program refuses. Source: EX_CONFIG of sysexits.h. */
export const EXIT_CONFIG = 78;

/**
 * Whole parts of an upload to S3. The API allows 10,000 parts; the thousand that are missing here may be short where memory is short.
 * Source: Amazon S3 multipart upload limits.
 */
export const S3_PARTS_MAX = 9_000;

/** All settings. A setting's path, such as `http.listen`, is also its flag `--http.listen` and its variable `BERTH_HTTP_LISTEN`. */
export const CONFIG_SCHEMA = {
  data: path({
    standard: "./data",
    about: "The directory for everything that the server keeps on this machine. Created with mode 0700 and locked while the server runs.",
  }),
  http: {
    listen: listenAddress({
      standard: "127.0.0.1:5000",
      alias: "listen",
      about: "Where to listen. Only this machine by default: open it to others once TLS or a proxy with TLS is in place.",
    }),
    publicUrl: optional(origin({ about: "The address that clients use. Empty: taken from each request's Host header." })),
    tls: {
      certificateFile: optional(path({ about: "PEM file with the certificate and its chain. Read again when it changes." })),
      keyFile: optional(path({ about: "PEM file with the certificate's private key. Read again when it changes." })),
    },
    trustedProxies: networks({
      about: "Networks of proxies whose X-Forwarded-For, -Proto and -Host are believed. Empty: nobody's are.",
    }),
    shutdownGraceSeconds: seconds({
      standard: "20s",
      min: "0s",
      max: "1h",
      about: "How long running requests may take to end after a stop signal. Less than the 30s after which Kubernetes kills.",
    }),
    headerTimeoutSeconds: seconds({
      standard: "20s",
      min: "1s",
      max: "10m",
      about:
        "How long a client may take for a TLS handshake, to send a request's headers, and to send the rest of a body that was refused. Frees connections that slow or hostile clients hold.",
    }),
    bodyIdleTimeoutSeconds: seconds({
      standard: "5m",
      min: "1s",
      max: "1h",
      about:
        "How long a request body or a download may pause: proxies that scan for viruses hold bodies for minutes. There is no limit on its whole time: a large layer on a slow line may take hours.",
    }),
    minimumUploadBytesPerSecond: sizeBytes({
      standard: "4KiB",
      min: "0",
      max: "100MiB",
      about:
        "How fast an upload has to come, over ten seconds, while others wait for its place (limits.concurrentUploads); a slower one is ended with REQUEST_TIMEOUT. Thirty uploads at a time share a line of 1 Mbit/s at this. 0: none has to.",
    }),
    minimumDownloadBytesPerSecond: sizeBytes({
      standard: "4KiB",
      min: "0",
      max: "100MiB",
      about:
        "How fast a client has to take an answer, over ten seconds, while others wait for its place (limits.requestsInFlight); a slower one is cut off, and can go on by range. 0: none has to.",
    }),
    keepAliveSeconds: seconds({
      standard: "75s",
      min: "1s",
      max: "1h",
      about: "How long an idle connection stays open. Longer than the usual 60s of load balancers, so that they close first.",
    }),
    maxConnections: integer({
      standard: "10000",
      min: 1,
      max: 1_000_000,
      about: "Open connections at a time; further ones are dropped. An idle one costs about 20 KiB, so the default is 200 MB at worst.",
    }),
  },
  database: {
    url: databaseUrl({
      about:
        "A PostgreSQL database, for many replicas. Several hosts, as in postgres://user:password@one:5432,two:5432/name, are one primary and its standbys: the one that takes writes is used, and looked for again when it fails. Empty: SQLite in the data directory, for one process.",
    }),
    maxConnections: integer({ standard: "10", min: 1, max: 1000, about: "Connections to PostgreSQL for each replica." }),
    startTimeoutSeconds: seconds({
      standard: "60s",
      min: "0s",
      max: "1h",
      about: "How long a start waits for a database that does not answer yet, as when both start together.",
    }),
    acquireTimeoutSeconds: seconds({
      standard: "5s",
      min: "1s",
      max: "5m",
      about: "How long a request waits for a free database connection before it is answered with UNAVAILABLE.",
    }),
  },
  storage: {
    kind: oneOf(["filesystem", "s3"], { standard: "filesystem", about: "Where blobs lie." }),
    filesystem: {
      directory: path({ standard: "", about: "The directory for blobs, local or NFS. Empty: `content` in the data directory." }),
    },
    s3: {
      bucket: optional(
        text({
          pattern: /^[a-zA-Z0-9][a-zA-Z0-9._-]{1,253}[a-zA-Z0-9]$/,
          wanted: "a bucket's name",
          about: "The bucket for blobs. It must exist.",
        }),
      ),
      prefix: optional(
        text({
          pattern: /^(?:[a-zA-Z0-9._-]+\/)*[a-zA-Z0-9._-]+\/?$/,
          wanted: "a key prefix such as registry/one",
          about: "Put in front of every key, so that one bucket can serve several registries.",
        }),
      ),
      region: text({ standard: "us-east-1", about: "The bucket's region." }),
      endpoint: optional(httpUrl({ about: "The S3 service's address. Empty: Amazon's for the region." })),
      publicEndpoint: optional(
        httpUrl({ about: "The S3 service's address as clients see it, for redirected pulls. Empty: the same as endpoint." }),
      ),
      forcePathStyle: flag({
        standard: "false",
        about: "Put the bucket in the path and not in the host name: MinIO and Ceph usually need it.",
      }),
      dialect: oneOf(["aws", "ceph", "minio", "versitygw", "gcs", "oss", "cos", "obs", "ibm", "r2", "generic"], {
        standard: "aws",
        about: "Whose S3 it is: services differ in their create-only header and checksums.",
      }),
      accessKeyId: optional(text({ about: "The access key's id. Empty, with the secret: from the machine's or pod's role." })),
      secretAccessKey: secret({ about: "The access key's secret." }),
      partSizeBytes: sizeBytes({
        standard: "16MiB",
        min: "5MiB",
        max: "5GiB",
        about:
          "The size of one part of an upload, held in memory while it is sent. A blob has at most 9000 whole parts: 140 GiB with the default.",
      }),
      uploadMemoryBytes: sizeBytes({
        standard: "512MiB",
        min: "5MiB",
        max: "1TiB",
        about:
          "Memory for the parts of all uploads of one process. When it is full, parts get smaller (5MiB), and uploads wait for each other.",
      }),
    },
    redirect: oneOf(["never", "always"], {
      standard: "never",
      about:
        "`always` answers a blob's pull with a signed address of the S3 service: the bytes go past this server. The service needs a host name of its own, neither the registry's nor one below it: clients would send it the registry's tokens.",
    }),
    inlineMaxBytes: sizeBytes({
      standard: "16KiB",
      min: "0",
      max: "1MiB",
      about: "Blobs up to this size lie in the database: image configs and small artifacts need no file of their own. 0: none.",
    }),
    hotCacheBytes: sizeBytes({
      standard: "128MiB",
      min: "0",
      max: "256GiB",
      about: "Memory for blobs that are read often. 0: none.",
    }),
  },
  projects: {
    default: optional(
      text({
        standard: "library",
        // As a project's name is; `parseProjectName` of @berth/oci/reference reads it.
        pattern: /^(?=.{1,128}$)[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/,
        wanted: "a project's name",
        about:
          "The project of repositories that clients name with one segment: R/myapp is the repository myapp of it, under both names. It exists from the first start. Empty: such names are refused.",
      }),
    ),
  },
  push: {
    sparseImages: oneOf(["accept", "refuse"], {
      standard: "accept",
      about:
        "What becomes of an image that names layers which its repository does not have: accepted with a warning, as the distribution specification lets sparse content be, or refused with MANIFEST_BLOB_UNKNOWN. Its config and one layer must always be there.",
    }),
  },
  limits: {
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
      max: 10_000_000,
      about:
        "Upload sessions of one account that are open at a time; further ones get UPLOADS_EXCEEDED. One that was left alone counts until limits.uploadAgeSeconds are over.",
    }),
    openUploadsPerProject: integer({ standard: "10000", min: 1, max: 10_000_000, about: "The same of one project." }),
    openUploads: integer({ standard: "50000", min: 1, max: 10_000_000, about: "The same of the whole registry." }),
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
  },
  auth: {
    adminPassword: secret({
      alias: "adminPassword",
      // As for every user: MIN_PASSWORD_LENGTH of access/secrets.ts.
      minLength: 10,
      about:
        "The first administrator's password, at the very first start. Empty: made at first start and written to `admin-password` in the data directory.",
    }),
    tokenLifetimeSeconds: seconds({
      standard: "300s",
      min: "60s",
      max: "1h",
      about:
        "How long a bearer token is valid. Clients of the token protocol expect at least 60s. Rights that are withdrawn end at once, not with the token.",
    }),
    signingKeyRotationDays: integer({ standard: "30", min: 1, max: 365, about: "How often a new key for signing tokens is made." }),
    secretKey: secret({
      // As access/master-key.ts reads it.
      pattern: /^(?:[0-9a-fA-F]{64}|[A-Za-z0-9+/_-]{43}=?)$/,
      wanted: "a secret of 32 bytes in hexadecimal or base64",
      about:
        "Encrypts secrets in the database. The same on every replica, so it is required with PostgreSQL. Empty: made at first start and kept in the data directory.",
    }),
    service: text({
      standard: "berth",
      pattern: /^[\w.:-]{1,128}$/,
      wanted: "up to 128 letters, digits, dots, colons, dashes",
      about: "The service's name in tokens and challenges.",
    }),
    realm: optional(httpUrl({ about: "The token service's address in challenges. Empty: /token at the public address." })),
    lockout: {
      freeFailures: integer({
        standard: "5",
        min: 1,
        max: 10_000,
        about: "Failed sign-ins of one account from one address before it is locked there. An address as a whole has ten times as many.",
      }),
      windowSeconds: seconds({ standard: "1h", min: "1s", max: "24h", about: "How long a failed sign-in counts." }),
      firstLockSeconds: seconds({
        standard: "10s",
        min: "1s",
        max: "1h",
        about: "How long the first lock lasts; each further failure doubles it.",
      }),
      maxLockSeconds: seconds({ standard: "15m", min: "1s", max: "24h", about: "How long a lock lasts at most." }),
    },
  },
  gc: {
    leaseSeconds: seconds({
      standard: "24h",
      min: "1s",
      max: "30d",
      about: "How long a blob that was answered to exist, or was uploaded, is kept for the manifest that will name it.",
    }),
    graceSeconds: seconds({
      standard: "30m",
      min: "0s",
      max: "30d",
      about: "How long bytes outlive the last reference to them, so that running pulls end and backups agree with the database.",
    }),
    intervalSeconds: seconds({ standard: "30s", min: "1s", max: "24h", about: "The pause between two rounds of collection." }),
    batchSize: integer({
      standard: "200",
      min: 1,
      max: 10_000,
      about: "Blobs that one round's transaction takes: small, so that pushes never wait.",
    }),
  },
  log: {
    level: oneOf(["fatal", "error", "warn", "info", "debug", "trace", "silent"], { standard: "info", about: "The least that is logged." }),
    format: oneOf(["auto", "json", "pretty"], { standard: "auto", about: "`auto` is pretty on a terminal and json elsewhere." }),
    requests: oneOf(["none", "changes", "all"], {
      standard: "changes",
      about:
        "Which requests get a line, with account, address, repository, status, bytes and time. `changes`: writes and refused logins; `all`: every request, which is an access log.",
    }),
  },
  metrics: {
    listen: optional(
      listenAddress({
        about:
          "A port of its own for /metrics, open to whoever reaches it, such as 127.0.0.1:9090. Empty: /metrics on the main port, for administrators only.",
      }),
    ),
    tag: optional(
      text({
        pattern: /^[\w.:/-]{1,64}$/,
        wanted: "up to 64 letters, digits and ._:/-",
        about: "Put on every metric as the label `tag`, to tell installations apart.",
      }),
    ),
  },
  tracing: {
    endpoint: optional(
      httpUrl({
        standardVariable: "OTEL_EXPORTER_OTLP_ENDPOINT",
        about:
          "A collector that takes OpenTelemetry's traces (OTLP over HTTP, protobuf), such as http://collector:4318; they go to /v1/traces below it. Empty: no traces.",
      }),
    ),
    headers: secret({
      about: "Headers for the collector, such as credentials: name=value,name2=value2, values percent-encoded.",
    }),
    sampleRatio: ratio({
      standard: "0.01",
      standardVariable: "OTEL_TRACES_SAMPLER_ARG",
      about: "Which part of the traces that begin here is kept. A client that sends a traceparent has decided already.",
    }),
    serviceName: text({
      standard: "berth",
      standardVariable: "OTEL_SERVICE_NAME",
      pattern: /^[\w.:/-]{1,128}$/,
      wanted: "up to 128 letters, digits and ._:/-",
      about: "The service's name in traces.",
    }),
  },
};

/** A part of the schema: settings and further parts. */
export interface Section {
  readonly [name: string]: Section | Setting<unknown>;
}

type ValuesOf<S> = S extends Setting<infer T> ? T : { readonly [K in keyof S]: ValuesOf<S[K]> };

/** The settings' values, frozen. Sizes are in bytes, times in seconds, paths absolute. */
export type Config = ValuesOf<typeof CONFIG_SCHEMA>;

/** Fills in the settings whose default is made of another's value. */
export function withDerivedDefaults(config: Config): Config {
  const { storage } = config;
  if (storage.filesystem.directory !== "") return config;
  return { ...config, storage: { ...storage, filesystem: { directory: join(config.data, "content") } } };
}

/** What is wrong between settings that are each fine alone: pairs of a setting's path and the problem. */
export function findContradictions(config: Config): readonly (readonly [string, string])[] {
  const { http, storage, limits, metrics, database, auth } = config;
  const { s3 } = storage;
  const found: [string, string][] = [];
  const refuse = (isWrong: boolean, setting: string, problem: string) => {
    if (isWrong) found.push([setting, problem]);
  };
  refuse(
    http.tls.certificateFile !== undefined && http.tls.keyFile === undefined,
    "http.tls.keyFile",
    "is missing: http.tls.certificateFile is set",
  );
  refuse(
    http.tls.keyFile !== undefined && http.tls.certificateFile === undefined,
    "http.tls.certificateFile",
    "is missing: http.tls.keyFile is set",
  );
  const isS3 = storage.kind === "s3";
  refuse(isS3 && s3.bucket === undefined, "storage.s3.bucket", "is missing: storage.kind is s3");
  refuse(!isS3 && s3.bucket !== undefined, "storage.s3.bucket", "is set, but storage.kind is filesystem: set storage.kind to s3");
  refuse(!isS3 && storage.redirect === "always", "storage.redirect", "cannot be always: only storage.kind s3 has signed addresses");
  const storeAddress = s3.publicEndpoint ?? s3.endpoint;
  refuse(
    storage.redirect === "always" &&
      http.publicUrl !== undefined &&
      storeAddress !== undefined &&
      carriesAuthorization(http.publicUrl, storeAddress),
    "storage.s3.publicEndpoint",
    "has the host name of http.publicUrl or one below it: clients would send the registry's tokens to the S3 service; give it another name, or set storage.redirect to never",
  );
  refuse(
    s3.accessKeyId !== undefined && s3.secretAccessKey === undefined,
    "storage.s3.secretAccessKey",
    "is missing: storage.s3.accessKeyId is set",
  );
  refuse(
    s3.secretAccessKey !== undefined && s3.accessKeyId === undefined,
    "storage.s3.accessKeyId",
    "is missing: storage.s3.secretAccessKey is set",
  );
  refuse(
    isS3 && limits.uploadBytes > s3.partSizeBytes * S3_PARTS_MAX,
    "limits.uploadBytes",
    `is more than ${S3_PARTS_MAX} parts of storage.s3.partSizeBytes (${showSize(s3.partSizeBytes)}): raise the part size or lower the limit`,
  );
  refuse(
    isS3 && s3.uploadMemoryBytes < s3.partSizeBytes,
    "storage.s3.uploadMemoryBytes",
    `is less than one part (storage.s3.partSizeBytes, ${showSize(s3.partSizeBytes)})`,
  );
  refuse(
    limits.manifestMemoryBytes < limits.manifestBytes,
    "limits.manifestMemoryBytes",
    `is less than one manifest (limits.manifestBytes, ${showSize(limits.manifestBytes)})`,
  );
  refuse(limits.chunkMinBytes > limits.uploadBytes, "limits.chunkMinBytes", "is more than limits.uploadBytes");
  refuse(
    database.url !== undefined && auth.secretKey === undefined,
    "auth.secretKey",
    "is missing: with database.url every replica needs the same one; make it with `openssl rand -base64 32`",
  );
  const own = metrics.listen;
  refuse(
    own !== undefined && own.port !== 0 && showListenAddress(own) === showListenAddress(http.listen),
    "metrics.listen",
    "is the same address as http.listen",
  );
  return found;
}
