// Logging in with a browser that may be on another machine: asks the registry for a code, shows it, and waits until somebody has said yes there. Not here:
// where the token is kept (contexts.ts). Source: RFC 8628.
import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { trust } from "./connect.ts";
import { Stopped } from "./misuse.ts";
import { note, type Streams } from "./streams.ts";

const GRANT = "urn:ietf:params:oauth:grant-type:device_code";
/** What a registry adds where it is asked too often. Source: RFC 8628, section 3.5. */
const SLOWER_SECONDS = 5;
const TIMEOUT_MS = 30_000;

/** Gives the user and the token. Errors: `Stopped`. */
export async function askByDevice(
  { registry, caFile }: { readonly registry: string; readonly caFile: string | undefined },
  streams: Streams,
): Promise<{ readonly user: string; readonly secret: string }> {
  if (caFile !== undefined) trust(caFile);
  const begun = await post(registry, "/oauth/device", { client_id: `berth on ${hostname()}` }, streams);
  const { device_code: code, user_code: shown, verification_uri: page, interval, expires_in: lifetime } = begun.body;
  if (begun.status !== 200 || typeof code !== "string" || typeof shown !== "string" || typeof page !== "string")
    throw new Stopped(`${registry} does not log in with a browser (status ${begun.status})`);
  note(streams, `Open ${page} in a browser, and type the code ${shown}`);
  let seconds = typeof interval === "number" ? interval : SLOWER_SECONDS;
  const endsAt = performance.now() + (typeof lifetime === "number" ? lifetime : 600) * 1000;
  while (performance.now() < endsAt) {
    await sleep(seconds * 1000, undefined, { signal: streams.signal });
    const { status, body } = await post(registry, "/oauth/device/token", { grant_type: GRANT, device_code: code }, streams);
    const { access_token: secret, user, error } = body;
    if (status === 200 && typeof secret === "string" && typeof user === "string") return { user, secret };
    if (error === "slow_down") seconds += SLOWER_SECONDS;
    else if (error === "access_denied") throw new Stopped("the login was denied");
    else if (error === "expired_token") break;
    else if (error !== "authorization_pending" && status < 500) throw new Stopped(`the registry does not log in: ${String(error)}`);
  }
  throw new Stopped("nobody allowed the login in time: try again");
}

async function post(
  registry: string,
  path: string,
  form: Readonly<Record<string, string>>,
  { signal }: Streams,
): Promise<{ readonly status: number; readonly body: Readonly<Record<string, unknown>> }> {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  try {
    const answer = await fetch(registry + path, {
      method: "POST",
      body: new URLSearchParams(form),
      redirect: "error",
      signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
    });
    const body: unknown = await answer.json().catch(() => ({}));
    return { status: answer.status, body: typeof body === "object" && body !== null ? (body as Record<string, unknown>) : {} };
  } catch (error) {
    if (signal?.aborted === true) throw error;
    throw new Stopped(`${registry} cannot be reached: ${(error as Error).message}`);
  }
}
