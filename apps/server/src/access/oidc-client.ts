// The protocol with OpenID providers: where a browser is sent to, what its answer proves, logouts. openid-client speaks it, by the registry's one way to
// others. Not here: whose account somebody gets (outside-identities.ts), pages and cookies (http/sign-in).
// Source: OpenID Connect Core 1.0, section 3.1; RFC 7636 (PKCE); RFC 9207 (iss); Back-Channel Logout 1.0; RP-Initiated Logout 1.0.
import { createHash } from "node:crypto";
import type { JWTPayload } from "jose";
import type { Configuration } from "openid-client";
import { type Clock, HOUR_MS } from "../platform/clock.ts";
import type { OidcProvider } from "./oidc-providers.ts";
import { CLOCK_SKEW_SECONDS } from "./id-tokens.ts";
import { isUsableText, type OutsideIdentity } from "./outside-identities.ts";

/** As the Fetch API has it, as far as it is needed. */
export type ProviderFetch = (
  url: string,
  init: {
    readonly method?: string | undefined;
    readonly headers?: unknown;
    readonly body?: string | URLSearchParams | object | null | undefined;
    readonly signal?: AbortSignal | null | undefined;
  },
) => Promise<Response>;

/** What is kept of a sign-in until the browser comes back. */
export interface OidcChecks {
  readonly state: string;
  readonly nonce: string;
  readonly verifier: string;
}

/** Who somebody is, and what is kept of the proof. */
export interface OidcProof {
  readonly identity: OutsideIdentity;
  readonly idToken: string;
  /** The provider's session. */
  readonly sid: string | undefined;
}

/** Which sessions a provider ends. */
export interface ProviderLogout {
  readonly subject: string | undefined;
  readonly sid: string | undefined;
  /** What counts once. */
  readonly jti: string;
  readonly endsAt: number;
}

/** Why the provider's answer does not count, for whoever signs in: nothing in it is secret. */
export class OidcRefused extends Error {
  readonly fault: "provider-away" | "provider-refused" | "answer-wrong" | "claims-wrong";

  constructor(fault: OidcRefused["fault"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.fault = fault;
  }
}

/** Speaks with one provider. */
export interface OidcClient {
  readonly provider: OidcProvider;
  /** Where the browser goes, and what its answer is checked by. Errors: `OidcRefused`. */
  begin(redirectUri: string): Promise<{ readonly address: URL; readonly checks: OidcChecks }>;
  /** What the browser's answer proves. Errors: `OidcRefused`. */
  finish(answer: URL, checks: OidcChecks): Promise<OidcProof>;
  /** Where a browser goes that has signed out here; undefined where the provider has no such place. */
  logoutAddress(idToken: string | undefined, returnTo: string): Promise<URL | undefined>;
  /** Errors: `OidcRefused`. */
  readLogoutToken(token: string): Promise<ProviderLogout>;
}

/** Of a claim that is read; longer ones are left out. */
const MAX_TEXT_LENGTH = 2048;
/** How old what a provider says of itself may get. */
const METADATA_MS = HOUR_MS;
/** How long a failure to ask counts, so that pages that are asked for again and again do not ask again and again. */
const AWAY_MS = 5_000;
const TIMEOUT_SECONDS = 10;
/** How old a logout token may be. Source: Back-Channel Logout 1.0, section 2.4 recommends two minutes at the most for its end. */
const LOGOUT_MAX_AGE_SECONDS = 10 * 60;
const LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout";
const MAX_LOGOUT_TOKEN = 16 * 1024;
const SHA_OF: Readonly<Record<string, string>> = { "256": "sha256", "384": "sha384", "512": "sha512" };

// Loaded when somebody signs in: a registry without providers needs neither.
const loadOpenid = () => import("openid-client");
const loadJose = () => import("jose");

/** Makes what speaks with one. */
export function createOidcClient(provider: OidcProvider, fetch: ProviderFetch, clock: Clock): OidcClient {
  let known: { readonly config: Promise<Configuration>; readonly until: number } | undefined;
  let keys: { readonly uri: string; readonly get: ReturnType<Awaited<ReturnType<typeof loadJose>>["createRemoteJWKSet"]> } | undefined;

  function configuration(): Promise<Configuration> {
    const now = clock.now();
    if (known === undefined || known.until <= now) {
      const entry = { config: discover(), until: now + METADATA_MS };
      known = entry;
      entry.config.catch(() => {
        if (known === entry) known = { ...entry, until: clock.now() + AWAY_MS };
      });
    }
    return known.config;
  }

  async function discover(): Promise<Configuration> {
    const openid = await loadOpenid();
    const { issuer, clientId, clientSecret } = provider;
    const isPlain = issuer.startsWith("http:");
    try {
      const config = await openid.discovery(
        new URL(issuer),
        clientId,
        { [openid.clockTolerance]: CLOCK_SKEW_SECONDS },
        clientSecret === undefined ? openid.None() : authenticationWith(clientSecret),
        { [openid.customFetch]: fetch, timeout: TIMEOUT_SECONDS, execute: isPlain ? [openid.allowInsecureRequests] : [] },
      );
      // Their signatures are checked too, and not only that they came from the provider's address.
      openid.enableNonRepudiationChecks(config);
      return config;
    } catch (error) {
      throw new OidcRefused("provider-away", `${provider.title} cannot be asked now`, { cause: error });
    }

    /** As the provider takes it: most take both, some one alone. */
    function authenticationWith(secret: string): ReturnType<typeof openid.ClientSecretBasic> {
      const [basic, post] = [openid.ClientSecretBasic(secret), openid.ClientSecretPost(secret)];
      return (as, client, body, headers) => {
        const methods = as.token_endpoint_auth_methods_supported;
        const isPost = methods?.includes("client_secret_basic") === false && methods.includes("client_secret_post");
        return (isPost ? post : basic)(as, client, body, headers);
      };
    }
  }

  async function claimsOf(config: Configuration, idToken: IdClaims, accessToken: string | undefined): Promise<IdClaims> {
    const openid = await loadOpenid();
    const isWhole = [provider.nameClaim, provider.groupsClaim, "email"].every((claim) => find(idToken, claim) !== undefined);
    if (isWhole || accessToken === undefined || config.serverMetadata().userinfo_endpoint === undefined) return idToken;
    try {
      return { ...(await openid.fetchUserInfo(config, accessToken, idToken.sub)), ...idToken };
    } catch (error) {
      throw new OidcRefused("answer-wrong", `${provider.title} does not say who this is`, { cause: error });
    }
  }

  return {
    provider,
    async begin(redirectUri) {
      const config = await configuration();
      const openid = await loadOpenid();
      const checks = { state: openid.randomState(), nonce: openid.randomNonce(), verifier: openid.randomPKCECodeVerifier() };
      const address = openid.buildAuthorizationUrl(config, {
        redirect_uri: redirectUri,
        scope: provider.scopes,
        state: checks.state,
        nonce: checks.nonce,
        code_challenge: await openid.calculatePKCECodeChallenge(checks.verifier),
        code_challenge_method: "S256",
      });
      return { address, checks };
    },
    async finish(answer, { state, nonce, verifier }) {
      const config = await configuration();
      const openid = await loadOpenid();
      let tokens: Awaited<ReturnType<typeof openid.authorizationCodeGrant>>;
      try {
        // State, `iss`, nonce, audience, times and signature.
        tokens = await openid.authorizationCodeGrant(config, answer, {
          expectedState: state,
          expectedNonce: nonce,
          pkceCodeVerifier: verifier,
          idTokenExpected: true,
        });
      } catch (error) {
        throw refusalOf(openid, provider, error);
      }
      const idToken = tokens.id_token!;
      const claims = tokens.claims() as IdClaims;
      const algorithm = checkAlgorithm(provider, idToken);
      checkHash(algorithm, claims["at_hash"], tokens.access_token);
      checkRequired(provider, claims);
      const all = await claimsOf(config, claims, tokens.access_token);
      return { identity: identityOf(provider, all), idToken, sid: textOf(claims["sid"]) };
    },
    async logoutAddress(idToken, returnTo) {
      const config = await configuration();
      if (config.serverMetadata().end_session_endpoint === undefined) return undefined;
      const { buildEndSessionUrl } = await loadOpenid();
      return buildEndSessionUrl(config, {
        post_logout_redirect_uri: returnTo,
        ...(idToken === undefined ? {} : { id_token_hint: idToken }),
      });
    },
    async readLogoutToken(token) {
      if (token.length > MAX_LOGOUT_TOKEN) throw new OidcRefused("answer-wrong", "the logout token is too long");
      const { jwks_uri: uri } = (await configuration()).serverMetadata();
      const jose = await loadJose();
      if (uri === undefined) throw new OidcRefused("provider-away", "the provider publishes no keys");
      // It keeps them, and fetches no more often than twice a minute, whatever comes.
      if (keys?.uri !== uri) keys = { uri, get: jose.createRemoteJWKSet(new URL(uri), { [jose.customFetch]: fetch }) };
      let payload: JWTPayload;
      try {
        ({ payload } = await jose.jwtVerify(token, keys.get, {
          algorithms: [...provider.algorithms],
          issuer: provider.issuer,
          audience: provider.clientId,
          clockTolerance: CLOCK_SKEW_SECONDS,
          maxTokenAge: LOGOUT_MAX_AGE_SECONDS,
          currentDate: new Date(clock.now()),
          requiredClaims: ["iat", "jti"],
        }));
      } catch (error) {
        throw new OidcRefused("answer-wrong", "the logout token does not count", { cause: error });
      }
      const { events, nonce, sub, sid, jti } = payload as JWTPayload & { events?: unknown; nonce?: unknown; sid?: unknown };
      const event = typeof events === "object" && events !== null ? (events as Record<string, unknown>)[LOGOUT_EVENT] : undefined;
      if (typeof event !== "object" || event === null) throw new OidcRefused("claims-wrong", "it is no logout token");
      // With one, it would be an ID token that somebody passes off as it.
      if (nonce !== undefined) throw new OidcRefused("claims-wrong", "a logout token has no nonce");
      const [subject, session] = [textOf(sub), textOf(sid)];
      if (subject === undefined && session === undefined) throw new OidcRefused("claims-wrong", "it names neither subject nor session");
      if (textOf(jti) === undefined) throw new OidcRefused("claims-wrong", "it has no id");
      const endsAt = clock.now() + (LOGOUT_MAX_AGE_SECONDS + 2 * CLOCK_SKEW_SECONDS) * 1000;
      return { subject, sid: session, jti: jti!, endsAt };
    },
  };
}

type IdClaims = Readonly<Record<string, unknown>> & { readonly sub: string };

function textOf(value: unknown): string | undefined {
  return typeof value === "string" && isUsableText(value, MAX_TEXT_LENGTH) ? value : undefined;
}

/** A claim by its name, or by a path with dots. */
function find(claims: Readonly<Record<string, unknown>>, name: string): unknown {
  if (Object.hasOwn(claims, name)) return claims[name];
  let at: unknown = claims;
  for (const part of name.split(".")) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, part)) return undefined;
    at = (at as Record<string, unknown>)[part];
  }
  return at;
}

function identityOf(provider: OidcProvider, claims: IdClaims): OutsideIdentity {
  const { name: provider_, issuer, nameClaim, groupsClaim } = provider;
  const found = find(claims, groupsClaim);
  // Entra ID leaves groups out where they are many, and says so: without them he would be in none.
  const others = claims["_claim_names"];
  if (found === undefined && typeof others === "object" && others !== null && Object.hasOwn(others, groupsClaim))
    throw new OidcRefused("claims-wrong", `${provider.title} has too many groups to name: let it send those alone that the registry needs`);
  const groups = (Array.isArray(found) ? found : [found]).flatMap((each) => textOf(each) ?? []);
  const email = claims["email_verified"] === false ? undefined : textOf(claims["email"]);
  const fullName = textOf(claims["name"]);
  const name = textOf(find(claims, nameClaim)) ?? email ?? fullName ?? claims.sub;
  return { kind: "oidc", provider: provider_, realm: issuer, subject: claims.sub, name, email, fullName, groups };
}

/** The algorithm that an ID token is signed with. Errors: `OidcRefused` where it does not count. */
function checkAlgorithm(provider: OidcProvider, idToken: string): string {
  const { alg } = JSON.parse(Buffer.from(idToken.split(".")[0]!, "base64url").toString()) as { alg?: unknown };
  if (typeof alg !== "string" || !provider.algorithms.includes(alg))
    throw new OidcRefused("answer-wrong", `${provider.title} signs with ${String(alg).slice(0, 20)}, which does not count here`);
  return alg;
}

/** The access token belongs to the ID token, where that says to which. Source: OpenID Connect Core 1.0, section 3.1.3.6. */
function checkHash(alg: string, hash: unknown, accessToken: string | undefined): void {
  if (hash === undefined || accessToken === undefined) return;
  const digest = createHash(SHA_OF[alg.slice(2)] ?? "sha512")
    .update(accessToken)
    .digest();
  if (hash !== digest.subarray(0, digest.length / 2).toString("base64url"))
    throw new OidcRefused("answer-wrong", "the access token is not the one of the ID token");
}

function checkRequired({ title, requiredClaims }: OidcProvider, claims: IdClaims): void {
  for (const [name, wanted] of requiredClaims) {
    const found = find(claims, name);
    const values = (Array.isArray(found) ? found : [found]).filter((each) => typeof each !== "object").map(String);
    if (found === undefined || !values.includes(wanted))
      throw new OidcRefused("claims-wrong", `signing in by ${title} takes an account there with ${name} ${wanted}`);
  }
}

function refusalOf(openid: Awaited<ReturnType<typeof loadOpenid>>, { title }: OidcProvider, error: unknown): OidcRefused {
  if (error instanceof openid.AuthorizationResponseError)
    return new OidcRefused("provider-refused", `${title} did not sign you in: ${error.error.slice(0, 100)}`, { cause: error });
  if (error instanceof openid.ResponseBodyError)
    return new OidcRefused("provider-refused", `${title} does not take its own answer: ${error.error.slice(0, 100)}`, { cause: error });
  return new OidcRefused("answer-wrong", `the answer of ${title} does not count`, { cause: error });
}
