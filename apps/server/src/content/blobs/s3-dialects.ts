// The differences between services with the S3 API, as one table. Not here: the behaviour of a given installation, which
// `s3-capabilities.ts` tests.

/** Names of the dialects, as the configuration has them. */
export type S3DialectName = keyof typeof S3_DIALECTS;

/** The properties of a service that the store must know. */
export interface S3Dialect {
  /** `path`: the bucket is in the path; `virtual`: in the host name. Alibaba, Tencent and Amazon accept only the latter for new buckets. */
  readonly addressing: "path" | "virtual";
  /** Whether parts carry Content-MD5. If the service checks the signed SHA-256 of the payload, a second hash would prove nothing more. */
  readonly contentMd5: boolean;
  /** Whether many objects can be deleted by one request. */
  readonly multiDelete: boolean;
  /** Whether a part can be copied from an object inside the service. */
  readonly partCopy: boolean;
  /** Whether an upload's parts, except the last, may have different sizes. */
  readonly unequalParts: boolean;
  /**
   * Whether the service refuses before the body is sent if the request has `Expect: 100-continue`. If it does not, the header costs a
   * connection for each part, and the service closes it in the middle of the body: the refusal is lost, and everything is sent again.
   */
  readonly refusesEarly: boolean;
  /** The header that forbids overwriting. Nothing depends on it, because keys are never reused; it is tested and reported. */
  readonly createOnly: readonly [header: string, value: string];
}

const IF_NONE_MATCH = ["if-none-match", "*"] as const;
// Ceph 16.2 and versitygw 1.8 were tested; the others follow their API references and field reports.
const STANDARD: S3Dialect = {
  addressing: "path",
  contentMd5: false,
  multiDelete: true,
  partCopy: true,
  unequalParts: true,
  refusesEarly: true,
  createOnly: IF_NONE_MATCH,
};

/** Settings by service. */
export const S3_DIALECTS = {
  aws: { ...STANDARD, addressing: "virtual" },
  /**
   * Ignores `x-amz-checksum-*`, and If-None-Match when a multipart upload is completed; refuses to complete one with stray parts; sends 100
   * Continue before it checks quotas.
   */
  ceph: { ...STANDARD, refusesEarly: false },
  /** Lists multipart uploads by exact key only; removes incomplete ones by itself after a day. */
  minio: STANDARD,
  versitygw: STANDARD,
  oss: { ...STANDARD, addressing: "virtual", contentMd5: true, createOnly: ["x-oss-forbid-overwrite", "true"] },
  cos: { ...STANDARD, addressing: "virtual", contentMd5: true, createOnly: ["x-cos-forbid-overwrite", "true"] },
  obs: { ...STANDARD, addressing: "virtual", contentMd5: true },
  ibm: { ...STANDARD, contentMd5: true, createOnly: ["x-ibm-forbid-overwrite", "true"] },
  /** HMAC keys; no request that deletes many objects, no copy of a part. */
  gcs: { ...STANDARD, contentMd5: true, multiDelete: false, partCopy: false, createOnly: ["x-goog-if-generation-match", "0"] },
  /** All parts but the last must have the same size, which copies of segments do not have. */
  r2: { ...STANDARD, contentMd5: true, partCopy: false, unequalParts: false },
  /** For a service that is not listed: uses nothing that some services lack. */
  generic: { ...STANDARD, contentMd5: true, multiDelete: false, partCopy: false, unequalParts: false },
} as const satisfies Record<string, S3Dialect>;
