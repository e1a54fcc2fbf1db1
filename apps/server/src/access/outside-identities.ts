// Signs in who a provider vouches for. `createOutsideSignIn(parts)` makes it once, and `signIn(identity, policy, how)` is called for each sign-in
// whose proof is complete (an ID token that was verified, a directory that took the password). In one transaction it finds the account of the identity,
// or makes one without a password at the first sign-in, and takes over what the provider says: e-mail, full name, groups and, where the policy has them,
// roles in the registry; each change is recorded. It never takes over an account that is there under the same name or e-mail: joining
// those is not built yet. It disables nobody. What nothing has changed for costs look-ups and no write.
//
//   const result = await outside.signIn(
//     { kind: "ldap", provider: "corp", realm: "ldaps://dc1/dc=corp", subject: entryUuid, name: uid, email, fullName, groups: dnsOfGroups },
//     { createsAccounts: true, makesGroups: false, roles: { administrator: "cn=registry-admins,…" } },
//     { origin: { requestId, address }, via: { kind: "ldap", provider: "corp" } },
//   );
//   if (isOutsideRefusal(result)) … result.fault, result.message: for whoever tried, nothing in it is secret to him
//   else … the account, as it is after the sign-in
//
// Not here: proving anything (oidc-*.ts), sessions, the rows (identity-store.ts).
import type { Clock } from "../platform/clock.ts";
import { HOUR_MS } from "../platform/clock.ts";
import type { Database, Executor } from "../platform/database/database.ts";
import { type AccountChange, recordUserUpdate } from "./account-changes.ts";
import { type Account, findAccount, insertAccount, lockAccount, lockAdministrators, updateAccount } from "./account-store.ts";
import { type Accounts, isUsable } from "./accounts.ts";
import { actorOf, type Origin } from "./actor.ts";
import type { ChangeSink } from "./changes.ts";
import { listNamedGroups, setMemberships } from "./group-memberships.ts";
import { insertGroup } from "./group-store.ts";
import { findIdentity, type IdentityKey, type IdentityRow, insertIdentity, updateIdentity } from "./identity-store.ts";
import { accountNames, groupNames } from "./outside-names.ts";
import { SYSTEM_ROLES, type SystemRole } from "./roles.ts";
import type { DirectSignIn } from "./sign-in.ts";

/** Who somebody is, as a provider says. */
export interface OutsideIdentity extends IdentityKey {
  /** Which issuer or directory says so: an account of another realm of the same provider is refused, since its subjects may be others. */
  readonly realm: string;
  /** What the account is to be called, as the provider has it. It is made safe, and unique. */
  readonly name: string;
  readonly email?: string | undefined;
  readonly fullName?: string | undefined;
  /** All groups, as the provider calls them. Undefined: it does not say, and what it said before stays. */
  readonly groups?: readonly string[] | undefined;
}

/** What a provider's settings say of sign-ins. */
export interface OutsidePolicy {
  /** Whether somebody who was never here gets an account. */
  readonly createsAccounts: boolean;
  /** Whether groups that are not here yet are made, under the provider's names. Else only those count that an administrator has made. */
  readonly makesGroups: boolean;
  /** Only who is in one of these groups signs in; undefined: everybody. */
  readonly requiredGroups?: readonly string[] | undefined;
  /**
   * Which group gives which role in the registry. Where it names any, the accounts' own roles are those and no others, after each sign-in. Undefined:
   * roles are administrators' business.
   */
  readonly roles?: Readonly<Partial<Record<SystemRole, string | undefined>>> | undefined;
  /** Earlier realms that are this one under another address. */
  readonly formerRealms?: readonly string[] | undefined;
}

/** How it was proved, and from where. */
export interface OutsideProof {
  readonly origin: Origin;
  readonly via: DirectSignIn;
}

/** Why somebody whom the provider vouches for does not sign in. */
export interface OutsideRefusal {
  readonly fault: "no-account" | "disabled" | "group-missing" | "realm-changed" | "unusable";
  readonly message: string;
}

/** Signs in identities of providers. */
export interface OutsideSignIn {
  /** The account as it is then. Errors: the database's. */
  signIn(identity: OutsideIdentity, policy: OutsidePolicy, proof: OutsideProof): Promise<Account | OutsideRefusal>;
}

/** What it is made of. */
export interface OutsideSignInParts {
  readonly database: Database;
  readonly clock: Clock;
  readonly accounts: Pick<Accounts, "forget">;
  readonly changes: ChangeSink<AccountChange>;
}

/** Longest name of somebody at a provider that is kept: an index has room for it. OpenID allows 255, a distinguished name may be longer. */
const MAX_SUBJECT_LENGTH = 512;
/** Of e-mail and full name. */
const MAX_TEXT_LENGTH = 320;
/** Groups that one sign-in names; more are left out, the last ones first. */
const MAX_GROUPS = 2000;
/** Groups that one sign-in makes. */
const MAX_NEW_GROUPS = 200;
/** How exact it is known when somebody signed in last. */
const SEEN_WITHIN_MS = HOUR_MS;
/** Two first sign-ins of one identity at a time, and an account that is changed meanwhile: the second try finds what the other has done. */
const TRIES = 4;

/** One try: a transaction, and who is to be signed in by it. */
interface Try {
  readonly tx: Executor;
  readonly identity: OutsideIdentity;
  readonly proof: OutsideProof;
}

/** Somebody else was faster: nothing is kept, and it is tried again. */
class Overtaken extends Error {}

/** Whether somebody did not sign in. */
export function isOutsideRefusal(result: Account | OutsideRefusal): result is OutsideRefusal {
  return "fault" in result;
}

/** Makes what signs in. */
export function createOutsideSignIn({ database, clock, accounts, changes }: OutsideSignInParts): OutsideSignIn {
  async function create({ tx, identity, proof: { origin, via } }: Try): Promise<Account | OutsideRefusal> {
    const now = clock.now();
    const { kind, provider, subject, realm, email, fullName } = identity;
    for (const name of accountNames(identity.name, [kind, provider, subject])) {
      const accountId = await insertAccount(tx, { kind: "user", name, secretHash: undefined }, now);
      if (accountId === undefined) continue;
      if (!(await insertIdentity(tx, { kind, provider, subject, accountId, realm, email, fullName }, now))) throw new Overtaken();
      const actor = actorOf({ id: accountId, kind: "user", name }, { origin, via });
      const added = { account: name, accountId, provider: `${kind}:${provider}`, subject, email: email ?? null };
      await changes.record(tx, actor, [
        { kind: "user.created", account: name, accountId, isAdmin: false, systemRole: null },
        { kind: "identity.added", ...added },
      ]);
      return lockOrGiveUp(tx, accountId);
    }
    return { fault: "unusable", message: `no account name is free for ${JSON.stringify(identity.name.slice(0, 100))}` };
  }

  async function refresh({ tx, identity, proof }: Try, account: Account, known: IdentityRow): Promise<void> {
    const now = clock.now();
    const { kind, provider, subject, realm, email, fullName } = identity;
    const hasNews = email !== known.email || fullName !== known.fullName || realm !== known.realm;
    if (!hasNews && now - known.seenAt.getTime() < SEEN_WITHIN_MS) return;
    await updateIdentity(tx, { kind, provider, subject, realm, email, fullName }, now);
    if (email === known.email) return;
    const changed = { account: account.name, accountId: account.id, provider: `${kind}:${provider}`, subject, email: email ?? null };
    await changes.record(tx, actorOf(account, proof), [{ kind: "identity.changed", ...changed }]);
  }

  async function makeGroups({ tx, identity, proof }: Try, account: Account, names: readonly string[]): Promise<boolean> {
    const { kind, provider } = identity;
    const there = new Set((await listNamedGroups(tx, identity, names)).map(({ key }) => key));
    // In their order by name, so that two sign-ins that make the same ones wait for each other and not crosswise.
    const missing = names
      .filter((name) => !there.has(name))
      .toSorted()
      .slice(0, MAX_NEW_GROUPS);
    for (const key of missing) {
      const group = { description: "", source: { kind, provider, key }, systemRole: undefined } as const;
      for (const name of groupNames(key, [kind, provider, key])) {
        const groupId = await insertGroup(tx, { ...group, name }, clock.now());
        if (groupId === undefined) {
          // The name is another's, or somebody has just made this very group.
          if ((await listNamedGroups(tx, identity, [key])).length > 0) break;
          continue;
        }
        await changes.record(tx, actorOf(account, proof), [{ kind: "group.created", group: name, groupId, systemRole: null }]);
        break;
      }
    }
    return missing.length > 0;
  }

  /** Its own role becomes what the groups say. Gives whether that is news. */
  async function takeRole({ tx, proof }: Try, account: Account, wanted: SystemRole | undefined, isLast: boolean): Promise<boolean> {
    // The registry keeps an administrator who signs in with a password of its own.
    if (account.systemRole === wanted || isLast) return false;
    const next = { ...account, systemRole: wanted };
    await updateAccount(tx, next, false);
    await recordUserUpdate(tx, actorOf(account, proof), changes, account, next);
    return true;
  }

  async function once(attempt: Try, policy: OutsidePolicy) {
    const { tx, identity, proof } = attempt;
    const groups = identity.groups === undefined ? undefined : usableNames(identity.groups);
    const known = await findIdentity(tx, identity);
    const isAllowed = policy.requiredGroups === undefined || policy.requiredGroups.some((name) => groups?.includes(name) === true);
    if (known === undefined && !isAllowed) return { result: groupMissing(identity), isNews: false };
    if (known === undefined && !policy.createsAccounts) return { result: noAccount(identity), isNews: false };
    if (known !== undefined && known.realm !== identity.realm && policy.formerRealms?.includes(known.realm) !== true)
      return { result: realmChanged(identity, known), isNews: false };

    const wanted = policy.roles === undefined || groups === undefined ? undefined : roleOf(policy.roles, groups);
    const managesRole = policy.roles !== undefined && groups !== undefined;
    const before = managesRole && known !== undefined ? await findAccount(tx, known.accountId) : undefined;
    const takesAdministrator = managesRole && before?.systemRole === "administrator" && wanted !== "administrator";
    // Administrators are locked before the account itself, always in this order.
    const administrators = takesAdministrator ? await lockAdministrators(tx) : [];
    const found = known === undefined ? await create(attempt) : await lockOrGiveUp(tx, known.accountId);
    if (isOutsideRefusal(found)) return { result: found, isNews: false };
    if (before !== undefined && before.systemRole !== found.systemRole) throw new Overtaken();
    if (known !== undefined) await refresh(attempt, found, known);
    let isNews = known === undefined;
    if (groups !== undefined) {
      const { kind, provider } = identity;
      if (policy.makesGroups && isAllowed) isNews = (await makeGroups(attempt, found, groups)) || isNews;
      const parts = { actor: actorOf(found, proof), changes };
      isNews = (await setMemberships(tx, parts, { account: found, source: { kind, provider } }, groups)) || isNews;
    }
    if (managesRole) {
      const isLast = administrators.length === 1 && administrators[0] === found.id;
      isNews = (await takeRole(attempt, found, wanted, isLast)) || isNews;
    }
    // What he was by his groups has ended, whether or not he still signs in.
    if (!isAllowed) return { result: groupMissing(identity), isNews, name: found.name };
    if (!isUsable(found, clock.now())) return { result: DISABLED, isNews, name: found.name };
    return { result: isNews ? await lockOrGiveUp(tx, found.id) : found, isNews, name: found.name };
  }

  return {
    async signIn(given, policy, proof) {
      if (!isUsableText(given.subject, MAX_SUBJECT_LENGTH)) return UNUSABLE;
      const identity = { ...given, email: shown(given.email), fullName: shown(given.fullName) };
      for (let left = TRIES - 1; ; left--) {
        try {
          const { result, isNews, name } = await database.transaction((tx) => once({ tx, identity, proof }, policy));
          if (isNews) accounts.forget({ account: name });
          return result;
        } catch (error) {
          if (!(error instanceof Overtaken) || left === 0) throw error;
        }
      }
    },
  };
}

async function lockOrGiveUp(tx: Executor, id: number): Promise<Account> {
  const account = await lockAccount(tx, id);
  if (account === undefined) throw new Overtaken();
  return account;
}

/** The highest of the roles that the groups give. */
export function roleOf(roles: NonNullable<OutsidePolicy["roles"]>, groups: readonly string[]): SystemRole | undefined {
  return SYSTEM_ROLES.find((role) => roles[role] !== undefined && groups.includes(roles[role]));
}

/** Whether both databases take it as it is. */
export function isUsableText(text: string, maxLength: number): boolean {
  return text !== "" && text.length <= maxLength && !text.includes("\0") && text.isWellFormed();
}

function usableNames(names: readonly string[]): readonly string[] {
  return [...new Set(names)].filter((name) => isUsableText(name, MAX_SUBJECT_LENGTH)).slice(0, MAX_GROUPS);
}

/** What people read; nothing is decided by it. */
function shown(text: string | undefined): string | undefined {
  return text !== undefined && isUsableText(text, MAX_TEXT_LENGTH) ? text : undefined;
}

const UNUSABLE: OutsideRefusal = { fault: "unusable", message: "the provider names nobody whom an account could be kept for" };
const DISABLED: OutsideRefusal = {
  fault: "disabled",
  message: "the account is disabled here: an administrator of the registry can enable it",
};

function groupMissing({ provider }: OutsideIdentity): OutsideRefusal {
  return { fault: "group-missing", message: `signing in by ${provider} takes a group there that this account is not in` };
}

function noAccount({ provider }: OutsideIdentity): OutsideRefusal {
  return {
    fault: "no-account",
    message: `nobody here is this account of ${provider}, and accounts are not made at the first sign-in: an administrator can join the two`,
  };
}

function realmChanged({ provider, realm }: OutsideIdentity, known: IdentityRow): OutsideRefusal {
  return {
    fault: "realm-changed",
    message: `the account is known by ${provider} at ${known.realm}, which is ${realm} now: where both are the same, an administrator says so in the settings`,
  };
}
