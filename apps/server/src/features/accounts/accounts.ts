// Users: administrators' operations on them, and users' own. The registry always has an administrator who can log in. Not here: rows
// (access/account-store.ts), authentication (access/authenticate.ts).
import { ApiError } from "@berth/api/errors";
import { DEFAULT_PAGE_SIZE } from "@berth/api/limits";
import type { MeView, UserView } from "@berth/api/users";
import { RegistryError } from "@berth/oci/errors";
import { recordUserUpdate, type AccountChange } from "../../access/account-changes.ts";
import type { Accounts } from "../../access/accounts.ts";
import {
  deleteAccount,
  findAccount,
  findAccountByName,
  insertAccount,
  listUserAccounts,
  lockAccount,
  lockAdministrators,
  updateAccount,
  type Account,
} from "../../access/account-store.ts";
import type { AccountGrant } from "../../access/authorize.ts";
import type { ChangeSink } from "../../access/changes.ts";
import type { LoginFailures } from "../../access/login-failures.ts";
import { hasOtherOwner, listMemberships, lockOwnedProjects } from "../../access/member-store.ts";
import { SYSTEM_ROLES, type SystemRole } from "../../access/roles.ts";
import type { PasswordHasher } from "../../access/secrets.ts";
import type { Clock } from "../../platform/clock.ts";
import type { Database, Executor } from "../../platform/database/database.ts";
import type { Precondition } from "../api-route.ts";
import type { Deletion } from "../../platform/database/deletion.ts";
import { LIST_BATCH, listed, listEvery, type Listed, type PageRequest } from "../paging.ts";
import { createRightsChange } from "../rights-change.ts";

/** What the rules need. */
export interface UsersParts {
  readonly database: Database;
  readonly clock: Clock;
  readonly accounts: Accounts;
  readonly passwords: PasswordHasher;
  readonly loginFailures: LoginFailures;
  /** Of what refers to an account. */
  readonly deletions: Readonly<Record<"account", Deletion>>;
  readonly changes: ChangeSink<AccountChange>;
}

/** What can be changed of a user. */
export interface UserChange {
  /** Null removes it: the user cannot sign in with a password any more. */
  readonly password?: string | null;
  readonly isDisabled?: boolean;
  /** True: the system role administrator; false: none, where it was that one. */
  readonly isAdmin?: boolean;
  readonly systemRole?: SystemRole | null;
}

/** A user who is to be. */
export interface NewUser extends Pick<UserChange, "isAdmin" | "systemRole"> {
  readonly name: string;
  readonly password: string | null;
}

/** The rules, for callers with the proof of their permission. Their errors are those of the operations of the same name. */
export interface Users {
  list(grant: AccountGrant, page: PageRequest): Promise<Listed<UserView>>;
  create(grant: AccountGrant, user: NewUser): Promise<UserView>;
  get(grant: AccountGrant, name: string): Promise<UserView>;
  update(grant: AccountGrant, name: string, change: UserChange, precondition: Precondition): Promise<UserView>;
  delete(grant: AccountGrant, name: string, precondition: Precondition): Promise<void>;
  getMe(grant: AccountGrant): Promise<MeView>;
  /** Errors: PASSWORD_WRONG, TOOMANYREQUESTS, CONFLICT. */
  changeMyPassword(grant: AccountGrant, remoteAddress: string, currentPassword: string, newPassword: string): Promise<void>;
}

/** How many projects a refusal names. */
const MAX_NAMED_PROJECTS = 10;

/** Creates the rules. */
export function createUsers(parts: UsersParts): Users {
  const { database, clock, accounts, passwords, loginFailures, deletions, changes } = parts;
  const change = createRightsChange(database, accounts);

  async function getUser(executor: Executor, name: string): Promise<Account> {
    const account = await findAccountByName(executor, name);
    if (account === undefined || account.kind !== "user") throw new ApiError("USER_UNKNOWN");
    return account;
  }

  // Administrators are locked before the account itself, always in this order.
  async function lockUser(tx: Executor, name: string, mayLoseAdministrator: boolean): Promise<Account> {
    const { id } = await getUser(tx, name);
    const administrators = mayLoseAdministrator ? await lockAdministrators(tx) : [];
    const account = await lockAccount(tx, id);
    if (account === undefined) throw new ApiError("USER_UNKNOWN");
    if (mayLoseAdministrator && administrators.length === 1 && administrators[0] === id) throw new ApiError("LAST_ADMINISTRATOR");
    return account;
  }

  return {
    async list(_grant, { after = "", limit = DEFAULT_PAGE_SIZE }) {
      const found = await listUserAccounts(database, after, limit + 1);
      return listed(
        found,
        limit,
        (accounts) => accounts.map(toView),
        (account) => account.name,
      );
    },
    async create(grant, { name, password, ...roles }) {
      const systemRole = roleAfter(undefined, roles);
      const secretHash = password === null ? undefined : await passwords.hash(password);
      const insert = async (tx: Executor, { actor }: AccountGrant): Promise<number | undefined> => {
        const id = await insertAccount(tx, { kind: "user", name, secretHash, systemRole }, clock.now());
        if (id === undefined) return undefined;
        await changes.record(tx, actor, [
          { kind: "user.created", account: name, accountId: id, isAdmin: systemRole === "administrator", systemRole: systemRole ?? null },
        ]);
        return id;
      };
      const id = await change(grant, { account: name }, insert, {});
      if (id === undefined) throw new ApiError("USER_EXISTS", { detail: { name } });
      return toView((await findAccount(database, id))!);
    },
    async get(_grant, name) {
      return toView(await getUser(database, name));
    },
    async update(grant, name, { password, isDisabled, ...roles }, precondition) {
      const secretHash = typeof password === "string" ? await passwords.hash(password) : undefined;
      return change(grant, { account: name }, async (tx, { actor }) => {
        const account = await lockUser(tx, name, isDisabled === true || takesAdministrator(roles) || password === null);
        precondition.check(toView(account));
        const next: Account = {
          ...account,
          secretHash: password === undefined ? account.secretHash : secretHash,
          isDisabled: isDisabled ?? account.isDisabled,
          systemRole: roleAfter(account.systemRole, roles),
        };
        // Rights are looked up each time; a secret and a disablement are not, once a token is issued.
        await updateAccount(tx, next, password !== undefined || next.isDisabled !== account.isDisabled);
        await recordUserUpdate(tx, actor, changes, account, next);
        return toView(next);
      });
    },
    async delete(grant, name, precondition) {
      await change(grant, { account: name }, async (tx, { actor }) => {
        const account = await lockUser(tx, name, true);
        precondition.check(toView(account));
        const { id } = account;
        const orphans: string[] = [];
        for (const project of await lockOwnedProjects(tx, id)) {
          if (!(await hasOtherOwner(tx, project.id, { accountId: id }))) orphans.push(project.name);
        }
        if (orphans.length > 0) throw new ApiError("LAST_OWNER", { detail: { projects: orphans.slice(0, MAX_NAMED_PROJECTS) } });
        const left = changes.wants("member.removed")
          ? await listEvery(
              0,
              (after) => listMemberships(tx, id, after, LIST_BATCH),
              LIST_BATCH,
              ({ projectId }) => projectId,
            )
          : [];
        await deletions.account.takeAll(tx, id);
        await deleteAccount(tx, id);
        const gone = { account: name, accountId: id };
        await changes.record(tx, actor, [
          ...left.map((project) => ({ kind: "member.removed" as const, ...project, ...gone })),
          { kind: "user.deleted", ...gone },
        ]);
      });
    },
    async getMe(grant) {
      const { name, kind, isAdmin, isAuditor, isCreator } = grant.account;
      const has: Readonly<Record<SystemRole, boolean>> = { administrator: isAdmin, auditor: isAuditor, creator: isCreator };
      return { name, kind, isAdmin, systemRoles: SYSTEM_ROLES.filter((role) => has[role]) };
    },
    async changeMyPassword(grant, remoteAddress, currentPassword, newPassword) {
      const { account } = grant;
      // A stolen session must not become a stolen account, so guesses count here as they do at the login.
      await loginFailures.check(account.name, remoteAddress);
      const isRight = await passwords.verify(currentPassword, account.secretHash, () => loginFailures.check(account.name, remoteAddress));
      if (!isRight) {
        await loginFailures.record(account.name, remoteAddress, currentPassword);
        throw new ApiError("PASSWORD_WRONG");
      }
      const secretHash = await passwords.hash(newPassword);
      await change(grant, { account: account.name }, async (tx, { actor }) => {
        const present = await lockAccount(tx, account.id);
        // It was changed meanwhile: the password that was checked above is outdated.
        if (present === undefined || present.epoch !== account.epoch) throw new RegistryError("CONFLICT");
        const next = { ...present, secretHash };
        await updateAccount(tx, next, true);
        await recordUserUpdate(tx, actor, changes, present, next);
      });
    },
  };
}

type RoleChange = Pick<UserChange, "isAdmin" | "systemRole">;

function takesAdministrator({ isAdmin, systemRole }: RoleChange): boolean {
  return isAdmin === false || (systemRole !== undefined && systemRole !== "administrator");
}

/** A user's role in the registry after a change. Errors: FIELD_INVALID where it contradicts itself. */
function roleAfter(before: SystemRole | undefined, { isAdmin, systemRole }: RoleChange): SystemRole | undefined {
  if (isAdmin !== undefined && systemRole !== undefined && isAdmin !== (systemRole === "administrator"))
    throw new ApiError("FIELD_INVALID", {
      detail: [{ field: "body.isAdmin", reason: "says something else than systemRole: send one of them" }],
    });
  if (systemRole !== undefined) return systemRole ?? undefined;
  if (isAdmin === true) return "administrator";
  return isAdmin === false && before === "administrator" ? undefined : before;
}

function toView(account: Account): UserView {
  return {
    name: account.name,
    isAdmin: account.systemRole === "administrator",
    systemRole: account.systemRole ?? null,
    isDisabled: account.isDisabled,
    hasPassword: account.secretHash !== undefined,
    createdAt: account.createdAt.toISOString(),
  };
}
