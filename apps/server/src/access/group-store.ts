// Groups of users: their rows, their members, and the projects in which they have a role. Not here: what a standing is made of (standing-store.ts), the
// rules (features/groups), what a provider says of its users (group-memberships.ts).
import type { Executor } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import type { RobotScope } from "./robot-scopes.ts";
import { parseRole, parseSystemRole, type Role, ROLES, type SystemRole } from "./roles.ts";
import { parseStoredScopes, storeScopes } from "./stored-scopes.ts";

/** Where a group comes from. */
export type GroupSource =
  | { readonly kind: "local" }
  /** `key`: what the provider calls it. */
  | { readonly kind: "oidc" | "ldap"; readonly provider: string; readonly key: string };

/** A group. */
export interface Group {
  readonly id: number;
  readonly name: string;
  readonly description: string;
  readonly source: GroupSource;
  /** What its members are in the whole registry. */
  readonly systemRole: SystemRole | undefined;
  readonly createdAt: Date;
}

/** The source of memberships that administrators make. */
export const LOCAL = "local";

const COLUMNS = ["id", "name", "description", "source", "provider", "external_key", "system_role", "created_at"] as const;

const findByName = statement<{ name: string }>()("group.by_name", (db, p) =>
  db.selectFrom("account_group").select(COLUMNS).where("name", "=", p.name),
);
const lockByName = statement<{ name: string }>()("group.lock", (db, p, tools) =>
  db.selectFrom("account_group").select(COLUMNS).where("name", "=", p.name).modifyEnd(tools.lock("update")),
);
const list = statement<{ after: string; limit: number }>()("group.list", (db, p) =>
  db.selectFrom("account_group").select(COLUMNS).where("name", ">", p.after).orderBy("name").limit(p.limit),
);
const insert = statement<{
  name: string;
  description: string;
  source: string;
  provider: string;
  key: string | null;
  systemRole: string | null;
  now: number;
}>()("group.insert", (db, p) =>
  db
    .insertInto("account_group")
    .values({
      name: p.name,
      description: p.description,
      source: p.source,
      provider: p.provider,
      external_key: p.key,
      system_role: p.systemRole,
      created_at: p.now,
    })
    // Of the name, or of what a provider calls it.
    .onConflict((conflict) => conflict.doNothing())
    .returning("id"),
);
const update = statement<{ id: number; description: string; systemRole: string | null }>()("group.update", (db, p) =>
  db.updateTable("account_group").set({ description: p.description, system_role: p.systemRole }).where("id", "=", p.id),
);
const remove = statement<{ id: number }>()("group.delete", (db, p) => db.deleteFrom("account_group").where("id", "=", p.id));
const listMembers = statement<{ groupId: number; after: string; limit: number }>()(
  "group.list_members",
  (db, p) =>
    db
      .selectFrom("group_member")
      .innerJoin("account", "account.id", "group_member.account_id")
      .select(["account.name", "group_member.source"])
      .where("group_member.group_id", "=", p.groupId)
      .where("account.name", ">", p.after)
      .orderBy("account.name")
      .orderBy("group_member.source")
      .limit(p.limit),
  { bounded: "sorts the members of one group" },
);
const addMember = statement<{ groupId: number; accountId: number; source: string }>()("group.add_member", (db, p) =>
  db
    .insertInto("group_member")
    .values({ group_id: p.groupId, account_id: p.accountId, source: p.source })
    .onConflict((conflict) => conflict.doNothing())
    .returning("group_id"),
);
const removeMember = statement<{ groupId: number; accountId: number; source: string }>()("group.remove_member", (db, p) =>
  db
    .deleteFrom("group_member")
    .where("group_id", "=", p.groupId)
    .where("account_id", "=", p.accountId)
    .where("source", "=", p.source)
    .returning("group_id"),
);
const soleOwned = statement<{ groupId: number; limit: number }>()(
  "group.sole_owned",
  (db, p) =>
    db
      .selectFrom("project_group")
      .innerJoin("project", "project.id", "project_group.project_id")
      .select("project.name")
      .where("project_group.group_id", "=", p.groupId)
      .where("project_group.role", "=", "owner")
      .where(({ not, exists, selectFrom }) =>
        not(
          exists(
            selectFrom("member")
              .select("member.account_id")
              .whereRef("member.project_id", "=", "project.id")
              .where("member.role", "=", "owner"),
          ),
        ),
      )
      .where(({ not, exists, selectFrom }) =>
        not(
          exists(
            selectFrom("project_group as other")
              .innerJoin("group_member", "group_member.group_id", "other.group_id")
              .select("group_member.account_id")
              .whereRef("other.project_id", "=", "project.id")
              .where("other.role", "=", "owner")
              .where("other.group_id", "<>", p.groupId),
          ),
        ),
      )
      .limit(p.limit),
  { bounded: "walks over the projects that one group owns, when that group goes" },
);
const findInProject = statement<{ projectId: number; groupId: number }>()("group.find_in_project", (db, p) =>
  db.selectFrom("project_group").select("role").where("project_id", "=", p.projectId).where("group_id", "=", p.groupId),
);
const listOfProject = statement<{ projectId: number; after: string; limit: number }>()(
  "group.list_of_project",
  (db, p) =>
    db
      .selectFrom("project_group")
      .innerJoin("account_group", "account_group.id", "project_group.group_id")
      .select(["account_group.name", "project_group.role", "project_group.scopes"])
      .where("project_group.project_id", "=", p.projectId)
      .where("account_group.name", ">", p.after)
      .where("project_group.role", "in", ROLES)
      .orderBy("account_group.name")
      .limit(p.limit),
  { bounded: "sorts the groups of one project" },
);
const putInProject = statement<{ projectId: number; groupId: number; role: Role; scopes: string | null; sortKey: string }>()(
  "group.put_in_project",
  (db, p) =>
    db
      .insertInto("project_group")
      .values({ project_id: p.projectId, group_id: p.groupId, role: p.role, scopes: p.scopes, project_sort_key: p.sortKey })
      .onConflict((conflict) => conflict.columns(["project_id", "group_id"]).doUpdateSet({ role: p.role, scopes: p.scopes })),
);
const removeFromProject = statement<{ projectId: number; groupId: number }>()("group.remove_from_project", (db, p) =>
  db.deleteFrom("project_group").where("project_id", "=", p.projectId).where("group_id", "=", p.groupId),
);

interface GroupRow {
  readonly id: number;
  readonly name: string;
  readonly description: string;
  readonly source: string;
  readonly provider: string;
  readonly external_key: string | null;
  readonly system_role: string | null;
  readonly created_at: number;
}

function toGroup(row: GroupRow): Group {
  const { source: kind, provider, external_key: key } = row;
  return {
    id: row.id,
    name: row.name,
    description: row.description,
    source: (kind === "oidc" || kind === "ldap") && key !== null ? { kind, provider, key } : { kind: "local" },
    systemRole: parseSystemRole(row.system_role),
    createdAt: new Date(row.created_at),
  };
}

/** The group of a name, or undefined. */
export async function findGroup(executor: Executor, name: string): Promise<Group | undefined> {
  const row = await executor.first(findByName, { name });
  return row === undefined ? undefined : toGroup(row);
}

/** The same, locked until the transaction's end. */
export async function lockGroup(tx: Executor, name: string): Promise<Group | undefined> {
  const row = await tx.first(lockByName, { name });
  return row === undefined ? undefined : toGroup(row);
}

/** Groups after a name, in the order of names. */
export async function listGroups(executor: Executor, after: string, limit: number): Promise<Group[]> {
  return (await executor.all(list, { after, limit })).map(toGroup);
}

/** Adds a group; gives its id, or undefined where there is one of that name, or one that the provider calls so. */
export async function insertGroup(tx: Executor, group: Omit<Group, "id" | "createdAt">, now: number): Promise<number | undefined> {
  const { name, description, source, systemRole } = group;
  const row = await tx.first(insert, {
    name,
    description,
    source: source.kind,
    provider: source.kind === "local" ? "" : source.provider,
    key: source.kind === "local" ? null : source.key,
    systemRole: systemRole ?? null,
    now,
  });
  return row?.id;
}

/** Stores the changeable fields of a group that is locked. */
export async function updateGroup(tx: Executor, { id, description, systemRole }: Group): Promise<void> {
  await tx.run(update, { id, description, systemRole: systemRole ?? null }, 1);
}

/** Deletes a group that is locked, with its memberships of users and projects. */
export async function deleteGroup(tx: Executor, id: number): Promise<void> {
  await tx.run(remove, { id }, 1);
}

/** Members after an account's name: a row for each source that says so. */
export async function listGroupMembers(
  executor: Executor,
  groupId: number,
  after: string,
  limit: number,
): Promise<{ name: string; source: string }[]> {
  return executor.all(listMembers, { groupId, after, limit });
}

/** Makes an account a member of a group: whether it was none by that source. */
export async function addGroupMember(tx: Executor, groupId: number, accountId: number, source: string): Promise<boolean> {
  return (await tx.first(addMember, { groupId, accountId, source })) !== undefined;
}

/** Ends a membership by one source: whether there was one. */
export async function removeGroupMember(tx: Executor, groupId: number, accountId: number, source: string): Promise<boolean> {
  return (await tx.first(removeMember, { groupId, accountId, source })) !== undefined;
}

/** Some projects that nobody but this group owns. */
export async function listSoleOwned(tx: Executor, groupId: number, limit: number): Promise<string[]> {
  return (await tx.all(soleOwned, { groupId, limit })).map(({ name }) => name);
}

/** A group's role in a project; undefined where it has none that this program knows. */
export async function findGroupRole(executor: Executor, projectId: number, groupId: number): Promise<Role | undefined> {
  return parseRole((await executor.first(findInProject, { projectId, groupId }))?.role ?? null);
}

/** Groups of a project after a name, in the order of names. */
export async function listProjectGroups(
  executor: Executor,
  { id: projectId, name: projectName }: { readonly id: number; readonly name: string },
  after: string,
  limit: number,
): Promise<{ name: string; role: Role; scopes: readonly RobotScope[] | undefined }[]> {
  const rows = await executor.all(listOfProject, { projectId, after, limit });
  return rows.map(({ name, role, scopes }) => ({
    name,
    role: role as Role,
    scopes: scopes === null ? undefined : parseStoredScopes(scopes, projectName),
  }));
}

/** Gives a group a role in a project that is locked; `scopes`: undefined for all of it. */
export async function putProjectGroup(
  tx: Executor,
  { id: projectId, name }: { readonly id: number; readonly name: string },
  groupId: number,
  { role, scopes }: { readonly role: Role; readonly scopes?: readonly RobotScope[] | undefined },
): Promise<void> {
  const stored = scopes === undefined ? null : storeScopes(scopes, name);
  await tx.run(putInProject, { projectId, groupId, role, scopes: stored, sortKey: `${name}/` }, 1);
}

/** Takes a group's role in a project away, which was just seen. */
export async function deleteProjectGroup(tx: Executor, projectId: number, groupId: number): Promise<void> {
  await tx.run(removeFromProject, { projectId, groupId }, 1);
}
