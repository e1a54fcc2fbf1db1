// In what the services that speak the S3 API differ, as one table. Not here: what a given installation really does; `s3-capabilities.ts`
// tries that.

/** Names of the dialects, as the configuration has them. */
export type S3DialectName = keyof typeof S3_DIALECTS;

/** What the store has to know of a service. */
export interface S3Dialect {
  /** `path`: the bucket stands in the path; `virtual`: in the host name. Alibaba, Tencent and Amazon accept only the latter for new buckets. */
  readonly addressing: "path" | "virtual";
  /** Whether parts carry Content-MD5. Where the signed SHA-256 of the payload is checked, a second hash would prove nothing more. */
  readonly contentMd5: boolean;
  /** Whether many objects can be deleted by one request. */
  readonly multiDelete: boolean;
  /** Whether a part can be copied from an object inside the service. */
  readonly partCopy: boolean;
  /** Whether an upload's parts may be of different sizes, besides the last. */
  readonly unequalParts: boolean;
  /**
   * Whether a refusal comes before the body where the request asks to be told (`Expect: 100-continue`). Where it does not, asking costs a
   * connection for each part, and the service breaks it off in the middle of the body: the refusal is lost, and all is sent again.
   */
  readonly refusesEarly: boolean;
  /** The header that forbids overwriting. Nothing rests on it: keys are never used twice. It is tried and reported. */
  readonly createOnly: readonly [header: string, value: string];
}

const IF_NONE_MATCH = ["if-none-match", "*"] as const;
// Checked against: Ceph 16.2 and versitygw 1.8 by running; the others by their API references and field reports.
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
  /** Ignores `x-amz-checksum-*`, and If-None-Match when a multipart upload is completed; refuses to complete one with stray parts; says to go on before it looks at quotas. */
  ceph: { ...STANDARD, refusesEarly: false },
  /** Lists multipart uploads by exact key only; those that nobody completed it removes by itself after a day. */
  minio: STANDARD,
  versitygw: STANDARD,
  oss: { ...STANDARD, addressing: "virtual", contentMd5: true, createOnly: ["x-oss-forbid-overwrite", "true"] },
  cos: { ...STANDARD, addressing: "virtual", contentMd5: true, createOnly: ["x-cos-forbid-overwrite", "true"] },
  obs: { ...STANDARD, addressing: "virtual", contentMd5: true },
  ibm: { ...STANDARD, contentMd5: true, createOnly: ["x-ibm-forbid-overwrite", "true"] },
  /** HMAC keys; no request that deletes many, no copy of a part. */
  gcs: { ...STANDARD, contentMd5: true, multiDelete: false, partCopy: false, createOnly: ["x-goog-if-generation-match", "0"] },
  /** All parts but the last must be of one size, which copies of segments are not. */
  r2: { ...STANDARD, contentMd5: true, partCopy: false, unequalParts: false },
  /** For a service not named here: asks for nothing that some do not have. */
  generic: { ...STANDARD, contentMd5: true, multiDelete: false, partCopy: false, unequalParts: false },
} as const satisfies Record<string, S3Dialect>;
