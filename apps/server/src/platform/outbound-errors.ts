// The error of everything that the registry connects to by itself. Its words name scheme, host and port at the most: paths, queries and headers
// hold secrets. Not here: what fails when (outbound.ts).

/**
 * What went wrong: the address is none that may be written (`ADDRESS`), leads where nothing may be connected to (`REFUSED`), has no name server's answer
 * (`UNRESOLVED`), nobody is there (`CONNECT`), the certificate or handshake is wrong (`TLS`), a redirect is not followed (`REDIRECT`), it took too long
 * (`TIMEOUT`), the answer is too large (`TOO_LARGE`) or broken (`BROKEN`), the caller gave up (`ABORTED`).
 */
export type OutboundErrorCode =
  | "ADDRESS"
  | "REFUSED"
  | "UNRESOLVED"
  | "CONNECT"
  | "TLS"
  | "REDIRECT"
  | "TIMEOUT"
  | "TOO_LARGE"
  | "BROKEN"
  | "ABORTED";

/** Has no cause: what Node.js says can hold what was sent. */
export class OutboundError extends Error {
  override readonly name = "OutboundError";
  readonly code: OutboundErrorCode;

  constructor(code: OutboundErrorCode, message: string) {
    super(message);
    this.code = code;
  }

  /** Whether the same request may go well later: nobody has to change anything first. */
  get mayPass(): boolean {
    return !["ADDRESS", "REFUSED", "REDIRECT", "ABORTED"].includes(this.code);
  }
}

/** Codes of Node.js and OpenSSL for a certificate or handshake that is not believed. */
const TLS_CODE = /CERT|SSL|TLS|ISSUER|VERIFY|SIGNATURE|EPROTO|CRL/;
const CONNECT_CODE = /^(?:ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|EADDRNOTAVAIL|EACCES|EPERM|ENETDOWN|EHOSTDOWN)$/;

/** What Node.js threw, in these words. `place`: scheme, host and port. */
export function describeFailure(error: unknown, place: string): OutboundError {
  if (error instanceof OutboundError) return error;
  const code = codeOf(error);
  if (code === "ETIMEDOUT") return new OutboundError("TIMEOUT", `${place} did not take a connection in time`);
  if (CONNECT_CODE.test(code)) return new OutboundError("CONNECT", `${place} takes no connections (${code})`);
  if (code === "DEPTH_ZERO_SELF_SIGNED_CERT" || TLS_CODE.test(code)) return new OutboundError("TLS", `TLS with ${place} failed (${code})`);
  return new OutboundError("BROKEN", `the exchange with ${place} broke off (${code})`);
}

function codeOf(error: unknown): string {
  const { code, errors } = (error ?? {}) as { readonly code?: unknown; readonly errors?: readonly unknown[] };
  // One for each address that was tried.
  if (errors !== undefined && errors.length > 0 && code === undefined) return codeOf(errors[0]);
  return typeof code === "string" && /^[A-Z0-9_]{1,64}$/.test(code) ? code : "unknown error";
}
