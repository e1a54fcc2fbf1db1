// Blobs that are small enough for the database and come with the request that ends their upload: one transaction, no claim, no stream. Not
// here: every other upload (upload-session.ts), rows (content/uploads.ts, content/blobs.ts).
import { algorithmOf, digestOf, type Digest } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import type { Grant } from "../access/caller.ts";
import type { Blobs } from "../content/blobs.ts";
import type { BlobStore, StorageKey, UploadRecord } from "../content/blobs/blob-store.ts";
import { type GrantedRepository, isRepositoryDeleted, type Repositories } from "../content/repositories.ts";
import type { RestingUpload, Uploads } from "../content/uploads.ts";

/** A body and its claimed position. */
export interface Chunk {
  readonly body: AsyncIterable<Uint8Array>;
  /** The position of its first byte in the blob, from Content-Range; undefined if the client did not say. */
  readonly startBytes: number | undefined;
  /** Length that the request announced, or undefined for a stream. */
  readonly lengthBytes: number | undefined;
}

/** The last bytes of an upload, in memory. */
export interface LastBytes {
  readonly bytes: Buffer;
  readonly startBytes: number | undefined;
}

/** Uploads that need no session while they run. */
export interface SmallUploads {
  /**
   * All bytes of a chunk that is known to be small, none if there is no chunk; undefined if it is not small: nothing was read. Errors:
   * SIZE_INVALID.
   */
  read(chunk: Chunk | undefined): Promise<LastBytes | undefined>;
  /**
   * Finishes a session whose content is small and in memory. False if that is not possible, or if anything is unexpected: nothing has
   * happened then, and claiming the session shows the reason.
   */
  finish(grant: Grant<"push">, id: string, digest: Digest, last: LastBytes): Promise<boolean>;
  /** Creates a blob from bytes without any session. Errors: DIGEST_INVALID, RANGE_INVALID, BLOB_TOO_LARGE. */
  push(grant: Grant<"push">, digest: Digest, last: LastBytes): Promise<void>;
}

/** What they need. */
export interface SmallUploadParts {
  readonly repositories: Repositories;
  readonly uploads: Uploads;
  readonly blobs: Blobs;
  readonly store: BlobStore;
  /** Blobs up to this size are stored in the database. */
  readonly inlineMaxBytes: number;
  /** Largest blob. */
  readonly maxBlobBytes: number;
}

// The content of a session is in its row, instead of the store's record, while it is small enough for the database.
const INLINE = "inline";
const NOTHING: LastBytes = { bytes: Buffer.alloc(0), startBytes: undefined };

/** The record of a new session if small blobs are stored in the database. */
export const UNTOUCHED: UploadRecord = { [INLINE]: "" };

/** Creates the small uploads. */
export function createSmallUploads(parts: SmallUploadParts): SmallUploads {
  const { repositories, uploads, blobs, store, inlineMaxBytes, maxBlobBytes } = parts;

  function commit(repository: GrantedRepository<"push">, digest: Digest, bytes: Buffer, upload: RestingUpload | undefined): Promise<void> {
    const isIntact = isIntactIn(store);
    return blobs.commit(repository, { digest, sizeBytes: bytes.length, place: { bytes }, upload, isAlone: true, isIntact });
  }

  return {
    async read(chunk) {
      if (inlineMaxBytes === 0) return undefined;
      if (chunk === undefined) return NOTHING;
      const { lengthBytes, startBytes } = chunk;
      if (lengthBytes === undefined || lengthBytes > inlineMaxBytes) return undefined;
      const pieces: Buffer[] = [];
      let receivedBytes = 0;
      for await (const piece of chunk.body) {
        receivedBytes += piece.length;
        if (receivedBytes > lengthBytes) break;
        // Copied: a piece is only valid until the next one.
        pieces.push(Buffer.from(piece));
      }
      if (receivedBytes !== lengthBytes) throw wrongLength(lengthBytes, receivedBytes);
      return { bytes: pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces), startBytes };
    },

    async finish(grant, id, digest, last) {
      const repository = await repositories.recall(grant);
      if (repository === undefined) return false;
      try {
        // Most clients send a small blob whole with the closing request; clients that sent it before send nothing with that.
        const untouched = { id, record: UNTOUCHED, offsetBytes: 0 };
        const upload = last.bytes.length > 0 ? untouched : await uploads.get(repository, id);
        if (!isInline(upload.record) || (last.startBytes ?? upload.offsetBytes) !== upload.offsetBytes) return false;
        const bytes = upload.offsetBytes === 0 ? last.bytes : Buffer.concat([inlineBytes(upload.record), last.bytes]);
        if (bytes.length > Math.min(inlineMaxBytes, maxBlobBytes) || digestOf(bytes, algorithmOf(digest)) !== digest) return false;
        await commit(repository, digest, bytes, upload);
        return true;
      } catch (error) {
        const isNotAsIt = error instanceof RegistryError && (error.code === "CONFLICT" || error.code === "BLOB_UPLOAD_UNKNOWN");
        if (isNotAsIt || isRepositoryDeleted(error)) return false;
        throw error;
      }
    },

    async push(grant, digest, { bytes, startBytes = 0 }) {
      if (startBytes !== 0) throw startsElsewhere(0, startBytes);
      if (bytes.length > maxBlobBytes) throw tooLarge(maxBlobBytes);
      verify(digest, digestOf(bytes, algorithmOf(digest)));
      await repositories.writing(grant, (repository) => commit(repository, digest, bytes, undefined));
    },
  };
}

/** Whether a store has that many bytes at a key: a commit checks an older copy by it. */
export function isIntactIn(store: BlobStore): (key: StorageKey, sizeBytes: number) => Promise<boolean> {
  return async (key, sizeBytes) => (await store.stat(key))?.sizeBytes === sizeBytes;
}

/** Whether a session's bytes are in its row. */
export function isInline(record: UploadRecord): boolean {
  return INLINE in record;
}

/** The bytes in such a record. */
export function inlineBytes(record: UploadRecord): Buffer {
  return Buffer.from(record[INLINE] as string, "base64");
}

/** A record that contains bytes. */
export function inlineRecord(pieces: readonly Uint8Array[]): UploadRecord {
  return { [INLINE]: Buffer.concat(pieces).toString("base64") };
}

/** Errors: DIGEST_INVALID if the digests differ. */
export function verify(expected: Digest, actual: Digest): void {
  if (expected !== actual) throw new RegistryError("DIGEST_INVALID", { detail: { expected, actual } });
}

/** The error for a chunk that begins at another position than the upload's offset. */
export function startsElsewhere(offsetBytes: number, startBytes: number): RegistryError {
  return new RegistryError("RANGE_INVALID", {
    message: "chunk does not begin where the upload stands",
    detail: { offsetBytes, startBytes },
  });
}

/** The error for a body whose length differs from the announced one. */
export function wrongLength(announcedBytes: number, receivedBytes: number): RegistryError {
  return new RegistryError("SIZE_INVALID", { detail: { announcedBytes, receivedBytes } });
}

/** The error for a blob that exceeds the limit. */
export function tooLarge(maxBytes: number): RegistryError {
  return new RegistryError("BLOB_TOO_LARGE", { detail: { maxBytes } });
}
