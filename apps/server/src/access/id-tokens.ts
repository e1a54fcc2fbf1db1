// Tokens of other issuers: read, and verified against the keys of an issuer that is registered here. Not here: where keys come from (issuer-keys.ts),
// what a token becomes (token-exchange.ts). Source: OpenID Connect Core 1.0, section 3.1.3.7; RFC 8725.
import { createHash } from "node:crypto";
import type { JWTPayload } from "jose";
import type { Issuer } from "./issuer-store.ts";
import type { IssuerKeys } from "./issuer-keys.ts";
import type { Claims } from "./trust-rules.ts";

/** Longest token that is looked at: with its name in Basic credentials it must fit into a request's headers (16 KiB in Node). */
export const MAX_ID_TOKEN_LENGTH = 8 * 1024;
/** By how much an issuer's clock may be ahead of ours. Not for the end: what a token becomes never outlives it. */
export const CLOCK_SKEW_SECONDS = 60;
/** Keys without ids, or several of one id: so many are tried. */
const MAX_KEYS_TRIED = 10;

/** Why a token does not count. */
export const TOKEN_FAULTS = [
  "malformed",
  "issuer-unknown",
  "issuer-disabled",
  "algorithm-refused",
  "keys-away",
  "key-unknown",
  "signature-wrong",
  "audience-wrong",
  "expired",
  "not-yet-valid",
  "claims-wrong",
] as const;
/** One of `TOKEN_FAULTS`. */
export type TokenFault = (typeof TOKEN_FAULTS)[number];

/** A token that does not count, with what to say to whoever brought it: nothing of it is secret to him. */
export interface RefusedToken {
  readonly fault: TokenFault;
  readonly message: string;
}

/** A token whose issuer we know, or not. */
export interface ReadToken {
  readonly issuer: string;
  readonly algorithm: string;
  readonly kid: string | undefined;
  readonly claims: Claims;
}

/** A token that counts. */
export interface VerifiedToken {
  readonly issuer: Issuer;
  readonly claims: Claims;
  readonly expiresAt: Date;
  /** What tells it from other tokens of its issuer: the same for every copy, also where a signature can be written in two ways. */
  readonly mark: string;
}

const JWT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;

/** Whether a secret is a token by its form: a header that is an object, claims and a signature. No password of ours is checked by it. */
export function hasTokenForm(secret: string): boolean {
  return secret.startsWith("eyJ") && JWT.test(secret);
}

/** Whether a token did not count. */
export function isRefused<T extends object>(result: T | RefusedToken): result is RefusedToken {
  return "fault" in result;
}

/** Reads a token without believing it. */
export function readToken(token: string): ReadToken | RefusedToken {
  const malformed = (message: string): RefusedToken => ({ fault: "malformed", message });
  if (token.length > MAX_ID_TOKEN_LENGTH) return malformed(`the token has more than ${MAX_ID_TOKEN_LENGTH} characters`);
  if (!JWT.test(token)) return malformed("it is no signed token (JWT)");
  const [head = "", body = ""] = token.split(".");
  const header = parseObject(head);
  const claims = parseObject(body);
  if (header === undefined || claims === undefined)
    return malformed("it is no signed token (JWT): header and claims are to be JSON objects");
  const { alg, kid, typ } = header;
  const { iss } = claims;
  if (typeof alg !== "string" || (kid !== undefined && typeof kid !== "string"))
    return malformed("its header names no algorithm, or a key id that is no text");
  // A provider signs other things with the same keys, for the same audience: they say that somebody has left, and nobody that he is there.
  if (typeof typ === "string" && /logout\+jwt$/i.test(typ)) return malformed("it is a logout token");
  if (Object.hasOwn(claims, "events")) return malformed("it is a logout or event token");
  if (typeof iss !== "string" || iss === "" || iss.length > 1024 || iss.includes("\0") || !iss.isWellFormed())
    return malformed("it names no issuer (iss)");
  return { issuer: iss, algorithm: alg, kid, claims };
}

function parseObject(part: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(Buffer.from(part, "base64url")));
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

// Loaded with the first token, as where our own are made.
const loadJose = () => import("jose");

/** What a token is verified with. */
export interface VerifyParts {
  readonly keys: IssuerKeys;
  readonly nowMs: number;
}

/** Verifies a token against an issuer with its address. Errors: the database's. */
export async function verifyToken(
  token: string,
  read: ReadToken,
  issuer: Issuer,
  { keys, nowMs }: VerifyParts,
): Promise<VerifiedToken | RefusedToken> {
  // To a stranger each is called as he called it: the names that administrators give to issuers are theirs.
  if (issuer.isDisabled) return { fault: "issuer-disabled", message: `the issuer ${issuer.url} is disabled here` };
  const { algorithm, kid } = read;
  if (!issuer.algorithms.includes(algorithm)) {
    return {
      fault: "algorithm-refused",
      message: `it is signed with ${algorithm.slice(0, 20)}; of ${issuer.url} count ${issuer.algorithms.join(", ")}`,
    };
  }
  const found = await keys.find(issuer, algorithm, kid);
  if (found.keys.length === 0) {
    if (found.isAway)
      return {
        fault: "keys-away",
        message: `the keys of the issuer ${issuer.url} are not there and cannot be fetched now: try again later`,
      };
    return {
      fault: "key-unknown",
      message: `the issuer ${issuer.url} has no such key (kid ${JSON.stringify(kid)?.slice(0, 100)}); if it is a new one, try again in half a minute`,
    };
  }
  const jose = await loadJose();
  let payload: JWTPayload | undefined;
  for (const jwk of found.keys.slice(0, MAX_KEYS_TRIED)) {
    try {
      const key = await jose.importJWK({ ...jwk, kty: jwk["kty"]! }, algorithm);
      ({ payload } = await jose.jwtVerify(token, key, {
        algorithms: [algorithm],
        issuer: issuer.url,
        audience: [...issuer.audiences],
        currentDate: new Date(nowMs),
        clockTolerance: CLOCK_SKEW_SECONDS,
        requiredClaims: ["exp", "sub"],
      }));
      break;
    } catch (error) {
      if (error instanceof jose.errors.JWSSignatureVerificationFailed) continue;
      // A key that is none (a point beside its curve) is the issuer's fault; the token cannot be proved by it.
      if (!(error instanceof jose.errors.JOSEError)) continue;
      return faultOf(jose, error, read, issuer);
    }
  }
  if (payload === undefined) return { fault: "signature-wrong", message: `its signature is not one of the issuer ${issuer.url}` };
  const { exp, iat } = payload;
  if (exp! * 1000 <= nowMs) return { fault: "expired", message: `it ended at ${timeText(exp)}` };
  if (iat !== undefined && iat * 1000 > nowMs + CLOCK_SKEW_SECONDS * 1000) {
    return { fault: "not-yet-valid", message: `it was issued at ${timeText(iat)}, which is still to come: one of the clocks is wrong` };
  }
  return { issuer, claims: read.claims, expiresAt: new Date(exp! * 1000), mark: markOf(token, payload.jti) };
}

type Jose = Awaited<ReturnType<typeof loadJose>>;

function faultOf(jose: Jose, error: InstanceType<Jose["errors"]["JOSEError"]>, { claims }: ReadToken, issuer: Issuer): RefusedToken {
  if (error instanceof jose.errors.JWTExpired) return { fault: "expired", message: `it ended at ${timeText(claims["exp"])}` };
  if (!(error instanceof jose.errors.JWTClaimValidationFailed))
    return { fault: "malformed", message: `it cannot be verified: ${error.message}` };
  if (error.claim === "aud") {
    const has = JSON.stringify(claims["aud"])?.slice(0, 200) ?? "none";
    return {
      fault: "audience-wrong",
      message: `it is for the audience ${has}, and not for ${issuer.audiences.map((each) => JSON.stringify(each)).join(" or ")}`,
    };
  }
  if (error.claim === "nbf") return { fault: "not-yet-valid", message: `it is not valid before ${timeText(claims["nbf"])}` };
  return { fault: "claims-wrong", message: `its claim ${error.claim} is missing or wrong` };
}

function timeText(seconds: unknown): string {
  const at = new Date(typeof seconds === "number" ? seconds * 1000 : Number.NaN);
  return Number.isNaN(at.getTime()) ? "no time" : at.toISOString();
}

function markOf(token: string, jti: unknown): string {
  const text = typeof jti === "string" && jti !== "" ? `jti ${jti}` : `token ${token.slice(0, token.lastIndexOf("."))}`;
  return createHash("sha256").update(text).digest("base64url");
}
