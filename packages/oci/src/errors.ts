// The distribution API's error codes, each with its status and message, and the one error type that every layer throws.
// Not here: the wire form (http/error-response.ts) and the control plane's own codes (@berth/api/errors).

/** The meaning of a code in answers. `spec` names the specification that defines it. */
export interface ErrorRow {
  readonly status: number;
  readonly message: string;
  readonly spec: string;
}

const SPEC = "distribution-spec, Error Codes";
const BERTH = "Berth";

/**
 * Every code of the data plane. The status is the usual one; a `RegistryError` may have another where the spec requires it.
 * Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes
 */
export const ERROR_ROWS = {
  BLOB_UNKNOWN: { status: 404, message: "blob unknown to registry", spec: SPEC },
  BLOB_UPLOAD_INVALID: { status: 400, message: "blob upload invalid", spec: SPEC },
  BLOB_UPLOAD_UNKNOWN: { status: 404, message: "blob upload unknown to registry", spec: SPEC },
  DIGEST_INVALID: { status: 400, message: "provided digest did not match uploaded content", spec: SPEC },
  MANIFEST_BLOB_UNKNOWN: {
    status: 404,
    message: "manifest references a manifest or blob unknown to registry",
    spec: SPEC,
  },
  MANIFEST_INVALID: { status: 400, message: "manifest invalid", spec: SPEC },
  MANIFEST_UNKNOWN: { status: 404, message: "manifest unknown to registry", spec: SPEC },
  NAME_INVALID: { status: 400, message: "invalid repository name", spec: SPEC },
  NAME_UNKNOWN: { status: 404, message: "repository name not known to registry", spec: SPEC },
  SIZE_INVALID: { status: 400, message: "provided length did not match content length", spec: SPEC },
  UNAUTHORIZED: { status: 401, message: "authentication required", spec: SPEC },
  DENIED: { status: 403, message: "requested access to the resource is denied", spec: SPEC },
  UNSUPPORTED: { status: 405, message: "the operation is unsupported", spec: SPEC },
  CROSS_SITE_REFUSED: { status: 403, message: "a page of another site may not do anything here", spec: BERTH },
  NETWORK_REFUSED: { status: 403, message: "this may not be used from the address that the request comes from", spec: BERTH },
  PLANE_ELSEWHERE: { status: 404, message: "this is not served at this address of the registry", spec: BERTH },
  TOOMANYREQUESTS: { status: 429, message: "too many requests", spec: SPEC },
  TAG_INVALID: { status: 400, message: "tag is not valid", spec: BERTH },
  PAGE_INVALID: { status: 400, message: "page parameter is not valid", spec: BERTH },
  RANGE_INVALID: { status: 416, message: "requested range not satisfiable", spec: BERTH },
  MANIFEST_TOO_LARGE: { status: 413, message: "manifest is larger than the limit", spec: BERTH },
  BLOB_TOO_LARGE: { status: 413, message: "blob is larger than the limit", spec: BERTH },
  PRECONDITION_FAILED: { status: 412, message: "the tag is not in the state that the request demands", spec: BERTH },
  UPLOADS_EXCEEDED: { status: 429, message: "too many uploads are open", spec: BERTH },
  URI_TOO_LONG: { status: 414, message: "the address is longer than the limit", spec: BERTH },
  HEADERS_TOO_LARGE: { status: 431, message: "the request's headers are larger than the limit", spec: BERTH },
  REQUEST_TIMEOUT: { status: 408, message: "the request body stopped arriving", spec: BERTH },
  REQUEST_INVALID: { status: 400, message: "the request is not valid", spec: BERTH },
  CONFLICT: { status: 409, message: "the resource is being changed by another request", spec: BERTH },
  BLOB_DAMAGED: { status: 500, message: "the stored content is missing or damaged; push it again to heal it", spec: BERTH },
  DATABASE_DAMAGED: { status: 500, message: "the registry's database is damaged; its operator must restore it", spec: BERTH },
  STORAGE_FOREIGN: {
    status: 503,
    message: "the registry's database or storage is not the one that it was started with; its operator must put it right",
    spec: BERTH,
  },
  DATABASE_VERSION: {
    status: 503,
    message: "the registry's database is not at the version that this program needs; try again, or ask its operator",
    spec: BERTH,
  },
  PROJECT_NEWER: {
    status: 503,
    message: "the project has settings that this program does not know; a newer release made them",
    spec: BERTH,
  },
  UPSTREAM_FAILED: { status: 502, message: "the upstream registry gave no usable answer", spec: BERTH },
  DIRECTORY_UNAVAILABLE: { status: 503, message: "the directory that knows the password does not answer; try again", spec: BERTH },
  UNAVAILABLE: { status: 503, message: "the registry cannot serve this now; try again", spec: BERTH },
  STORAGE_FULL: { status: 507, message: "the registry's storage is full", spec: BERTH },
  UNKNOWN: { status: 500, message: "unknown error; the request id names it in the log", spec: "distribution-spec, older versions" },
} as const satisfies Record<string, ErrorRow>;

/** A code of the data plane. */
export type ErrorCode = keyof typeof ERROR_ROWS;

/** The further properties of a `RegistryError`. */
export interface RegistryErrorOptions {
  /** Shown to the client as `detail`: never a secret, a path or a stack. */
  readonly detail?: unknown;
  /** Logged, never shown. */
  readonly cause?: unknown;
  /** Replaces the row's status where the spec requires another one. */
  readonly status?: number;
  /** Replaces the row's message. */
  readonly message?: string;
  /** Extra answer headers, for example `retry-after` or `range`. */
  readonly headers?: Readonly<Record<string, string>>;
  /** A lasting state that is already in the log: requests that meet it add no further lines. */
  readonly isReported?: boolean;
}

/** The one error that all layers throw on purpose; `http/error-response.ts` alone turns it into an answer. */
export class RegistryError extends Error {
  readonly code: string;
  readonly status: number;
  readonly detail: unknown;
  readonly headers: Readonly<Record<string, string>>;
  readonly isReported: boolean;

  constructor(code: ErrorCode, options: RegistryErrorOptions = {}) {
    const row = ERROR_ROWS[code];
    super(options.message ?? row.message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "RegistryError";
    this.code = code;
    this.status = options.status ?? row.status;
    this.detail = options.detail;
    this.headers = options.headers ?? {};
    this.isReported = options.isReported === true;
  }
}

/** Whether an error is already in the log, so that nobody needs to log it again. */
export function isReported(error: unknown): boolean {
  if (error instanceof AggregateError) return error.errors.length > 0 && error.errors.every(isReported);
  return error instanceof RegistryError && error.isReported;
}
