// What an account is in a project: its own membership and those of its groups, in one look-up. Not here: what that lets it do (rights.ts), the cache in
// front of it (accounts.ts).
import type { Executor } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import type { ProjectTraits, ReadTraits } from "./project-traits.ts";
import type { RobotScope } from "./robot-scopes.ts";
import { parseRole, type Role, strongestRole } from "./roles.ts";
import { parseStoredScopes } from "./stored-scopes.ts";

/** A role in a project, and where it comes from. */
export interface Membership {
  readonly role: Role;
  /** The group that has it; undefined for the account's own. */
  readonly group: string | undefined;
  /** What the role is narrowed to; undefined: all of the project. */
  readonly scopes: readonly RobotScope[] | undefined;
}

/** A project as an account sees it. */
export interface ProjectStanding {
  readonly projectId: number;
  readonly name: string;
  readonly isPublic: boolean;
  /** Whether one of `memberships` is narrowed. */
  readonly isNarrowed: boolean;
  /** The strongest of its own and its groups'; undefined for who is no member. */
  readonly role: Role | undefined;
  /** What `role` is the strongest of: its own first. */
  readonly memberships: readonly Membership[];
  /** Undefined where it has nothing beyond its members. */
  readonly traits: ProjectTraits | undefined;
}

const find = statement<{ accountId: number; name: string }>()("access.standing", (db, p) =>
  db
    .selectFrom("project")
    .leftJoin("member", (join) => join.onRef("member.project_id", "=", "project.id").on("member.account_id", "=", p.accountId))
    .select(["project.id", "project.name", "project.is_public", "project.traits", "project.traits_revision", "member.role"])
    .select(({ lit }) => [lit(null).$castTo<string | null>().as("group_name"), lit(null).$castTo<string | null>().as("scopes")])
    .where("project.name", "=", p.name)
    .unionAll(
      db
        .selectFrom("project")
        .innerJoin("project_group", "project_group.project_id", "project.id")
        .innerJoin("group_member", (join) =>
          join.onRef("group_member.group_id", "=", "project_group.group_id").on("group_member.account_id", "=", p.accountId),
        )
        .innerJoin("account_group", "account_group.id", "project_group.group_id")
        .select(["project.id", "project.name", "project.is_public"])
        .select(({ lit }) => [lit(null).$castTo<string | null>().as("traits"), lit(0).$castTo<number>().as("traits_revision")])
        .select(["project_group.role", "account_group.name as group_name", "project_group.scopes"])
        .where("project.name", "=", p.name) as never,
    )
    .unionAll(
      db
        .selectFrom("project")
        .innerJoin("narrowed_member", (join) =>
          join.onRef("narrowed_member.project_id", "=", "project.id").on("narrowed_member.account_id", "=", p.accountId),
        )
        .select(["project.id", "project.name", "project.is_public"])
        .select(({ lit }) => [lit(null).$castTo<string | null>().as("traits"), lit(0).$castTo<number>().as("traits_revision")])
        .select("narrowed_member.role")
        .select(({ lit }) => lit(null).$castTo<string | null>().as("group_name"))
        .select("narrowed_member.scopes")
        .where("project.name", "=", p.name) as never,
    ),
);

/** The project and what an account is in it; undefined where there is no such project. */
export async function findStanding(
  executor: Executor,
  readTraits: ReadTraits,
  accountId: number,
  name: string,
): Promise<ProjectStanding | undefined> {
  const rows = await executor.all(find, { accountId, name });
  // The row of the project itself, which comes in no certain order.
  const own = rows.find(({ group_name: group, scopes }) => group === null && scopes === null);
  if (own === undefined) return undefined;
  const memberships: Membership[] = [];
  for (const { role: stored, group_name: group, scopes } of rows.toSorted((a, b) =>
    (a.group_name ?? "").localeCompare(b.group_name ?? ""),
  )) {
    const role = parseRole(stored);
    const isNew = memberships.at(-1)?.group !== (group ?? undefined) || group === null;
    if (role === undefined || !isNew) continue;
    memberships.push({ role, group: group ?? undefined, scopes: scopes === null ? undefined : parseStoredScopes(scopes, own.name) });
  }
  return {
    projectId: own.id,
    name: own.name,
    isPublic: own.is_public === 1,
    isNarrowed: memberships.some(({ scopes }) => scopes !== undefined),
    role: strongestRole(memberships),
    memberships,
    traits: readTraits(own),
  };
}
