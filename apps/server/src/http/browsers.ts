// Protects people whose browser is misused by another site: headers that make answers inert, and the refusal of cross-site requests that a
// browser sends with remembered credentials. Clients other than browsers are not affected. Not here: the policy of the console's own pages.
import type { IncomingMessage } from "node:http";
import { RegistryError } from "@berth/oci/errors";
import type { ClientAddress } from "./trusted-proxies.ts";

/**
 * With these headers an answer cannot be used as script, style or page, not even by a page of the same origin: its content type is final,
 * and it runs nothing when it is opened. Pages of other sites cannot embed it, and cannot find out from whether it loads what the browser's
 * remembered credentials may read. Other clients, links, and pages that read with CORS are not restricted.
 * Source: https://www.w3.org/TR/CSP3/#directive-sandbox; https://fetch.spec.whatwg.org/#cross-origin-resource-policy-header
 */
export const INERT = {
  "x-content-type-options": "nosniff",
  "content-security-policy": "sandbox; default-src 'none'",
  "cross-origin-resource-policy": "same-origin",
} as const;
/**
 * For pushed content: a browser that opens it saves it and shows nothing. Names and values alternate, which is Node's fastest form: every
 * pull carries these.
 */
export const CONTENT: readonly string[] = [...Object.entries(INERT).flat(), "content-disposition", "attachment"];
/** For all other answers: they change, and are only for the client that asked. */
export const NOT_CONTENT = { ...INERT, "cache-control": "no-store" } as const;

/** Refuses a request that a page of another site sends. Errors: CROSS_SITE_REFUSED. */
export type RefuseOtherSites = (request: IncomingMessage) => void;

/** The parts that the check needs. */
export interface OtherSitesParts {
  /** The address that the client used, also behind trusted proxies. */
  readonly addressOf: (request: IncomingMessage) => Pick<ClientAddress, "scheme" | "host">;
  readonly publicUrl: string | undefined;
}

/**
 * Creates the check. Browsers state the origin of a request in Sec-Fetch-Site, which no page can set; over plain HTTP to a name that is not
 * loopback, and in old browsers, only Origin says it. A request with neither is not from a browser, or its user typed the address.
 * Source: https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header; RFC 6454, section 7.
 */
export function createRefuseOtherSites(parts: OtherSitesParts): RefuseOtherSites {
  const isOwn = createIsOwn(parts);
  return (request) => {
    const { "sec-fetch-site": site, origin } = request.headers;
    if (site === undefined ? origin === undefined || isOwn(request, origin) : site === "same-origin" || site === "none") return;
    throw new RegistryError("CROSS_SITE_REFUSED");
  };
}

/**
 * The same for what a browser's session may do: it must say that it comes from a page of this very origin. What says nothing may be a browser that
 * hides where it comes from; a header of its own is one that a page of another site cannot add, since nobody here allows it to (CORS).
 */
export function createRequireOwnPage(parts: OtherSitesParts): RefuseOtherSites {
  const isOwn = createIsOwn(parts);
  return (request) => {
    const { "sec-fetch-site": site, origin, "x-requested-with": added } = request.headers;
    const isOurs = site !== undefined ? site === "same-origin" : origin !== undefined ? isOwn(request, origin) : added !== undefined;
    if (!isOurs) throw new RegistryError("CROSS_SITE_REFUSED");
  };
}

function createIsOwn({ addressOf, publicUrl }: OtherSitesParts): (request: IncomingMessage, text: string) => boolean {
  const ownOrigin = publicUrl === undefined ? undefined : new URL(publicUrl).origin;

  return (request, text) => {
    const origin = URL.parse(text);
    // "null" is the origin of pages that hide theirs, such as a sandboxed frame.
    if (origin === null || (origin.protocol !== "http:" && origin.protocol !== "https:")) return false;
    if (origin.origin === ownOrigin) return true;
    const { scheme, host } = addressOf(request);
    // An unknown proxy may terminate TLS in front of us, so an https origin can be ours although the connection is plain. An http origin on
    // a TLS connection cannot.
    if (host === undefined || (scheme === "https" && origin.protocol === "http:")) return false;
    // Browsers leave a scheme's usual port out of both; proxies may put it into one.
    return URL.parse(`${origin.protocol}//${host}`)?.host === origin.host;
  };
}

/** Whether the method changes nothing. Another site's page gains nothing from such a request, because it cannot read the answer. */
export function isSafe(method: string | undefined): boolean {
  return method === "GET" || method === "HEAD";
}

/** Tells clients what to send. Source: RFC 9110, section 15.5.2; RFC 7617. */
const BASIC_CHALLENGE = 'Basic realm="Berth", charset="UTF-8"';

/**
 * The challenge of a 401 outside the data plane. Requests of our own pages get none, because the browser would show its own login dialog
 * over the page. Such a request is recognised by Sec-Fetch-Site; where browsers do not send that, the page adds `X-Requested-With`.
 */
export function basicChallenge({ headers }: IncomingMessage): Readonly<Record<string, string>> {
  const isOfPage = headers["sec-fetch-site"] === "same-origin" || headers["x-requested-with"] !== undefined;
  return isOfPage ? {} : { "www-authenticate": BASIC_CHALLENGE };
}
