// No statement scans a table or sorts its result: every plan of every store is read, on both engines. Exceptions say so beside the
// statement (`Effort`). Not here: how many rows an index returns (the statements' own limits), times (npm run bench -- --scale).
import assert from "node:assert/strict";
import { globSync } from "node:fs";
import { registerHooks } from "node:module";
import { join } from "node:path";
import { after, before, it } from "node:test";
import { pathToFileURL } from "node:url";
import type { Database, Executor } from "./platform/database/database.ts";
import { forEachDatabase, type TestDatabase } from "./platform/database/databases.testing.ts";
import { recorded } from "./platform/database/recorded-statements.testing.ts";
import type { CompiledStatement, Statement } from "./platform/database/statement.ts";

/**
 * Statements whose plan may look bounded without being so: an index of which only the first columns are used returns everything of a
 * repository or a subject. This is what SQLite must use; PostgreSQL decides by its statistics.
 */
const mustUse: Readonly<Record<string, RegExp>> = {
  "manifests.listLinked": /repository_blob .*\((?:repository_id=\? AND blob_id=\?|blob_id=\? AND repository_id=\?)\)/,
  "manifests.lockLinks": /repository_blob .*\((?:repository_id=\? AND blob_id=\?|blob_id=\? AND repository_id=\?)\)/,
  "manifests.holdLinks": /repository_blob .*\(repository_id=\? AND blob_id=\?\)/,
  "manifests.leaseUnheld": /repository_blob .*\(repository_id=\? AND blob_id=\?\)/,
  "garbage.hold": /repository_blob .*\(repository_id=\? AND blob_id=\?\)/,
  "blobs.countDamaged": /blob .*blob_damaged \(damaged_at>\?/,
  "backlog.links": /link .*\(\(leased_until,repository_id,blob_id\)>/,
  // A batch's keys become due together: no more than that many share a time.
  "backlog.keys": /reclaim_by_due \(due_at>\?/,
  "collection.leased": /link .*\(\(leased_until,repository_id,blob_id\)>/,
  "collection.keys": /reclaim_by_due \(due_at>\?/,
  "collection.uploads": /upload .*\(\(expires_at,id\)>/,
  "garbage.dropLinks": /repository_blob .*\(repository_id=\? AND blob_id=\?\)/,
  "holders.byEdge": /manifest_blob .*\(repository_id=\? AND blob_id=\? AND manifest_id<\?\)/,
  "holders.byName": /manifest_sparse_blob .*\(repository_id=\? AND digest=\? AND manifest_id<\?\)/,
  "referrers.listSubjects": /manifest .*\(repository_id=\? AND digest=\?\)/,
  "referrers.listOfType": /manifest .*\(repository_id=\? AND subject_digest=\? AND artifact_type=\? AND <expr>>\?\)/,
  "referrers.list": /manifest .*\(repository_id=\? AND subject_digest=\? AND <expr>>\?\)/,
  "repositories.holdingIn": /repository_blob .*\((?:repository_id=\? AND blob_id=\?|blob_id=\? AND repository_id=\?)\)/,
  "repositories.holdingAmong": /repository_blob .*\((?:repository_id=\? AND blob_id=\?|blob_id=\? AND repository_id=\?)\)/,
  "repositories.list": /repository .*\(project_id=\? AND name>\?/,
  "tags.list": /tag .*\(repository_id=\? AND name>\?\)/,
};

/** Concurrent look-ups share a query on PostgreSQL only (batch.ts); usage is folded only there, and only there a clock is read. */
const postgresOnly = /\.findMany|^(?:usage\.fold|clock\.read)$/;

const STATEMENTS = /\/platform\/database\/statement\.ts$/;
const recorder = new URL("./platform/database/recorded-statements.testing.ts", import.meta.url).href;

before(async () => {
  const hooks = registerHooks({
    resolve(specifier, context, next) {
      const found = next(specifier, context);
      return STATEMENTS.test(found.url) && context.parentURL !== recorder ? { ...found, url: recorder } : found;
    },
  });
  for (const file of globSync("{access,commands,content,features,events,distribution,platform}/**/*.ts", { cwd: import.meta.dirname })) {
    if (/\.(?:test|testing|contract)\.ts$|-worker\.ts$/.test(file)) continue;
    await import(pathToFileURL(join(import.meta.dirname, file)).href);
  }
  await import("./tables.ts");
  hooks.deregister();
});

it("plans: finds the statements of every store", () => {
  for (const id of ["manifests.findByTag", "garbage.lockDue", "tags.list", "access.projects_all", "account.by_name"])
    assert.ok(recorded.has(id), id);
  for (const id of Object.keys(mustUse)) assert.ok(recorded.has(id), `${id} is named here and nowhere else`);
});

forEachDatabase("plans", (create, dialect) => {
  let test: TestDatabase;
  before(async () => {
    test = await create();
  });
  after(() => test.end());

  it("neither scan nor sort", async () => {
    const explain = dialect === "sqlite" ? explainSqlite : explainPostgres;
    const problems: string[] = [];
    for (const [id, made] of recorded) {
      if (made.effort !== undefined || (dialect === "sqlite" && postgresOnly.test(id))) continue;
      const plan = await explain(test.database, made.compiled(dialect)).catch((error: Error) => {
        throw new Error(`${id}: ${error.message}`, { cause: error });
      });
      const wanted = dialect === "sqlite" ? mustUse[id] : undefined;
      if (wanted !== undefined && !plan.some((line) => wanted.test(line))) problems.push(`${id}: ${plan.join(" | ")}`);
      problems.push(
        ...plan
          .filter((line) => (dialect === "sqlite" ? isUnboundedInSqlite(line) : isUnboundedInPostgres(line)))
          .map((line) => `${id}: ${line.trim()}`),
      );
    }
    assert.deepEqual(problems, []);
  });
});

/** A text that runs unchanged. */
function plain<R>(id: string, text: string, values: readonly unknown[] = []): Statement<Record<never, never>, R> {
  return { compiled: () => ({ id: `plan of ${id}`, text, places: values.map((constant) => ({ constant })) }) };
}

async function explainSqlite(database: Database, { id, text, places }: CompiledStatement): Promise<string[]> {
  const nothing = places.map(() => null);
  const rows = await database.all(plain<{ detail: string }>(id, `explain query plan ${text}`, nothing), {});
  return rows.map((row) => row.detail);
}

// Tables of JSON and of constants come from the parameters; a named subquery has its own line in the plan.
function isUnboundedInSqlite(line: string): boolean {
  return (
    /^SCAN (?!\S+ VIRTUAL TABLE|CONSTANT ROW|[abxy]$|due$|others$)/.test(line) ||
    /USE TEMP B-TREE|AUTOMATIC (?!COVERING INDEX \(key=\?\))/.test(line)
  );
}

async function explainPostgres(database: Database, { id, text, places }: CompiledStatement): Promise<string[]> {
  return database.transaction(async (tx: Executor) => {
    // Whatever still appears although it is forbidden cannot use an index. Generic: a prepared statement's plan knows no values.
    for (const setting of [
      "plan_cache_mode = force_generic_plan",
      "enable_seqscan = off",
      "enable_sort = off",
      "enable_bitmapscan = off",
      "enable_hashjoin = off",
      "enable_mergejoin = off",
      "enable_hashagg = off",
    ])
      await tx.all(plain(setting, `set local ${setting}`), {});
    await tx.all(plain(`${id} 1`, `prepare planned as ${text}`), {});
    const values = places.length === 0 ? "" : `(${places.map(() => "null").join(", ")})`;
    const rows = await tx.all(plain<{ "QUERY PLAN": string }>(`${id} 2`, `explain execute planned${values}`), {});
    await tx.all(plain(`${id} 3`, "deallocate planned"), {});
    return rows.map((row) => row["QUERY PLAN"]);
  });
}

function isUnboundedInPostgres(line: string): boolean {
  return /Seq Scan on|Sort Key/.test(line);
}
