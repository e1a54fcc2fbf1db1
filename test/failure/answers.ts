// The rules for every answer, whatever fails: an error has a documented code and the one form, 503 and 507 say when to retry, and each
// answer has its request's id. Not here: whether the log explains it (audited-session.ts), the requests.
import assert from "node:assert/strict";
import { API_ERROR_ROWS } from "@berth/api/errors";
import { ERROR_ROWS } from "@berth/oci/errors";

const CODES: ReadonlySet<string> = new Set([...Object.keys(ERROR_ROWS), ...Object.keys(API_ERROR_ROWS)]);
/** Probes have a form of their own instead of errors for people. */
const PROBES: ReadonlySet<string> = new Set(["/healthz", "/readyz"]);

/** Fails for an answer that is not as documented. Returns an error's code; undefined if it is no error, or has no body. */
export function judgeAnswer(method: string, response: Response, body: string): string | undefined {
  const { status, headers } = response;
  const { pathname } = new URL(response.url);
  const what = `${method} ${pathname} answered ${status} ${body.slice(0, 500)}`;
  if (PROBES.has(pathname)) return undefined;
  assert.ok(headers.has("x-request-id"), `${what}, without a request id`);
  if (status < 400) return undefined;
  if (status === 503 || status === 507) assert.ok(headers.has("retry-after"), `${what}, without Retry-After`);
  if (method === "HEAD") return undefined;
  let code: unknown;
  try {
    code = (JSON.parse(body) as { errors: [{ code: unknown }] }).errors[0].code;
  } catch {
    assert.fail(`${what}, which is no error of ours`);
  }
  // UNKNOWN is documented for unforeseen errors; these tests exist to foresee them.
  assert.ok(typeof code === "string" && CODES.has(code) && code !== "UNKNOWN", `${what}: not a documented code`);
  return code;
}
