// Places from which accounts logged in: at a place where the owner is known, other people's guesses do not lock the owner out. They are
// stored in the database, so that all replicas know them, also after a restart; as keyed hashes, because addresses are private; a few for
// each account, for a month. Not here: the locks (login-failures.ts).
import { createHmac, hkdfSync } from "node:crypto";
import { LRUCache } from "lru-cache";
import { HOUR_MS, type Clock } from "../platform/clock.ts";
import { type Database, ON_FULL_DISK } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";

/** Known places. */
export interface LoginPlaces {
  /** Whether an account of that name recently logged in from there. One look-up, whether or not the account exists. */
  isKnown(name: string, addressGroup: string): Promise<boolean>;
  /** Records a login. Returns whether it was written, which happens once a day for each place. */
  note(account: { readonly id: number; readonly name: string }, addressGroup: string): boolean | Promise<boolean>;
}

/** What they need. */
export interface LoginPlacesParts {
  readonly database: Database;
  readonly clock: Clock;
  /** Without the key hashes are useless, and with another one places are unknown. */
  readonly masterKey: Uint8Array;
  /** Called if a place could not be written: the login succeeds nevertheless. */
  readonly onError: (error: unknown) => void;
}

const DAY_MS = 24 * HOUR_MS;
/** How long a place is known: over holidays, and not so long that addresses which providers reassign pile up. */
export const KNOWN_FOR_MS = 30 * DAY_MS;
/** The most places of one account: home, office, telephone, build machines; any of them may become an attacker's. */
export const MAX_PLACES = 20;
const WRITE_EVERY_MS = DAY_MS;
/** Places that this process knows to be written. */
const MAX_NOTED = 10_000;

const find = statement<{ place: string; seenAfter: number }>()("login_place.find", (db, p) =>
  db.selectFrom("login_place").select("place").where("place", "=", p.place).where("seen_at", ">", p.seenAfter),
);
const put = statement<{ place: string; accountId: number; now: number }>()("login_place.put", (db, p) =>
  db
    .insertInto("login_place")
    .values({ place: p.place, account_id: p.accountId, seen_at: p.now })
    .onConflict((conflict) => conflict.column("place").doUpdateSet({ account_id: p.accountId, seen_at: p.now })),
);
const trim = statement<{ accountId: number; kept: number }>()("login_place.trim", (db, p) =>
  db
    .deleteFrom("login_place")
    .where("account_id", "=", p.accountId)
    .where("seen_at", "<", ({ selectFrom }) =>
      selectFrom(
        db
          .selectFrom("login_place")
          .select("seen_at")
          .where("account_id", "=", p.accountId)
          .orderBy("seen_at", "desc")
          .limit(p.kept)
          .as("newest"),
      ).select(({ fn }) => fn.min("newest.seen_at").as("oldest_kept")),
    ),
);
const sweep = statement<{ before: number }>()("login_place.sweep", (db, p) => db.deleteFrom("login_place").where("seen_at", "<", p.before));

/** Opens the known places of a database. */
export function createLoginPlaces({ database, clock, masterKey, onError }: LoginPlacesParts): LoginPlaces {
  const key = Buffer.from(hkdfSync("sha256", masterKey, new Uint8Array(), "berth login place v1", 32));
  const noted = new LRUCache<string, number>({ max: MAX_NOTED });
  const placeOf = (name: string, addressGroup: string): string =>
    createHmac("sha256", key).update(`${name} ${addressGroup}`).digest("base64url");

  async function write(accountId: number, pair: string, place: string): Promise<boolean> {
    const now = clock.now();
    try {
      // Not durable, and possible on a full disk: people sign in.
      await database.transaction(
        async (tx) => {
          await tx.run(put, { place, accountId, now }, 1);
          await tx.run(trim, { accountId, kept: MAX_PLACES }, { any: "most accounts have few places" });
          await tx.run(sweep, { before: now - KNOWN_FOR_MS }, { any: "what has ended goes when somebody looks" });
        },
        { ...ON_FULL_DISK, durable: false },
      );
      return true;
    } catch (error) {
      noted.delete(pair);
      onError(error);
      return false;
    }
  }

  return {
    async isKnown(name, addressGroup) {
      const seenAfter = clock.now() - KNOWN_FOR_MS;
      return (await database.first(find, { place: placeOf(name, addressGroup), seenAfter })) !== undefined;
    },
    note({ id, name }, addressGroup) {
      const pair = `${name} ${addressGroup}`;
      const now = clock.now();
      const writtenAt = noted.get(pair);
      // The clock may have been set back.
      if (writtenAt !== undefined && now >= writtenAt && now - writtenAt < WRITE_EVERY_MS) return false;
      // At once, so that concurrent logins write once.
      noted.set(pair, now);
      return write(id, pair, placeOf(name, addressGroup));
    },
  };
}
