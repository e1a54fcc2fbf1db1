// Sessions of browsers: a random secret in a cookie, by its hash in the table of credentials. One ends when it is not used for a while, in the end
// anyway, with its user's password or disablement, at a logout here or at the provider, and when it is taken away. Not here: cookies (http/cookies.ts),
// recognising one (authenticate.ts), lists (features/sessions).
import type { Clock } from "../platform/clock.ts";
import type { Database, Executor } from "../platform/database/database.ts";
import type { AccountChange } from "./account-changes.ts";
import { type Account, findAccount, lockAccount } from "./account-store.ts";
import { type Accounts, isUsable } from "./accounts.ts";
import { type Actor, actorOf, type Origin, systemActor } from "./actor.ts";
import { UnauthorizedError } from "./challenge.ts";
import type { ChangeSink } from "./changes.ts";
import { clientName, deleteCredential, insertCredential, makeRoom } from "./credential-store.ts";
import type { Seal } from "./seal.ts";
import { generateSecret, hashSecret } from "./secrets.ts";
import { findSessionOrigin, insertSessionOrigin, listProviderSessions, type SessionOrigin } from "./session-store.ts";
import type { DirectSignIn } from "./sign-in.ts";

/** How a session is begun. */
export interface NewSession {
  /** Who has just proved who he is, and his account's epoch then. */
  readonly account: Pick<Account, "id" | "epoch">;
  readonly via: DirectSignIn;
  readonly origin: Origin;
  /** What the browser calls itself. */
  readonly browser: string;
  /** Who vouched for it; the ID token as it came. Undefined: a password. */
  readonly vouched?: SessionOrigin | undefined;
  /** The session that the browser had: it ends, whoever's it was. */
  readonly replaces?: { readonly id: number; readonly accountId: number } | undefined;
}

/** A session that has begun. */
export interface BegunSession {
  readonly id: number;
  readonly secret: string;
  readonly endsAt: Date;
}

/** Begins and ends sessions. */
export interface Sessions {
  /** Errors: UNAUTHORIZED where the account has changed since. */
  begin(session: NewSession): Promise<BegunSession>;
  /** Ends one; gives who vouched for it, with the ID token as it came. */
  end(id: number, accountId: number, origin: Origin): Promise<SessionOrigin | undefined>;
  /** Ends what a provider names, inside a transaction: how many those were. */
  endOfProvider(tx: Executor, provider: string, which: { sid: string | undefined; subject: string | undefined }): Promise<number>;
}

/** What it takes. */
export interface SessionsParts {
  readonly database: Database;
  readonly clock: Clock;
  readonly accounts: Pick<Accounts, "forget">;
  readonly changes: ChangeSink<AccountChange>;
  readonly seal: Seal;
  readonly idleMs: number;
  readonly maxMs: number;
}

/** Makes what begins and ends them. */
export function createSessions({ database, clock, accounts, changes, seal, idleMs, maxMs }: SessionsParts): Sessions {
  async function take(
    tx: Executor,
    { id, accountId }: { readonly id: number; readonly accountId: number },
    actor: (account: Account) => Actor,
  ): Promise<Account | undefined> {
    const account = await findAccount(tx, accountId);
    if (account === undefined || !(await deleteCredential(tx, accountId, id))) return undefined;
    await changes.record(tx, actor(account), [{ kind: "session.ended", account: account.name, accountId, session: id }]);
    return account;
  }

  return {
    async begin({ account: proved, via, origin, browser, vouched, replaces }) {
      const secret = generateSecret("session");
      const begun = await database.transaction(async (tx) => {
        const now = clock.now();
        const account = await lockAccount(tx, proved.id);
        // Its password may have been changed since it was looked at.
        if (account === undefined || account.epoch !== proved.epoch || !isUsable(account, now)) throw new UnauthorizedError();
        // The browser has its secret, so that it may end it, also where another user's it was.
        const left = replaces === undefined ? undefined : await take(tx, replaces, (present) => byItself(present, replaces.id, origin));
        await makeRoom(tx, account.id, "session");
        const endsAt = now + maxMs;
        const id = await insertCredential(
          tx,
          {
            accountId: account.id,
            kind: "session",
            name: clientName(browser, "browser"),
            secretHash: hashSecret(secret),
            epoch: account.epoch,
            endsAt,
            expiresAt: Math.min(endsAt, now + idleMs),
            address: origin.address,
          },
          now,
        );
        if (vouched !== undefined) {
          const idToken = vouched.idToken === undefined ? undefined : seal.seal(vouched.idToken, sealContext(id));
          await insertSessionOrigin(tx, id, { ...vouched, idToken });
        }
        const provider = vouched === undefined ? null : `oidc:${vouched.provider}`;
        const of = { account: account.name, accountId: account.id, session: id };
        await changes.record(tx, actorOf(account, { origin, via }), [{ kind: "session.begun", ...of, provider }]);
        return { session: { id, secret, endsAt: new Date(endsAt) }, name: account.name, left: left?.name };
      });
      accounts.forget({ account: begun.name });
      if (begun.left !== undefined && begun.left !== begun.name) accounts.forget({ account: begun.left });
      return begun.session;
    },
    async end(id, accountId, origin) {
      const found = await database.transaction(async (tx) => {
        const vouched = await findSessionOrigin(tx, id);
        const account = await take(tx, { id, accountId }, (present) => byItself(present, id, origin));
        return { vouched, account };
      });
      if (found.account === undefined) return undefined;
      accounts.forget({ account: found.account.name });
      const { vouched } = found;
      if (vouched?.idToken === undefined) return vouched;
      return { ...vouched, idToken: openQuietly(vouched.idToken, id) };
    },
    async endOfProvider(tx, provider, which) {
      let count = 0;
      for (const session of await listProviderSessions(tx, provider, which)) {
        if ((await take(tx, session, () => systemActor(`oidc:${provider}`))) !== undefined) count++;
      }
      return count;
    },
  };

  /** Sealed with a key that is gone, it is of no use; the session ends all the same. */
  function openQuietly(sealed: string, id: number): string | undefined {
    try {
      return seal.open(sealed, sealContext(id));
    } catch {
      return undefined;
    }
  }
}

/** Who ends a session by having its secret. */
function byItself(account: Account, id: number, origin: Origin): Actor {
  return actorOf(account, { origin, via: { kind: "session", id } });
}

function sealContext(id: number): string {
  return `session ${id}`;
}
