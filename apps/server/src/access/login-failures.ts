// Locks out clients that guess passwords. Failures are counted in the database, so that replicas agree; only failures write.
// Not here: checking a password (authenticate.ts), known places of owners (login-places.ts).
import { createHmac, hkdfSync } from "node:crypto";
import { isIPv6 } from "node:net";
import { RegistryError } from "@berth/oci/errors";
import { MINUTE_MS, type Clock } from "../platform/clock.ts";
import type { Database, Executor } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import { createTtlCache } from "./ttl-cache.ts";
import type { LoginPlaces } from "./login-places.ts";

/** Failed logins of an account from an address. */
export interface LoginFailures {
  readonly rules: LockoutRules;
  /** Returns if the account may be tried from the address. Errors: TOOMANYREQUESTS with `retry-after`. */
  check(name: string, address: string): Promise<void>;
  /** Counts a failure; the same secret from the same place counts only once. */
  record(name: string, address: string, secret: string): Promise<void>;
  /** Counts a failure that is known to be recorded already. */
  repeat(): void;
  /** Records that the account's owner logged in from the address. */
  recordSuccess(account: { readonly id: number; readonly name: string }, address: string): void | Promise<void>;
}

interface Limit {
  /** Failures in a window before the first lock. */
  readonly free: number;
  /** The first lock; each further failure doubles it. */
  readonly firstLockMs: number;
  readonly maxLockMs: number;
}

/** The limits of guessing. */
export interface LockoutRules {
  /** Failures of an account from one address before the first lock. A person who mistypes has five tries. */
  readonly freeFailures: number;
  /** Older failures are forgotten. */
  readonly windowMs: number;
  /** The first lock; each further failure doubles it. */
  readonly firstLockMs: number;
  readonly maxLockMs: number;
}

/** With these a program has about a dozen guesses an hour. */
export const DEFAULT_LOCKOUT: LockoutRules = { freeFailures: 5, windowMs: 60 * MINUTE_MS, firstLockMs: 10_000, maxLockMs: 15 * MINUTE_MS };

/**
 * The kinds of counters. Guesses at an account are counted in two kinds, each with half of the limit: `fresh` are those from addresses
 * without earlier failures, `account` the further ones. Therefore guessing from a few addresses locks the account for these, and not for
 * its owner elsewhere.
 */
const KINDS = ["address", "fresh", "account", "pair"] as const;
type Kind = (typeof KINDS)[number];

/** A lock that begins. */
export interface LoginLock {
  readonly kind: Kind;
  readonly name: string;
  readonly address: string;
  readonly lockMs: number;
}

function limitsOf({ freeFailures, firstLockMs, maxLockMs }: LockoutRules): Readonly<Record<Kind, Limit>> {
  // Guessing from many addresses. The lock is short, because it also affects owners at unknown places.
  const half = { free: 10 * freeFailures, firstLockMs: 2 * firstLockMs, maxLockMs: Math.min(maxLockMs, 2 * MINUTE_MS) };
  return {
    pair: { free: freeFailures, firstLockMs, maxLockMs },
    // Many people can share an address, so it takes many failures, of which each pair contributes few.
    address: { free: 10 * freeFailures, firstLockMs, maxLockMs },
    fresh: half,
    account: half,
  };
}

/** How old a lock's state may be: a guesser has this much longer on another replica. */
const TTL_MS = 500;
const MAX_ENTRIES = 10_000;
/** How often expired rows are deleted. */
const SWEEP_EVERY_MS = 10 * MINUTE_MS;
/**
 * The length of the mark by which a wrong secret is recognised: 24 bits under the master key. One guess in 16 million is not counted, and
 * somebody with the database and the key learns next to nothing about a mistyped password.
 */
const MARK_LENGTH = 4;

const findFailures = statement<{ subjects: string[] }>()("login_failure.find", (db, p, tools) =>
  db
    .selectFrom("login_failure")
    .select(["subject", "locked_until", "window_started_at"])
    .where(({ ref }) => tools.inList(ref("subject"), p.subjects, "text")),
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
  readonly pairUntil: number;
  /** The lock of the whole address, and of guesses at the account from such addresses: not for places where the owner is known. */
  readonly othersUntil: number;
}

/** What counting takes. */
export interface LoginFailuresParts {
  readonly database: Database;
  readonly clock: Clock;
  readonly places: LoginPlaces;
  readonly masterKey: Uint8Array;
  readonly rules?: LockoutRules;
  /** Called when a lock begins, and not when it is extended. */
  readonly onLock?: (lock: LoginLock) => void;
}

/** Creates the counter. */
export function createLoginFailures(parts: LoginFailuresParts): LoginFailures {
  const { database, clock, places, masterKey, rules = DEFAULT_LOCKOUT, onLock } = parts;
  const { windowMs, maxLockMs: longestLockMs } = rules;
  const limits = limitsOf(rules);
  const markKey = Buffer.from(hkdfSync("sha256", masterKey, new Uint8Array(), "berth login mark v1", 32));
  let sweptAt = clock.now();

  // An end that is further away than any lock lasts was written before the clock was set back: if it counted, the lock would last as long
  // as that.
  const endOf = (row: { locked_until: number | null } | undefined, now: number): number =>
    row === undefined || row.locked_until === null || row.locked_until - now > longestLockMs ? 0 : row.locked_until;

  // The key is the pair's: name, a space (which no name contains), address.
  const locks = createTtlCache<string, Locks>({
    maxEntries: MAX_ENTRIES,
    ttlMs: TTL_MS,
    clock,
    async load(pair) {
      const space = pair.indexOf(" ");
      const [name, address] = [pair.slice(0, space), pair.slice(space + 1)];
      const subjects = subjectsOf(name, address);
      const rows = new Map((await database.all(findFailures, { subjects: Object.values(subjects) })).map((row) => [row.subject, row]));
      const now = clock.now();
      const atAddress = rows.get(subjects.address);
      const isFresh = atAddress === undefined || atAddress.window_started_at <= now - windowMs;
      const ofAccount = rows.get(isFresh ? subjects.fresh : subjects.account);
      const othersUntil = Math.max(endOf(atAddress, now), endOf(ofAccount, now));
      // Failures of the account from the place itself still count there.
      const isKnown = othersUntil > now && (await places.isKnown(name, address));
      return { pairUntil: endOf(rows.get(subjects.pair), now), othersUntil: isKnown ? 0 : othersUntil };
    },
  });

  /** Adds one failure of a kind; returns their number. */
  async function add(tx: Executor, kind: Kind, subject: string, now: number): Promise<{ failures: number; lockMs: number }> {
    const { failures } = (await tx.first(count, { subject, now, windowStart: now - windowMs }))!;
    const { free, firstLockMs, maxLockMs } = limits[kind];
    if (failures < free) return { failures, lockMs: 0 };
    const lockMs = Math.min(maxLockMs, firstLockMs * 2 ** Math.min(failures - free, 30));
    await tx.run(lock, { subject, lockedUntil: now + lockMs }, 1);
    return { failures, lockMs };
  }

  return {
    rules,
    async check(name, remoteAddress) {
      const found = locks.get(`${name} ${addressGroup(remoteAddress)}`);
      const { pairUntil, othersUntil } = found instanceof Promise ? await found : found;
      const now = clock.now();
      const until = Math.max(pairUntil, othersUntil);
      if (until <= now) return;
      const seconds = Math.ceil((until - now) / 1000);
      throw new RegistryError("TOOMANYREQUESTS", {
        message: `too many failed logins: try again in ${seconds} ${seconds === 1 ? "second" : "seconds"}`,
        headers: { "retry-after": String(seconds) },
      });
    },
    async record(name, remoteAddress, secret) {
      const address = addressGroup(remoteAddress);
      const subjects = subjectsOf(name, address);
      const mark = createHmac("sha256", markKey).update(`${name} ${address} ${secret}`).digest("base64url").slice(0, MARK_LENGTH);
      const now = clock.now();
      // Not durable: a power cut that undoes the last failures does not help to guess.
      const begun = await database.transaction(
        async (tx) => {
          const locked: LoginLock[] = [];
          const tried = await tx.first(count, { subject: `secret:${name} ${address} ${mark}`, now, windowStart: now - windowMs });
          // A program with an old password tries it again and again, on every replica: that is one guess.
          if (tried!.failures > 1) return locked;
          // Always in this order, so that transactions cannot deadlock.
          const atAddress = await add(tx, "address", subjects.address, now);
          const ofAccount = atAddress.failures === 1 ? "fresh" : "account";
          const added = {
            address: atAddress,
            [ofAccount]: await add(tx, ofAccount, subjects[ofAccount], now),
            pair: await add(tx, "pair", subjects.pair, now),
          };
          for (const kind of KINDS) {
            const { failures = 0, lockMs = 0 } = added[kind] ?? {};
            if (failures === limits[kind].free) locked.push({ kind, name, address, lockMs });
          }
          if (now - sweptAt >= SWEEP_EVERY_MS) await tx.run(sweep, { before: now - windowMs, now }, { any: "what counts no longer" });
          return locked;
        },
        { durable: false },
      );
      if (now - sweptAt >= SWEEP_EVERY_MS) sweptAt = now;
      // All pairs: the address or the account may be locked now.
      locks.clear();
      for (const each of begun) onLock?.(each);
    },
    repeat: () => undefined,
    recordSuccess(account, remoteAddress) {
      const noted = places.note(account, addressGroup(remoteAddress));
      return noted instanceof Promise ? noted.then(() => locks.clear()) : undefined;
    },
  };
}

function subjectsOf(name: string, address: string): Record<Kind, string> {
  return { pair: `pair:${name} ${address}`, address: `address:${address}`, fresh: `fresh:${name}`, account: `account:${name}` };
}

/** The unit in which addresses are counted: an IPv4 address, or an IPv6 /64, which is what one customer gets. */
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
