// Migrations of a PostgreSQL database in use: an interrupted build of an index is repeated, a finished one is kept, and a session that
// holds a table delays the migration but nothing else. Not here: steps forwards and back (database.test.ts), their durations (npm run bench
// -- --scale).
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { systemClock } from "../clock.ts";
import type { Database, RunSql } from "./database.ts";
import { createPostgresForTest } from "./databases.testing.ts";
import { findMigrationVersion, migrate } from "./migrate.ts";
import { statement } from "./statement.ts";

const serverUrl = process.env["BERTH_TEST_POSTGRES_URL"];
const skip = serverUrl === undefined ? "BERTH_TEST_POSTGRES_URL is not set; npm run test:all sets it" : false;

const firstTag = statement<Record<never, never>>()("test.firstTag", (db) => db.selectFrom("tag").select("name").limit(1));

const fillTags: readonly string[] = [
  `insert into project (name, sort_key, is_public, created_at) values ('p', 'p/', 0, 0)`,
  `insert into repository (project_id, name, created_at) select id, 'p/r', 0 from project`,
  `insert into manifest (repository_id, digest, media_type, size_bytes, created_at, bytes) select id, 'd', 'm', 0, 0, '' from repository`,
  `insert into tag (repository_id, name, manifest_id, updated_at)
     select manifest.repository_id, each.name, manifest.id, 0 from manifest, (values ('a'), ('b')) as each (name)`,
];

async function listIndexes(run: RunSql): Promise<Record<string, string>> {
  const rows = await run(`select indexrelid::regclass::text as name, pg_get_indexdef(indexrelid) as def, indisvalid from pg_index
    where indrelid in ('tag'::regclass, 'repository_blob'::regclass, 'manifest'::regclass) and not indisprimary`);
  assert.deepEqual(
    rows.filter((row) => row["indisvalid"] !== true),
    [],
  );
  return Object.fromEntries(rows.map((row) => [String(row["name"]), String(row["def"])]));
}

const inSession = <T>(database: Database, work: (run: RunSql) => Promise<T>): Promise<T> => database.session(work);

describe("a migration of a database in use", { skip, timeout: 120_000 }, () => {
  it("goes on behind indexes that were being built when it was killed", async () => {
    const whole = await createPostgresForTest(serverUrl!);
    const test = await createPostgresForTest(serverUrl!, { migrated: false });
    try {
      await migrate(test.database, systemClock, 2);
      await inSession(test.database, async (run) => {
        for (const text of fillTags) await run(text);
        // The build fails on the manifest's second tag and leaves an invalid index.
        await assert.rejects(run(`create unique index concurrently tag_by_manifest_next on tag (manifest_id)`));
        await run(`create index concurrently repository_blob_by_blob_next on repository_blob (blob_id, repository_id)`);
        const built = await run(`select 'repository_blob_by_blob_next'::regclass::oid::int as oid`);
        await migrate(test.database, systemClock);
        assert.deepEqual(await run(`select 'repository_blob_by_blob'::regclass::oid::int as oid`), built, "the finished index is used");
      });
      const indexes = await inSession(test.database, listIndexes);
      assert.deepEqual(indexes, await inSession(whole.database, listIndexes), "as in a database that was made anew");
      assert.match(indexes["tag_by_manifest"] ?? "", /\(manifest_id, name\)/);
    } finally {
      await test.end();
      await whole.end();
    }
  });

  it("waits for who holds a table and lets everybody else go on", async () => {
    const test = await createPostgresForTest(serverUrl!, { migrated: false });
    try {
      await migrate(test.database, systemClock, 2);
      await inSession(test.database, async (run) => {
        for (const text of fillTags) await run(text);
      });
      const other = await test.open();
      const migrating = await inSession(other, async (holder) => {
        await holder("set idle_in_transaction_session_timeout = 0");
        await holder("begin");
        await holder("select * from tag");
        const started = migrate(test.database, systemClock);
        await inSession(other, async (run) => {
          const waiting = `select 1 from pg_locks where not granted and relation = 'tag'::regclass and mode = 'AccessExclusiveLock'`;
          while ((await run(waiting)).length === 0) await sleep(5);
        });
        // This waits behind the migration in the lock's queue, so it would also wait for the holder.
        assert.ok(await other.first(firstTag, {}));
        assert.equal(await findMigrationVersion(other), 2);
        return { started };
      });
      await migrating.started;
      assert.ok((await findMigrationVersion(other)) >= 3);
    } finally {
      await test.end();
    }
  });

  it("takes turns with other replicas", async () => {
    const test = await createPostgresForTest(serverUrl!, { migrated: false });
    try {
      await migrate(test.database, systemClock, 2);
      const replicas = [test.database, await test.open(), await test.open()];
      const done = await Promise.all(replicas.map((replica) => migrate(replica, systemClock)));
      const steps = done.flat();
      assert.equal(new Set(steps).size, steps.length, `each step once: ${steps.join(", ")}`);
      assert.ok(steps.some((step) => step.startsWith("up 3")));
    } finally {
      await test.end();
    }
  });
});
