// Looks up again who has a token or a session and came by a directory: groups, roles and e-mail are taken over, and who is gone or disabled there loses
// all of them. A directory that does not answer takes nothing from anybody. Not here: signing in (directory-login.ts), when it runs
// (compose/directories.ts).
import type { Clock } from "../../platform/clock.ts";
import type { Database, Executor } from "../../platform/database/database.ts";
import { statement } from "../../platform/database/statement.ts";
import type { AccountChange } from "../account-changes.ts";
import { lockAccount, updateAccount } from "../account-store.ts";
import { systemActor } from "../actor.ts";
import type { Accounts } from "../accounts.ts";
import type { ChangeSink } from "../changes.ts";
import { type Credential, deleteCredential, listCredentials, MAX_OF_ALL_KINDS } from "../credential-store.ts";
import { findIdentity, type IdentityRow } from "../identity-store.ts";
import { isOutsideRefusal, type OutsideSignIn } from "../outside-identities.ts";
import type { Directory } from "./directory.ts";
import { policyOf } from "./directory-login.ts";

/** What became of the people of a directory. */
export interface RefreshResult {
  readonly seen: number;
  /** Names of accounts that lost their tokens and sessions. */
  readonly ended: readonly string[];
}

/** What it takes. */
export interface RefreshParts {
  readonly database: Database;
  readonly clock: Clock;
  readonly accounts: Pick<Accounts, "forget">;
  readonly outside: OutsideSignIn;
  readonly changes: ChangeSink<AccountChange>;
}

const PAGE = 100;
/**
 * Where more than so many people and more than half of all are gone at once, nobody left: somebody has changed the directory or the settings. Nothing
 * is taken from anybody then.
 */
const MANY = 10;

const listPeople = statement<{ provider: string; after: string; now: number; limit: number }>()(
  "identity.list_with_credentials",
  (db, p) =>
    db
      .selectFrom("outside_identity")
      .select(["outside_identity.subject", "outside_identity.account_id"])
      .where("outside_identity.kind", "=", "ldap")
      .where("outside_identity.provider", "=", p.provider)
      .where("outside_identity.subject", ">", p.after)
      .where(({ exists, selectFrom }) =>
        exists(
          selectFrom("credential")
            .select("credential.id")
            .whereRef("credential.account_id", "=", "outside_identity.account_id")
            .where("credential.expires_at", ">", p.now),
        ),
      )
      .orderBy("outside_identity.subject")
      .limit(p.limit),
  { bounded: "walks over the people of one directory, a few times an hour" },
);

/** Looks all of them up. Errors: `LdapError`, before anything is taken from anybody; an error where far too many are gone. */
export async function refreshDirectory(parts: RefreshParts, directory: Directory, signal: AbortSignal): Promise<RefreshResult> {
  const { database, clock } = parts;
  const { name: provider } = directory;
  const gone: string[] = [];
  let seen = 0;
  for (let after = ""; !signal.aborted;) {
    const page = await database.all(listPeople, { provider, after, now: clock.now(), limit: PAGE });
    for (const { subject } of page) {
      if (signal.aborted) break;
      seen++;
      after = subject;
      if (!(await refreshPerson(parts, directory, subject))) gone.push(subject);
    }
    if (page.length < PAGE) break;
  }
  if (gone.length > MANY && gone.length * 2 > seen) {
    throw new Error(
      `${gone.length} of ${seen} people are not in the directory ${provider} any more: nothing is taken from them; look at auth.ldap.${provider}.users`,
    );
  }
  const ended: string[] = [];
  for (const subject of gone) {
    const name = await endPerson(parts, directory, subject);
    if (name !== undefined) ended.push(name);
  }
  return { seen, ended };
}

/** Takes over what a directory says of somebody; false where it says nothing, or that they may not sign in. */
async function refreshPerson({ outside }: RefreshParts, directory: Directory, subject: string): Promise<boolean> {
  const person = await directory.findBySubject(subject);
  if (person === undefined || person.isDisabled) return false;
  const { keys: groups } = await directory.findGroups(person);
  const { name, email, fullName } = person;
  const identity = { kind: "ldap", provider: directory.name, realm: directory.realm, subject, name, email, fullName, groups } as const;
  const result = await outside.signIn(identity, { ...policyOf(directory), createsAccounts: false }, proofOf(directory));
  // Other refusals are the registry's own, and no reason to end what somebody has.
  return !isOutsideRefusal(result) || result.fault !== "group-missing";
}

function proofOf({ name }: Directory) {
  return { origin: { requestId: "directory-refresh", address: "" }, via: { kind: "ldap", provider: name } } as const;
}

/** Ends what somebody has by a directory: groups, roles, and tokens and sessions unless there is a password here. Gives the name if it lost any. */
async function endPerson(parts: RefreshParts, directory: Directory, subject: string): Promise<string | undefined> {
  const { database, accounts, outside } = parts;
  const known = await findIdentity(database, { kind: "ldap", provider: directory.name, subject });
  if (known === undefined) return undefined;
  // As if the directory had said that they are in no group.
  const { realm, email, fullName } = known;
  const nobody = { kind: "ldap", provider: directory.name, realm, subject, name: subject, email, fullName, groups: [] } as const;
  await outside.signIn(nobody, { ...policyOf(directory), createsAccounts: false }, proofOf(directory));
  const name = await database.transaction((tx) => endCredentials(tx, parts, directory, known));
  if (name !== undefined) accounts.forget({ account: name });
  return name;
}

async function endCredentials(
  tx: Executor,
  { changes, clock }: RefreshParts,
  { name: provider }: Directory,
  { accountId }: IdentityRow,
): Promise<string | undefined> {
  const account = await lockAccount(tx, accountId);
  // Who has a password here may have made them with it.
  if (account === undefined || account.secretHash !== undefined) return undefined;
  const all = await listCredentials(tx, accountId, 0, MAX_OF_ALL_KINDS);
  const now = clock.now();
  const live = all.filter(({ expiresAt }) => expiresAt.getTime() > now);
  const ended: Credential[] = [];
  for (const credential of live) if (await deleteCredential(tx, accountId, credential.id)) ended.push(credential);
  // Registry tokens that were given by them end as well.
  await updateAccount(tx, account, true);
  const of = { account: account.name, accountId };
  await changes.record(
    tx,
    systemActor(`directory ${provider}`),
    ended.map(({ id, name, kind }) =>
      kind === "session"
        ? { kind: "session.ended", ...of, session: id }
        : { kind: "token.revoked", ...of, token: name, tokenId: id, tokenKind: kind === "personal" ? "personal" : "refresh" },
    ),
  );
  return account.name;
}
