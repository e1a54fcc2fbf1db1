// Restores into an empty database and an empty store of any kind: ids stay, bytes get new keys of the target store and are verified on the
// way. Blobs come first, each with its row, so that an interrupted restore continues after them; then all other rows (restore-tables.ts).
// Until the end a mark keeps servers away. Not here: the layout of a backup (backup-format.ts).
import { createHash, randomUUID } from "node:crypto";
import type { Digest } from "@berth/oci/digest";
import type { BlobStore, StorageKey } from "../../content/blobs/blob-store.ts";
import { bindStore } from "../../content/store-binding.ts";
import type { Clock } from "../../platform/clock.ts";
import type { Database } from "../../platform/database/database.ts";
import { findMigrationVersion, LATEST_MIGRATION, migrate } from "../../platform/database/migrate.ts";
import type { Tables } from "../../platform/database/table.ts";
import { createInsert, type Row } from "../../platform/database/tables.ts";
import { forEachParallel } from "../../platform/parallel.ts";
import { StartupError } from "../../platform/startup-error.ts";
import {
  blobName,
  decodeManifest,
  fingerprintOf,
  manifestName,
  snapshotsAmong,
  tableName,
  timeOfSnapshot,
  type SnapshotManifest,
  tablesWith,
} from "./backup-format.ts";
import type { BackupPlace } from "./backup-place.ts";
import { columnAt, isDamage, readBlobEntries, tableFileOf, verified, type BlobEntry } from "./blob-entries.ts";
import { findFilledTable, findRestoreMark, hasBlob, listBound, putRestoreMark } from "./restore-store.ts";
import { checkColumns, INSERT_BYTES, restoreTables } from "./restore-tables.ts";
import { judgeSignature, type SignatureRule, type SignedSnapshot } from "./signature.ts";
import { readTableFile, verifyTableFiles } from "./table-files.ts";

/** The progress of a restore. */
export interface RestoreProgress {
  readonly phase: "blobs" | "tables";
  readonly done: number;
  readonly total: number;
  /** The bytes of blobs. */
  readonly bytes: number;
}

/** The parts that reading a backup needs. */
export interface CheckParts {
  readonly place: BackupPlace;
  /** Undefined: the newest. */
  readonly snapshot: string | undefined;
  /** The newest of those taken until then. */
  readonly at?: Date | undefined;
  /** The key that checks the signature; undefined if it is not known. */
  readonly masterKey: Uint8Array | undefined;
  readonly signature: SignatureRule;
  /** Called with the warning about a signature that is not good but accepted. */
  readonly onWarning: (text: string) => void;
  readonly parallel: number;
  readonly onProgress: (progress: RestoreProgress) => void;
}

/** The parts that a restore needs. */
export interface RestoreParts extends CheckParts {
  /** All declared tables; their declarations say which of them are useless without the secret key. */
  readonly tables: Tables;
  readonly database: Database;
  readonly store: BlobStore;
  /** The store's name for messages. */
  readonly shown: string;
  readonly clock: Clock;
  /** Blobs up to this size are stored in the database; 0: none. */
  readonly inlineMaxBytes: number;
  readonly masterKey: Uint8Array;
  /** Restores with another master key, without what only the lost one could decrypt. */
  readonly withNewKey: boolean;
}

/** The result of a restore. */
export interface RestoreResult {
  readonly snapshot: string;
  readonly takenAt: string;
  readonly rows: number;
  readonly blobs: number;
  readonly blobBytes: number;
  /** Blobs that an earlier run had restored. */
  readonly resumedBlobs: number;
  /** Digests of blobs that are missing or damaged in the backup: they are restored as damaged, and a push heals them. The first 1000. */
  readonly damagedBlobs: readonly Digest[];
  readonly damagedCount: number;
  /** Blobs that were damaged already when the backup was taken. */
  readonly knownDamaged: number;
}

/** Rows that are verified between two reports of progress. */
const CHECKED_ROWS = 500;
/** Small blobs that share a transaction. */
const INLINE_BATCH = 200;
const DAMAGED_SHOWN = 1000;

/** The complete snapshots of a place, oldest first. */
export async function listSnapshots(place: BackupPlace): Promise<string[]> {
  const names: string[] = [];
  for await (const name of place.list("snapshots/")) names.push(name);
  return snapshotsAmong(names);
}

/** A snapshot's name, its manifest and its distinguishing mark. */
export interface OpenedSnapshot extends SignedSnapshot {
  /** Distinguishes this snapshot from one of another place that was taken in the same millisecond. */
  readonly mark: string;
}

/** Finds a snapshot and reads its manifest; without a name, the newest of those taken until `at`. Errors: `StartupError`. */
export async function openSnapshot(place: BackupPlace, wanted: string | undefined, at?: Date): Promise<OpenedSnapshot> {
  const all = await listSnapshots(place);
  const snapshot = wanted ?? all.findLast((name) => at === undefined || timeOfSnapshot(name) <= at);
  if (snapshot === undefined) {
    const oldest = all[0] === undefined ? "" : ` of ${at?.toISOString()} or before; the oldest is ${all[0]}`;
    throw new StartupError(`${place.shown} holds no complete backup${oldest}`);
  }
  if (!all.includes(snapshot)) {
    throw new StartupError(`${place.shown} holds no complete snapshot ${snapshot}; it has ${all.slice(-20).join(", ") || "none"}`);
  }
  return readSnapshot(place, snapshot);
}

/** Reads the manifest of a listed snapshot. Errors: `StartupError` if it does not exist any more. */
export async function readSnapshot(place: BackupPlace, snapshot: string): Promise<OpenedSnapshot> {
  const name = manifestName(snapshot);
  const sizeBytes = await place.sizeOf(name);
  if (sizeBytes === undefined) throw new StartupError(`${place.shown} holds no complete snapshot ${snapshot} any more`);
  const pieces: Uint8Array[] = [];
  for await (const piece of place.read(name, sizeBytes)) pieces.push(Buffer.from(piece));
  const text = Buffer.concat(pieces);
  const digest = createHash("sha256").update(text).digest("hex");
  return { snapshot, ...decodeManifest(text.toString("utf8"), name), mark: `${snapshot} ${digest.slice(0, 16)}` };
}

/** Errors: `StartupError` if the snapshot may not be used because of its signature. */
function checkSignature(parts: CheckParts, opened: OpenedSnapshot): void {
  const warning = judgeSignature(opened, parts.masterKey, parts.signature);
  if (warning !== undefined) parts.onWarning(warning);
}

/** The bytes of a blob, verified as they pass, or undefined if the snapshot says that it never had them. */
function sourceOf(place: BackupPlace, entry: BlobEntry): AsyncGenerator<Uint8Array, void, void> {
  return verified(entry, entry.inline === undefined ? place.read(blobName(entry.digest), entry.sizeBytes) : once(entry.inline));
}

function createTally(manifest: SnapshotManifest) {
  const lost = new Set(manifest.lostBlobs);
  const damagedBlobs: Digest[] = [];
  let damagedCount = 0;
  let knownDamaged = 0;
  return {
    /** Whether the backup itself says that it lacks the blob; it is counted then. */
    isAbsent(entry: BlobEntry): boolean {
      if (entry.damagedAt !== null) knownDamaged++;
      else if (lost.has(entry.digest)) this.damage(entry);
      else return false;
      return true;
    },
    damage(entry: BlobEntry): void {
      damagedCount++;
      if (damagedBlobs.length < DAMAGED_SHOWN) damagedBlobs.push(entry.digest);
    },
    result: () => ({ damagedBlobs, damagedCount, knownDamaged }),
  };
}

/** Reads a whole snapshot and verifies every byte of it, as a restore would, without restoring it. Errors: `StartupError`. */
export async function checkBackup(parts: CheckParts): Promise<RestoreResult> {
  const { place, onProgress } = parts;
  const opened = await openSnapshot(place, parts.snapshot, parts.at);
  const { snapshot, manifest } = opened;
  checkSignature(parts, opened);
  await verifyTableFiles(place, snapshot, manifest.tables);
  const tally = createTally(manifest);
  const total = manifest.blobs.count;
  let done = 0;
  let bytes = 0;
  await forEachParallel(readBlobEntries(place, snapshot, manifest.tables), parts.parallel, async (entry) => {
    if (!tally.isAbsent(entry)) {
      try {
        for await (const piece of sourceOf(place, entry)) bytes += piece.length;
      } catch (error) {
        if (!isDamage(error)) throw error;
        tally.damage(entry);
      }
    }
    onProgress({ phase: "blobs", done: ++done, total, bytes });
  });
  const rows = manifest.tables.reduce((sum, table) => sum + table.rows, 0);
  let read = 0;
  for (const file of manifest.tables) {
    for await (const _ of readTableFile(place, tableName(snapshot, file.name), file))
      if (++read % CHECKED_ROWS === 0) onProgress({ phase: "tables", done: read, total: rows, bytes });
  }
  return { snapshot, takenAt: manifest.takenAt, rows, blobs: done, blobBytes: bytes, resumedBlobs: 0, ...tally.result() };
}

/** Restores a snapshot. After an interruption it may be called again with the same one. Errors: `StartupError`, UNAVAILABLE, STORAGE_FULL. */
export async function restoreBackup(parts: RestoreParts): Promise<RestoreResult> {
  const { place, database, store, clock } = parts;
  const opened = await openSnapshot(place, parts.snapshot, parts.at);
  const { snapshot, manifest, mark } = opened;
  // A wrong key is reported first, because its message says what to do.
  checkKey(parts, manifest);
  checkSignature(parts, opened);
  // First of all: rows of blobs are stored one by one, and none may come from a damaged file.
  await verifyTableFiles(place, snapshot, manifest.tables);
  const isResumed = await prepareTarget(parts, manifest, mark);
  const tally = createTally(manifest);
  const restored = await restoreBlobs(parts, snapshot, manifest, tally, isResumed);
  await fillTables(parts, snapshot, manifest, restored.sizeBytes);
  // Older tables are migrated to this program's version by the same steps as in a running registry.
  await migrate(database, clock);
  await store.sweep(new Date(clock.now()));
  const rows = manifest.tables.reduce((sum, table) => sum + table.rows, 0);
  return {
    snapshot,
    takenAt: manifest.takenAt,
    rows,
    blobs: restored.count,
    blobBytes: restored.sizeBytes,
    resumedBlobs: restored.resumed,
    ...tally.result(),
  };
}

/** Errors: `StartupError` if the backup's secrets belong to another key, and the options do not say that it is lost. */
function checkKey(parts: RestoreParts, manifest: SnapshotManifest): void {
  const fingerprint = fingerprintOf(parts.masterKey);
  if (manifest.keyFingerprint !== undefined && manifest.keyFingerprint !== fingerprint && !parts.withNewKey) {
    throw new StartupError(
      `the backup's secrets are encrypted with the key of fingerprint ${manifest.keyFingerprint}, and this server's has ${fingerprint}: ` +
        "set auth.secretKey to the old key, or put its file `secret-key` into the data directory. " +
        "If it is lost, --new-key (with --unsigned, since nobody can check the old signature) restores everything else.",
    );
  }
}

/** Checks that the target may be filled from this snapshot, and marks it. Returns whether an earlier run had begun. */
async function prepareTarget(parts: RestoreParts, manifest: SnapshotManifest, mark: string): Promise<boolean> {
  const { database, store, clock } = parts;
  const version = manifest.migrationVersion;
  if (version > LATEST_MIGRATION) {
    throw new StartupError(
      `the backup is of database version ${version}, newer than this program's ${LATEST_MIGRATION}: restore it with the newer program`,
    );
  }
  if ((await findMigrationVersion(database)) > 0) {
    const found = await findRestoreMark(database);
    if (found === mark) {
      await bindStore({ database, store, shown: parts.shown, now: clock.now() });
      await removeUnbound(parts);
      return true;
    }
    if (found !== undefined) {
      throw new StartupError(
        `the database is half restored from another snapshot, ${found.split(" ")[0]}: go on with that, or empty database and store`,
      );
    }
    const filled = await findFilledTable(database);
    if (filled !== undefined) {
      throw new StartupError(
        `the database is not empty (table ${filled} has rows): restore needs an empty one, that no server has started on`,
      );
    }
  }
  const owner = await store.readMark();
  if (owner !== undefined)
    throw new StartupError(`${parts.shown} belongs to the registry ${owner}: restore needs an empty one, that no server has started on`);
  for await (const { key } of store.list?.() ?? []) {
    throw new StartupError(`the store is not empty (it has ${key}): restore needs an empty directory, or an empty prefix of a bucket`);
  }
  await migrate(database, clock, version);
  await putRestoreMark(database, mark, clock.now());
  await bindStore({ database, store, shown: parts.shown, now: clock.now() });
  return false;
}

/** Removes what an interrupted run wrote and did not record. The store was empty before, so nothing else can be there. */
async function removeUnbound({ database, store }: RestoreParts): Promise<void> {
  async function removeFrom(keys: StorageKey[]): Promise<void> {
    const bound = await listBound(database, keys);
    await store.delete(keys.filter((key) => !bound.has(key)));
  }
  let keys: StorageKey[] = [];
  for await (const { key } of store.list?.() ?? []) {
    keys.push(key);
    if (keys.length < 1000) continue;
    await removeFrom(keys);
    keys = [];
  }
  if (keys.length > 0) await removeFrom(keys);
}

type Tally = ReturnType<typeof createTally>;

async function restoreBlobs(parts: RestoreParts, snapshot: string, manifest: SnapshotManifest, tally: Tally, isResumed: boolean) {
  const { place, database, store, clock, inlineMaxBytes, onProgress } = parts;
  const blobFile = tableFileOf(manifest.tables, "blob");
  const inlineFile = tableFileOf(manifest.tables, "blob_inline");
  await checkColumns(database, [blobFile, inlineFile]);
  const insertBlobs = createInsert("blob", blobFile.columns);
  const insertInline = createInsert("blob_inline", inlineFile.columns);
  const [keyAt, damagedAt] = [columnAt(blobFile, "storage_key"), columnAt(blobFile, "damaged_at")];
  const [blobIdAt, bytesAt] = [columnAt(inlineFile, "blob_id"), columnAt(inlineFile, "bytes")];
  const total = manifest.blobs.count;
  let count = 0;
  let sizeBytes = 0;
  let resumed = 0;

  const rowOf = (entry: BlobEntry, key: StorageKey | null, isDamaged: boolean): Row =>
    entry.row.map((value, at) => (at === keyAt ? key : at === damagedAt ? (isDamaged ? (entry.damagedAt ?? clock.now()) : null) : value));
  const inlineRowOf = (entry: BlobEntry, bytes: Buffer): Row =>
    inlineFile.columns.map((_, at) => (at === blobIdAt ? entry.id : at === bytesAt ? bytes.toString("base64") : null));

  // Rows without bytes of their own in the store: many of them share a transaction.
  let waiting: { row: Row; inline: Row | undefined }[] = [];
  let waitingBytes = 0;
  async function flush(): Promise<void> {
    const batch = waiting;
    waiting = [];
    waitingBytes = 0;
    if (batch.length === 0) return;
    await database.transaction(async (tx) => {
      const rows = batch.map((each) => each.row);
      await insertBlobs(tx, rows);
      const inlines = batch.flatMap((each) => each.inline ?? []).length;
      if (inlines > 0)
        await insertInline(
          tx,
          batch.flatMap((each) => (each.inline === undefined ? [] : [each.inline])),
        );
    });
  }
  async function add(row: Row, inline: Row | undefined, bytes: number): Promise<void> {
    waiting.push({ row, inline });
    waitingBytes += bytes;
    if (waiting.length >= INLINE_BATCH || waitingBytes >= INSERT_BYTES) await flush();
  }

  async function restore(entry: BlobEntry): Promise<void> {
    if (tally.isAbsent(entry)) return add(rowOf(entry, null, true), undefined, 0);
    try {
      if (inlineMaxBytes > 0 && entry.sizeBytes <= inlineMaxBytes) {
        const pieces: Uint8Array[] = [];
        for await (const piece of sourceOf(place, entry)) pieces.push(Buffer.from(piece));
        await add(rowOf(entry, null, false), inlineRowOf(entry, Buffer.concat(pieces)), entry.sizeBytes);
      } else await restoreStored(entry);
      sizeBytes += entry.sizeBytes;
    } catch (error) {
      if (!isDamage(error)) throw error;
      tally.damage(entry);
      await add(rowOf(entry, null, true), undefined, 0);
    }
  }

  async function restoreStored(entry: BlobEntry): Promise<void> {
    const id = randomUUID();
    const begun = store.begin(id);
    try {
      const { record } = await store.append(id, begun, sourceOf(place, entry), { offsetBytes: 0, onBytes: () => undefined });
      const { key } = await store.finish(id, record, { sizeBytes: entry.sizeBytes, digest: entry.digest });
      await database.transaction((tx) => insertBlobs(tx, [rowOf(entry, key, false)]));
      await store.removeLeftovers(id, record, key);
    } catch (error) {
      // Bytes that cannot be removed now are removed by the next run. Only the database knows whether the row was stored.
      await store.abort(id, begun, async (key) => (await listBound(database, [key])).size > 0).catch(() => undefined);
      throw error;
    }
  }

  await forEachParallel(readBlobEntries(place, snapshot, manifest.tables), parts.parallel, async (entry) => {
    if (isResumed && (await hasBlob(database, entry))) {
      resumed++;
      if (entry.damagedAt === null) sizeBytes += entry.sizeBytes;
    } else await restore(entry);
    onProgress({ phase: "blobs", done: ++count, total, bytes: sizeBytes });
  });
  await flush();
  return { count, sizeBytes, resumed };
}

async function fillTables(parts: RestoreParts, snapshot: string, manifest: SnapshotManifest, bytes: number): Promise<void> {
  const isWithoutKey = parts.withNewKey && manifest.keyFingerprint !== fingerprintOf(parts.masterKey);
  const sealed = tablesWith("sealed", parts.tables);
  const files = manifest.tables.filter(({ name }) => name !== "blob" && name !== "blob_inline" && !(isWithoutKey && sealed.has(name)));
  const total = files.reduce((sum, file) => sum + file.rows, 0);
  const onRows = (done: number): void => parts.onProgress({ phase: "tables", done, total, bytes });
  await restoreTables({ ...parts, snapshot, manifest, files, onRows });
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, void> {
  yield bytes;
}
