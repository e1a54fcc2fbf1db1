// The account table: users and robots. Not here: the cache in front of it (accounts.ts), rules (features/accounts, features/robots).
import type { ExpressionBuilder, QueryCreator, Selectable } from "kysely";
import type { Executor } from "../platform/database/database.ts";
import type { Schema } from "../platform/database/schema.ts";
import { statement } from "../platform/database/statement.ts";
import type { NetworkLists, NetworkRules } from "../platform/networks.ts";
import { readAccountNetworks } from "./network-rules.ts";
import { parseSystemRole, type SystemRole, type SystemStanding } from "./roles.ts";

/** An account as the database has it. */
export interface Account extends SystemStanding {
  readonly id: number;
  readonly kind: "user" | "robot";
  readonly name: string;
  /** A robot's project; undefined for users and for robots of the whole registry. */
  readonly projectId: number | undefined;
  /** The hash of the password or the robot's secret; undefined if there is none. Never leaves the server. */
  readonly secretHash: string | undefined;
  /** Its own role in the whole registry. */
  readonly systemRole: SystemRole | undefined;
  readonly isDisabled: boolean;
  readonly epoch: number;
  readonly expiresAt: Date | undefined;
  /** From where it may be used; undefined: from everywhere. */
  readonly networks?: NetworkRules | undefined;
  readonly createdAt: Date;
}

// By name, never `*`: a later version may add a column while this one runs, and PostgreSQL refuses a prepared statement whose columns change.
const COLUMNS = [
  "id",
  "kind",
  "name",
  "project_id",
  "secret_hash",
  "is_admin",
  "is_disabled",
  "epoch",
  "expires_at",
  "created_at",
] as const satisfies readonly (keyof Schema["account"])[];

function rolesOfGroups(eb: ExpressionBuilder<Schema, "account">) {
  return eb
    .selectFrom("group_member")
    .innerJoin("account_group", "account_group.id", "group_member.group_id")
    .whereRef("group_member.account_id", "=", "account.id");
}

/** The account table, and what each account is in the registry: one look-up. */
function accounts(db: QueryCreator<Schema>) {
  return db
    .selectFrom("account")
    .select(COLUMNS)
    .select((eb) => [
      eb.selectFrom("account_networks").select("lists").whereRef("account_networks.account_id", "=", "account.id").as("networks"),
      eb.selectFrom("system_role").select("role").whereRef("system_role.account_id", "=", "account.id").as("system_role"),
      // The first and the last by name: of three roles the one between them, of who has all, adds nothing to the first.
      rolesOfGroups(eb)
        .select(({ fn }) => fn.min<string>("account_group.system_role").as("role"))
        .as("first_group_role"),
      rolesOfGroups(eb)
        .select(({ fn }) => fn.max<string>("account_group.system_role").as("role"))
        .as("last_group_role"),
    ]);
}

const findById = statement<{ id: number }>()("account.by_id", (db, p) => accounts(db).where("id", "=", p.id));
const findByName = statement<{ name: string }>()("account.by_name", (db, p) => accounts(db).where("name", "=", p.name));
const lockById = statement<{ id: number }>()("account.lock", (db, p, tools) =>
  accounts(db).where("id", "=", p.id).modifyEnd(tools.lock("update")),
);
const anyUser = statement<Record<never, never>>()(
  "account.any_user",
  (db) => db.selectFrom("account").select("id").where("kind", "=", "user").limit(1),
  { bounded: "ends at the first user, and the first account of all is one" },
);
const insert = statement<{
  kind: "user" | "robot";
  name: string;
  projectId: number | null;
  secretHash: string | null;
  isAdmin: number;
  expiresAt: number | null;
  now: number;
}>()("account.insert", (db, p) =>
  db
    .insertInto("account")
    .values({
      kind: p.kind,
      name: p.name,
      project_id: p.projectId,
      secret_hash: p.secretHash,
      is_admin: p.isAdmin,
      is_disabled: 0,
      epoch: 1,
      expires_at: p.expiresAt,
      created_at: p.now,
    })
    .onConflict((conflict) => conflict.column("name").doNothing())
    .returning("id"),
);
const update = statement<{
  id: number;
  secretHash: string | null;
  isAdmin: number;
  isDisabled: number;
  epoch: number;
  expiresAt: number | null;
}>()("account.update", (db, p) =>
  db
    .updateTable("account")
    .set({ secret_hash: p.secretHash, is_admin: p.isAdmin, is_disabled: p.isDisabled, epoch: p.epoch, expires_at: p.expiresAt })
    .where("id", "=", p.id),
);
const putNetworks = statement<{ id: number; lists: string }>()("account.put_networks", (db, p) =>
  db
    .insertInto("account_networks")
    .values({ account_id: p.id, lists: p.lists })
    .onConflict((conflict) => conflict.column("account_id").doUpdateSet({ lists: p.lists })),
);
const removeNetworks = statement<{ id: number }>()("account.remove_networks", (db, p) =>
  db.deleteFrom("account_networks").where("account_id", "=", p.id),
);
const putRole = statement<{ id: number; role: SystemRole }>()("account.put_system_role", (db, p) =>
  db
    .insertInto("system_role")
    .values({ account_id: p.id, role: p.role })
    .onConflict((conflict) => conflict.column("account_id").doUpdateSet({ role: p.role })),
);
const removeRole = statement<{ id: number }>()("account.remove_system_role", (db, p) =>
  db.deleteFrom("system_role").where("account_id", "=", p.id),
);
const remove = statement<{ id: number }>()("account.delete", (db, p) => db.deleteFrom("account").where("id", "=", p.id));
// Locked in the order of their ids, so that two transactions that revoke administrators' rights cannot deadlock.
const lockAdmins = statement<Record<never, never>>()(
  "account.lock_admins",
  (db, _, tools) =>
    db
      .selectFrom("account")
      .select("id")
      .where("is_admin", "=", 1)
      .where("is_disabled", "=", 0)
      .where("secret_hash", "is not", null)
      .orderBy("id")
      .modifyEnd(tools.lock("update")),
  { bounded: "a rare act of an administrator, over the accounts of people" },
);
const listUsers = statement<{ after: string; limit: number }>()("account.list_users", (db, p) =>
  accounts(db).where("kind", "=", "user").where("name", ">", p.after).orderBy("name").limit(p.limit),
);
const listRegistryRobots = statement<{ after: string; limit: number }>()("account.list_registry_robots", (db, p) =>
  accounts(db).where("kind", "=", "robot").where("project_id", "is", null).where("name", ">", p.after).orderBy("name").limit(p.limit),
);
const listProjectRobots = statement<{ projectId: number; after: string; limit: number }>()("account.list_project_robots", (db, p) =>
  accounts(db).where("project_id", "=", p.projectId).where("name", ">", p.after).orderBy("name").limit(p.limit),
);

type AccountRow = Pick<Selectable<Schema["account"]>, (typeof COLUMNS)[number]> & {
  readonly networks: string | null;
  readonly system_role: string | null;
  readonly first_group_role: string | null;
  readonly last_group_role: string | null;
};

function toAccount(row: AccountRow): Account {
  const systemRole = row.is_admin === 1 ? "administrator" : parseSystemRole(row.system_role);
  const has = (role: SystemRole): boolean => systemRole === role || row.first_group_role === role || row.last_group_role === role;
  return {
    id: row.id,
    kind: row.kind,
    name: row.name,
    projectId: row.project_id ?? undefined,
    secretHash: row.secret_hash ?? undefined,
    systemRole,
    isAdmin: has("administrator"),
    isAuditor: has("auditor"),
    isCreator: has("creator"),
    // Any other value than yes or no counts as disabled.
    isDisabled: row.is_disabled !== 0,
    epoch: row.epoch,
    expiresAt: row.expires_at === null ? undefined : new Date(row.expires_at),
    networks: readAccountNetworks(row.networks),
    createdAt: new Date(row.created_at),
  };
}

/** The account, or undefined. */
export async function findAccount(executor: Executor, id: number): Promise<Account | undefined> {
  const row = await executor.first(findById, { id });
  return row === undefined ? undefined : toAccount(row);
}

/** The account of a login name, or undefined. */
export async function findAccountByName(executor: Executor, name: string): Promise<Account | undefined> {
  const row = await executor.first(findByName, { name });
  return row === undefined ? undefined : toAccount(row);
}

/** The account, locked until the transaction's end, or undefined. */
export async function lockAccount(tx: Executor, id: number): Promise<Account | undefined> {
  const row = await tx.first(lockById, { id });
  return row === undefined ? undefined : toAccount(row);
}

/** Whether the registry has any user. */
export async function hasUsers(executor: Executor): Promise<boolean> {
  return (await executor.first(anyUser, {})) !== undefined;
}

/** What a new account needs. */
export interface NewAccount {
  readonly kind: "user" | "robot";
  readonly name: string;
  readonly projectId?: number;
  /** Undefined: it has no password of its own. */
  readonly secretHash: string | undefined;
  readonly systemRole?: SystemRole | undefined;
  readonly expiresAt?: Date;
}

/** Adds an account; returns its id, or undefined if the name is taken. */
export async function insertAccount(tx: Executor, account: NewAccount, now: number): Promise<number | undefined> {
  const row = await tx.first(insert, {
    kind: account.kind,
    name: account.name,
    projectId: account.projectId ?? null,
    secretHash: account.secretHash ?? null,
    isAdmin: account.systemRole === "administrator" ? 1 : 0,
    expiresAt: account.expiresAt?.getTime() ?? null,
    now,
  });
  if (row !== undefined && account.systemRole !== undefined) await putSystemRole(tx, row.id, account.systemRole);
  return row?.id;
}

/** Stores what an account is in the registry beside an administrator, which its own row says. */
async function putSystemRole(tx: Executor, id: number, role: SystemRole | undefined): Promise<void> {
  if (role === "auditor" || role === "creator") await tx.run(putRole, { id, role }, 1);
  else await tx.run(removeRole, { id }, { any: "most have none" });
}

/**
 * Stores the changeable fields of a locked account, including its role in the registry. If `endsTokens` is set, the epoch rises by one,
 * which ends all its tokens.
 */
export async function updateAccount(tx: Executor, account: Account, endsTokens: boolean): Promise<void> {
  await tx.run(
    update,
    {
      id: account.id,
      secretHash: account.secretHash ?? null,
      isAdmin: account.systemRole === "administrator" ? 1 : 0,
      isDisabled: account.isDisabled ? 1 : 0,
      epoch: endsTokens ? account.epoch + 1 : account.epoch,
      expiresAt: account.expiresAt?.getTime() ?? null,
    },
    1,
  );
  await putSystemRole(tx, account.id, account.systemRole);
}

/** Stores from where a locked account may be used; undefined: from everywhere. */
export async function setAccountNetworks(tx: Executor, id: number, lists: NetworkLists | undefined): Promise<void> {
  if (lists === undefined) await tx.run(removeNetworks, { id }, { any: "there may be none" });
  else await tx.run(putNetworks, { id, lists: JSON.stringify({ allow: lists.allow, deny: lists.deny }) }, 1);
}

/** Deletes a locked account to which nothing refers any more. */
export async function deleteAccount(tx: Executor, id: number): Promise<void> {
  await tx.run(remove, { id }, 1);
}

/** Ids of the administrators that can sign in with a password of their own, locked until the transaction's end. */
export async function lockAdministrators(tx: Executor): Promise<number[]> {
  return (await tx.all(lockAdmins, {})).map((row) => row.id);
}

/** Users after a name, in the order of names. */
export async function listUserAccounts(executor: Executor, after: string, limit: number): Promise<Account[]> {
  return (await executor.all(listUsers, { after, limit })).map(toAccount);
}

/** Robots of a project, or of the registry where it is undefined, after a login name, in the order of names. */
export async function listRobotAccounts(
  executor: Executor,
  projectId: number | undefined,
  after: string,
  limit: number,
): Promise<Account[]> {
  const rows =
    projectId === undefined
      ? await executor.all(listRegistryRobots, { after, limit })
      : await executor.all(listProjectRobots, { projectId, after, limit });
  return rows.map(toAccount);
}
