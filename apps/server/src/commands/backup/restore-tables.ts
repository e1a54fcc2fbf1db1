// Restores the rows of a snapshot's tables, all but those of blobs. They are read from the place batch by batch; each batch is a
// transaction that also records how far the table is filled. No transaction waits for the place, and an interrupted restore continues after
// the recorded rows. The mark that keeps servers away is deleted by the last transaction: until then nobody has seen any of the rows.
// Not here: blobs and the order of the steps (restore.ts).
import { createHash, type Hash } from "node:crypto";
import type { Database, Executor } from "../../platform/database/database.ts";
import { createInsert, listTables, setIdCounter, type Row } from "../../platform/database/tables.ts";
import { StartupError } from "../../platform/startup-error.ts";
import { tableName, type SnapshotManifest, type TableFile } from "./backup-format.ts";
import type { BackupPlace } from "./backup-place.ts";
import { dropRestoreMark, findFilling, noteFilling, type Filling } from "./restore-store.ts";
import { readTableFile } from "./table-files.ts";

const INSERT_ROWS = 500;
/** Also the memory of a batch, unless a single row is larger. */
export const INSERT_BYTES = 4 * 1024 * 1024;

/** The tables, and the source of their rows. */
export interface TablesToRestore {
  readonly place: BackupPlace;
  readonly database: Database;
  readonly snapshot: string;
  readonly manifest: SnapshotManifest;
  /** A subset of the manifest's files, in its order. */
  readonly files: readonly TableFile[];
  /** Called with the number of restored rows of all files. */
  readonly onRows: (done: number) => void;
}

/** Errors: `StartupError` if a table or column of the backup does not exist in the database at the backup's version. */
export async function checkColumns(executor: Executor, files: readonly TableFile[]): Promise<void> {
  const tables = new Map((await listTables(executor)).map((table) => [table.name, table]));
  for (const file of files) {
    const own = new Map(tables.get(file.name)?.columns.map((column) => [column.name, column.kind]));
    const wrong = file.columns.find((column) => own.get(column.name) !== column.kind);
    if (wrong !== undefined || own.size !== file.columns.length) {
      throw new StartupError(`table ${file.name} of the backup has other columns than the database at the same version`);
    }
  }
}

/** Fills the tables and ends the restore. Errors: `StartupError`, UNAVAILABLE, STORAGE_FULL. */
export async function restoreTables(parts: TablesToRestore): Promise<void> {
  const { database, manifest, files } = parts;
  await checkColumns(database, files);
  let done = 0;
  for (const file of files) {
    await fillTable(parts, file, (rows) => parts.onRows(done + rows));
    done += file.rows;
  }
  // This is durable, and so is everything written before.
  await database.transaction(async (tx) => {
    for (const [name, value] of Object.entries(manifest.idCounters)) await setIdCounter(tx, name, value);
    await dropRestoreMark(tx);
  });
}

async function fillTable({ place, database, snapshot }: TablesToRestore, file: TableFile, onRows: (rows: number) => void): Promise<void> {
  const insert = createInsert(file.name, file.columns);
  const before = await findFilling(database, file.name);
  // The hash of the rows so far: if the beginning of the file now differs from what was restored, the restore cannot continue.
  const hash = createHash("sha256");
  let rows = 0;
  for await (const batch of inBatches(readTableFile(place, tableName(snapshot, file.name), file), before.rows)) {
    for (const row of batch) hash.update(`${JSON.stringify(row)}\n`);
    rows += batch.length;
    if (rows <= before.rows) {
      if (rows === before.rows) checkBeginning(file, before, hash);
      continue;
    }
    const filled: Filling = { rows, digest: digestSoFar(hash) };
    await database.transaction(
      async (tx) => {
        await insert(tx, batch);
        await noteFilling(tx, file.name, filled);
      },
      { durable: false },
    );
    onRows(rows);
  }
}

function digestSoFar(hash: Hash): string {
  return hash.copy().digest("hex");
}

function checkBeginning(file: TableFile, before: Filling, hash: Hash): void {
  if (digestSoFar(hash) === before.digest) return;
  throw new StartupError(
    `table ${file.name}: the ${before.rows} rows that are in are not those of the backup, which read otherwise then: ` +
      "empty database and store, and restore again",
  );
}

/** Rows in batches; one batch ends after row number `at`. */
async function* inBatches(rows: AsyncIterable<Row>, at: number): AsyncGenerator<Row[], void, void> {
  let batch: Row[] = [];
  let bytes = 0;
  let count = 0;
  for await (const row of rows) {
    batch.push(row);
    for (const value of row) if (typeof value === "string") bytes += value.length;
    if (++count !== at && batch.length < INSERT_ROWS && bytes < INSERT_BYTES) continue;
    yield batch;
    batch = [];
    bytes = 0;
  }
  if (batch.length > 0) yield batch;
}
