// What this process remembers of passwords that it hashed: right ones need not be hashed again, and the same wrong one from the same place is no
// further guess. Keyed hashes only. Not here: hashing (secrets.ts), counting (login-failures.ts).
import { createHmac, randomBytes } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { Clock } from "../platform/clock.ts";
import type { Account } from "./account-store.ts";

/** Verdicts on passwords. Keys come from `keyOf`. */
export interface LoginMemory {
  /** What a password of an account is known by; another one after the account's epoch has risen. Undefined: no account has the name. */
  keyOf(account: Account | undefined, name: string, secret: string): string;
  /** Whether it was right lately, wherever it came from; from now on it was from there, too. */
  wasRight(key: string, place: string): boolean;
  /**
   * The same for a password from a place that is locked: it was right from there. Others at the place may ask as well, and would learn what they
   * guess; so it answers for few wrong ones, and then for none.
   */
  wasRightAt(key: string, place: string): boolean;
  /** Whether it was wrong from there lately. */
  wasWrongAt(key: string, place: string): boolean;
  noteRight(key: string, place: string): void;
  noteWrong(key: string, place: string): void;
}

/** How long a right password need not be hashed again. A changed one is noticed at once: the account's epoch is part of the key. */
const RIGHT_FOR_MS = 5 * 60_000;
const MAX_ENTRIES = 10_000;

/** Makes an empty memory. Wrong passwords stay for `wrongForMs`; a locked place may ask `freeMisses` times in it for one that is not known. */
export function createLoginMemory(clock: Clock, { wrongForMs, freeMisses }: { wrongForMs: number; freeMisses: number }): LoginMemory {
  // So that this process's memory holds no password longer than its request does.
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
      const count = isWithin(missed?.since, wrongForMs) ? missed!.count : 0;
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
