// Lock-out of who guesses passwords: counted in the database, so that replicas agree. Only failures write.
// Not here: checking a password (authenticate.ts).
import { isIPv6 } from "node:net";
import { RegistryError } from "@berth/oci/errors";
import { LRUCache } from "lru-cache";
import type { Clock } from "../platform/clock.ts";
import type { Database } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import { createFreshCache } from "./fresh-cache.ts";

/** Failed logins of an account from an address. */
export interface LoginFailures {
  /** Returns when the account may be tried from the address. Errors: TOOMANYREQUESTS with `retry-after`. */
  check(name: string, address: string): Promise<void>;
  /** Counts a failure. */
  record(name: string, address: string): Promise<void>;
  /** Remembers, in this process only, that the account's owner was seen at the address. */
  recordSuccess(name: string, address: string): void;
}

interface Limit {
  /** Failures in a window before the first lock. */
  readonly free: number;
  /** First lock; each failure more doubles it. */
  readonly firstLockMs: number;
  readonly maxLockMs: number;
}

const MINUTE_MS = 60_000;

/** How guessing is answered. */
export interface LockoutRules {
  /** Failures of an account from one address before the first lock. A person who mistypes gets five tries. */
  readonly freeFailures: number;
  /** Failures older than this are forgotten. */
  readonly windowMs: number;
  /** First lock; each failure more doubles it. */
  readonly firstLockMs: number;
  readonly maxLockMs: number;
}

/** A program gets about a dozen guesses an hour. */
export const DEFAULT_LOCKOUT: LockoutRules = { freeFailures: 5, windowMs: 60 * MINUTE_MS, firstLockMs: 10_000, maxLockMs: 15 * MINUTE_MS };

function limitsOf({ freeFailures, firstLockMs, maxLockMs }: LockoutRules): Readonly<Record<"pair" | "address" | "account", Limit>> {
  return {
    pair: { free: freeFailures, firstLockMs, maxLockMs },
    // Many people can stand behind one address, so it takes many failures, of which each pair gives few.
    address: { free: 10 * freeFailures, firstLockMs, maxLockMs },
    // Guessing from many addresses. The lock is short, because it hits the owner too where this process has not seen him lately.
    account: { free: 20 * freeFailures, firstLockMs, maxLockMs: Math.min(maxLockMs, MINUTE_MS) },
  };
}

/** How old a lock's state may be: a guesser gets that long more on another replica. */
const FRESH_MS = 500;
const MAX_ENTRIES = 10_000;
/** How long an address counts as the owner's after a login from it. */
const KNOWN_GOOD_MS = 24 * 60 * MINUTE_MS;
/** How often rows that count no longer are deleted. */
const SWEEP_EVERY_MS = 10 * MINUTE_MS;

const findLocks = statement<{ subjects: string[]; now: number }>()("login_failure.locks", (db, p, tools) =>
  db
    .selectFrom("login_failure")
    .select(["subject", "locked_until"])
    .where(({ ref }) => tools.inList(ref("subject"), p.subjects, "text"))
    .where("locked_until", ">", p.now),
);
const count = statement<{ subject: string; now: number; windowStart: number }>()("login_failure.count", (db, p) =>
  db
    .insertInto("login_failure")
    .values({ subject: p.subject, failures: 1, window_started_at: p.now, locked_until: null })
    .onConflict((conflict) =>
      conflict.column("subject").doUpdateSet(({ eb, ref }) => ({
        failures: eb
          .case()
          .when("login_failure.window_started_at", "<=", p.windowStart)
          .then(eb.lit(1))
          .else(eb("login_failure.failures", "+", eb.lit(1)))
          .end(),
        window_started_at: eb
          .case()
          .when("login_failure.window_started_at", "<=", p.windowStart)
          .then(ref("excluded.window_started_at"))
          .else(ref("login_failure.window_started_at"))
          .end(),
      })),
    )
    .returning("failures"),
);
const lock = statement<{ subject: string; lockedUntil: number }>()("login_failure.lock", (db, p) =>
  db.updateTable("login_failure").set({ locked_until: p.lockedUntil }).where("subject", "=", p.subject),
);
const sweep = statement<{ before: number; now: number }>()("login_failure.sweep", (db, p) =>
  db
    .deleteFrom("login_failure")
    .where("window_started_at", "<", p.before)
    .where(({ eb, or }) => or([eb("locked_until", "is", null), eb("locked_until", "<", p.now)])),
);

interface Locks {
  readonly pair: number;
  readonly address: number;
  readonly account: number;
}

/** Makes the counter. */
export function createLoginFailures(options: { database: Database; clock: Clock; rules?: LockoutRules }): LoginFailures {
  const { database, clock, rules = DEFAULT_LOCKOUT } = options;
  const { windowMs, maxLockMs: longestLockMs } = rules;
  const limits = limitsOf(rules);
  const knownGood = new LRUCache<string, number>({ max: MAX_ENTRIES });
  let sweptAt = clock.now();

  // The key is the pair's: name, a space (which no name holds), address.
  const locks = createFreshCache<string, Locks>({
    maxEntries: MAX_ENTRIES,
    freshMs: FRESH_MS,
    clock,
    async load(pair) {
      const space = pair.indexOf(" ");
      const subjects = subjectsOf(pair.slice(0, space), pair.slice(space + 1));
      const rows = await database.all(findLocks, { subjects: [subjects.pair, subjects.address, subjects.account], now: clock.now() });
      const until = (subject: string): number => rows.find((row) => row.subject === subject)?.locked_until ?? 0;
      return { pair: until(subjects.pair), address: until(subjects.address), account: until(subjects.account) };
    },
  });

  return {
    async check(name, remoteAddress) {
      const pair = `${name} ${addressGroup(remoteAddress)}`;
      const found = locks.get(pair);
      const { pair: pairUntil, address, account } = found instanceof Promise ? await found : found;
      const now = clock.now();
      const seenAt = knownGood.get(pair);
      const isKnownGood = seenAt !== undefined && now - seenAt < KNOWN_GOOD_MS;
      // Where the owner logged in before, other people's failures do not lock him out; failures on his own account from there do.
      const until = isKnownGood ? pairUntil : Math.max(pairUntil, address, account);
      // An end further off than any lock lasts was written before the clock was set back: counted, it would lock out for as long as that was.
      if (until > now && until - now <= longestLockMs) {
        throw new RegistryError("TOOMANYREQUESTS", {
          message: "too many failed logins",
          headers: { "retry-after": String(Math.ceil((until - now) / 1000)) },
        });
      }
    },
    async record(name, remoteAddress) {
      const address = addressGroup(remoteAddress);
      const subjects = subjectsOf(name, address);
      const now = clock.now();
      // Not durable: a power cut that undoes the last failures helps nobody to guess.
      await database.transaction(
        async (tx) => {
          // Always in this order, so that transactions do not wait for each other in a circle.
          for (const kind of ["account", "address", "pair"] as const) {
            const subject = subjects[kind];
            const { failures } = (await tx.first(count, { subject, now, windowStart: now - windowMs }))!;
            const { free, firstLockMs, maxLockMs } = limits[kind];
            if (failures < free) continue;
            const lockMs = Math.min(maxLockMs, firstLockMs * 2 ** Math.min(failures - free, 30));
            await tx.run(lock, { subject, lockedUntil: now + lockMs }, 1);
          }
          if (now - sweptAt >= SWEEP_EVERY_MS) await tx.run(sweep, { before: now - windowMs, now }, { any: "as many as have ended" });
        },
        { durable: false },
      );
      if (now - sweptAt >= SWEEP_EVERY_MS) sweptAt = now;
      // All pairs: the address or the account may be locked now.
      locks.clear();
    },
    recordSuccess(name, remoteAddress) {
      knownGood.set(`${name} ${addressGroup(remoteAddress)}`, clock.now());
    },
  };
}

function subjectsOf(name: string, address: string): Record<"pair" | "address" | "account", string> {
  return { pair: `pair:${name} ${address}`, address: `address:${address}`, account: `account:${name}` };
}

/** What counts as one address: an IPv4 address, or an IPv6 /64, which is what one customer gets. */
export function addressGroup(remoteAddress: string): string {
  const [plain = ""] = remoteAddress.split("%", 1);
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(plain);
  if (mapped?.[1] !== undefined) return mapped[1];
  if (!isIPv6(plain)) return plain.slice(0, 64);
  const [head = "", tail] = plain.split("::", 2);
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const groups = tail === undefined ? left : [...left, ...Array<string>(Math.max(0, 8 - left.length - right.length)).fill("0"), ...right];
  return `${groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(":")}::/64`;
}
