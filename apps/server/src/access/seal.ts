// Encryption of secrets at rest under the master key. Not here: where the master key comes from (master-key.ts).
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";

/** Bytes of the master key: what AES-256 and HKDF-SHA256 take. */
export const MASTER_KEY_BYTES = 32;

// NIST SP 800-38D, section 8.2.2: 96 random bits are safe up to 2^32 messages a key; we write a few a month.
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Seals and opens texts of one use. */
export interface Seal {
  /** Encrypts. `context` says what the text belongs to, such as a row's id; it must be the same when opening. */
  seal(text: string, context: string): string;
  /** Decrypts; throws when the key, the context or the sealed text is another. */
  open(sealed: string, context: string): string;
}

/** A seal with a key of its own, derived from the master key by `label`. */
export function createSeal(masterKey: Uint8Array, label: string): Seal {
  if (masterKey.length !== MASTER_KEY_BYTES) throw new TypeError(`the master key has ${masterKey.length} bytes, not ${MASTER_KEY_BYTES}`);
  const key = Buffer.from(hkdfSync("sha256", masterKey, new Uint8Array(), `berth ${label}`, 32));
  return {
    seal(text, context) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv("aes-256-gcm", key, nonce, { authTagLength: TAG_BYTES });
      cipher.setAAD(Buffer.from(context));
      const sealed = Buffer.concat([cipher.update(text, "utf8"), cipher.final()]);
      return `v1.${Buffer.concat([nonce, sealed, cipher.getAuthTag()]).toString("base64url")}`;
    },
    open(sealed, context) {
      if (!sealed.startsWith("v1.")) throw new Error("a sealed secret has an unknown form");
      const bytes = Buffer.from(sealed.slice(3), "base64url");
      if (bytes.length < NONCE_BYTES + TAG_BYTES) throw new Error("a sealed secret is too short");
      const decipher = createDecipheriv("aes-256-gcm", key, bytes.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES });
      decipher.setAAD(Buffer.from(context));
      decipher.setAuthTag(bytes.subarray(bytes.length - TAG_BYTES));
      return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES, bytes.length - TAG_BYTES)), decipher.final()]).toString("utf8");
    },
  };
}
