// How providers of sign-ins are asked: the registry's one way to others in the form that protocol libraries take. Not here: what is asked
// (access/oidc-client.ts), where it may connect to (platform/outbound.ts).
import type { ProviderFetch } from "../access/oidc-client.ts";
import type { OutboundFetch } from "../platform/outbound.ts";

/** Key sets with certificates in them have some 30 KB; what somebody is in may be long. */
const MAX_ANSWER_BYTES = 512 * 1024;
/** For one answer of a provider: a person waits. */
const TIMEOUT_MS = 10_000;
/** Answers that have no body, which the Fetch API insists on. */
const EMPTY: ReadonlySet<number> = new Set([204, 205, 304]);

/** Makes it for one provider: the operator wrote its address himself, so that it may be anywhere; what it names elsewhere may not. */
export function createProviderFetch(fetch: OutboundFetch, issuer: string): ProviderFetch {
  const own = new URL(issuer).origin;
  return async (address, { method = "GET", headers, body, signal }) => {
    const answer = await fetch(address, {
      method: method === "POST" ? "POST" : "GET",
      headers: Object.fromEntries(new Headers(headers as Record<string, string>)),
      ...(typeof body === "string" || body instanceof URLSearchParams ? { body: body.toString() } : {}),
      ...(signal === undefined || signal === null ? {} : { signal }),
      maxAnswerBytes: MAX_ANSWER_BYTES,
      timeouts: { wholeMs: TIMEOUT_MS },
      isConfigured: new URL(address).origin === own,
    });
    const bytes = await answer.bytes();
    const type = answer.headers["content-type"];
    return new Response(EMPTY.has(answer.status) ? null : new Uint8Array(bytes), {
      status: answer.status,
      headers: type === undefined ? {} : { "content-type": type },
    });
  };
}
