// The project table as its feature changes it. Not here: rules (projects.ts), the look-ups of authorization (access/).
import type { Executor } from "../../platform/database/database.ts";
import { statement } from "../../platform/database/statement.ts";
import { parseRole, type Role } from "../../access/roles.ts";

/** A project with a reader's role in it. */
export interface ProjectRow {
  readonly id: number;
  readonly name: string;
  readonly isPublic: boolean;
  readonly createdAt: Date;
  readonly role: Role | undefined;
}

const insert = statement<{ name: string; sortKey: string; isPublic: number; now: number }>()("project.insert", (db, p) =>
  db
    .insertInto("project")
    .values({ name: p.name, sort_key: p.sortKey, is_public: p.isPublic, created_at: p.now })
    .onConflict((conflict) => conflict.column("name").doNothing())
    .returning("id"),
);
const listByIds = statement<{ ids: number[]; accountId: number }>()(
  "project.by_ids",
  (db, p, tools) =>
    db
      .selectFrom("project")
      .leftJoin("member", (join) => join.onRef("member.project_id", "=", "project.id").on("member.account_id", "=", p.accountId))
      .select(["project.id", "project.name", "project.is_public", "project.created_at", "member.role"])
      .where(({ ref }) => tools.inList(ref("project.id"), p.ids, "bigint"))
      .orderBy("project.sort_key"),
  { bounded: "sorts one page" },
);
const owned = statement<{ accountId: number; limit: number }>()("project.owned", (db, p) =>
  db.selectFrom("member").select("project_id").where("account_id", "=", p.accountId).where("role", "=", "owner").limit(p.limit),
);
const setPublic = statement<{ id: number; isPublic: number }>()("project.set_public", (db, p) =>
  db.updateTable("project").set({ is_public: p.isPublic }).where("id", "=", p.id),
);
const someRepositories = statement<{ id: number; limit: number }>()("project.some_repositories", (db, p) =>
  db.selectFrom("repository").select("name").where("project_id", "=", p.id).orderBy("name").limit(p.limit),
);
const remove = statement<{ id: number }>()("project.delete", (db, p) => db.deleteFrom("project").where("id", "=", p.id));

/** Adds a project; returns its id, or undefined if the name is taken. */
export async function insertProject(tx: Executor, name: string, isPublic: boolean, now: number): Promise<number | undefined> {
  return (await tx.first(insert, { name, sortKey: `${name}/`, isPublic: isPublic ? 1 : 0, now }))?.id;
}

/** Whether an account, which is locked, is the owner of so many projects. */
export async function ownsAsMany(tx: Executor, accountId: number, many: number): Promise<boolean> {
  return (await tx.all(owned, { accountId, limit: many })).length >= many;
}

/** Projects of these ids with the account's role, in the order of sort keys. */
export async function listProjectRows(executor: Executor, ids: number[], accountId: number | undefined): Promise<ProjectRow[]> {
  // No account has the id 0.
  const rows = await executor.all(listByIds, { ids, accountId: accountId ?? 0 });
  return rows.map((row) => ({
    id: row.id,
    name: row.name,
    isPublic: row.is_public === 1,
    createdAt: new Date(row.created_at),
    role: parseRole(row.role),
  }));
}

/** Makes a project public or private; returns whether it still exists. */
export async function setProjectPublic(tx: Executor, id: number, isPublic: boolean): Promise<boolean> {
  return (await tx.change(setPublic, { id, isPublic: isPublic ? 1 : 0 })) > 0;
}

/** The first repositories of a project, by name. */
export async function listSomeRepositories(tx: Executor, id: number, limit: number): Promise<string[]> {
  return (await tx.all(someRepositories, { id, limit })).map((row) => row.name);
}

/** Deletes a locked project to which nothing refers any more. */
export async function deleteProjectRow(tx: Executor, id: number): Promise<void> {
  await tx.run(remove, { id }, 1);
}
