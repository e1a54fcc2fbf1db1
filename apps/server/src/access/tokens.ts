// The token flow: a client's requested scopes become a signed list of what it may do, for a few minutes; and such a token is parsed again.
// A token is an upper bound only: authorize.ts checks the caller's present rights each time. Not here: keys (signing-keys.ts).
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
  /** Where one was asked for, and is given: see refresh-tokens.ts. */
  readonly refresh_token?: string;
}

/** The content of a token. */
export interface TokenClaims {
  /** Undefined for an anonymous token. */
  readonly account: { readonly id: number; readonly epoch: number } | undefined;
  readonly access: TokenAccess;
  readonly namesCatalog: boolean;
  /** How the account had signed in when the token was issued. */
  readonly via: SignIn;
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
  /** Milliseconds since 1970. Before it the token is not valid yet: the clock has been set back since. */
  readonly notBefore: number;
}

/** Issues and parses tokens. */
export interface Tokens {
  /**
   * A token for the scopes, each with those of the requested actions that the caller has, perhaps none. The caller has Basic credentials or
   * is anonymous. Errors: REQUEST_INVALID, UNAUTHORIZED (for a caller with only a token).
   */
  issueToken(caller: Caller, scopes: readonly string[]): Promise<TokenAnswer>;
  /** The content of a token; synchronously if it is cached. Errors: UNAUTHORIZED with the reason `invalid_token`. */
  readToken(token: string): TokenClaims | Promise<TokenClaims>;
}

/** The options of tokens. */
export interface TokensOptions {
  readonly signingKeys: SigningKeys;
  readonly authorizer: Authorizer;
  readonly clock: Clock;
  /** `iss`: the signing registry. */
  readonly issuer: string;
  /** `aud`: the registry's name, as in the challenge. */
  readonly service: string;
  /** 60 to 3600. */
  readonly lifetimeSeconds: number;
  /** The project of names with one segment; undefined if there is none. */
  readonly defaultProject: ProjectName | undefined;
}

/** Old clients assume 60 seconds if nothing is said, so less would be useless. Source: token specification. */
export const MIN_TOKEN_LIFETIME_SECONDS = 60;
/** The longest token that is parsed; Node refuses headers of more than 16 KiB in all. */
const MAX_TOKEN_LENGTH = 12 * 1024;
/** The cache of parsed tokens: some 20,000 of common size. */
const CACHE_BYTES = 32 * 1024 * 1024;
/** The size of a cache entry besides its text. */
const ENTRY_BYTES = 512;

// Loaded with the first token: an idle registry saves 6 MB.
const loadJose = () => import("jose");

interface AccessEntry {
  readonly type: string;
  readonly name: string;
  readonly actions: readonly string[];
}

/** Creates the token service. */
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
      // All errors of jose mean an invalid token; any other (the database is unreachable) is ours.
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
      // It never outlives the caller's own credential.
      const expiresAt = Math.min(now + lifetimeSeconds, Math.floor((caller.accessEndsAt ?? Infinity) / 1000));
      if (expiresAt <= now) throw new UnauthorizedError({ message: "the credentials have expired" });
      const scopes = parseScopes(scopeParameters, defaultProject);
      const access: AccessEntry[] = [];
      for (const [name, { repository, actions }] of scopes.repositories) {
        const granted = (await authorizer.allowed(caller, repository)).intersection(actions);
        // In the client's spelling: clients look for that name in the token.
        access.push({ type: "repository", name, actions: [...granted] });
      }
      // Everybody may list: the list contains only what the caller may read.
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

// The signature proves that we wrote it, so a part that cannot be parsed is a defect or another version's; it grants nothing.
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
    // Undefined: a name of one segment, and the default project was switched off since.
    const repository = findRepositoryName(entry.name, defaultProject);
    if (repository === undefined) continue;
    const actions = entry.actions.filter((action): action is Action => ALL_ACTIONS.has(action as Action));
    // One token may contain both spellings of a repository.
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
