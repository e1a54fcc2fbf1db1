// Logins of programs on devices without a browser: a program asks, shows a code, and polls; somebody who is signed in with a browser types the code and
// says yes; then the program gets a personal token, once. Not here: the pages and the endpoints (http/sign-in/device.ts), personal tokens in the API
// (features/tokens). Source: RFC 8628.
import { randomInt } from "node:crypto";
import { type Clock, DAY_MS, SECOND_MS } from "../platform/clock.ts";
import type { Database, Executor } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import { type AccountChange, changedScopes } from "./account-changes.ts";
import { lockAccount } from "./account-store.ts";
import { isUsable } from "./accounts.ts";
import { actorOf, type Origin } from "./actor.ts";
import type { AccountCaller } from "./caller.ts";
import type { ChangeSink } from "./changes.ts";
import { clientName, insertCredential, listCredentials, MAX_CREDENTIALS, MAX_OF_ALL_KINDS } from "./credential-store.ts";
import { formatBound, parseBound } from "./personal-bound.ts";
import { ALL_ACTIONS } from "./roles.ts";
import { generateSecret, hashSecret } from "./secrets.ts";

/** A login that a program has begun. */
export interface BegunDeviceLogin {
  /** The program's own: with it, it polls. */
  readonly deviceCode: string;
  /** What somebody types: `BCDF-GHJK`. */
  readonly userCode: string;
  readonly expiresInSeconds: number;
  readonly intervalSeconds: number;
}

/** What somebody is asked to allow. */
export interface AskedDeviceLogin {
  readonly id: number;
  readonly client: string;
  readonly address: string;
  readonly days: number;
}

/** What a program learns when it polls; the words are those of RFC 8628, section 3.5. */
export type Polled =
  | { readonly error: "authorization_pending" | "slow_down" | "access_denied" | "expired_token" }
  | { readonly secret: string; readonly user: string; readonly expiresAt: Date };

/** Logs programs in. */
export interface DeviceLogins {
  /** Undefined: too many wait. */
  begin(client: string, origin: Origin): Promise<BegunDeviceLogin | undefined>;
  /** What a code asks for; undefined for one that is none. Errors: the database's. */
  find(userCode: string): Promise<AskedDeviceLogin | undefined>;
  /** Allows or denies it: false where it is decided, or over. */
  decide(userCode: string, caller: AccountCaller, isAllowed: boolean): Promise<boolean>;
  poll(deviceCode: string, origin: Origin): Promise<Polled>;
}

/** What it takes. */
export interface DeviceLoginsParts {
  readonly database: Database;
  readonly clock: Clock;
  readonly changes: ChangeSink<AccountChange>;
  /** How many days a token lasts at the most. */
  readonly maxDays: number;
}

/** How long somebody may take. */
const LIFETIME_MS = 10 * 60 * SECOND_MS;
const INTERVAL_MS = 5 * SECOND_MS;
/** A program's clock and ours, and the way between. */
const INTERVAL_LENIENCY_MS = SECOND_MS;
const TOKEN_DAYS = 90;
/** Logins that wait at a time: of 20^8 codes, one guess in 25 million is right when all do. */
const MAX_WAITING = 1000;
/** The same of one address: a school behind one has room, and nobody keeps others out alone. */
const MAX_OF_ADDRESS = 50;
const SWEEP_BATCH = 50;
/** No vowels, so that no words come out, and nothing that looks like something else. Source: RFC 8628, section 6.1. */
const LETTERS = "BCDFGHJKLMNPQRSTVWXZ";
const CODE_LENGTH = 8;
const USER_CODE = new RegExp(`^[${LETTERS}]{${CODE_LENGTH}}$`);

const insert = statement<{
  hash: string;
  userCode: string;
  client: string;
  bound: string;
  lifetimeMs: number;
  address: string;
  now: number;
  expiresAt: number;
}>()("device_login.insert", (db, p) =>
  db
    .insertInto("device_login")
    .values({
      device_hash: p.hash,
      user_code: p.userCode,
      client: p.client,
      bound: p.bound,
      lifetime_ms: p.lifetimeMs,
      address: p.address,
      created_at: p.now,
      expires_at: p.expiresAt,
      polled_at: 0,
      state: "waiting",
      account_id: null,
      epoch: null,
    })
    .onConflict((conflict) => conflict.doNothing())
    .returning("id"),
);
const COLUMNS = ["id", "client", "bound", "lifetime_ms", "address", "expires_at", "polled_at", "state", "account_id", "epoch"] as const;
const byUserCode = statement<{ userCode: string }>()("device_login.by_user_code", (db, p, tools) =>
  db.selectFrom("device_login").select(COLUMNS).where("user_code", "=", p.userCode).modifyEnd(tools.lock("update")),
);
const showUserCode = statement<{ userCode: string }>()("device_login.show_user_code", (db, p) =>
  db.selectFrom("device_login").select(COLUMNS).where("user_code", "=", p.userCode),
);
const byHash = statement<{ hash: string }>()("device_login.by_hash", (db, p, tools) =>
  db.selectFrom("device_login").select(COLUMNS).where("device_hash", "=", p.hash).modifyEnd(tools.lock("update")),
);
const decideOne = statement<{ id: number; state: "approved" | "denied"; accountId: number; epoch: number }>()(
  "device_login.decide",
  (db, p) => db.updateTable("device_login").set({ state: p.state, account_id: p.accountId, epoch: p.epoch }).where("id", "=", p.id),
);
const notePoll = statement<{ id: number; at: number }>()("device_login.note_poll", (db, p) =>
  db.updateTable("device_login").set({ polled_at: p.at }).where("id", "=", p.id),
);
const remove = statement<{ id: number }>()("device_login.delete", (db, p) => db.deleteFrom("device_login").where("id", "=", p.id));
const sweep = statement<{ now: number; limit: number }>()("device_login.sweep", (db, p) =>
  db
    .deleteFrom("device_login")
    .where("id", "in", (eb) =>
      eb.selectFrom("device_login").select("id").where("expires_at", "<", p.now).orderBy("expires_at").limit(p.limit),
    ),
);
const waiting = statement<{ limit: number }>()(
  "device_login.waiting",
  (db, p) => db.selectFrom("device_login").select("address").limit(p.limit),
  { bounded: "a thousand rows at the most, when a program begins to log in" },
);

/** A login that somebody has allowed. */
interface Approved {
  readonly client: string;
  readonly bound: string | null;
  readonly lifetime_ms: number;
  readonly account_id: number;
  readonly epoch: number;
}

/** Makes it. */
export function createDeviceLogins({ database, clock, changes, maxDays }: DeviceLoginsParts): DeviceLogins {
  const lifetimeMs = Math.min(TOKEN_DAYS, maxDays) * DAY_MS;

  /** The token, for the program that asked. */
  async function give(tx: Executor, row: Approved, origin: Origin): Promise<Polled> {
    const now = clock.now();
    const account = await lockAccount(tx, row.account_id);
    // Disabled, or with a new password since: what was allowed before does not count.
    if (account === undefined || account.epoch !== row.epoch || !isUsable(account, now) || row.bound === null)
      return { error: "access_denied" };
    const kept = await listCredentials(tx, account.id, 0, MAX_OF_ALL_KINDS);
    if (kept.filter(({ kind }) => kind === "personal").length >= MAX_CREDENTIALS) return { error: "access_denied" };
    const secret = generateSecret("pat");
    const endsAt = now + row.lifetime_ms;
    const token = {
      accountId: account.id,
      kind: "personal",
      name: row.client,
      secretHash: hashSecret(secret),
      bound: row.bound,
      endsAt,
    } as const;
    const tokenId = await insertCredential(tx, token, now);
    const { scopes, api } = parseBound(row.bound, row.client);
    const told = {
      account: account.name,
      accountId: account.id,
      token: row.client,
      tokenId,
      api,
      scopes: changedScopes(scopes),
      expiresAt: new Date(endsAt).toISOString(),
    };
    const actor = actorOf(account, { origin, via: { kind: "personal-token", id: tokenId, name: row.client } });
    await changes.record(tx, actor, [{ kind: "token.created", ...told }]);
    return { secret, user: account.name, expiresAt: new Date(endsAt) };
  }

  return {
    async begin(client, origin) {
      const now = clock.now();
      const deviceCode = generateSecret("link");
      const bound = formatBound({ scopes: [{ repositoryPattern: "**", actions: ALL_ACTIONS }], api: "write" });
      return database.transaction(async (tx) => {
        await tx.run(sweep, { now, limit: SWEEP_BATCH }, { any: "what has ended" });
        const others = await tx.all(waiting, { limit: MAX_WAITING });
        const address = origin.address.slice(0, 64);
        if (others.length >= MAX_WAITING || others.filter((each) => each.address === address).length >= MAX_OF_ADDRESS) return undefined;
        for (;;) {
          const userCode = Array.from({ length: CODE_LENGTH }, () => LETTERS[randomInt(LETTERS.length)]).join("");
          const row = { hash: hashSecret(deviceCode), userCode, client: clientName(client, "program"), bound, lifetimeMs };
          const made = await tx.first(insert, { ...row, address, now, expiresAt: now + LIFETIME_MS });
          if (made === undefined) continue;
          return {
            deviceCode,
            userCode: `${userCode.slice(0, 4)}-${userCode.slice(4)}`,
            expiresInSeconds: LIFETIME_MS / 1000,
            intervalSeconds: INTERVAL_MS / 1000,
          };
        }
      });
    },
    async find(text) {
      const userCode = readUserCode(text);
      const row = userCode === undefined ? undefined : await database.first(showUserCode, { userCode });
      if (row === undefined || row.state !== "waiting" || row.expires_at <= clock.now()) return undefined;
      return { id: row.id, client: row.client, address: row.address, days: Math.round(row.lifetime_ms / DAY_MS) };
    },
    async decide(text, { accountId, epoch }, isAllowed) {
      const userCode = readUserCode(text);
      if (userCode === undefined) return false;
      return database.transaction(async (tx) => {
        const row = await tx.first(byUserCode, { userCode });
        if (row === undefined || row.state !== "waiting" || row.expires_at <= clock.now()) return false;
        await tx.run(decideOne, { id: row.id, state: isAllowed ? "approved" : "denied", accountId, epoch }, 1);
        return true;
      });
    },
    async poll(deviceCode, origin) {
      return database.transaction(async (tx): Promise<Polled> => {
        const now = clock.now();
        const row = await tx.first(byHash, { hash: hashSecret(deviceCode) });
        if (row === undefined || row.expires_at <= now) return { error: "expired_token" };
        if (row.state === "waiting") {
          const isEarly = now - row.polled_at < INTERVAL_MS - INTERVAL_LENIENCY_MS;
          await tx.run(notePoll, { id: row.id, at: now }, 1);
          return { error: isEarly ? "slow_down" : "authorization_pending" };
        }
        // Once, whatever comes of it.
        await tx.run(remove, { id: row.id }, 1);
        const { account_id, epoch } = row;
        if (row.state !== "approved" || account_id === null || epoch === null) return { error: "access_denied" };
        return give(tx, { ...row, account_id, epoch }, origin);
      });
    },
  };
}

/** As people type it: small letters, with or without the dash. */
function readUserCode(text: string): string | undefined {
  const code = text.slice(0, 40).toUpperCase().replaceAll(/[\s-]/g, "");
  return USER_CODE.test(code) ? code : undefined;
}
