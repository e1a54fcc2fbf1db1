// Bytes that some are still writing and others read already: small ones in memory, others in a file that has no name, so that nothing is left of it
// when the process ends, however it ends. Not here: what the bytes are, who waits for which.
import { randomBytes } from "node:crypto";
import { open, rm, statfs } from "node:fs/promises";
import { join } from "node:path";

/** Written in order, read anywhere in what is written. */
export interface Spool {
  /** Resolves when the piece can be read and its memory used again. */
  append(piece: Uint8Array): Promise<void>;
  /** Bytes from a place on, at least one and at most `most`, which is at most `PIECE_BYTES`. Valid until the reader's next one. */
  readonly reader: () => (start: number, most: number) => Promise<Uint8Array> | Uint8Array;
  close(): Promise<void>;
}

/** The largest piece that is read. */
export const PIECE_BYTES = 256 * 1024;
/** Up to this, bytes are kept in memory. */
const MEMORY_BYTES = 256 * 1024;

/** What stays free of the disk beside one: the embedded database may lie there. */
const LEFT_FREE_BYTES = 256 * 1024 * 1024;

/** Makes a spool. `sizeBytes`: how much will come, undefined where that is not known. Errors: ENOSPC where that does not fit. */
export async function createSpool(directory: string, sizeBytes: number | undefined): Promise<Spool> {
  if (sizeBytes !== undefined && sizeBytes <= MEMORY_BYTES) return memorySpool(sizeBytes);
  const { bavail, bsize } = await statfs(directory);
  if (bavail * bsize < (sizeBytes ?? 0) + LEFT_FREE_BYTES) {
    throw Object.assign(new Error(`${bavail * bsize} bytes are left where blobs of upstreams lie while they come`), { code: "ENOSPC" });
  }
  return fileSpool(directory);
}

function memorySpool(sizeBytes: number): Spool {
  const bytes = Buffer.allocUnsafe(sizeBytes);
  let end = 0;
  return {
    async append(piece) {
      bytes.set(piece, end);
      end += piece.length;
    },
    reader: () => (start, most) => bytes.subarray(start, start + most),
    close: async () => undefined,
  };
}

async function fileSpool(directory: string): Promise<Spool> {
  const path = join(directory, `incoming-${randomBytes(8).toString("hex")}.tmp`);
  const file = await open(path, "wx+", 0o600);
  try {
    await rm(path);
  } catch (error) {
    await file.close();
    throw error;
  }
  let end = 0;
  return {
    async append(piece) {
      let written = 0;
      while (written < piece.length) {
        written += (await file.write(piece, written, piece.length - written, end + written)).bytesWritten;
      }
      end += written;
    },
    reader() {
      const buffer = Buffer.allocUnsafeSlow(PIECE_BYTES);
      return async (start, most) => {
        const { bytesRead } = await file.read(buffer, 0, Math.min(most, PIECE_BYTES), start);
        if (bytesRead === 0) throw new Error("a spool is shorter than what was written to it");
        return buffer.subarray(0, bytesRead);
      };
    },
    close: () => file.close(),
  };
}
