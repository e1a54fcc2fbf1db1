// Usage: how much repositories, projects and the registry hold. Triggers maintain the numbers (migrations/0004-usage.ts); here they are
// read, and pending changes are folded into them. A number is always folded plus pending, of one moment. Not here: comparing them with a
// recount (commands/doctor), when folding runs (compose/jobs.ts).
import { sql, type RawBuilder } from "kysely";
import type { Database, Executor } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";

/** The changes that one transaction folds: some 10 ms, during which their rows are locked against other folding, and nothing else. */
export const USAGE_FOLD_BATCH = 1000;

/** The content of a repository, or of the repositories of a project together. */
export interface Usage {
  readonly manifests: number;
  readonly tags: number;
  /** Counted for each repository: a blob that two share counts twice. */
  readonly blobs: number;
  /** Of these blobs and manifests. */
  readonly bytes: number;
}

/** The content of a project. */
export interface ProjectUsage extends Usage {
  readonly repositories: number;
}

/** The content of the registry: each blob counts once. */
export interface RegistryUsage {
  readonly blobs: number;
  readonly bytes: number;
}

/** Columns of `usage` that are sums. */
export type UsageColumn = "repositories" | "manifests" | "tags" | "blobs" | "bytes";

/**
 * One number of a key, as an expression of a query. `keyOf` returns the condition for the rows of a table: for a project, its own row in
 * `usage` and all its pending changes.
 */
export function usageOf(column: UsageColumn | "updated_at", keyOf: (table: "usage" | "usage_change") => RawBuilder<unknown>) {
  const rows = (table: "usage" | "usage_change") => sql`select ${sql.ref(column)} as number from ${sql.table(table)} where ${keyOf(table)}`;
  const whole = sql.raw(column === "updated_at" ? "max" : "sum");
  return sql<number>`(select cast(coalesce(${whole}(number), 0) as bigint) from (${rows("usage")} union all ${rows("usage_change")}) as x)`;
}

/** The key of the repository in the query's own row. */
export function usageKeyOfRepository(table: "usage" | "usage_change"): RawBuilder<unknown> {
  const of = sql.raw(`${table}.`);
  return sql`${of}project_id = repository.project_id and ${of}repository_id = repository.id`;
}

/** The key of the project in the query's own row. */
export function usageKeyOfProject(table: "usage" | "usage_change"): RawBuilder<unknown> {
  return table === "usage" ? sql`usage.project_id = project.id and usage.repository_id = 0` : sql`usage_change.project_id = project.id`;
}

const ofProjects = statement<{ ids: number[] }>()("usage.ofProjects", (db, p, tools) =>
  db
    .selectFrom("project")
    .select([
      "id",
      usageOf("repositories", usageKeyOfProject).as("repositories"),
      usageOf("manifests", usageKeyOfProject).as("manifests"),
      usageOf("tags", usageKeyOfProject).as("tags"),
      usageOf("blobs", usageKeyOfProject).as("blobs"),
      usageOf("bytes", usageKeyOfProject).as("bytes"),
    ])
    .where(({ ref }) => tools.inList(ref("id"), p.ids, "bigint")),
);

const ofRegistryKey = () => sql`project_id = 0 and repository_id = 0`;
const ofRegistry = statement<Record<never, never>>()("usage.ofRegistry", (db) =>
  db.selectNoFrom([usageOf("blobs", ofRegistryKey).as("blobs"), usageOf("bytes", ofRegistryKey).as("bytes")]),
);

/** The usage of projects, by their ids; all of one moment. */
export async function findProjectUsages(executor: Executor, ids: number[]): Promise<ReadonlyMap<number, ProjectUsage>> {
  const rows = await executor.all(ofProjects, { ids });
  return new Map(rows.map(({ id, ...numbers }) => [id, numbers]));
}

/** The usage of the registry. */
export async function findRegistryUsage(executor: Executor): Promise<RegistryUsage> {
  const { blobs, bytes } = (await executor.first(ofRegistry, {}))!;
  return { blobs, bytes };
}

const COLUMNS = sql.raw("project_id, repository_id, repositories, manifests, tags, blobs, bytes, updated_at");
const SUMS = sql.raw("sum(repositories), sum(manifests), sum(tags), sum(blobs), sum(bytes), max(updated_at)");

// PostgreSQL only. All folding uses this order, so that it cannot deadlock.
const foldSome = statement<{ limit: number }>()<{ project_id: number; repository_id: number; taken: number }>(
  "usage.fold",
  (db, p) => ({
    compile: () =>
      sql<never>`with taken as (
        delete from usage_change where ctid = any (array(
          select ctid from usage_change order by project_id, repository_id, id limit ${p.limit} for update skip locked))
        returning ${COLUMNS})
      insert into usage as u (${COLUMNS})
      select project_id, repository_id, ${SUMS} from taken where repository_id > 0 or project_id = 0 group by project_id, repository_id
      union all select project_id, 0, ${SUMS} from taken where project_id > 0 group by project_id
      order by 1, 2
      on conflict (project_id, repository_id) do update set
        repositories = u.repositories + excluded.repositories, manifests = u.manifests + excluded.manifests,
        tags = u.tags + excluded.tags, blobs = u.blobs + excluded.blobs, bytes = u.bytes + excluded.bytes,
        updated_at = greatest(u.updated_at, excluded.updated_at)
      returning project_id, repository_id, (select count(*) from taken) as taken`.compile(db),
  }),
  { bounded: "sorts one batch" },
);

const dropEmpty = statement<{ projectIds: number[]; repositoryIds: number[] }>()("usage.dropEmpty", (db, p, tools) =>
  db
    .deleteFrom("usage")
    .where(({ eb, refTuple, selectFrom }) =>
      eb(
        refTuple("project_id", "repository_id"),
        "in",
        selectFrom(tools.numberPairs(p.projectIds, p.repositoryIds).as("touched")).select(["touched.a", "touched.b"]).$asTuple("a", "b"),
      ),
    )
    .where("repositories", "=", 0)
    .where("manifests", "=", 0)
    .where("tags", "=", 0)
    .where("blobs", "=", 0)
    .where("bytes", "=", 0),
);

/**
 * Adds pending changes to the numbers, at most `limit` of them, each exactly once; returns how many. Safe on many replicas at once. On
 * SQLite nothing is ever pending: changes are folded as they are made.
 */
export async function foldUsage(database: Database, limit: number): Promise<number> {
  if (database.dialect === "sqlite") return 0;
  // Not durable by itself: folding that a power cut loses is undone as a whole.
  const fold = async (tx: Executor): Promise<number> => {
    const touched = await tx.all(foldSome, { limit });
    if (touched.length === 0) return 0;
    await tx.run(
      dropEmpty,
      { projectIds: touched.map((row) => row.project_id), repositoryIds: touched.map((row) => row.repository_id) },
      { any: "most are not empty" },
    );
    return touched[0]!.taken;
  };
  return database.transaction(fold, { durable: false });
}
