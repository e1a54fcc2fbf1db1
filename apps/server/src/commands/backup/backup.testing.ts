// Registries to back up and empty ones to restore into, on any engine; and dumps of databases for comparing two of them. Not here: the
// tests.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createTestClock, type TestClock } from "../../access/access.testing.ts";
import type { BlobStore } from "../../content/blobs/blob-store.ts";
import { createMemoryBlobs, createMemoryStore, type MemoryBlobs } from "../../content/blobs/memory.ts";
import { createContent, createGrants, TEST_INLINE_MAX_BYTES, type Content } from "../../content/content.testing.ts";
import type { Database } from "../../platform/database/database.ts";
import type { DatabaseReader } from "../../platform/database/database-reader.ts";
import type { TestDatabase } from "../../platform/database/databases.testing.ts";
import { listPages, listTables } from "../../platform/database/tables.ts";
import { takeBackup, type BackupParts, type BackupResult } from "./backup.ts";
import { TABLES } from "../../tables.ts";
import { tablesWith } from "./backup-format.ts";
import type { BackupPlace } from "./backup-place.ts";
import { restoreBackup, type CheckParts, type RestoreParts, type RestoreResult } from "./restore.ts";

/** The master key of tests. */
export const TEST_KEY = Buffer.alloc(32, 7);

/** The rule of tests that read backups: they must be signed with that key. */
export const TRUSTED: Pick<CheckParts, "masterKey" | "signature" | "onWarning"> = {
  masterKey: TEST_KEY,
  signature: "known",
  onWarning: (text) => {
    throw new Error(text);
  },
};

/** A registry's content layer with its database and store. */
export interface TestSite {
  readonly test: TestDatabase;
  readonly memory: MemoryBlobs;
  readonly store: BlobStore;
  readonly clock: TestClock;
  readonly content: Content;
}

let stores = 0;

/** Creates a registry over a database, with a store in memory. */
export function createSite(test: TestDatabase, clock: TestClock = createTestClock()): TestSite {
  const memory = createMemoryBlobs();
  const store = createMemoryStore({ processId: `site-${++stores}`, memory });
  return { test, memory, store, clock, content: createContent(test.database, store, clock) };
}

/** Grants for a registry's repositories. */
export const grantsOf = (site: TestSite): ReturnType<typeof createGrants> => createGrants(site.test.database);

/** A directory that is removed with `end`. */
export async function createFolder(): Promise<{ readonly path: string; end(): Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), "berth-backup-"));
  return { path, end: () => rm(path, { recursive: true, force: true }) };
}

/** Takes a backup of a registry. */
export async function backUp(
  site: TestSite,
  place: BackupPlace,
  changes: Partial<BackupParts> & { readonly wrapReader?: (reader: DatabaseReader) => DatabaseReader } = {},
): Promise<BackupResult> {
  const opened = await site.test.openReader();
  try {
    return await takeBackup({
      tables: TABLES,
      reader: changes.wrapReader?.(opened) ?? opened,
      store: site.store,
      place,
      clock: site.clock,
      program: "berth test",
      masterKey: TEST_KEY,
      parallel: 4,
      onProgress: () => site.clock.advance(1),
      ...changes,
    });
  } finally {
    await opened.close();
  }
}

/** Restores into a registry. */
export function restoreTo(site: TestSite, place: BackupPlace, changes: Partial<RestoreParts> = {}): Promise<RestoreResult> {
  return restoreBackup({
    tables: TABLES,
    shown: "the store",
    place,
    snapshot: undefined,
    database: site.test.database,
    store: site.store,
    clock: site.clock,
    inlineMaxBytes: TEST_INLINE_MAX_BYTES,
    ...TRUSTED,
    masterKey: TEST_KEY,
    withNewKey: false,
    parallel: 4,
    onProgress: () => undefined,
    ...changes,
  });
}

/** Every row of every table that a backup holds. Storage keys differ from store to store, so only their presence is included. */
export async function dumpOf(database: Database): Promise<Record<string, unknown[]>> {
  const dump: Record<string, unknown[]> = {};
  const leftOut = tablesWith("left out", TABLES);
  for (const table of await listTables(database)) {
    if (leftOut.has(table.name)) continue;
    const rows: unknown[] = [];
    for await (const page of listPages(database, table)) {
      for (const row of page) {
        rows.push(
          Object.fromEntries(table.columns.map(({ name }, at) => [name, name === "storage_key" ? row[at] !== null : row[at]] as const)),
        );
      }
    }
    dump[table.name] = rows;
  }
  return dump;
}
