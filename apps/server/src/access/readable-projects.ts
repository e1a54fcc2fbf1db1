// Lists of readable projects, by keyset: each page reads as many index entries as it returns, however many projects there are. Not here:
// the rights (authorize.ts).
import type { RepositoryName } from "@berth/oci/reference";
import type { Executor } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import type { StoredTraits } from "./project-traits.ts";
import { EVERY_NAME, type NameRange, pullableRanges, rightsOfScopes } from "./robot-scopes.ts";
import { ROLES } from "./roles.ts";
import { parseStoredScopes } from "./stored-scopes.ts";

/** The part of a project that may be pulled. */
export interface Reach {
  /** The ranges of its repositories among all names. */
  readonly ranges: readonly NameRange[];
  /** Whether one of those may be pulled: a robot's scopes may leave gaps. */
  mayPull(repository: RepositoryName): boolean;
}

/** All of it. */
export const WHOLE: Reach = { ranges: EVERY_NAME, mayPull: () => true };

/** Nothing of it. */
export const NOTHING: Reach = { ranges: [], mayPull: () => false };

/** A project with something to pull. */
export interface ReadableProject {
  readonly id: number;
  readonly name: string;
  /** The next page continues here. */
  readonly sortKey: string;
  readonly isPublic: boolean;
  readonly reach: Reach;
  /** What it has beyond its members. */
  readonly stored: StoredTraits;
  /** It may not be used from where the reader is. */
  readonly isAway?: boolean;
}

/** The reader: all projects, the public ones, those and a member's own, or those and some by name. */
export type Reader = "all" | "public" | { readonly memberId: number } | { readonly names: readonly string[] };

const columns = [
  "project.id",
  "project.name",
  "project.sort_key",
  "project.is_public",
  "project.traits",
  "project.traits_revision",
] as const;

const listAll = statement<{ after: string; limit: number }>()("access.projects_all", (db, p) =>
  // The project of deleted repositories sorts after all names.
  db.selectFrom("project").select(columns).where("sort_key", ">", p.after).where("sort_key", "<", "~").orderBy("sort_key").limit(p.limit),
);
const listPublic = statement<{ after: string; limit: number }>()("access.projects_public", (db, p) =>
  // A literal, not a parameter: only then can the index of public projects be used.
  db
    .selectFrom("project")
    .select(columns)
    .where(({ eb }) => eb("is_public", "=", eb.lit(1)))
    .where("sort_key", ">", p.after)
    .orderBy("sort_key")
    .limit(p.limit),
);
const listOfMember = statement<{ accountId: number; after: string; limit: number }>()("access.projects_of_member", (db, p) =>
  db
    .selectFrom("member")
    .innerJoin("project", "project.id", "member.project_id")
    .select(columns)
    .where("member.account_id", "=", p.accountId)
    .where("member.role", "in", ROLES)
    .where("member.project_sort_key", ">", p.after)
    .orderBy("member.project_sort_key")
    .limit(p.limit),
);
const listOfGroups = statement<{ accountId: number; after: string; limit: number }>()(
  "access.projects_of_groups",
  (db, p) =>
    db
      .selectFrom("group_member")
      .innerJoin("project_group", "project_group.group_id", "group_member.group_id")
      .innerJoin("project", "project.id", "project_group.project_id")
      .select(columns)
      .distinct()
      .where("group_member.account_id", "=", p.accountId)
      .where("project_group.role", "in", ROLES)
      .where("project_group.scopes", "is", null)
      .where("project_group.project_sort_key", ">", p.after)
      .orderBy("project.sort_key")
      .limit(p.limit),
  { bounded: "sorts the projects of one account's groups" },
);
const listNarrowed = statement<{ accountId: number; after: string; limit: number }>()(
  "access.projects_narrowed",
  (db, p) =>
    db
      .selectFrom("narrowed_member")
      .innerJoin("project", "project.id", "narrowed_member.project_id")
      .select(columns)
      .where("narrowed_member.account_id", "=", p.accountId)
      .where("narrowed_member.role", "in", ROLES)
      .where("narrowed_member.project_sort_key", ">", p.after)
      .union(
        db
          .selectFrom("group_member")
          .innerJoin("project_group", "project_group.group_id", "group_member.group_id")
          .innerJoin("project", "project.id", "project_group.project_id")
          .select(columns)
          .where("group_member.account_id", "=", p.accountId)
          .where("project_group.role", "in", ROLES)
          .where("project_group.scopes", "is not", null)
          .where("project_group.project_sort_key", ">", p.after),
      )
      .orderBy("sort_key")
      .limit(p.limit),
  { bounded: "sorts the projects in which one account is narrowed" },
);
const scopesIn = statement<{ accountId: number; projectIds: number[] }>()(
  "access.scopes_in",
  (db, p, tools) =>
    db
      .selectFrom("narrowed_member")
      .select(["project_id", "scopes"])
      .where("account_id", "=", p.accountId)
      .where("role", "in", ROLES)
      .where(({ ref }) => tools.inList(ref("project_id"), p.projectIds, "bigint"))
      .unionAll(
        db
          .selectFrom("group_member")
          .innerJoin("project_group", "project_group.group_id", "group_member.group_id")
          .select(["project_group.project_id", "project_group.scopes"])
          .where("group_member.account_id", "=", p.accountId)
          .where("project_group.role", "in", ROLES)
          .where("project_group.scopes", "is not", null)
          .where(({ ref }) => tools.inList(ref("project_group.project_id"), p.projectIds, "bigint")) as never,
      ),
  { bounded: "the scopes of one account in a page of projects" },
);
const listNamed = statement<{ names: string[]; after: string; limit: number }>()(
  "access.projects_named",
  (db, p, tools) =>
    db
      .selectFrom("project")
      .select(columns)
      .where(({ ref }) => tools.inList(ref("name"), p.names, "text"))
      .where("sort_key", ">", p.after)
      .orderBy("sort_key")
      .limit(p.limit),
  { bounded: "a robot's scopes name a hundred projects at most" },
);

interface Row extends StoredTraits {
  readonly id: number;
  readonly name: string;
  readonly sort_key: string;
  readonly is_public: number;
}

/** A page of projects after a sort key, in its order. `reach` is that into projects that are not public, of a reader by names. */
export async function listReadable(
  executor: Executor,
  reader: Reader,
  after: string,
  limit: number,
  reach: Reach,
): Promise<ReadableProject[]> {
  const page = (row: Row, into: Reach): ReadableProject => ({
    id: row.id,
    name: row.name,
    sortKey: row.sort_key,
    isPublic: row.is_public === 1,
    reach: row.is_public === 1 ? WHOLE : into,
    stored: row,
  });
  if (reader === "all") return (await executor.all(listAll, { after, limit })).map((row) => page(row, WHOLE));
  if (reader === "public") return (await executor.all(listPublic, { after, limit })).map((row) => page(row, WHOLE));
  if ("memberId" in reader) return listOfReader(executor, { accountId: reader.memberId, after, limit }, page);
  const [open, own] = await Promise.all([
    executor.all(listPublic, { after, limit }),
    executor.all(listNamed, { names: [...reader.names], after, limit }),
  ]);
  return merge([...open, ...own], limit).map((row) => page(row, reach));
}

async function listOfReader(
  executor: Executor,
  asked: { readonly accountId: number; readonly after: string; readonly limit: number },
  page: (row: Row, into: Reach) => ReadableProject,
): Promise<ReadableProject[]> {
  const { accountId, after, limit } = asked;
  const [open, own, ofGroups, narrowed] = await Promise.all([
    executor.all(listPublic, { after, limit }),
    executor.all(listOfMember, asked),
    executor.all(listOfGroups, asked),
    executor.all(listNarrowed, asked),
  ]);
  const whole = [...open, ...own, ...ofGroups];
  const rows = merge([...narrowed, ...whole], limit);
  const isWhole = new Set(whole.map(({ id }) => id));
  const parts = rows.filter(({ id }) => !isWhole.has(id));
  const reaches = parts.length === 0 ? undefined : await reachInto(executor, accountId, parts);
  return rows.map((row) => page(row, reaches?.get(row.id) ?? (isWhole.has(row.id) ? WHOLE : NOTHING)));
}

/** How far an account that is narrowed in projects reaches into each. Every role may pull. */
async function reachInto(executor: Executor, accountId: number, projects: readonly Row[]): Promise<ReadonlyMap<number, Reach>> {
  const found = await executor.all(scopesIn, { accountId, projectIds: projects.map(({ id }) => id) });
  return new Map(
    projects.map(({ id, name }) => {
      const scopes = found.filter((row) => row.project_id === id).flatMap((row) => parseStoredScopes(row.scopes, name));
      const mayPull = (repository: RepositoryName): boolean => rightsOfScopes(scopes, name, repository).actions.has("pull");
      return [id, { ranges: pullableRanges(scopes), mayPull }] as const;
    }),
  );
}

// Ordered lists, each as long as the page at most, merged: one query with "or" would walk over all that may not be read.
function merge(rows: readonly Row[], limit: number): Row[] {
  const merged = new Map<string, Row>();
  for (const row of rows) merged.set(row.sort_key, row);
  // Keys are ASCII, so that JavaScript's order is the database's.
  return [...merged.values()].toSorted((a, b) => (a.sort_key < b.sort_key ? -1 : 1)).slice(0, limit);
}
