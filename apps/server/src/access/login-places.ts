// Places from which accounts logged in: where the owner was seen, other people's guesses do not lock him out. Kept in the database, so that all
// replicas know them, also after a restart; as keyed hashes, since addresses are nobody's business; a few for each account, for a month.
// Not here: the locks (login-failures.ts).
import { createHmac, hkdfSync } from "node:crypto";
import { LRUCache } from "lru-cache";
import { HOUR_MS, type Clock } from "../platform/clock.ts";
import { type Database, ON_FULL_DISK } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";

/** Known places. */
export interface LoginPlaces {
  /** Whether an account of that name logged in from there lately. One look-up, whether there is such an account or not. */
  isKnown(name: string, addressGroup: string): Promise<boolean>;
  /** Notes a login. Gives whether it was written down, which is once a day for each place. */
  note(account: { readonly id: number; readonly name: string }, addressGroup: string): boolean | Promise<boolean>;
}

/** What they need. */
export interface LoginPlacesParts {
  readonly database: Database;
  readonly clock: Clock;
  /** Hashes are of no use without it, and places are unknown under another one. */
  readonly masterKey: Uint8Array;
  /** Called where a place could not be written down: the login is good all the same. */
  readonly onError: (error: unknown) => void;
}

const DAY_MS = 24 * HOUR_MS;
/** How long a place counts: over holidays, and not so long that addresses which providers give to others pile up. */
export const KNOWN_FOR_MS = 30 * DAY_MS;
/** Most places of one account: home, office, telephone, build machines; each may be an attacker's some day. */
export const MAX_PLACES = 20;
const WRITE_EVERY_MS = DAY_MS;
/** Places that this process knows to be written down. */
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
      // At once: logins that come together write once.
      noted.set(pair, now);
      return write(id, pair, placeOf(name, addressGroup));
    },
  };
}
