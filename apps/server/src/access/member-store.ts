// The member table. Not here: what roles allow (roles.ts), the rule that a project keeps an owner (features/projects).
import type { Executor } from "../platform/database/database.ts";
import type { ExpectedRows } from "../platform/database/row-counts.ts";
import { statement } from "../platform/database/statement.ts";
import type { RobotScope } from "./robot-scopes.ts";
import { parseRole, type Role, ROLES } from "./roles.ts";
import { parseStoredScopes, storeScopes } from "./stored-scopes.ts";

/** No account and no group has this id. */
const NOBODY = 0;

/** A member is in one of two tables. */
const NONE_OR_ONE: ExpectedRows = { any: "a member is in one of two tables" };

/** A member of a project. */
export interface Member {
  readonly accountId: number;
  readonly accountName: string;
  readonly role: Role;
  /** What it is narrowed to; undefined: all of the project. */
  readonly scopes: readonly RobotScope[] | undefined;
}

const find = statement<{ projectId: number; accountId: number }>()("member.find", (db, p) =>
  db
    .selectFrom("member")
    .select(({ ref }) => ref("role").$castTo<string>().as("role"))
    .where("project_id", "=", p.projectId)
    .where("account_id", "=", p.accountId)
    .unionAll(db.selectFrom("narrowed_member").select("role").where("project_id", "=", p.projectId).where("account_id", "=", p.accountId)),
);
const list = statement<{ projectId: number; after: string; limit: number }>()(
  "member.list",
  (db, p) =>
    db
      .selectFrom("member")
      .innerJoin("account", "account.id", "member.account_id")
      .select(["member.account_id", "account.name"])
      .select(({ ref, lit }) => [ref("member.role").$castTo<string>().as("role"), lit(null).$castTo<string | null>().as("scopes")])
      .where("member.project_id", "=", p.projectId)
      .where("account.name", ">", p.after)
      .where("member.role", "in", ROLES)
      .unionAll(
        db
          .selectFrom("narrowed_member")
          .innerJoin("account", "account.id", "narrowed_member.account_id")
          .select(["narrowed_member.account_id", "account.name", "narrowed_member.role", "narrowed_member.scopes"])
          .where("narrowed_member.project_id", "=", p.projectId)
          .where("account.name", ">", p.after)
          .where("narrowed_member.role", "in", ROLES) as never,
      )
      .orderBy("name")
      .limit(p.limit),
  { bounded: "sorts the members of one project" },
);
const lock = statement<{ id: number }>()("project.lock", (db, p, tools) =>
  db.selectFrom("project").select("id").where("id", "=", p.id).modifyEnd(tools.lock("update")),
);
const put = statement<{ projectId: number; accountId: number; role: Role }>()("member.put", (db, p) =>
  db
    .insertInto("member")
    .columns(["project_id", "account_id", "role", "project_sort_key"])
    .expression((eb) =>
      eb
        .selectFrom("project")
        .select(({ ref, cast, val }) => [
          ref("project.id").as("project_id"),
          cast<number>(val(p.accountId), "bigint").as("account_id"),
          cast<Role>(val(p.role), "text").as("role"),
          ref("project.sort_key").as("project_sort_key"),
        ])
        .where("project.id", "=", p.projectId),
    )
    .onConflict((conflict) => conflict.columns(["project_id", "account_id"]).doUpdateSet({ role: p.role })),
);
const remove = statement<{ projectId: number; accountId: number }>()("member.delete", (db, p) =>
  db.deleteFrom("member").where("project_id", "=", p.projectId).where("account_id", "=", p.accountId),
);
const putNarrowed = statement<{ projectId: number; accountId: number; role: Role; scopes: string; sortKey: string }>()(
  "member.put_narrowed",
  (db, p) =>
    db
      .insertInto("narrowed_member")
      .values({ project_id: p.projectId, account_id: p.accountId, role: p.role, scopes: p.scopes, project_sort_key: p.sortKey })
      .onConflict((conflict) => conflict.columns(["project_id", "account_id"]).doUpdateSet({ role: p.role, scopes: p.scopes })),
);
const findNarrowed = statement<{ projectId: number; accountId: number }>()("member.find_narrowed", (db, p) =>
  db.selectFrom("narrowed_member").select("role").where("project_id", "=", p.projectId).where("account_id", "=", p.accountId),
);
const removeNarrowed = statement<{ projectId: number; accountId: number }>()("member.delete_narrowed", (db, p) =>
  db.deleteFrom("narrowed_member").where("project_id", "=", p.projectId).where("account_id", "=", p.accountId),
);
const listOfAccount = statement<{ accountId: number; after: number; limit: number }>()(
  "member.list_of_account",
  (db, p) =>
    db
      .selectFrom("member")
      .select(["project_id", "project_sort_key"])
      .where("account_id", "=", p.accountId)
      .where("project_id", ">", p.after)
      .unionAll(
        db
          .selectFrom("narrowed_member")
          .select(["project_id", "project_sort_key"])
          .where("account_id", "=", p.accountId)
          .where("project_id", ">", p.after),
      )
      .orderBy("project_id")
      .limit(p.limit),
  { bounded: "sorts the projects of one account, when that account goes" },
);
const otherOwner = statement<{ projectId: number; accountId: number }>()("member.other_owner", (db, p) =>
  db
    .selectFrom("member")
    .select("account_id")
    .where("project_id", "=", p.projectId)
    .where("role", "=", "owner")
    .where("account_id", "<>", p.accountId)
    .limit(1),
);
const otherOwningGroup = statement<{ projectId: number; accountId: number; groupId: number }>()("member.other_owning_group", (db, p) =>
  db
    .selectFrom("project_group")
    .innerJoin("group_member", "group_member.group_id", "project_group.group_id")
    .select("group_member.account_id")
    .where("project_group.project_id", "=", p.projectId)
    .where("project_group.role", "=", "owner")
    .where("project_group.scopes", "is", null)
    .where("project_group.group_id", "<>", p.groupId)
    .where("group_member.account_id", "<>", p.accountId)
    .limit(1),
);
const ownedProjects = statement<{ accountId: number }>()(
  "member.owned_projects",
  (db, p, tools) =>
    db
      .selectFrom("project")
      .innerJoin("member", "member.project_id", "project.id")
      .select(["project.id", "project.name"])
      .where("member.account_id", "=", p.accountId)
      .where("member.role", "=", "owner")
      .orderBy("project.id")
      .modifyEnd(tools.lock("update")),
  { bounded: "sorts what one account owns, when that account goes" },
);

/** Locks a project, whose members are to change, until the transaction's end: whether it is still there. */
export async function lockProject(tx: Executor, id: number): Promise<boolean> {
  return (await tx.first(lock, { id })) !== undefined;
}

/** An account's role; undefined for an account that is no member, and for an unknown role. */
export async function findRole(executor: Executor, projectId: number, accountId: number): Promise<Role | undefined> {
  return parseRole((await executor.first(find, { projectId, accountId }))?.role ?? null);
}

/** Members after an account's name, in the order of names. */
export async function listMembers(
  executor: Executor,
  { id: projectId, name: projectName }: { readonly id: number; readonly name: string },
  after: string,
  limit: number,
): Promise<Member[]> {
  const rows = await executor.all(list, { projectId, after, limit });
  return rows.map((row) => ({
    accountId: row.account_id,
    accountName: row.name,
    role: row.role as Role,
    scopes: row.scopes === null ? undefined : parseStoredScopes(row.scopes, projectName),
  }));
}

/** Projects of which an account is a member, by their ids. */
export async function listMemberships(
  executor: Executor,
  accountId: number,
  after: number,
  limit: number,
): Promise<{ projectId: number; project: string }[]> {
  const rows = await executor.all(listOfAccount, { accountId, after, limit });
  // A project's key is its name with a slash behind it.
  return rows.map((row) => ({ projectId: row.project_id, project: row.project_sort_key.slice(0, -1) }));
}

/** Makes an account a member of all of a locked project, or changes its role. */
export async function putMember(tx: Executor, projectId: number, accountId: number, role: Role): Promise<void> {
  await tx.run(put, { projectId, accountId, role }, 1);
  await tx.run(removeNarrowed, { projectId, accountId }, NONE_OR_ONE);
}

/** Whether a member's role is narrowed. */
export async function isNarrowedMember(executor: Executor, projectId: number, accountId: number): Promise<boolean> {
  return (await executor.first(findNarrowed, { projectId, accountId })) !== undefined;
}

/** The same of a part of it. */
export async function putNarrowedMember(
  tx: Executor,
  { id: projectId, name }: { readonly id: number; readonly name: string },
  accountId: number,
  { role, scopes }: { readonly role: Role; readonly scopes: readonly RobotScope[] },
): Promise<void> {
  await tx.run(putNarrowed, { projectId, accountId, role, scopes: storeScopes(scopes, name), sortKey: `${name}/` }, 1);
  await tx.run(remove, { projectId, accountId }, NONE_OR_ONE);
}

/** Ends a membership that was just read. */
export async function deleteMember(tx: Executor, projectId: number, accountId: number): Promise<void> {
  await tx.run(remove, { projectId, accountId }, NONE_OR_ONE);
  await tx.run(removeNarrowed, { projectId, accountId }, NONE_OR_ONE);
}

/**
 * Whether a project has an owner besides an account, or besides a group: a user's own role, or a group with the role that has another member. The
 * caller holds a lock on the project.
 */
export async function hasOtherOwner(
  tx: Executor,
  projectId: number,
  { accountId = NOBODY, groupId = NOBODY }: { readonly accountId?: number; readonly groupId?: number },
): Promise<boolean> {
  if ((await tx.first(otherOwner, { projectId, accountId })) !== undefined) return true;
  return (await tx.first(otherOwningGroup, { projectId, accountId, groupId })) !== undefined;
}

/** Projects that an account owns, locked until the transaction's end. */
export async function lockOwnedProjects(tx: Executor, accountId: number): Promise<{ id: number; name: string }[]> {
  return tx.all(ownedProjects, { accountId });
}
