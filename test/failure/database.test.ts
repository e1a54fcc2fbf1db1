// The guarantee of `sync` under faults: after one failed sync the disk is never trusted again until a restart, and PostgreSQL keeps through
// a crash what it was asked to sync. Not here: the database's ordinary contract (platform/database).
import assert from "node:assert/strict";
import fs from "node:fs";
import { rm } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import { it } from "node:test";
import { RegistryError } from "@berth/oci/errors";
import { systemClock } from "../../apps/server/src/platform/clock.ts";
import { migrate } from "../../apps/server/src/platform/database/migrate.ts";
import { openPostgres } from "../../apps/server/src/platform/database/postgres.ts";
import { openSqlite } from "../../apps/server/src/platform/database/sqlite.ts";
import { statement } from "../../apps/server/src/platform/database/statement.ts";
import { cannotRunHere, ToolUnavailable } from "../tools/install.ts";
import { temporaryFolder } from "../tools/processes.ts";
import { startPostgres } from "../tools/servers.ts";

const insert = statement<{ name: string }>()("failure.insert", (db, p) =>
  db.insertInto("project").values({ name: p.name, sort_key: p.name, is_public: 0, created_at: 0 }),
);
const listNames = statement<Record<never, never>>()("failure.names", (db) => db.selectFrom("project").select("name").orderBy("name"));

const isUnavailable = (error: unknown): boolean => error instanceof RegistryError && error.code === "UNAVAILABLE";

it("database: acknowledges nothing on SQLite after a sync of the log failed, until the file is opened anew", async () => {
  const folder = await temporaryFolder("sync");
  const { fdatasync } = fs;
  try {
    const reported: unknown[] = [];
    const options = { path: join(folder, "berth.db"), onBackgroundError: (error: unknown) => void reported.push(error) };
    const database = await openSqlite(options);
    await migrate(database, systemClock);
    await database.write(insert, { name: "before" });
    Object.assign(fs, {
      fdatasync: (_fd: number, done: (error: Error) => void) =>
        setImmediate(done, Object.assign(new Error("EIO: i/o error, fdatasync"), { code: "EIO" })),
    });
    syncBuiltinESMExports();
    await assert.rejects(database.write(insert, { name: "lost" }), isUnavailable);
    Object.assign(fs, { fdatasync });
    syncBuiltinESMExports();
    // The next sync would succeed, and prove nothing of what the failed one left behind.
    await assert.rejects(database.write(insert, { name: "later" }), isUnavailable);
    await assert.rejects(database.sync(), isUnavailable);
    await assert.rejects(database.probe(), isUnavailable);
    assert.equal(reported.length, 1);
    await assert.rejects(database.close(), isUnavailable);
    const again = await openSqlite(options);
    await again.write(insert, { name: "after" });
    await again.probe();
    const names = (await again.all(listNames, {})).map((row) => row.name);
    assert.ok(names.includes("before") && names.includes("after"));
    await again.close();
  } finally {
    Object.assign(fs, { fdatasync });
    syncBuiltinESMExports();
    await rm(folder, { recursive: true, force: true });
  }
});

it("database: keeps through a crash of PostgreSQL what did not wait for the disk but was synced since", async (context) => {
  const server = await startPostgres().catch((error: unknown) => {
    if (!(error instanceof ToolUnavailable)) throw error;
    context.skip(error.machineLacks ? cannotRunHere + error.message : error.message);
    return undefined;
  });
  if (server === undefined) return;
  try {
    const database = openPostgres({
      url: await server.createDatabase(),
      maxConnections: 3,
      acquireTimeoutMs: 10_000,
      onBackgroundError: () => undefined,
    });
    await migrate(database, systemClock);
    const expected: string[] = [];
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 20; i++) {
        const name = `r${round}-${String(i).padStart(2, "0")}`;
        await database.write(insert, { name }, { durable: false });
        expected.push(name);
      }
      await database.sync();
      await server.crash();
      await server.resume();
      // Connections from before the crash are found broken one by one.
      for (let tries = 0; tries < 10; tries++) if ((await database.probe().catch(() => "broken")) === undefined) break;
      assert.deepEqual(
        (await database.all(listNames, {})).map((row) => row.name),
        expected,
      );
    }
    await database.close();
  } finally {
    await server.stop();
  }
});
