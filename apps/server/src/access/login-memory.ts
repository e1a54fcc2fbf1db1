// This process's cache of checked passwords: right ones need not be hashed again, and the same wrong one from the same place is no further
// guess. It contains keyed hashes only. Not here: hashing (secrets.ts), counting (login-failures.ts).
import { createHmac, randomBytes } from "node:crypto";
import { RegistryError } from "@berth/oci/errors";
import { LRUCache } from "lru-cache";
import type { Clock } from "../platform/clock.ts";
import type { Account } from "./account-store.ts";
import type { LoginFailures } from "./login-failures.ts";

/** Results of password checks. Keys come from `keyOf`. */
export interface LoginMemory {
  /** The cache key of a password of an account; it changes when the account's epoch rises. Undefined: no account has the name. */
  keyOf(account: Account | undefined, name: string, secret: string): string;
  /** Whether it was recently right, from any place; from now on also from this one. */
  wasRight(key: string, place: string): boolean;
  /**
   * The same for a password from a locked place: whether it was right from there. Guessers at the place may ask as well and would learn the
   * result, so it answers only for a few wrong ones, and then no more.
   */
  wasRightAt(key: string, place: string): boolean;
  /** Whether it was recently wrong from there. */
  wasWrongAt(key: string, place: string): boolean;
  noteRight(key: string, place: string): void;
  noteWrong(key: string, place: string): void;
}

/** How long a right password need not be hashed again. A change is noticed at once, because the account's epoch is part of the key. */
const RIGHT_FOR_MS = 5 * 60_000;
const MAX_ENTRIES = 10_000;

/** How long what stays. */
export interface LoginMemoryTimes {
  /** Wrong passwords. */
  readonly wrongForMs: number;
  /** How often a locked place may ask for an unknown password within `missesForMs`: `wrongForMs` if it is not given. */
  readonly freeMisses: number;
  readonly missesForMs?: number;
}

/** Creates an empty cache. */
export function createLoginMemory(clock: Clock, { wrongForMs, freeMisses, missesForMs = wrongForMs }: LoginMemoryTimes): LoginMemory {
  // A random key, so that this process's memory holds no password longer than its request.
  const hashKey = randomBytes(32);
  const right = new LRUCache<string, number>({ max: MAX_ENTRIES });
  const wrong = new LRUCache<string, number>({ max: MAX_ENTRIES });
  const misses = new LRUCache<string, { since: number; count: number }>({ max: MAX_ENTRIES });
  const isWithin = (at: number | undefined, ms: number): boolean => {
    const now = clock.now();
    return at !== undefined && now >= at && now - at < ms;
  };
  return {
    keyOf(account, name, secret) {
      const hash = createHmac("sha256", hashKey);
      hash.update(`${account?.id ?? 0}\n${account?.epoch ?? 0}\n${account === undefined ? name : ""}\n${secret}`);
      return hash.digest("base64");
    },
    wasRight(key, place) {
      const at = right.get(key);
      if (!isWithin(at, RIGHT_FOR_MS)) return false;
      right.set(`${key} ${place}`, at);
      return true;
    },
    wasRightAt(key, place) {
      const missed = misses.get(place);
      const count = isWithin(missed?.since, missesForMs) ? missed!.count : 0;
      if (count >= freeMisses) return false;
      if (isWithin(right.get(`${key} ${place}`), RIGHT_FOR_MS)) return true;
      misses.set(place, { since: count === 0 ? clock.now() : missed!.since, count: count + 1 });
      return false;
    },
    wasWrongAt: (key, place) => isWithin(wrong.get(`${key} ${place}`), wrongForMs),
    noteRight(key, place) {
      right.set(key, clock.now());
      right.set(`${key} ${place}`, clock.now());
    },
    noteWrong: (key, place) => void wrong.set(`${key} ${place}`, clock.now()),
  };
}

/** Somebody's try to sign in. */
interface Attempt {
  readonly key: string;
  readonly place: string;
  readonly name: string;
  readonly remoteAddress: string;
}

/** Whether a password must be checked: false where its account is locked here, and it was right a moment ago. Errors: TOOMANYREQUESTS. */
export async function mayTry(
  { memory, loginFailures }: { readonly memory: LoginMemory; readonly loginFailures: Pick<LoginFailures, "check"> },
  { key, place, name, remoteAddress }: Attempt,
): Promise<boolean> {
  try {
    await loginFailures.check(name, remoteAddress);
    return true;
  } catch (error) {
    // Other people's failures behind a shared address do not stop an owner who works there.
    if (error instanceof RegistryError && error.code === "TOOMANYREQUESTS" && memory.wasRightAt(key, place)) return false;
    throw error;
  }
}
