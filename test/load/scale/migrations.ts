// Each migration of a filled database: its duration, and the longest wait of a writer that writes to the changed tables as the registry
// does. SQLite has one process, which migrates before it serves. Not here: the content (seeds.ts).
import { systemClock } from "../../../apps/server/src/platform/clock.ts";
import type { Database } from "../../../apps/server/src/platform/database/database.ts";
import { migrate } from "../../../apps/server/src/platform/database/migrate.ts";
import { migrations } from "../../../apps/server/src/platform/database/migrations/all.ts";

/** The first version's tables, each with a write that touches one row. */
const writes: readonly (readonly [table: string, column: string])[] = [
  ["project", "created_at"],
  ["repository", "created_at"],
  ["blob", "created_at"],
  ["repository_blob", "leased_until"],
  ["manifest", "created_at"],
  ["tag", "updated_at"],
  ["upload", "started_at"],
  ["member", "role"],
];

/** Migrates the database back to the first version and forward again, and reports the duration of each step. */
export async function measureMigrations(label: string, open: () => Promise<Database>, progress: (text: string) => void): Promise<string[]> {
  const lines: string[] = [];
  const database = await open();
  const others = await open();
  try {
    progress(`${label}: migrating back`);
    await migrate(database, systemClock, 1);
    for (const version of migrations.map(({ id }) => id).toSorted((one, other) => one - other)) {
      if (version === 1) continue;
      progress(`${label}: migrating to ${version}`);
      const ends = new AbortController();
      const writing = database.dialect === "postgres" ? writeUntil(others, ends.signal) : undefined;
      const startedAt = performance.now();
      let step: string[];
      try {
        step = await migrate(database, systemClock, version);
      } finally {
        ends.abort();
      }
      const seconds = (performance.now() - startedAt) / 1000;
      const waited = await writing;
      const longest =
        waited === undefined ? "" : `; of ${waited.count} writes the longest waited ${waited.longestMs.toFixed(0)} ms (${waited.table})`;
      lines.push(`${label}: migration ${step.join(", ")}: ${seconds.toFixed(2)} s${longest}`);
    }
    return lines;
  } finally {
    await database.close();
    await others.close();
  }
}

/** Writes to one table after the other until it is stopped. A commit does not wait for the disk, because locks are measured. */
async function writeUntil(database: Database, signal: AbortSignal): Promise<{ count: number; longestMs: number; table: string }> {
  let count = 0;
  let longestMs = 0;
  let longestTable = "";
  await database.session(async (run) => {
    await run("set synchronous_commit = off");
    while (!signal.aborted) {
      for (const [table, column] of writes) {
        const startedAt = performance.now();
        await run(`update ${table} set ${column} = ${column} where ctid = (select ctid from ${table} limit 1)`);
        count++;
        const tookMs = performance.now() - startedAt;
        if (tookMs > longestMs) [longestMs, longestTable] = [tookMs, table];
      }
    }
  });
  return { count, longestMs, table: longestTable };
}
