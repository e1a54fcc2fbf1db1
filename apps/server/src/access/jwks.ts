// A set of public keys, read and reduced to what verifies signatures: pure. Not here: where it comes from (issuer-keys.ts), verifying (id-tokens.ts).
import type { PublicJwk } from "./issuer-store.ts";

/** Signatures that an issuer may use. No `none`, and none with a shared secret, which whoever knows a public key could make. */
export const SIGNATURE_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"] as const;

/** Most keys of an issuer: large providers have five or so. */
export const MAX_KEYS = 100;
/** Shortest RSA key, in bits. Source: RFC 7518, section 3.3. */
const MIN_RSA_BITS = 2048;
/** Longest of a key's texts: RSA with 16,384 bits. */
const MAX_TEXT_LENGTH = 3000;

const MEMBERS: Readonly<Record<string, readonly string[]>> = { RSA: ["n", "e"], EC: ["crv", "x", "y"], OKP: ["crv", "x"] };
const SECRET_MEMBERS = ["d", "p", "q", "dp", "dq", "qi", "k"];
const CURVES: Readonly<Record<string, string>> = { "P-256": "ES256", "P-384": "ES384", "P-521": "ES512", Ed25519: "EdDSA" };
const BASE64URL = /^[A-Za-z0-9_-]+$/;

/** Why a set of keys cannot be taken, in words for whoever gave it. */
export class UnusableKeys extends Error {}

/** Reads a JWK set. Keys for other purposes and of unknown kinds are left out. Errors: `UnusableKeys` where none is left, or one is private. */
export function readJwks(value: unknown): PublicJwk[] {
  const listed = typeof value === "object" && value !== null ? (value as { keys?: unknown }).keys : undefined;
  if (!Array.isArray(listed)) throw new UnusableKeys("it is no JWK set: it has no list `keys`");
  if (listed.length > MAX_KEYS) throw new UnusableKeys(`it has more than ${MAX_KEYS} keys`);
  const keys: PublicJwk[] = [];
  for (const each of listed as readonly unknown[]) {
    if (typeof each !== "object" || each === null) throw new UnusableKeys("one of its keys is no object");
    const jwk = each as Readonly<Record<string, unknown>>;
    // Whoever reads such a set can make tokens.
    if (SECRET_MEMBERS.some((name) => Object.hasOwn(jwk, name)))
      throw new UnusableKeys("it holds a private or shared key: such a key is not to be trusted any more");
    const read = readJwk(jwk);
    if (read !== undefined) keys.push(read);
  }
  if (keys.length === 0) throw new UnusableKeys("it has no key that verifies signatures (RSA from 2048 bits, EC, Ed25519)");
  return keys;
}

function readJwk(jwk: Readonly<Record<string, unknown>>): PublicJwk | undefined {
  const { kty, use, key_ops: operations, kid, alg } = jwk;
  const members = typeof kty === "string" && Object.hasOwn(MEMBERS, kty) ? MEMBERS[kty] : undefined;
  if (members === undefined || (use !== undefined && use !== "sig")) return undefined;
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes("verify"))) return undefined;
  const reduced: Record<string, string> = { kty: kty as string };
  for (const name of members) {
    const text = jwk[name];
    if (typeof text !== "string" || text.length > MAX_TEXT_LENGTH || !(name === "crv" || BASE64URL.test(text))) return undefined;
    reduced[name] = text;
  }
  if (kty === "RSA" && bitsOf(reduced["n"]!) < MIN_RSA_BITS) return undefined;
  if (kty !== "RSA" && !Object.hasOwn(CURVES, reduced["crv"]!)) return undefined;
  if (kid !== undefined) {
    if (typeof kid !== "string" || kid.length > MAX_TEXT_LENGTH || kid.includes("\0")) return undefined;
    reduced["kid"] = kid;
  }
  if (typeof alg === "string") {
    if (!(SIGNATURE_ALGORITHMS as readonly string[]).includes(alg)) return undefined;
    reduced["alg"] = alg;
  }
  return reduced;
}

function bitsOf(base64url: string): number {
  const bytes = Buffer.from(base64url, "base64url");
  const first = bytes.findIndex((byte) => byte !== 0);
  return first === -1 ? 0 : (bytes.length - first) * 8 - Math.clz32(bytes[first]!) + 24;
}

/** Whether a key can have made a signature with this algorithm, under this key id; an id that only one of both names says nothing. */
export function canVerify(jwk: PublicJwk, algorithm: string, kid: string | undefined): boolean {
  if (kid !== undefined && jwk["kid"] !== undefined && jwk["kid"] !== kid) return false;
  if (jwk["alg"] !== undefined) return jwk["alg"] === algorithm;
  return jwk["kty"] === "RSA" ? /^[RP]S/.test(algorithm) : CURVES[jwk["crv"] ?? ""] === algorithm;
}
