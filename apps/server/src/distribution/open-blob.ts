// Opens a blob for reading: from the database, from memory, or from the store; and reports missing or wrong bytes. Not here: authorization
// (pull.ts), ranges and headers (http/v2).
import { RegistryError } from "@berth/oci/errors";
import { LRUCache } from "lru-cache";
import type { BlobRow, Blobs } from "../content/blobs.ts";
import type { HotCache } from "../content/blobs/hot-cache.ts";

/** The cache of blobs that are stored in the database: configs and other small ones, so that a hot pull reads no row twice. */
const INLINE_CACHE_BYTES = 8 * 1024 * 1024;

/** Reads blobs. */
export interface BlobReader {
  /** Bytes `start` to `end` inclusive. A piece is valid until the next one is requested. Errors: BLOB_DAMAGED. */
  read(blob: BlobRow, start: number, end: number): AsyncIterable<Uint8Array>;
  /** The whole of a blob that is stored in the database, or undefined for others. */
  readSmall(blob: BlobRow): Promise<Uint8Array> | Uint8Array | undefined;
}

/** What reading needs. */
export interface BlobReaderParts {
  readonly blobs: Blobs;
  readonly cache: HotCache;
  /** Called once for each read that found damage. */
  readonly onDamage: (blob: BlobRow, error: unknown) => void;
  /** Called if the blob could not be marked as damaged. */
  readonly onUnmarked: (blob: BlobRow, error: unknown) => void;
}

/** Creates a reader. */
export function createBlobReader({ blobs, cache, onDamage, onUnmarked }: BlobReaderParts): BlobReader {
  const inline = new LRUCache<number, Uint8Array>({ maxSize: INLINE_CACHE_BYTES, sizeCalculation: (bytes) => bytes.length + 100 });

  async function reportDamage(blob: BlobRow, error: unknown): Promise<void> {
    if (!(error instanceof RegistryError) || error.code !== "BLOB_DAMAGED") return;
    onDamage(blob, error);
    // If it cannot be marked now, the next reader finds it again; this one gets the damage as its error.
    await blobs.markDamaged(blob).catch((failure: unknown) => onUnmarked(blob, failure));
  }

  async function loadInline(blob: BlobRow): Promise<Uint8Array> {
    try {
      const bytes = await blobs.readInline(blob);
      inline.set(blob.id, bytes);
      return bytes;
    } catch (error) {
      await reportDamage(blob, error);
      throw error;
    }
  }

  return {
    readSmall: (blob) => (blob.key === undefined ? (inline.get(blob.id) ?? loadInline(blob)) : undefined),
    async *read(blob, start, end) {
      if (end < start) return;
      if (blob.key === undefined) {
        yield (inline.get(blob.id) ?? (await loadInline(blob))).subarray(start, end + 1);
        return;
      }
      try {
        yield* cache.read(blob.key, blob.sizeBytes, start, end);
      } catch (error) {
        await reportDamage(blob, error);
        throw error;
      }
    },
  };
}
