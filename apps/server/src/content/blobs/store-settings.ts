// Settings of the blob stores. Not here: how settings are read (config-load.ts).
import { flag, httpUrl, oneOf, optional, path, secret, sizeBytes, text } from "../../config-kinds.ts";

/**
 * Whole parts of an upload to S3. The API allows 10,000 parts; the other thousand may be smaller when memory is short.
 * Source: Amazon S3 multipart upload limits.
 */
export const S3_PARTS_MAX = 9_000;

/** The smallest part of S3, except the last, and the largest. Source: Amazon S3 multipart upload limits. */
export const S3_PART_BYTES = { min: "5MiB", max: "5GiB" } as const;

export const storageSettings = {
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
      ...S3_PART_BYTES,
      about: `The size of one part of an upload, held in memory while it is sent. A blob has at most ${S3_PARTS_MAX} whole parts: 140 GiB with the default.`,
    }),
    uploadMemoryBytes: sizeBytes({
      standard: "512MiB",
      min: S3_PART_BYTES.min,
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
};
