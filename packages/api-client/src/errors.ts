// The failures of a call: the registry answered with an error, or there was no readable answer.
// Not here: what to do about a code (docs/errors.md).
import type { ApiErrorCode } from "@berth/api/errors";

/** A code of the registry's tables, or one of a newer registry. */
export type CallErrorCode = ApiErrorCode | (string & {});

/** The content of an error answer. */
export interface CallErrorFields {
  readonly code: CallErrorCode;
  readonly status: number;
  readonly message: string;
  readonly detail: unknown;
  /** The id in the registry's log; undefined if the answer came from something else. */
  readonly requestId: string | undefined;
  readonly retryAfterSeconds: number | undefined;
}

/** The registry answered with an error. */
export class CallError extends Error {
  readonly code: CallErrorCode;
  readonly status: number;
  readonly detail: unknown;
  readonly requestId: string | undefined;
  readonly retryAfterSeconds: number | undefined;

  constructor({ code, status, message, detail, requestId, retryAfterSeconds }: CallErrorFields) {
    super(message);
    this.name = "CallError";
    this.code = code;
    this.status = status;
    this.detail = detail;
    this.requestId = requestId;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/**
 * Why there is no answer. `unreachable`: no connection, or it broke; `certificate`: the registry's certificate is not trusted; `timeout`:
 * it took too long; `not-berth`: the server does not speak this API.
 */
export type ConnectionProblem = "unreachable" | "certificate" | "timeout" | "not-berth";

/** There was no readable answer. */
export class ConnectionError extends Error {
  readonly problem: ConnectionProblem;
  /** The system's own code, such as ECONNREFUSED, if there is one. */
  readonly systemCode: string | undefined;

  constructor(problem: ConnectionProblem, message: string, options: { readonly cause?: unknown } = {}) {
    super(message, options);
    this.name = "ConnectionError";
    this.problem = problem;
    this.systemCode = systemCodeOf(options.cause);
  }
}

/** Codes of Node.js and OpenSSL for an untrusted certificate. Source: https://nodejs.org/api/tls.html#x509-certificate-error-codes */
const CERTIFICATE_CODES =
  /^(?:CERT_|CRL_|DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT|UNABLE_TO_|INVALID_CA|PATH_LENGTH_EXCEEDED|INVALID_PURPOSE|HOSTNAME_MISMATCH|ERR_TLS_CERT_ALTNAME)/;

/** Turns an error of `fetch` into one of the two kinds. The caller's own cancellation is passed on unchanged. */
export function connectionErrorOf(error: unknown, origin: string, signal: AbortSignal | undefined): unknown {
  if (error instanceof CallError || error instanceof ConnectionError || signal?.aborted === true) return error;
  if (error instanceof Error && error.name === "TimeoutError") {
    return new ConnectionError("timeout", `${origin} did not answer in time`, { cause: error });
  }
  const code = systemCodeOf(error);
  // An error that is not the network's is a defect, and is shown as one.
  if (code === undefined && !(error instanceof TypeError)) return error;
  const reason = messageOf(error);
  if (code !== undefined && CERTIFICATE_CODES.test(code)) {
    return new ConnectionError("certificate", `the certificate of ${origin} is not trusted: ${reason}`, { cause: error });
  }
  return new ConnectionError("unreachable", `${origin} cannot be reached: ${reason}`, { cause: error });
}

/** `fetch` wraps its causes, and the failures of several attempts. */
function* causesOf(error: unknown): Generator<NodeJS.ErrnoException> {
  let each = error;
  while (each instanceof Error) {
    yield each;
    each = each instanceof AggregateError ? each.errors[0] : each.cause;
  }
}

function systemCodeOf(error: unknown): string | undefined {
  for (const { code } of causesOf(error)) if (typeof code === "string") return code;
  return undefined;
}

function messageOf(error: unknown): string {
  const all = [...causesOf(error)];
  return all.findLast(({ message }) => message !== "")?.message ?? String(error);
}
