// Secrets and their hashes: argon2id for passwords, a few at a time; random secrets for robots and tokens, with a form that scanners recognise.
// Not here: who a secret belongs to (authenticate.ts).
import { argon2, createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";
import { crc32 } from "node:zlib";
import { RegistryError } from "@berth/oci/errors";
import { createSemaphore } from "../platform/semaphore.ts";

const argon2Async = promisify(argon2);

// OWASP Password Storage Cheat Sheet: 19 MiB, 2 passes, 1 lane, its choice that resists guessing with the least memory, which the queue
// below multiplies. Source: https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html#argon2id
const MEMORY_KIB = 19 * 1024;
const PASSES = 2;
const LANES = 1;
// RFC 9106, section 4: a 128-bit salt and a 256-bit tag.
const SALT_BYTES = 16;
const TAG_BYTES = 32;
// A stored hash beyond these limits is not ours; computing it could take all memory.
const MAX_MEMORY_KIB = 256 * 1024;
const MAX_PASSES = 16;

/** The longest password that is hashed. Basic credentials with it stay far below a header's limit. */
export const MAX_PASSWORD_LENGTH = 256;
/** Shortest password that a user may choose. Source: NIST SP 800-63B, section 3.1.1.2 (15 where it is the only factor; 8 at least). */
export const MIN_PASSWORD_LENGTH = 10;

/** Hashes and checks passwords on the thread pool. Errors of both: TOOMANYREQUESTS when too many wait. */
export interface PasswordHasher {
  /**
   * Whether the password has that hash. An undefined hash is checked against one that fits nothing, at the same cost. `beforeRun` is called
   * when the check is first in the queue, and may throw to cancel it.
   */
  hash(password: string): Promise<string>;
  /**
   * Whether the password has that hash. An undefined hash is checked against one that fits nothing, at the same cost.
   * `beforeRun` is called when it is first in the queue, and may throw to give it up.
   */
  verify(password: string, phc: string | undefined, beforeRun?: () => Promise<void> | void): Promise<boolean>;
  /** The number of argon2 computations so far. */
  runs(): number;
}

/** How many at once. */
export interface PasswordHasherOptions {
  /** Concurrent computations. Each takes 19 MiB and a thread of the pool that file reads use as well. */
  readonly concurrency: number;
  /** Callers that may wait in the queue. */
  readonly maxWaiting: number;
}

/** Two at once leave half of the thread pool to file reads; 64 waiting ones are done in about a second. */
export const DEFAULT_PASSWORD_HASHER: PasswordHasherOptions = { concurrency: 2, maxWaiting: 64 };

/** Makes a hasher with a queue of its own. */
export function createPasswordHasher(options: PasswordHasherOptions = DEFAULT_PASSWORD_HASHER): PasswordHasher {
  // A tag of random bytes: no password has it.
  const fitsNothing = formatPhc(randomBytes(SALT_BYTES), randomBytes(TAG_BYTES));
  const queue = createSemaphore({
    permits: options.concurrency,
    maxWaiting: options.maxWaiting,
    refusal: () => new RegistryError("TOOMANYREQUESTS", { message: "too many logins at once", headers: { "retry-after": "2" } }),
  });
  let runs = 0;

  async function compute(
    password: string,
    salt: Uint8Array,
    memory: number,
    passes: number,
    lanes: number,
    tagLength: number,
  ): Promise<Buffer> {
    runs++;
    return argon2Async("argon2id", {
      message: Buffer.from(password.normalize("NFKC"), "utf8"),
      nonce: salt,
      parallelism: lanes,
      tagLength,
      memory,
      passes,
    });
  }

  return {
    async hash(password) {
      const salt = randomBytes(SALT_BYTES);
      return formatPhc(salt, await queue.run(() => compute(password, salt, MEMORY_KIB, PASSES, LANES, TAG_BYTES)));
    },
    async verify(password, phc, beforeRun) {
      const parsed = parsePhc(phc ?? fitsNothing);
      return queue.run(async () => {
        await beforeRun?.();
        const tag = await compute(password, parsed.salt, parsed.memoryKib, parsed.passes, parsed.lanes, parsed.tag.length);
        return timingSafeEqual(tag, parsed.tag);
      });
    },
    runs: () => runs,
  };
}

// Source: https://github.com/P-H-C/phc-string-format/blob/master/phc-sf-spec.md
function formatPhc(salt: Uint8Array, tag: Uint8Array): string {
  return `$argon2id$v=19$m=${MEMORY_KIB},t=${PASSES},p=${LANES}$${base64NoPad(salt)}$${base64NoPad(tag)}`;
}

const PHC = /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,3}),p=(\d{1,2})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{16,86})$/;

function parsePhc(text: string): { memoryKib: number; passes: number; lanes: number; salt: Buffer; tag: Buffer } {
  const [, memory, passes, lanes, salt, tag] = PHC.exec(text) ?? [];
  if (salt === undefined || tag === undefined || Number(memory) > MAX_MEMORY_KIB || Number(passes) > MAX_PASSES) {
    throw new Error("a stored password hash is not argon2id in PHC form, or asks for too much");
  }
  return {
    memoryKib: Number(memory),
    passes: Number(passes),
    lanes: Number(lanes),
    salt: Buffer.from(salt, "base64"),
    tag: Buffer.from(tag, "base64"),
  };
}

function base64NoPad(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64").replace(/=+$/, "");
}

/** A password of 32 characters, 192 random bits. */
export function generatePassword(): string {
  return randomBytes(24).toString("base64url");
}

/** What random secrets are for, which their prefix says. */
export type SecretKind = "robot" | "pat" | "refresh" | "session" | "link";

const RANDOM_SECRET = /^berth_(robot|pat|refresh|session|link)_[A-Za-z0-9_-]{43}[0-9a-f]{8}$/;

/** A random secret: a prefix, 256 random bits, and a CRC-32 of both by which a scanner tells a secret from something alike. */
export function generateSecret(kind: SecretKind): string {
  const body = `berth_${kind}_${randomBytes(32).toString("base64url")}`;
  return body + checksum(body);
}

/** Whether the text has the form and the checksum of such a secret. */
export function isSecretOf(kind: SecretKind, text: string): boolean {
  return RANDOM_SECRET.exec(text)?.[1] === kind && checksum(text.slice(0, -8)) === text.slice(-8);
}

function checksum(text: string): string {
  return crc32(text).toString(16).padStart(8, "0");
}

/** How a random secret is stored. One SHA-256 is enough for 256 random bits: nothing can be guessed. */
export function hashSecret(secret: string): string {
  return `sha256:${createHash("sha256").update(secret).digest("hex")}`;
}

// Fits no secret; compared with where there is none.
const NO_HASH = `sha256:${"0".repeat(64)}`;

/** Whether a random secret has that hash; an undefined hash costs the same and fits nothing. */
export function verifySecret(secret: string, hash: string | undefined): boolean {
  const expected = Buffer.from(hash ?? NO_HASH);
  const actual = Buffer.from(hashSecret(secret));
  return expected.length === actual.length && timingSafeEqual(expected, actual) && hash !== undefined;
}
