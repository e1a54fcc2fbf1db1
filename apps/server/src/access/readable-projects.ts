// Lists of readable projects, by keyset: each page reads as many index entries as it returns, however many projects there are. Not here:
// the rights (authorize.ts).
import type { RepositoryName } from "@berth/oci/reference";
import type { Executor } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import { EVERY_NAME, type NameRange } from "./robot-scopes.ts";
import { ROLES } from "./roles.ts";

/** The part of a project that may be pulled. */
export interface Reach {
  /** The ranges of its repositories among all names. */
  readonly ranges: readonly NameRange[];
  /** Whether one of those may be pulled: a robot's scopes may leave gaps. */
  mayPull(repository: RepositoryName): boolean;
}

/** All of it. */
export const WHOLE: Reach = { ranges: EVERY_NAME, mayPull: () => true };

/** A project with something to pull. */
export interface ReadableProject {
  readonly id: number;
  readonly name: string;
  /** The next page continues here. */
  readonly sortKey: string;
  readonly isPublic: boolean;
  readonly reach: Reach;
}

/** The reader: all projects, the public ones, those and a member's own, or those and some by name. */
export type Reader = "all" | "public" | { readonly memberId: number } | { readonly names: readonly string[] };

const columns = ["project.id", "project.name", "project.sort_key", "project.is_public"] as const;

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

interface Row {
  readonly id: number;
  readonly name: string;
  readonly sort_key: string;
  readonly is_public: number;
}

/** A page of projects after a sort key, in its order. `reach` is that into projects that are not public. */
export async function listReadable(
  executor: Executor,
  reader: Reader,
  after: string,
  limit: number,
  reach: Reach,
): Promise<ReadableProject[]> {
  const rows = await listRows(executor, reader, after, limit);
  return rows.map((row) => ({
    id: row.id,
    name: row.name,
    sortKey: row.sort_key,
    isPublic: row.is_public === 1,
    reach: row.is_public === 1 ? WHOLE : reach,
  }));
}

async function listRows(executor: Executor, reader: Reader, after: string, limit: number): Promise<Row[]> {
  if (reader === "all") return executor.all(listAll, { after, limit });
  if (reader === "public") return executor.all(listPublic, { after, limit });
  // Ordered lists, each as long as the page at most, merged: one query with "or" would walk over all that may not be read.
  const pages = await Promise.all([
    executor.all(listPublic, { after, limit }),
    ...("memberId" in reader
      ? [
          executor.all(listOfMember, { accountId: reader.memberId, after, limit }),
          executor.all(listOfGroups, { accountId: reader.memberId, after, limit }),
        ]
      : [executor.all(listNamed, { names: [...reader.names], after, limit })]),
  ]);
  const merged = new Map<string, Row>();
  for (const row of pages.flat()) merged.set(row.sort_key, row);
  // Keys are ASCII, so that JavaScript's order is the database's.
  return [...merged.values()].toSorted((a, b) => (a.sort_key < b.sort_key ? -1 : 1)).slice(0, limit);
}
