// What administrators ask of directories: which there are, and what would become of somebody. Nothing is changed, here or there. Not here: signing in
// (access/ldap/directory-login.ts), routes (directory-routes.ts).
import { ApiError } from "@berth/api/errors";
import type { DirectoryTestView, DirectoryView, TestDirectoryBody } from "@berth/api/directories";
import { DEFAULT_PAGE_SIZE } from "@berth/api/limits";
import { findAccount, findAccountByName } from "../../access/account-store.ts";
import { listNamedGroups } from "../../access/group-memberships.ts";
import { findIdentity } from "../../access/identity-store.ts";
import type { Directory } from "../../access/ldap/directory.ts";
import { loginNameOf, policyOf } from "../../access/ldap/directory-login.ts";
import type { Person } from "../../access/ldap/person.ts";
import { roleOf } from "../../access/outside-identities.ts";
import { isUserName } from "../../access/roles.ts";
import type { Database } from "../../platform/database/database.ts";
import { LdapError } from "../../platform/ldap/ldap-errors.ts";
import { listed, type Listed, type PageRequest } from "../paging.ts";

/** What the rules need. */
export interface DirectoriesParts {
  readonly database: Database;
  readonly directories: readonly Directory[];
}

/** The rules. Their errors are those of the operations of the same name. */
export interface Directories {
  list(page: PageRequest): Promise<Listed<DirectoryView>>;
  test(name: string, body: TestDirectoryBody): Promise<DirectoryTestView>;
}

type Outcome = Pick<DirectoryTestView, "outcome" | "reason" | "account">;

/** Makes the rules. */
export function createDirectories({ database, directories }: DirectoriesParts): Directories {
  async function describe(directory: Directory, person: Person, keys: readonly string[]): Promise<NonNullable<DirectoryTestView["found"]>> {
    const { dn, subject, name, email = null, fullName = null, isDisabled } = person;
    const named = await listNamedGroups(database, { kind: "ldap", provider: directory.name }, [...keys]);
    const groupOf = new Map(named.map((group) => [group.key, group.name]));
    const groups = keys.map((key) => ({ key, group: groupOf.get(key) ?? null }));
    return { dn, subject, name, email, fullName, isDisabled, groups, systemRole: roleOf(policyOf(directory).roles ?? {}, keys) ?? null };
  }

  /** What a sign-in with the right password would end in. */
  async function outcomeOf(directory: Directory, typed: string, person: Person, keys: readonly string[]): Promise<Outcome> {
    const refused = (reason: string, account: string | null = null): Outcome => ({ outcome: "refused", reason, account });
    const named = isUserName(typed) ? await findAccountByName(database, typed) : undefined;
    if (named?.secretHash !== undefined)
      return refused(`the account ${typed} has a password here, which counts first: the directory is not asked`);
    if (person.isDisabled) return refused("the entry says that it is disabled, expired or locked");
    const policy = policyOf(directory);
    if (policy.requiredGroups !== undefined && !policy.requiredGroups.some((key) => keys.includes(key)))
      return refused("they are in none of the groups of signIn.groups");
    const known = await findIdentity(database, { kind: "ldap", provider: directory.name, subject: person.subject });
    const account = known === undefined ? undefined : await findAccount(database, known.accountId);
    if (known !== undefined && known.realm !== directory.realm)
      return refused(`the identity was of ${known.realm}, and the directory is ${directory.realm} now`, account?.name);
    if (account === undefined && !policy.createsAccounts) return refused("they have no account, and signIn.createsAccounts is false");
    if (account?.isDisabled === true) return refused(`the account ${account.name} is disabled here`, account.name);
    const reason = account === undefined ? "an account would be made" : `they are the account ${account.name}`;
    return { outcome: "signs-in", reason, account: account?.name ?? null };
  }

  async function look(directory: Directory, { user, password }: TestDirectoryBody): Promise<DirectoryTestView> {
    const nobody = { found: null, account: null };
    const typed = loginNameOf(user);
    if (typed === undefined)
      return { ...nobody, outcome: "unknown", reason: "the name has characters that no name may have: nothing was asked" };
    const person = await directory.findByName(typed);
    if (person === undefined)
      return { ...nobody, outcome: "unknown", reason: "no entry below users.base that meets users.filter has the name" };
    if (person === "several") return { ...nobody, outcome: "several", reason: "several entries have the name: nobody signs in with it" };
    const { keys } = await directory.findGroups(person);
    const found = await describe(directory, person, keys);
    const becomes = await outcomeOf(directory, typed, person, keys);
    if (becomes.outcome === "refused") return { ...becomes, found };
    if (password === undefined) return { ...becomes, outcome: "password-not-tried", found };
    const bound = await directory.tryPassword(person, password);
    if (bound.isRight) return { ...becomes, found };
    return {
      outcome: "password-wrong",
      reason: `the directory says: result code ${bound.resultCode}, ${bound.detail}`,
      account: becomes.account,
      found,
    };
  }

  return {
    async list({ after = "", limit = DEFAULT_PAGE_SIZE }) {
      const found = directories.filter(({ name }) => name > after).toSorted((one, other) => (one.name < other.name ? -1 : 1));
      return listed(
        found.slice(0, limit + 1),
        limit,
        (rows) => rows.map((directory) => ({ name: directory.name, urls: [...directory.settings.urls], isAway: directory.isResting() })),
        ({ name }) => name,
      );
    },
    async test(name, body) {
      const directory = directories.find((each) => each.name === name);
      if (directory === undefined) throw new ApiError("DIRECTORY_UNKNOWN");
      try {
        return await look(directory, body);
      } catch (error) {
        if (!(error instanceof LdapError)) throw error;
        const outcome = error.problem === "away" ? "unavailable" : "misconfigured";
        return { outcome, reason: error.message, found: null, account: null };
      }
    },
  };
}

/** The highest role that the settings give by these groups. */
