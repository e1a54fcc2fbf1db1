// Digests: the branded string, its parser, and hashing. Not here: where content is stored.
import { createHash, hash as hashOnce, type Hash } from "node:crypto";
import { RegistryError } from "./errors.ts";

/** `algorithm:hex`, lower case, of a registered algorithm. Made only by `parseDigest` and `digestOf`. */
export type Digest = string & { readonly __digest: unique symbol };

/** Algorithms of the image spec that the registry stores. Source: image-spec, descriptor.md#registered-algorithms */
export type DigestAlgorithm = "sha256" | "sha512";

const HEX_LENGTH: Readonly<Record<DigestAlgorithm, number>> = { sha256: 64, sha512: 128 };
const PATTERN = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/;

/** Whether the text is a digest of a supported algorithm. */
export function isDigest(text: string): text is Digest {
  return PATTERN.test(text);
}

// Source: image-spec, descriptor.md#digests
const ANY_DIGEST = /^([a-z0-9]+(?:[+._-][a-z0-9]+)*):[a-zA-Z0-9=_-]+$/;

/** Whether the text is a digest of an algorithm that the registry does not store, so that no content of that name can exist here. */
export function isForeignDigest(text: string): boolean {
  const algorithm = ANY_DIGEST.exec(text)?.[1];
  return algorithm !== undefined && !Object.hasOwn(HEX_LENGTH, algorithm);
}

/** Parses a digest. Errors: DIGEST_INVALID. */
export function parseDigest(text: string): Digest {
  if (!isDigest(text)) {
    throw new RegistryError("DIGEST_INVALID", {
      message: "digest is not sha256:<64 hex> or sha512:<128 hex>",
      detail: { digest: text.slice(0, 200) },
    });
  }
  return text;
}

/** Parses an algorithm's name. Errors: DIGEST_INVALID. */
export function parseDigestAlgorithm(text: string): DigestAlgorithm {
  if (!Object.hasOwn(HEX_LENGTH, text)) {
    throw new RegistryError("DIGEST_INVALID", {
      message: "digest algorithm is not supported",
      detail: { algorithm: text.slice(0, 50), supported: Object.keys(HEX_LENGTH) },
    });
  }
  return text as DigestAlgorithm;
}

/** The algorithm that a digest names. */
export function algorithmOf(digest: Digest): DigestAlgorithm {
  return digest.slice(0, digest.indexOf(":")) as DigestAlgorithm;
}

/** The hex part of a digest. */
export function hexOf(digest: Digest): string {
  return digest.slice(digest.indexOf(":") + 1);
}

/** A digest being computed over a stream. */
export interface Hasher {
  readonly algorithm: DigestAlgorithm;
  update(bytes: Uint8Array): void;
  /** The digest of all bytes so far; more can be added afterwards. */
  digest(): Digest;
  /** An independent hasher that has seen the same bytes. */
  copy(): Hasher;
}

/** Starts hashing. */
export function createHasher(algorithm: DigestAlgorithm): Hasher {
  return hasherOf(algorithm, createHash(algorithm));
}

function hasherOf(algorithm: DigestAlgorithm, hash: Hash): Hasher {
  return {
    algorithm,
    update: (bytes) => void hash.update(bytes),
    digest: () => `${algorithm}:${hash.copy().digest("hex")}` as Digest,
    copy: () => hasherOf(algorithm, hash.copy()),
  };
}

/** The digest of bytes in memory. */
export function digestOf(bytes: Uint8Array, algorithm: DigestAlgorithm = "sha256"): Digest {
  return `${algorithm}:${hashOnce(algorithm, bytes, "hex")}` as Digest;
}
