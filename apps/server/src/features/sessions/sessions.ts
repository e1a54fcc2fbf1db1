// Sessions of browsers in the API: signing in with a password and out; lists, and ends by their user and by administrators. Not here: what a session is
// (access/sessions.ts), rows (access/credential-store.ts), cookies (http/cookies.ts).
import { ApiError } from "@berth/api/errors";
import { DEFAULT_PAGE_SIZE } from "@berth/api/limits";
import type { SessionView } from "@berth/api/sessions";
import type { AccountChange } from "../../access/account-changes.ts";
import { type Account, findAccountByName } from "../../access/account-store.ts";
import type { Accounts } from "../../access/accounts.ts";
import type { Origin } from "../../access/actor.ts";
import type { Authenticator } from "../../access/authenticate.ts";
import type { AccountGrant } from "../../access/authorize.ts";
import type { Caller } from "../../access/caller.ts";
import { UnauthorizedError } from "../../access/challenge.ts";
import type { ChangeSink } from "../../access/changes.ts";
import { type Credential, deleteCredential, isLive, listCredentials, MAX_OF_ALL_KINDS } from "../../access/credential-store.ts";
import { WRONG_PASSWORD } from "../../access/refusals.ts";
import { findSessionOrigin } from "../../access/session-store.ts";
import type { Sessions } from "../../access/sessions.ts";
import { directSignIn } from "../../access/sign-in.ts";
import type { Clock } from "../../platform/clock.ts";
import type { Database, Executor } from "../../platform/database/database.ts";
import { listed, type Listed, type PageRequest } from "../paging.ts";
import { createRightsChange } from "../rights-change.ts";

/** What the rules need. */
export interface UserSessionsParts {
  readonly database: Database;
  readonly clock: Clock;
  readonly accounts: Accounts;
  readonly authenticator: Authenticator;
  readonly sessions: Sessions;
  readonly changes: ChangeSink<AccountChange>;
}

/** From where somebody signs in, and as whom the browser is signed in so far. */
interface SignInFrom {
  readonly caller: Caller;
  readonly remoteAddress: string;
  readonly browserName: string;
}

/** The rules, for whoever has the proof that he may; `user`: whose, the caller's own where it is undefined. */
export interface UserSessions {
  /** Errors: UNAUTHORIZED, TOOMANYREQUESTS. */
  signIn(
    credentials: { readonly name: string; readonly password: string },
    from: SignInFrom,
  ): Promise<{ answer: { user: string; expiresAt: string }; secret: string; maxAgeSeconds: number }>;
  signOut(grant: AccountGrant, caller: Caller): Promise<void>;
  list(grant: AccountGrant, user: string | undefined, caller: Caller, page: PageRequest): Promise<Listed<SessionView>>;
  end(grant: AccountGrant, user: string | undefined, id: string): Promise<void>;
  endAll(grant: AccountGrant, user: string | undefined): Promise<{ ended: number }>;
}

/** Makes the rules. */
export function createUserSessions(parts: UserSessionsParts): UserSessions {
  const { database, clock, accounts, authenticator, sessions, changes } = parts;
  const change = createRightsChange(database, accounts);

  async function ownerOf(executor: Executor, grant: AccountGrant, user: string | undefined): Promise<Account> {
    if (user === undefined) return grant.account;
    const account = await findAccountByName(executor, user);
    if (account === undefined || account.kind !== "user") throw new ApiError("USER_UNKNOWN");
    return account;
  }

  async function listAll(executor: Executor, account: Account, after = 0): Promise<Credential[]> {
    const now = clock.now();
    const all = await listCredentials(executor, account.id, after, MAX_OF_ALL_KINDS);
    return all.filter((each) => each.kind === "session" && isLive(each, account, now));
  }

  /** Ends those that are chosen; all are the owner's. Gives how many. */
  function endSome(grant: AccountGrant, user: string | undefined, isChosen: (session: Credential) => boolean): Promise<number> {
    const account = user ?? grant.account.name;
    return change(grant, { account }, async (tx, present) => {
      const owner = await ownerOf(tx, present, user);
      const accountId = owner.id;
      const ended: AccountChange[] = [];
      for (const each of (await listAll(tx, owner)).filter(isChosen)) {
        if (await deleteCredential(tx, accountId, each.id)) ended.push({ kind: "session.ended", account, accountId, session: each.id });
      }
      await changes.record(tx, present.actor, ended);
      return ended.length;
    });
  }

  return {
    async signIn({ name, password }, { caller, remoteAddress, browserName }) {
      const signedIn = await authenticator.authenticateSecret(name, password, remoteAddress);
      const { via } = signedIn;
      // A token or a robot's secret is for programs: a session would do more than it does, or last longer.
      if (via.kind !== "password" && via.kind !== "ldap") throw new UnauthorizedError({ message: WRONG_PASSWORD });
      const origin = originOf(caller, remoteAddress);
      const account = { id: signedIn.accountId, epoch: signedIn.epoch };
      const begun = await sessions.begin({ account, via, origin, browser: browserName, replaces: sessionOf(caller) });
      return {
        answer: { user: signedIn.name, expiresAt: begun.endsAt.toISOString() },
        secret: begun.secret,
        maxAgeSeconds: (begun.endsAt.getTime() - clock.now()) / 1000,
      };
    },
    async signOut(grant, caller) {
      const session = sessionOf(caller);
      if (session === undefined) throw new ApiError("SESSION_UNKNOWN", { message: "the request was signed in by no session" });
      await sessions.end(session.id, grant.account.id, originOf(caller, ""));
    },
    async list(grant, user, caller, { after, limit = DEFAULT_PAGE_SIZE }) {
      const account = await ownerOf(database, grant, user);
      const from = Number(after ?? 0);
      const found = await listAll(database, account, Number.isSafeInteger(from) ? from : 0);
      const current = sessionOf(caller)?.id;
      return listed(
        found.slice(0, limit + 1),
        limit,
        async (shown) => {
          const vouched = await Promise.all(shown.map(({ id }) => findSessionOrigin(database, id)));
          return shown.map((each, index) => toView(each, vouched[index]?.provider, current));
        },
        ({ id }) => String(id),
      );
    },
    async end(grant, user, text) {
      const id = Number(text);
      if ((await endSome(grant, user, (each) => each.id === id)) === 0) throw new ApiError("SESSION_UNKNOWN");
    },
    async endAll(grant, user) {
      return { ended: await endSome(grant, user, () => true) };
    },
  };
}

function originOf(caller: Caller, address: string): Origin {
  return caller.origin ?? { requestId: "", address };
}

/** The session that a caller comes with. */
function sessionOf(caller: Caller): { readonly id: number; readonly accountId: number } | undefined {
  const via = directSignIn(caller.via);
  return via.kind === "session" && caller.kind === "account" ? { id: via.id, accountId: caller.accountId } : undefined;
}

function toView(session: Credential, provider: string | undefined, current: number | undefined): SessionView {
  const { id, name, createdAt, expiresAt, lastUsedAt, lastAddress } = session;
  return {
    id: String(id),
    browser: name,
    provider: provider ?? null,
    isCurrent: id === current,
    createdAt: createdAt.toISOString(),
    expiresAt: expiresAt.toISOString(),
    lastUsedAt: lastUsedAt?.toISOString() ?? null,
    lastAddress: lastAddress ?? null,
  };
}
