// Logging programs in that have no browser: where they begin, what they learn when they poll, and the page on which somebody says yes. Not here: the
// logins themselves (access/device-logins.ts), signing in (sign-in.ts). Source: RFC 8628.
import type { IncomingMessage, ServerResponse } from "node:http";
import { RegistryError } from "@berth/oci/errors";
import type { AccountCaller } from "../../access/caller.ts";
import type { DeviceLogins } from "../../access/device-logins.ts";
import type { LoginFailures } from "../../access/login-failures.ts";
import { sendJson } from "../send-json.ts";
import { readSentForm } from "../token.ts";
import type { RequestContext } from "../v2/handler.ts";
import { html, redirect, sendPage } from "./pages.ts";
import { readOwnForm, type SignInParts, whoIsIn } from "./sign-in.ts";
import { chooseLanguage, textsOf } from "./texts.ts";

/** What they need. */
export interface DeviceParts extends Pick<
  SignInParts,
  "authenticator" | "isSecure" | "originOf" | "requireOwnPage" | "transferOf" | "noteAnonymous"
> {
  readonly devices: DeviceLogins;
  /** Guesses of codes are counted as those of passwords. */
  readonly loginFailures: LoginFailures;
}

/** The grant type of a program that polls. */
const DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code";

/** All addresses. */
export function devicePaths(parts: DeviceParts) {
  return new Map([
    ["/oauth/device", { methods: ["POST"], answer: (...visit: Visit) => begin(parts, ...visit) }],
    ["/oauth/device/token", { methods: ["POST"], answer: (...visit: Visit) => poll(parts, ...visit) }],
    [
      "/device",
      {
        methods: ["GET", "POST"],
        answer: (...visit: Visit) => (visit[0].method === "POST" ? decide(parts, ...visit) : ask(parts, ...visit)),
      },
    ],
  ]);
}

type Visit = [request: IncomingMessage, response: ServerResponse, context: RequestContext];

async function begin(parts: DeviceParts, ...[request, response, context]: Visit): Promise<void> {
  context.record.operation = "device-login";
  parts.noteAnonymous(context.party);
  const form = await readSentForm(parts, request, response, context.party);
  const begun = await parts.devices.begin(form.get("client_id") ?? "", { requestId: context.id, address: context.remoteAddress });
  if (begun === undefined)
    throw new RegistryError("TOOMANYREQUESTS", { message: "too many programs wait to be logged in", headers: { "retry-after": "60" } });
  const page = `${parts.originOf(request)}/device`;
  sendJson(response, 200, {
    device_code: begun.deviceCode,
    user_code: begun.userCode,
    verification_uri: page,
    verification_uri_complete: `${page}?code=${begun.userCode}`,
    expires_in: begun.expiresInSeconds,
    interval: begun.intervalSeconds,
  });
}

/** Answers a program that polls. */
async function poll(parts: DeviceParts, ...[request, response, context]: Visit): Promise<void> {
  context.record.operation = "device-login";
  parts.noteAnonymous(context.party);
  const form = await readSentForm(parts, request, response, context.party);
  if (form.get("grant_type") !== DEVICE_GRANT) return sendJson(response, 400, { error: "unsupported_grant_type" });
  const origin = { requestId: context.id, address: context.remoteAddress };
  const polled = await parts.devices.poll(form.get("device_code") ?? "", origin);
  if ("error" in polled) return sendJson(response, 400, polled);
  context.record.account = polled.user;
  const expires_in = Math.max(0, Math.floor((polled.expiresAt.getTime() - Date.now()) / 1000));
  sendJson(response, 200, { access_token: polled.secret, token_type: "Bearer", expires_in, user: polled.user });
}

/** Who is signed in; others are sent to sign in first, and come back. */
async function callerOf(parts: DeviceParts, code: string, ...[request, response, context]: Visit): Promise<AccountCaller | undefined> {
  const caller = await whoIsIn(parts, request, context.remoteAddress);
  if (caller === undefined) {
    parts.noteAnonymous(context.party);
    redirect(response, `/signin?return=${encodeURIComponent(`/device?code=${encodeURIComponent(code)}`)}`);
    return undefined;
  }
  context.record.account = caller.name;
  return caller;
}

/** What a code asks for. Wrong ones are counted. Errors: TOOMANYREQUESTS. */
async function lookUp({ devices, loginFailures }: DeviceParts, code: string, caller: AccountCaller, address: string) {
  const subject = `device ${caller.name}`;
  await loginFailures.check(subject, address);
  const asked = await devices.find(code);
  if (asked === undefined) await loginFailures.record(subject, address, code.slice(0, 40));
  return asked;
}

async function ask(parts: DeviceParts, ...visit: Visit): Promise<void> {
  const [request, response, context] = visit;
  context.record.operation = "device-login";
  const code = (new URL(request.url ?? "/", "http://registry.invalid").searchParams.get("code") ?? "").slice(0, 40);
  const caller = await callerOf(parts, code, ...visit);
  if (caller === undefined) return;
  const language = chooseLanguage(request.headers["accept-language"]);
  const texts = textsOf(language);
  const asked = code === "" ? undefined : await lookUp(parts, code, caller, context.remoteAddress);
  const body =
    asked === undefined
      ? html`<p>${texts.signedInAs} <strong>${caller.name}</strong>.</p>
          <p>${texts.deviceAsk}</p>
          ${code === "" ? "" : html`<p class="problem">${texts.codeWrong}</p>`}
          <form method="get" action="/device">
            <label>${texts.code}<input class="code" name="code" autocomplete="off" required maxlength="20" /></label>
            <button class="main">${texts.next}</button>
          </form>`
      : html`<p>${texts.signedInAs} <strong>${caller.name}</strong>.</p>
          <p><strong>${asked.client}</strong> ${texts.deviceWants} <strong>${asked.address}</strong>.</p>
          <p>${texts.deviceMay} <strong>${texts.deviceAll}</strong>, ${texts.deviceUntil} ${asked.days} ${texts.days}.</p>
          <p class="problem">${texts.deviceWarning}</p>
          <form method="post" action="/device">
            <input type="hidden" name="code" value="${code}" />
            <button class="main" name="decision" value="allow">${texts.allow}</button>
            <button name="decision" value="deny">${texts.deny}</button>
          </form>`;
  sendPage(response, { status: asked === undefined && code !== "" ? 404 : 200, language, title: texts.device, body });
}

async function decide(parts: DeviceParts, ...visit: Visit): Promise<void> {
  const [request, response, context] = visit;
  context.record.operation = "device-login";
  const form = await readOwnForm(parts, request, response, context.party);
  const code = (form.get("code") ?? "").slice(0, 40);
  const caller = await callerOf(parts, code, ...visit);
  if (caller === undefined) return;
  const isAllowed = form.get("decision") === "allow";
  const asked = await lookUp(parts, code, caller, context.remoteAddress);
  const isDone = asked !== undefined && (await parts.devices.decide(code, caller, isAllowed));
  const language = chooseLanguage(request.headers["accept-language"]);
  const texts = textsOf(language);
  const said = isDone ? (isAllowed ? texts.allowed : texts.denied) : texts.codeWrong;
  sendPage(response, { status: isDone ? 200 : 404, language, title: texts.device, body: html`<p>${said}</p>` });
}
