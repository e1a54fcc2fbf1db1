// Signing in with a browser: the page with all ways to do it, what sends a browser to a provider and takes it back, signing out, and providers' own
// logouts. Not here: programs on devices (device.ts), what is proved (access/oidc-sign-in.ts), the pages' form (pages.ts).
import type { IncomingMessage, ServerResponse } from "node:http";
import { RegistryError } from "@berth/oci/errors";
import type { Authenticator } from "../../access/authenticate.ts";
import { type AccountCaller, ANONYMOUS } from "../../access/caller.ts";
import { type OidcClient, OidcRefused } from "../../access/oidc-client.ts";
import { isSignInRefusal, type OidcSignIn, SIGN_IN_MS } from "../../access/oidc-sign-in.ts";
import type { Sessions } from "../../access/sessions.ts";
import type { UserSessions } from "../../features/sessions/sessions.ts";
import { browserName } from "../browser-name.ts";
import type { RefuseOtherSites } from "../browsers.ts";
import { cookieName, formatCookie, formatSessionCookie, readCookie, readSessionCookie } from "../cookies.ts";
import type { Party } from "../preemption.ts";
import { recordError } from "../request-log.ts";
import { sendJson } from "../send-json.ts";
import { readSentForm } from "../token.ts";
import type { Transfer } from "../transfer-rate.ts";
import type { RequestContext } from "../v2/handler.ts";
import { html, type Html, localPath, redirect, sendPage } from "./pages.ts";
import { chooseLanguage, type Language, type Texts, textsOf } from "./texts.ts";

/** What the pages need. */
export interface SignInParts {
  readonly authenticator: Authenticator;
  readonly oidc: OidcSignIn;
  readonly sessions: Sessions;
  /** Signing in with a password. */
  readonly signIn: UserSessions["signIn"];
  readonly requireOwnPage: RefuseOtherSites;
  readonly isSecure: (request: IncomingMessage) => boolean;
  /** The origin that the browser uses. */
  readonly originOf: (request: IncomingMessage) => string;
  readonly transferOf: (kind: Transfer["kind"]) => Transfer;
  readonly noteAnonymous: (party: Party) => void;
}

/** An address with the methods that it takes. */
interface SignInPath {
  readonly methods: readonly string[];
  readonly answer: (request: IncomingMessage, response: ServerResponse, context: RequestContext) => Promise<void>;
}

/** Where sign-ins are kept while the browser is with the provider. */
const STATE_COOKIE = "berth_sign_in";

/** What a handler needs of a request. */
interface Visit {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly context: RequestContext;
  readonly language: Language;
  readonly texts: Texts;
  readonly query: URLSearchParams;
}

/** All addresses. */
export function signInPaths(parts: SignInParts): Map<string, SignInPath> {
  const paths = new Map<string, SignInPath>();
  const add = (path: string, methods: Readonly<Record<string, (visit: Visit) => Promise<void>>>): void => {
    paths.set(path, {
      methods: Object.keys(methods),
      answer: (request, response, context) => {
        context.record.operation = "sign-in";
        parts.noteAnonymous(context.party);
        const language = chooseLanguage(request.headers["accept-language"]);
        const query = new URL(request.url ?? "/", "http://registry.invalid").searchParams;
        return methods[request.method === "HEAD" ? "GET" : (request.method ?? "")]!({
          request,
          response,
          context,
          language,
          texts: textsOf(language),
          query,
        });
      },
    });
  };
  add("/signin", { GET: (visit) => showSignIn(parts, visit, {}), POST: (visit) => takePassword(parts, visit) });
  add("/signout", { POST: (visit) => signOut(parts, visit) });
  for (const [name, client] of parts.oidc.clients) {
    add(`/signin/${name}`, { GET: (visit) => goToProvider(parts, client, visit) });
    add(`/signin/${name}/callback`, { GET: (visit) => comeBack(parts, client, visit) });
    add(`/signin/${name}/logout`, { POST: (visit) => takeLogout(parts, client, visit) });
  }
  return paths;
}

/** Who is signed in with this browser; undefined for nobody, also where the session has ended. */
export async function whoIsIn(
  { authenticator, isSecure }: Pick<SignInParts, "authenticator" | "isSecure">,
  request: IncomingMessage,
  remoteAddress: string,
): Promise<AccountCaller | undefined> {
  const secret = readSessionCookie(request, isSecure(request));
  if (secret === undefined) return undefined;
  try {
    return await authenticator.authenticateSession(secret, remoteAddress);
  } catch (error) {
    if (error instanceof RegistryError && error.code === "UNAUTHORIZED") return undefined;
    throw error;
  }
}

/** Reads a form that one of our pages sends. Errors: CROSS_SITE_REFUSED, REQUEST_INVALID, REQUEST_TIMEOUT. */
export async function readOwnForm(
  parts: Pick<SignInParts, "requireOwnPage" | "transferOf">,
  request: IncomingMessage,
  response: ServerResponse,
  party: Party,
): Promise<URLSearchParams> {
  parts.requireOwnPage(request);
  return readSentForm(parts, request, response, party);
}

async function showSignIn(
  parts: SignInParts,
  visit: Visit,
  shown: { status?: number; problem?: string; cookies?: string[]; returnTo?: string },
): Promise<void> {
  const { request, response, context, language, texts, query } = visit;
  const { status = 200, problem, cookies, returnTo = localPath(query.get("return")) } = shown;
  const caller = problem === undefined && cookies === undefined ? await whoIsIn(parts, request, context.remoteAddress) : undefined;
  const providers = [...parts.oidc.clients.values()];
  const body =
    caller === undefined
      ? html`${problem === undefined ? "" : html`<p class="problem">${problem}</p>`}
          ${providers.map(({ provider }) => html`<a class="button" href="/signin/${provider.name}?return=${encodeURIComponent(returnTo)}">${texts.signInWith} ${provider.title}</a>`)}
          ${providers.length === 0 ? "" : html`<p>${texts.orPassword}</p>`}
          <form method="post" action="/signin">
            <input type="hidden" name="return" value="${returnTo}" />
            <label>${texts.name}<input name="name" autocomplete="username" autocapitalize="none" required maxlength="64" /></label>
            <label
              >${texts.password}<input name="password" type="password" autocomplete="current-password" required maxlength="256"
            /></label>
            <button class="main">${texts.signIn}</button>
          </form>`
      : html`<p>${texts.signedInAs} <strong>${caller.name}</strong>.</p>
          <form method="post" action="/signout"><button>${texts.signOut}</button></form>`;
  const title = problem !== undefined && status >= 400 ? texts.notSignedIn : texts.signIn;
  sendPage(response, {
    status,
    language,
    title,
    body,
    cookies,
    formTargets: providers.map(({ provider }) => new URL(provider.issuer).origin),
  });
}

function sessionCookie(parts: SignInParts, request: IncomingMessage, value: string, maxAgeSeconds?: number): string {
  return formatSessionCookie(value, maxAgeSeconds, parts.isSecure(request));
}

function stateCookie(parts: SignInParts, request: IncomingMessage, value: string): string {
  return formatCookie({ name: STATE_COOKIE, value, maxAgeSeconds: SIGN_IN_MS / 1000, isSecure: parts.isSecure(request) });
}

async function takePassword(parts: SignInParts, visit: Visit): Promise<void> {
  const { request, response, context } = visit;
  const form = await readOwnForm(parts, request, response, context.party);
  const returnTo = localPath(form.get("return"));
  const name = form.get("name")?.trim() ?? "";
  try {
    const present = await whoIsIn(parts, request, context.remoteAddress);
    const origin = { requestId: context.id, address: context.remoteAddress };
    const caller = { ...(present ?? ANONYMOUS), origin };
    const from = { caller, remoteAddress: context.remoteAddress, browserName: browserName(request.headers["user-agent"]) };
    const { answer, secret, maxAgeSeconds } = await parts.signIn({ name, password: form.get("password") ?? "" }, from);
    context.record.account = answer.user;
    redirect(response, returnTo, [sessionCookie(parts, request, secret, maxAgeSeconds)]);
  } catch (error) {
    if (!(error instanceof RegistryError) || error.status >= 500) throw error;
    recordError(context.record, error, request, name);
    await showSignIn(parts, visit, { status: error.status, problem: error.message, returnTo });
  }
}

async function goToProvider(parts: SignInParts, client: OidcClient, visit: Visit): Promise<void> {
  const { request, response, query } = visit;
  const returnTo = localPath(query.get("return"));
  try {
    const { address, kept } = await parts.oidc.begin(client, callbackOf(parts, client, request), returnTo);
    redirect(response, address.href, [stateCookie(parts, request, kept)]);
  } catch (error) {
    if (!(error instanceof OidcRefused)) throw error;
    await showSignIn(parts, visit, { status: 503, problem: error.message, returnTo });
  }
}

function callbackOf(parts: SignInParts, { provider }: OidcClient, request: IncomingMessage): string {
  return `${parts.originOf(request)}/signin/${provider.name}/callback`;
}

async function comeBack(parts: SignInParts, client: OidcClient, visit: Visit): Promise<void> {
  const { request, response, context, query } = visit;
  const answer = new URL(callbackOf(parts, client, request));
  answer.search = query.toString();
  const present = await whoIsIn(parts, request, context.remoteAddress);
  const kept = readCookie(request, cookieName(STATE_COOKIE, parts.isSecure(request)));
  const result = await parts.oidc.finish(client, answer, kept, {
    origin: { requestId: context.id, address: context.remoteAddress },
    browser: browserName(request.headers["user-agent"]),
    replaces: present?.credentialId === undefined ? undefined : { id: present.credentialId, accountId: present.accountId },
  });
  const forget = stateCookie(parts, request, "");
  if (isSignInRefusal(result)) {
    context.record.code = "UNAUTHORIZED";
    return showSignIn(parts, visit, { status: 403, problem: result.message, cookies: [forget], returnTo: localPath(undefined) });
  }
  context.record.account = result.account;
  const maxAgeSeconds = (result.session.endsAt.getTime() - Date.now()) / 1000;
  redirect(response, result.returnTo, [forget, sessionCookie(parts, request, result.session.secret, maxAgeSeconds)]);
}

async function signOut(parts: SignInParts, visit: Visit): Promise<void> {
  const { request, response, context } = visit;
  parts.requireOwnPage(request);
  const caller = await whoIsIn(parts, request, context.remoteAddress);
  const forget = sessionCookie(parts, request, "");
  if (caller?.credentialId !== undefined) {
    context.record.account = caller.name;
    const origin = { requestId: context.id, address: context.remoteAddress };
    const vouched = await parts.sessions.end(caller.credentialId, caller.accountId, origin);
    const client = vouched === undefined ? undefined : parts.oidc.clients.get(vouched.provider);
    // He has signed out here, whether or not the provider can be asked.
    const address = await client?.logoutAddress(vouched?.idToken, `${parts.originOf(request)}/signin`).catch(leaveProvider);
    if (address !== undefined) return redirect(response, address.href, [forget]);
  }
  const { language, texts } = visit;
  const back: Html = html`<p>${texts.signedOut}</p>
    <a class="button" href="/signin">${texts.again}</a>`;
  sendPage(response, { status: 200, language, title: texts.signOut, body: back, cookies: [forget] });
}

function leaveProvider(error: unknown): undefined {
  if (error instanceof OidcRefused) return undefined;
  throw error;
}

/** Source: OpenID Connect Back-Channel Logout 1.0, sections 2.5 to 2.8. */
async function takeLogout(parts: SignInParts, client: OidcClient, { request, response, context }: Visit): Promise<void> {
  const form = await readSentForm(parts, request, response, context.party);
  try {
    const tokens = form.getAll("logout_token");
    if (tokens.length !== 1) throw new OidcRefused("answer-wrong", "logout_token is to be given once");
    await parts.oidc.endByProvider(client, tokens[0]!);
    response.writeHead(200, { "content-length": 0, "cache-control": "no-store" });
    response.end();
  } catch (error) {
    if (!(error instanceof OidcRefused)) throw error;
    sendJson(response, 400, { error: "invalid_request", error_description: error.message });
  }
}
