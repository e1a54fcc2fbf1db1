// The blobs of a snapshot, as its tables name them, each with the bytes that were in the database; and verification of bytes as they pass.
// Not here: copying (backup.ts, restore.ts).
import { algorithmOf, createHasher, parseDigest, type Digest } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import type { Row } from "../../platform/database/tables.ts";
import { StartupError } from "../../platform/startup-error.ts";
import { tableName, type TableFile } from "./backup-format.ts";
import type { BackupPlace } from "./backup-place.ts";
import { readTableFile } from "./table-files.ts";

/** A blob of a snapshot. */
export interface BlobEntry {
  readonly id: number;
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** The key in the backed-up store; null if the bytes were in the database. */
  readonly key: string | null;
  readonly damagedAt: number | null;
  /** The bytes that were in the database. */
  readonly inline: Uint8Array | undefined;
  readonly row: Row;
}

/** The file of a table. Errors: `StartupError` if there is none. */
export function tableFileOf(tables: readonly TableFile[], name: string): TableFile {
  const file = tables.find((each) => each.name === name);
  if (file === undefined) throw new StartupError(`the backup has no table ${name}: it is not of a registry`);
  return file;
}

/** The index of a column in a table's rows. */
export function columnAt(file: TableFile, name: string): number {
  const at = file.columns.findIndex((column) => column.name === name);
  if (at === -1) throw new StartupError(`the backup's table ${file.name} has no column ${name}: a newer program wrote it`);
  return at;
}

/** All blobs of a snapshot by id. Reads the files of two tables side by side, and verifies both at their ends. */
export async function* readBlobEntries(
  place: BackupPlace,
  snapshot: string,
  tables: readonly TableFile[],
): AsyncGenerator<BlobEntry, void, void> {
  const blobs = tableFileOf(tables, "blob");
  const inlines = tableFileOf(tables, "blob_inline");
  const [id, digest, size, key, damaged] = ["id", "digest", "size_bytes", "storage_key", "damaged_at"].map((name) => columnAt(blobs, name));
  const [blobId, bytes] = [columnAt(inlines, "blob_id"), columnAt(inlines, "bytes")];
  const inlineRows = readTableFile(place, tableName(snapshot, inlines.name), inlines);
  try {
    let next = await inlineRows.next();
    for await (const row of readTableFile(place, tableName(snapshot, blobs.name), blobs)) {
      const value = (at: number | undefined) => row[at ?? -1];
      while (next.done !== true && Number(next.value[blobId]) < Number(value(id))) next = await inlineRows.next();
      const own = next.done !== true && next.value[blobId] === value(id) ? next.value[bytes] : undefined;
      yield {
        id: Number(value(id)),
        digest: parseDigest(String(value(digest))),
        sizeBytes: Number(value(size)),
        key: value(key) as string | null,
        damagedAt: value(damaged) as number | null,
        inline: typeof own === "string" ? Buffer.from(own, "base64") : undefined,
        row,
      };
    }
    while (next.done !== true) next = await inlineRows.next();
  } finally {
    await inlineRows.return();
  }
}

/** Passes bytes on, and fails at their end if they do not have the blob's digest. Errors: BLOB_DAMAGED. */
export async function* verified(
  blob: { readonly digest: Digest; readonly sizeBytes: number },
  pieces: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, void> {
  const hasher = createHasher(algorithmOf(blob.digest));
  let sizeBytes = 0;
  for await (const piece of pieces) {
    hasher.update(piece);
    sizeBytes += piece.length;
    yield piece;
  }
  if (sizeBytes === blob.sizeBytes && hasher.digest() === blob.digest) return;
  throw new RegistryError("BLOB_DAMAGED", {
    detail: { digest: blob.digest },
    cause: new Error(`the bytes have digest ${hasher.digest()}`),
  });
}

/** Whether an error says that a blob's bytes are missing or wrong. */
export function isDamage(error: unknown): boolean {
  return error instanceof RegistryError && error.code === "BLOB_DAMAGED";
}
