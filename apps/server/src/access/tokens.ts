// The token flow: what a client asks for becomes a signed list of what it may do, for a few minutes; and such a token is read again.
// A token is an upper bound only: authorize.ts looks at the caller's present rights each time. Not here: keys (signing-keys.ts).
// Source: https://distribution.github.io/distribution/spec/auth/token/ and .../jwt/
import { randomBytes } from "node:crypto";
import { findRepositoryName, type ProjectName, type RepositoryName } from "@berth/oci/reference";
import type { JWTPayload } from "jose";
import { LRUCache } from "lru-cache";
import type { Clock } from "../platform/clock.ts";
import type { Authorizer } from "./authorize.ts";
import type { Action, Caller, TokenAccess } from "./caller.ts";
import { UnauthorizedError } from "./challenge.ts";
import { INVALID_TOKEN } from "./refusals.ts";
import { ALL_ACTIONS } from "./roles.ts";
import { parseScopes } from "./scopes.ts";
import { directSignIn, parseDirectSignIn, type SignIn } from "./sign-in.ts";
import { CLOCK_SKEW_SECONDS, MAX_TOKEN_LIFETIME_SECONDS, TOKEN_ALGORITHM, type SigningKeys } from "./signing-keys.ts";

/** The token endpoint's answer. */
export interface TokenAnswer {
  readonly token: string;
  /** The same; OAuth 2 clients look for it here. */
  readonly access_token: string;
  /** Seconds. */
  readonly expires_in: number;
  readonly issued_at: string;
}

/** What a token says. */
export interface TokenClaims {
  /** Undefined for an anonymous token. */
  readonly account: { readonly id: number; readonly epoch: number } | undefined;
  readonly access: TokenAccess;
  readonly namesCatalog: boolean;
  /** How the account signed in when it was given the token. */
  readonly via: SignIn;
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
  /** Milliseconds since 1970. Before it the token is not valid yet: the clock has been set back since. */
  readonly notBefore: number;
}

/** Makes and reads tokens. */
export interface Tokens {
  /**
   * A token for the scopes, each with the actions that the caller has of those asked for, perhaps none. The caller comes from Basic
   * credentials or is anonymous. Errors: REQUEST_INVALID, UNAUTHORIZED (for a caller that itself has only a token).
   */
  issueToken(caller: Caller, scopes: readonly string[]): Promise<TokenAnswer>;
  /** What a token says; at hand where it was read before. Errors: UNAUTHORIZED with the reason `invalid_token`. */
  readToken(token: string): TokenClaims | Promise<TokenClaims>;
}

/** How tokens are made. */
export interface TokensOptions {
  readonly signingKeys: SigningKeys;
  readonly authorizer: Authorizer;
  readonly clock: Clock;
  /** `iss`: who signs. */
  readonly issuer: string;
  /** `aud`: the registry's name, as in the challenge. */
  readonly service: string;
  /** 60 to 3600. */
  readonly lifetimeSeconds: number;
  /** Where names of one segment lie; undefined where there are none. */
  readonly defaultProject: ProjectName | undefined;
}

/** Clients of old times assume 60 seconds where nothing is said, so nothing less is useful. Source: token specification. */
export const MIN_TOKEN_LIFETIME_SECONDS = 60;
/** Longest token that is looked at; Node refuses headers of more than 16 KiB in all. */
const MAX_TOKEN_LENGTH = 12 * 1024;
/** Memory for tokens that were read: some 20,000 of common size. */
const CACHE_BYTES = 32 * 1024 * 1024;
/** What an entry takes besides its text. */
const ENTRY_BYTES = 512;

// Loaded with the first token: a registry at rest does without its 6 MB.
const loadJose = () => import("jose");

interface AccessEntry {
  readonly type: string;
  readonly name: string;
  readonly actions: readonly string[];
}

/** Makes the token service. */
export function createTokens(options: TokensOptions): Tokens {
  const { signingKeys, authorizer, clock, issuer, service, lifetimeSeconds, defaultProject } = options;
  if (!(lifetimeSeconds >= MIN_TOKEN_LIFETIME_SECONDS && lifetimeSeconds <= MAX_TOKEN_LIFETIME_SECONDS)) {
    throw new RangeError(`a token's life is ${MIN_TOKEN_LIFETIME_SECONDS} to ${MAX_TOKEN_LIFETIME_SECONDS} seconds`);
  }
  const read = new LRUCache<string, TokenClaims>({
    maxSize: CACHE_BYTES,
    sizeCalculation: (claims, token) => 2 * token.length + ENTRY_BYTES + 256 * claims.access.size,
  });

  async function verify(token: string): Promise<TokenClaims> {
    if (token.length > MAX_TOKEN_LENGTH) throw new UnauthorizedError({ reason: "invalid_token", message: INVALID_TOKEN });
    const jose = await loadJose();
    let payload: JWTPayload;
    try {
      ({ payload } = await jose.jwtVerify(
        token,
        async (header) => {
          const key = header.kid === undefined ? undefined : await signingKeys.findVerifier(header.kid);
          if (key === undefined) throw new jose.errors.JWKSNoMatchingKey();
          return key;
        },
        {
          algorithms: [TOKEN_ALGORITHM],
          issuer,
          audience: service,
          currentDate: new Date(clock.now()),
          requiredClaims: ["exp", "iat", "jti", "sub"],
        },
      ));
    } catch (cause) {
      // Everything that jose finds wrong is the token's fault; anything else (the database is away) is ours.
      if (cause instanceof jose.errors.JOSEError) throw new UnauthorizedError({ reason: "invalid_token", message: INVALID_TOKEN, cause });
      throw cause;
    }
    const claims = parseClaims(payload, defaultProject);
    read.set(token, claims);
    return claims;
  }

  return {
    readToken(token) {
      const found = read.get(token);
      if (found === undefined) return verify(token);
      const now = clock.now();
      if (found.notBefore <= now && found.expiresAt > now) return found;
      read.delete(token);
      throw new UnauthorizedError({ reason: "invalid_token", message: "the token has expired" });
    },
    async issueToken(caller, scopeParameters) {
      if (caller.via.kind === "registry-token") throw new UnauthorizedError({ message: "a token cannot be exchanged for another" });
      const now = Math.floor(clock.now() / 1000);
      // Never longer than what it is given for.
      const expiresAt = Math.min(now + lifetimeSeconds, Math.floor((caller.accessEndsAt ?? Infinity) / 1000));
      if (expiresAt <= now) throw new UnauthorizedError({ message: "the credentials have expired" });
      const scopes = parseScopes(scopeParameters, defaultProject);
      const access: AccessEntry[] = [];
      for (const [name, { repository, actions }] of scopes.repositories) {
        const granted = (await authorizer.allowed(caller, repository)).intersection(actions);
        // As it was asked for: clients look for that name in it.
        access.push({ type: "repository", name, actions: [...granted] });
      }
      // Everybody may list: the list holds only what the caller may read.
      if (scopes.catalog) access.push({ type: "registry", name: "catalog", actions: ["*"] });

      const { SignJWT } = await loadJose();
      const signer = await signingKeys.getSigner();
      const whose = caller.kind === "account" ? { account: caller.accountId, epoch: caller.epoch, via: directSignIn(caller.via) } : {};
      const token = await new SignJWT({ access, ...whose })
        .setProtectedHeader({ alg: TOKEN_ALGORITHM, typ: "JWT", kid: signer.id })
        .setIssuer(issuer)
        .setSubject(caller.kind === "account" ? caller.name : "")
        .setAudience(service)
        .setIssuedAt(now)
        // Another replica's clock may be behind.
        .setNotBefore(now - CLOCK_SKEW_SECONDS)
        .setExpirationTime(expiresAt)
        .setJti(randomBytes(12).toString("base64url"))
        .sign(signer.privateKey);
      return { token, access_token: token, expires_in: expiresAt - now, issued_at: new Date(now * 1000).toISOString() };
    },
  };
}

// The signature proves that we wrote it, so what does not parse is a defect of ours or of another version; it grants nothing.
function parseClaims(payload: JWTPayload, defaultProject: ProjectName | undefined): TokenClaims {
  const { account, epoch, access, via } = payload;
  const isAnonymous = account === undefined && epoch === undefined && payload.sub === "";
  if (!isAnonymous && !(Number.isSafeInteger(account) && Number.isSafeInteger(epoch)))
    throw new UnauthorizedError({ reason: "invalid_token", message: INVALID_TOKEN });
  const repositories = new Map<RepositoryName, ReadonlySet<Action>>();
  let namesCatalog = false;
  for (const entry of Array.isArray(access) ? (access as readonly AccessEntry[]) : []) {
    if (entry.type === "registry" && entry.name === "catalog") namesCatalog = entry.actions.includes("*");
    if (entry.type !== "repository") continue;
    // Undefined: of one segment, and the default project was switched off since.
    const repository = findRepositoryName(entry.name, defaultProject);
    if (repository === undefined) continue;
    const actions = entry.actions.filter((action): action is Action => ALL_ACTIONS.has(action as Action));
    // Both spellings of a repository may be in one token.
    repositories.set(repository, new Set([...(repositories.get(repository) ?? []), ...actions]));
  }
  return {
    account: isAnonymous ? undefined : { id: account as number, epoch: epoch as number },
    access: repositories,
    namesCatalog,
    via: { kind: "registry-token", by: parseDirectSignIn(via) },
    expiresAt: payload.exp! * 1000,
    notBefore: (payload.nbf ?? 0) * 1000,
  };
}
