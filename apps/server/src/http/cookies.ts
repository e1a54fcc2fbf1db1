// Cookies: read strictly, and written so that no script and no other site has them. Not here: what is in them.
import type { IncomingMessage } from "node:http";

/** A cookie to be set. */
export interface NewCookie {
  readonly name: string;
  /** Of characters that need no quoting; empty: it is deleted. */
  readonly value: string;
  /** Undefined: it goes with the browser. */
  readonly maxAgeSeconds?: number | undefined;
  readonly isSecure: boolean;
}

/**
 * A cookie's name on this connection. Behind TLS it has the prefix with which a browser takes it from nobody but this very host, over TLS: not from
 * a neighbour in the same domain, nor from whoever answers in plain HTTP. Source: RFC 6265bis, section 4.1.3.2.
 */
export function cookieName(name: string, isSecure: boolean): string {
  return isSecure ? `__Host-${name}` : name;
}

/** The value of a cookie, or undefined where it is not there, or twice: then one of them is somebody else's. */
export function readCookie(request: Pick<IncomingMessage, "headers">, name: string): string | undefined {
  const found = (request.headers.cookie ?? "")
    .split(";")
    .map((pair) => pair.trim())
    .filter((pair) => pair.startsWith(`${name}=`));
  return found.length === 1 ? found[0]!.slice(name.length + 1) : undefined;
}

/** The header that sets one: for this host alone, read by no script, sent along when somebody comes by a link, and not with what another site posts. */
export function formatCookie({ name, value, maxAgeSeconds, isSecure }: NewCookie): string {
  const age = value === "" ? "; Max-Age=0" : maxAgeSeconds === undefined ? "" : `; Max-Age=${Math.floor(maxAgeSeconds)}`;
  return `${cookieName(name, isSecure)}=${value}; Path=/; HttpOnly; SameSite=Lax${isSecure ? "; Secure" : ""}${age}`;
}

/** Where a browser's session is kept. */
const SESSION_COOKIE = "berth_session";

/** The secret of the session that a browser brings; undefined where it brings none. */
export function readSessionCookie(request: Pick<IncomingMessage, "headers">, isSecure: boolean): string | undefined {
  const secret = readCookie(request, cookieName(SESSION_COOKIE, isSecure));
  return secret === "" ? undefined : secret;
}

/** The header that gives a browser a session, or takes it away: with an empty secret. */
export function formatSessionCookie(secret: string, maxAgeSeconds: number | undefined, isSecure: boolean): string {
  return formatCookie({ name: SESSION_COOKIE, value: secret, maxAgeSeconds, isSecure });
}
