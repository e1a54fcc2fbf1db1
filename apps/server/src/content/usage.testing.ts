// Recounts usage from the edges, and compares it with the counters: in one statement, so that both are of one moment, whoever writes
// meanwhile. Not here: the counters (usage.ts, platform/database/migrations/0004-usage.ts).
import assert from "node:assert/strict";
import { sql } from "kysely";
import type { Executor } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";

const NUMBERS = ["repositories", "manifests", "tags", "blobs", "bytes"];
const list = sql.raw(NUMBERS.join(", "));
const sums = (sign: "" | "-") => sql.raw(NUMBERS.map((name) => `${sign}sum(${name}) as ${name}`).join(", "));

const counted = sql`
  select project_id, id as repository_id, 1 as repositories, 0 as manifests, 0 as tags, 0 as blobs, 0 as bytes
    from repository where name < '~'
  union all select r.project_id, r.id, 0, 1, 0, 0, m.size_bytes from manifest m join repository r on r.id = m.repository_id where r.name < '~'
  union all select r.project_id, r.id, 0, 0, 1, 0, 0 from tag t join repository r on r.id = t.repository_id where r.name < '~'
  union all select r.project_id, r.id, 0, 0, 0, 1, b.size_bytes from repository_blob l join repository r on r.id = l.repository_id
    join blob b on b.id = l.blob_id where r.name < '~'`;

const kept = (table: string) => sql`select project_id, repository_id, ${list} from ${sql.table(table)}`;

// `usage` has rows of projects beside those of their repositories; pending changes count for both.
const differences = statement<Record<never, never>>()<Record<string, number>>("test.usageDifferences", (db) => ({
  compile: () =>
    sql<Record<string, number>>`select project_id, repository_id, ${sums("")} from (
        select * from (${counted}) as edges
        union all select project_id, 0, ${list} from (${counted}) as edges_of_project
        union all select 0, 0, 0, 0, 0, 1, size_bytes from blob
        union all select project_id, repository_id, ${sums("-")} from (
          select * from (${kept("usage")}) as folded
          union all select * from (${kept("usage_change")}) as pending where repository_id > 0 or project_id = 0
          union all select project_id, 0, ${list} from (${kept("usage_change")}) as pending_of_project where project_id > 0
        ) as known group by project_id, repository_id
      ) as both_of_them group by project_id, repository_id
      having ${sql.raw(NUMBERS.map((name) => `sum(${name}) <> 0`).join(" or "))}`.compile(db),
}));

/** Throws if a counter differs from the recount. */
export async function checkUsage(executor: Executor): Promise<void> {
  const found = await executor.all(differences, {});
  assert.deepEqual(
    found.map((row) => JSON.stringify(row)),
    [],
    "usage is not a recount (edges less what is kept, by project and repository)",
  );
}
