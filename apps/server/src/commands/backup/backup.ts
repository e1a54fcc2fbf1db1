// Takes a backup while the registry runs. Bytes are copied in two passes: first those that the database names now, however long that takes;
// then the tables are read in one snapshot, and what it names and the backup lacks is copied. Blobs never change and outlive their last
// reference by `gc.graceSeconds`, so the second pass, which is short, finds them all; if it took too long, the snapshot is taken again. The
// manifest is written last: without it there is no backup. Not here: names (backup-format.ts), places, restoring (restore.ts).
import type { Digest } from "@berth/oci/digest";
import type { BlobStore, StorageKey } from "../../content/blobs/blob-store.ts";
import type { Clock } from "../../platform/clock.ts";
import type { DatabaseReader } from "../../platform/database/database-reader.ts";
import { statement } from "../../platform/database/statement.ts";
import type { Tables } from "../../platform/database/table.ts";
import { listIdCounters, listTables } from "../../platform/database/tables.ts";
import { forEachParallel } from "../../platform/parallel.ts";
import { StartupError } from "../../platform/startup-error.ts";
import {
  blobName,
  encodeManifest,
  fingerprintOf,
  manifestName,
  MAX_LOST_BLOBS,
  snapshotNameOf,
  tableName,
  tablesWith,
  type SnapshotManifest,
  type TableFile,
} from "./backup-format.ts";
import type { BackupPlace } from "./backup-place.ts";
import { isDamage, readBlobEntries, verified, type BlobEntry } from "./blob-entries.ts";
import { signSnapshot } from "./signature.ts";
import { verifyTableFiles, writeTableFile } from "./table-files.ts";
import { takePlaceLock, type PlaceLock } from "./place-lock.ts";

/** The progress of a backup. */
export interface BackupProgress {
  /** `ahead`: blobs before the snapshot. `metadata`: the tables. `blobs`: those that the snapshot names. */
  readonly phase: "ahead" | "metadata" | "blobs";
  /** Blobs or rows processed in this phase. */
  readonly done: number;
  readonly copiedBlobs: number;
  readonly copiedBytes: number;
}

/** The parts that a backup needs. */
export interface BackupParts {
  /** All declared tables; their declarations say which of them a backup leaves out. */
  readonly tables: Tables;
  readonly reader: DatabaseReader;
  readonly store: BlobStore;
  readonly place: BackupPlace;
  readonly clock: Clock;
  /** This program's name and version, for the manifest. */
  readonly program: string;
  /**
   * Signs the snapshot. Undefined if it is not known here; a restore can then check neither that it has the right key, nor who wrote the
   * backup.
   */
  readonly masterKey: Uint8Array | undefined;
  /** The number of blobs that are copied at a time. */
  readonly parallel: number;
  readonly onProgress: (progress: BackupProgress) => void;
}

/** The result of a complete backup. */
export interface BackupResult {
  readonly snapshot: string;
  readonly takenAt: string;
  readonly rows: number;
  readonly blobs: number;
  readonly blobBytes: number;
  readonly copiedBlobs: number;
  readonly copiedBytes: number;
  /** Whether the secret key was known here, and the manifest is signed with it. */
  readonly isSigned: boolean;
  /** How long the database kept its snapshot. */
  readonly snapshotMs: number;
  /** The number of snapshots taken until one was complete. */
  readonly attempts: number;
  /** Blobs that the registry knew to be damaged, and that no client is served. */
  readonly knownDamaged: number;
  /** Blobs whose bytes the registry has lost without noticing. */
  readonly lostBlobs: readonly Digest[];
}

/** The most snapshots that may fail because bytes were collected meanwhile. Each copies less than the one before. */
const MAX_ATTEMPTS = 5;
const PAGE = 500;

const listStored = statement<{ after: number }>()("backup.listStored", (db, p) =>
  db
    .selectFrom("blob")
    .select(["id", "digest", "size_bytes", "storage_key"])
    .where("id", ">", p.after)
    .where("storage_key", "is not", null)
    .where("damaged_at", "is", null)
    .orderBy("id")
    .limit(PAGE),
);

const findNow = statement<{ digest: string }>()("backup.findNow", (db, p) =>
  db
    .selectFrom("blob")
    .leftJoin("blob_inline", "blob_inline.blob_id", "blob.id")
    .select(["blob.storage_key", "blob_inline.bytes"])
    .where("blob.digest", "=", p.digest),
);

const findVersion = statement<Record<never, never>>()("backup.version", (db) =>
  db.selectFrom("migration").select(({ fn }) => fn.max("id").as("version")),
);

type StoredBlob = Pick<BlobEntry, "digest" | "sizeBytes">;

/** Takes a backup. Errors: `StartupError` if none can be taken, also while the place is pruned; UNAVAILABLE, STORAGE_FULL. */
export async function takeBackup(parts: BackupParts): Promise<BackupResult> {
  if (!(await listTables(parts.reader.live)).some((table) => table.name === "blob")) {
    throw new StartupError("the database is empty: there is nothing to back up");
  }
  const lock = await takePlaceLock(parts.place, "backup", parts.clock);
  try {
    return await takeBackupUnderLock(parts, lock);
  } finally {
    await lock.end();
  }
}

async function takeBackupUnderLock(parts: BackupParts, lock: PlaceLock): Promise<BackupResult> {
  const { reader, store, place, clock } = parts;
  let copiedBlobs = 0;
  let copiedBytes = 0;
  let done = 0;
  let phase: BackupProgress["phase"] = "ahead";
  const enter = (next: BackupProgress["phase"]): void => {
    phase = next;
    done = 0;
  };
  const advance = (count: number): void => {
    done += count;
    parts.onProgress({ phase, done, copiedBlobs, copiedBytes });
  };

  /** Copies a blob unless the backup has it. False if its bytes are missing or wrong. */
  async function secure(blob: StoredBlob, source: () => AsyncIterable<Uint8Array>): Promise<boolean> {
    const name = blobName(blob.digest);
    if ((await place.sizeOf(name)) === blob.sizeBytes) return true;
    try {
      await place.write(name, verified(blob, source()));
    } catch (error) {
      if (isDamage(error)) return false;
      throw error;
    }
    copiedBlobs++;
    copiedBytes += blob.sizeBytes;
    return true;
  }

  const secureKey = (blob: StoredBlob, key: string): Promise<boolean> =>
    secure(blob, () => store.read(key as StorageKey, 0, blob.sizeBytes - 1));

  /** Copies what exists now. Blobs that are deleted meanwhile, or are damaged, are left to the snapshot's pass. */
  async function copyAhead(): Promise<void> {
    async function* stored() {
      let after = 0;
      for (;;) {
        const page = await reader.live.all(listStored, { after });
        yield* page;
        after = page.at(-1)?.id ?? 0;
        if (page.length < PAGE) return;
      }
    }
    await forEachParallel(stored(), parts.parallel, async (row) => {
      await secureKey({ digest: row.digest as Digest, sizeBytes: row.size_bytes }, row.storage_key!);
      advance(1);
    });
  }

  /** Copies a blob that a snapshot names. */
  async function secureEntry(entry: BlobEntry): Promise<"secured" | "lost" | "collected"> {
    const { digest, inline } = entry;
    if (entry.key === null && inline !== undefined && (await isWhole(entry, inline))) return "secured";
    let key = entry.key;
    // The key differs each time: twice means that a blob was collected and pushed again while it was copied.
    for (let tries = 0; tries < 3; tries++) {
      if (key !== null && (await secureKey(entry, key))) return "secured";
      const now = await reader.live.first(findNow, { digest });
      if (now === undefined) return "collected";
      const { bytes } = now;
      if (bytes !== null && (await secure(entry, () => once(bytes)))) return "secured";
      if (now.storage_key === key) return "lost";
      key = now.storage_key;
    }
    return "collected";
  }

  async function attempt(): Promise<Omit<BackupResult, "attempts"> | undefined> {
    enter("metadata");
    const startedAt = clock.now();
    const snapshot = snapshotNameOf(new Date(startedAt));
    const written: string[] = [];
    try {
      const { tables, ...head } = await reader.snapshot(async (executor) => {
        const all = await listTables(executor);
        const migrationVersion = (await executor.first(findVersion, {}))?.version ?? 0;
        const idCounters = await listIdCounters(executor);
        const files: TableFile[] = [];
        const leftOut = tablesWith("left out", parts.tables);
        for (const table of all.filter(({ name }) => !leftOut.has(name))) {
          const name = tableName(snapshot, table.name);
          written.push(name);
          files.push(await writeTableFile(place, name, executor, table, advance));
        }
        return { migrationVersion, idCounters, tables: files };
      });
      const snapshotMs = clock.now() - startedAt;

      enter("blobs");
      let blobs = 0;
      let blobBytes = 0;
      let knownDamaged = 0;
      let collected = 0;
      const lostBlobs: Digest[] = [];
      // Read from the backup itself, as restores will read it.
      await verifyTableFiles(place, snapshot, tables);
      await forEachParallel(readBlobEntries(place, snapshot, tables), parts.parallel, async (entry) => {
        blobs++;
        blobBytes += entry.sizeBytes;
        if (entry.damagedAt !== null) knownDamaged++;
        else {
          const outcome = await secureEntry(entry);
          if (outcome === "collected") collected++;
          if (outcome === "lost") lostBlobs.push(entry.digest);
          if (lostBlobs.length > MAX_LOST_BLOBS)
            throw new StartupError(`the store has lost more than ${MAX_LOST_BLOBS} blobs: see what \`doctor\` says before backing up`);
        }
        advance(1);
      });
      if (collected > 0) {
        await place.delete(written);
        return undefined;
      }
      const manifest: SnapshotManifest = {
        format: 1,
        takenAt: new Date(startedAt).toISOString(),
        program: parts.program,
        ...head,
        keyFingerprint: parts.masterKey === undefined ? undefined : fingerprintOf(parts.masterKey),
        tables,
        blobs: { count: blobs, sizeBytes: blobBytes },
        lostBlobs,
      };
      const signature = parts.masterKey === undefined ? undefined : signSnapshot(parts.masterKey, snapshot, manifest);
      await place.sync();
      written.push(manifestName(snapshot));
      await lock.check();
      await place.write(manifestName(snapshot), once(encodeManifest(manifest, signature)));
      // A pruning between the two checks has not seen this snapshot.
      await lock.check();
      await place.sync();
      const rows = tables.reduce((sum, table) => sum + table.rows, 0);
      const { takenAt } = manifest;
      return {
        snapshot,
        takenAt,
        rows,
        blobs,
        blobBytes,
        copiedBlobs,
        copiedBytes,
        snapshotMs,
        knownDamaged,
        lostBlobs,
        isSigned: signature !== undefined,
      };
    } catch (error) {
      // Without a manifest, which is deleted first, the files are useless; if they cannot be deleted either, they only take space.
      await place.delete(written.toReversed()).catch(() => undefined);
      throw error;
    }
  }

  await copyAhead();
  for (let attempts = 1; attempts <= MAX_ATTEMPTS; attempts++) {
    const result = await attempt();
    if (result !== undefined) return { ...result, attempts };
  }
  throw new StartupError(
    `the backup is not complete: in each of ${MAX_ATTEMPTS} tries blobs were collected before they were copied. Raise gc.graceSeconds above the time that a copy takes.`,
  );
}

async function isWhole(entry: BlobEntry, bytes: Uint8Array): Promise<boolean> {
  try {
    for await (const _ of verified(entry, once(bytes)));
    return true;
  } catch (error) {
    if (isDamage(error)) return false;
    throw error;
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, void> {
  yield bytes;
}
