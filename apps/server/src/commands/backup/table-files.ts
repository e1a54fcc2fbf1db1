// Tables as files of a backup: written from a snapshot of a database, and read row by row with their digest verified. Not here: reading
// rows from a database (platform/database/tables.ts).
import { Readable, pipeline } from "node:stream";
import { createZstdCompress, createZstdDecompress } from "node:zlib";
import { createHasher } from "@berth/oci/digest";
import { StartupError } from "../../platform/startup-error.ts";
import type { Executor } from "../../platform/database/database.ts";
import { listPages, type Row, type Table } from "../../platform/database/tables.ts";
import { tableName, type TableFile } from "./backup-format.ts";
import type { BackupPlace } from "./backup-place.ts";

// The largest configurable manifest has 64 MiB; as base64 with the rest of its row it fits. A longer line is not a row of ours.
const LINE_BYTES_MAX = 128 * 1024 * 1024;

/** Writes a table's rows. `onRows` is called with the number of further rows that were read. */
export async function writeTableFile(
  place: BackupPlace,
  name: string,
  executor: Executor,
  table: Table,
  onRows: (count: number) => void,
): Promise<TableFile> {
  const hasher = createHasher("sha256");
  let rows = 0;
  async function* lines(): AsyncGenerator<Buffer> {
    for await (const page of listPages(executor, table)) {
      rows += page.length;
      onRows(page.length);
      yield Buffer.from(page.map((row) => `${JSON.stringify(row)}\n`).join(""));
    }
  }
  async function* compressed(): AsyncGenerator<Buffer> {
    for await (const piece of piped(lines(), createZstdCompress())) {
      hasher.update(piece);
      yield piece;
    }
  }
  const sizeBytes = await place.write(name, compressed());
  return { name: table.name, columns: table.columns, rows, sizeBytes, digest: hasher.digest() };
}

/**
 * Verifies the stored files of tables before any of their rows is used. Errors: `StartupError`, BLOB_DAMAGED, both if a file is not what
 * was written.
 */
export async function verifyTableFiles(place: BackupPlace, snapshot: string, files: readonly TableFile[]): Promise<void> {
  for (const file of files) {
    const name = tableName(snapshot, file.name);
    for await (const _ of whole(place, name, file));
  }
}

/** A file's bytes; fails at their end if they are not what was written. */
async function* whole(place: BackupPlace, name: string, file: TableFile): AsyncGenerator<Uint8Array, void, void> {
  const hasher = createHasher("sha256");
  for await (const piece of place.read(name, file.sizeBytes)) {
    hasher.update(piece);
    yield piece;
  }
  if (hasher.digest() !== file.digest) throw new StartupError(`${name} is damaged: its digest does not fit`);
}

/**
 * Reads a table's rows. Only the last one shows whether they are what was written: it throws if they are not.
 * Errors: `StartupError`, BLOB_DAMAGED.
 */
export async function* readTableFile(place: BackupPlace, name: string, file: TableFile): AsyncGenerator<Row, void, void> {
  let rows = 0;
  let begun: Buffer[] = [];
  let begunBytes = 0;
  for await (const piece of decompressed(whole(place, name, file), name)) {
    let start = 0;
    for (let end = piece.indexOf(10); end !== -1; end = piece.indexOf(10, start)) {
      begun.push(piece.subarray(start, end));
      const text = (begun.length === 1 ? begun[0]! : Buffer.concat(begun)).toString("utf8");
      begun = [];
      begunBytes = 0;
      start = end + 1;
      rows++;
      yield rowOf(text, name, file);
    }
    if (start === piece.length) continue;
    begun.push(piece.subarray(start));
    begunBytes += piece.length - start;
    if (begunBytes > LINE_BYTES_MAX) throw new StartupError(`${name} is damaged: a line has no end`);
  }
  if (rows !== file.rows || begun.length > 0) throw new StartupError(`${name} is damaged: it has ${rows} rows of ${file.rows}`);
}

/** Wrong bytes may fail to decompress before their digest is known to be wrong. */
async function* decompressed(source: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<Buffer, void, void> {
  try {
    yield* piped(source, createZstdDecompress());
  } catch (cause) {
    const code = (cause as { code?: string }).code ?? "";
    if (!/^(?:ZSTD_|Z_|ERR_ZLIB)/.test(code)) throw cause;
    throw new StartupError(`${name} is damaged: it cannot be decompressed`, { cause });
  }
}

function rowOf(text: string, name: string, file: TableFile): Row {
  let row: unknown;
  try {
    row = JSON.parse(text);
  } catch (cause) {
    throw new StartupError(`${name} is damaged: a line is not JSON`, { cause });
  }
  if (!Array.isArray(row) || row.length !== file.columns.length) throw new StartupError(`${name} is damaged: a row has other columns`);
  return row as Row;
}

/** The output of a transform that is fed from a generator. A failure of either side ends both and is thrown. */
async function* piped(
  source: AsyncIterable<Uint8Array>,
  transform: NodeJS.ReadWriteStream & AsyncIterable<unknown>,
): AsyncGenerator<Buffer> {
  let failure: Error | null | undefined;
  pipeline(Readable.from(source), transform as never, (error) => {
    failure = error;
  });
  try {
    for await (const piece of transform) yield piece as Buffer;
  } catch (error) {
    throw failure ?? error;
  }
}
