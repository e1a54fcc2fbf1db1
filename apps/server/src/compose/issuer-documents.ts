// Documents that issuers publish, fetched by the registry's one way to others. Not here: what is in them (access/issuer-keys.ts), where it may
// connect to (platform/outbound.ts).
import type { FetchJson } from "../access/issuer-keys.ts";
import type { OutboundFetch } from "../platform/outbound.ts";

/** As many as providers have between an address that people know and the one that answers. */
const MAX_REDIRECTS = 3;

/** Makes what fetches them. */
export function createFetchJson(fetch: OutboundFetch): FetchJson {
  return async (url, { maxBytes, timeoutMs }) => {
    const answer = await fetch(url, {
      headers: { accept: "application/json" },
      maxAnswerBytes: maxBytes,
      maxRedirects: MAX_REDIRECTS,
      timeouts: { wholeMs: timeoutMs },
    });
    const text = await answer.text();
    if (answer.status !== 200) throw new Error(`${new URL(url).host} answered with status ${answer.status}`);
    try {
      return JSON.parse(text) as unknown;
    } catch {
      throw new Error(`${new URL(url).host} answered with what is no JSON`);
    }
  };
}
