// What keeps browsers from doing on somebody's behalf what he never wanted: headers that make answers inert, and the refusal of requests that
// a page of another site makes a browser send with credentials that it remembers. Clients that are no browsers send and see nothing of it.
// Not here: the policy of the console's own pages.
import type { IncomingMessage } from "node:http";
import { RegistryError } from "@berth/oci/errors";
import type { ClientAddress } from "./trusted-proxies.ts";

/**
 * No script, style or page can be made of an answer with these, not even by a page of the same origin: its type is what it says, and where it
 * is opened, it runs nothing. A page of another site cannot have it as a part of itself, nor tell by its loading what the credentials that its
 * browser remembers may read. Nobody else is asked for that: not clients, not who follows a link, not a page that reads with CORS.
 * Source: https://www.w3.org/TR/CSP3/#directive-sandbox; https://fetch.spec.whatwg.org/#cross-origin-resource-policy-header
 */
export const INERT = {
  "x-content-type-options": "nosniff",
  "content-security-policy": "sandbox; default-src 'none'",
  "cross-origin-resource-policy": "same-origin",
} as const;
/**
 * For what somebody has pushed: a browser that is sent there saves it, and shows nothing. Names and values in turn, which is Node's quickest
 * form: these go with every pull.
 */
export const CONTENT: readonly string[] = [...Object.entries(INERT).flat(), "content-disposition", "attachment"];
/** For everything else: it changes, and is for its reader alone. */
export const NOT_CONTENT = { ...INERT, "cache-control": "no-store" } as const;

/** Refuses a request that a page of another site sends. Errors: CROSS_SITE_REFUSED. */
export type RefuseOtherSites = (request: IncomingMessage) => void;

/** What it is made of. */
export interface OtherSitesParts {
  /** Where a client thinks that it is, behind trusted proxies as well. */
  readonly addressOf: (request: IncomingMessage) => Pick<ClientAddress, "scheme" | "host">;
  readonly publicUrl: string | undefined;
}

/**
 * Makes the check. Browsers say whence a request comes by Sec-Fetch-Site, which no page can set; over plain HTTP to a name that is not
 * loopback, and where they are old, by Origin alone. Whoever sends neither is no browser, or is one that does what its user typed.
 * Source: https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header; RFC 6454, section 7.
 */
export function createRefuseOtherSites({ addressOf, publicUrl }: OtherSitesParts): RefuseOtherSites {
  const ownOrigin = publicUrl === undefined ? undefined : new URL(publicUrl).origin;

  function isOwn(request: IncomingMessage, text: string): boolean {
    const origin = URL.parse(text);
    // "null" is the origin of pages that hide theirs, such as a sandboxed frame.
    if (origin === null || (origin.protocol !== "http:" && origin.protocol !== "https:")) return false;
    if (origin.origin === ownOrigin) return true;
    const { scheme, host } = addressOf(request);
    // A proxy that we do not know may end TLS for us, so that https may be ours where the connection is plain. The other way round it is not.
    if (host === undefined || (scheme === "https" && origin.protocol === "http:")) return false;
    // Browsers leave a scheme's usual port out of both; proxies may put it into one.
    return URL.parse(`${origin.protocol}//${host}`)?.host === origin.host;
  }

  return (request) => {
    const { "sec-fetch-site": site, origin } = request.headers;
    if (site === undefined ? origin === undefined || isOwn(request, origin) : site === "same-origin" || site === "none") return;
    throw new RegistryError("CROSS_SITE_REFUSED");
  };
}

/** Whether the method is one that changes nothing, so that a page of another site gains nothing by it: it cannot read the answer. */
export function isSafe(method: string | undefined): boolean {
  return method === "GET" || method === "HEAD";
}

/** So that clients know what to send. Source: RFC 9110, section 15.5.2; RFC 7617. */
const BASIC_CHALLENGE = 'Basic realm="Berth", charset="UTF-8"';

/**
 * The challenge of a 401 outside the data plane. None for a page of ours: its browser would show a dialog of its own over it. Such a request
 * says so by Sec-Fetch-Site, and where browsers do not send that, the page adds `X-Requested-With`.
 */
export function basicChallenge({ headers }: IncomingMessage): Readonly<Record<string, string>> {
  const isOfPage = headers["sec-fetch-site"] === "same-origin" || headers["x-requested-with"] !== undefined;
  return isOfPage ? {} : { "www-authenticate": BASIC_CHALLENGE };
}
