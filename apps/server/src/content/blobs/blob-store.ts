// The interface of every store of blob bytes. Stores know keys and bytes; the database alone knows which digest a key holds. Not here: the
// implementations (filesystem.ts, s3.ts, memory.ts) and how keys are made (paths.ts).
import type { Digest } from "@berth/oci/digest";

/**
 * A name for bytes in a store: made once for one upload and never used again, so that deleting a key can never delete what somebody else
 * has just written. Made only by `paths.ts`.
 */
export type StorageKey = string & { readonly __storageKey: unique symbol };

/** A store's own record of an upload in progress: JSON, kept in the upload's database row between requests. */
export type UploadRecord = { readonly [key: string]: unknown };

/** The result of an append. */
export interface Appended {
  readonly record: UploadRecord;
  /** Bytes that this call wrote. */
  readonly writtenBytes: number;
}

/** How one append behaves. */
export interface AppendOptions {
  /** Bytes of the upload before this call; equals the sum of all earlier `writtenBytes`. */
  readonly offsetBytes: number;
  /**
   * Called with every piece in order, once each, before or while it is written; the piece must not be kept. The caller hashes, counts and
   * enforces its size limit here: an error that it throws ends the append and is rethrown.
   */
  readonly onBytes: (piece: Uint8Array) => void;
  /** The number of bytes that will come, if it is known: it decides how many of the earlier bytes are copied into one segment with them. */
  readonly expectedBytes?: number | undefined;
}

/** A finished upload: durable bytes at a key. */
export interface Stored {
  readonly key: StorageKey;
  readonly sizeBytes: number;
}

/** How an upload ends. */
export interface FinishOptions {
  readonly sizeBytes: number;
  /** The digest that the client announced: it makes the key readable to people where the store has not chosen the key yet. */
  readonly digest: Digest;
  /**
   * Given if the caller could not hash all bytes itself (another process wrote some of them): the store reads the whole content once and
   * passes it in order, before it finishes (file system) or before it returns (S3).
   */
  readonly onBytes?: ((piece: Uint8Array) => void) | undefined;
}

/** Stored bytes as a listing returns them. */
export interface ListedKey {
  readonly key: StorageKey;
  readonly sizeBytes: number;
  /** When they were written. */
  readonly changedAt: Date;
}

/** The parts of a signed address. */
export interface SignedUrlOptions {
  readonly mediaType: string;
  readonly ttlSeconds: number;
}

/**
 * Bytes at rest. All methods may throw `RegistryError` STORAGE_FULL (no room) or UNAVAILABLE (the store is unreachable; a retry may help);
 * anything else is a defect or damage. Every method is safe to call from several processes at once.
 */
export interface BlobStore {
  /** For logs and metrics: "filesystem", "s3" or "memory". */
  readonly kind: string;

  /** Starts an upload; reserves nothing visible. `uploadId` is unique for ever. */
  begin(uploadId: string): UploadRecord;

  /**
   * Writes the body after the existing bytes, as a new segment that no other call writes to; an empty body changes nothing. Therefore an
   * append that lost the upload (the client gave up, the process was paused) cannot touch the bytes of the one that has it: each returned
   * record names only its own.
   * When it throws, the bytes of this call are not part of the upload: the old record stays valid.
   */
  append(uploadId: string, record: UploadRecord, body: AsyncIterable<Uint8Array>, options: AppendOptions): Promise<Appended>;

  /**
   * Makes the upload durable under its final key and returns it. A crash before the return leaves only what `abort` of the same record, or
   * `sweep`, removes. It may be called again with the same record until a key is bound; it may then return another key, and
   * `removeLeftovers` removes all but the bound one.
   * Errors: BLOB_UPLOAD_INVALID if the number of bytes is not `sizeBytes`, BLOB_UPLOAD_UNKNOWN if they are no longer there.
   */
  finish(uploadId: string, record: UploadRecord, options: FinishOptions): Promise<Stored>;

  /**
   * Removes what an append wrote and no saved record names: the segments of `to` that `from` does not have. For a writer that lost the
   * upload while it wrote; other writers' segments are not touched.
   */
  undoAppend(uploadId: string, from: UploadRecord, to: UploadRecord): Promise<void>;

  /**
   * Called once `key` is bound in the database: removes everything that only `abort` could find otherwise, and temporary copies. Nothing
   * needs to wait for it; if a crash prevents it, `abort` does its work, or `sweep` if the upload `isAlone`.
   */
  removeLeftovers(uploadId: string, record: UploadRecord, key: StorageKey): Promise<void>;

  /** Whether a finished upload has left nothing under final keys except `key`, so that `sweep` finds everything else. */
  isAlone(uploadId: string, record: UploadRecord, key: StorageKey): boolean;

  /**
   * Removes what an upload left, finished or not; there may be nothing. Never removes a key for which `bound` returns true. An old record,
   * even the first, is enough: the store finds what later calls wrote by the id.
   */
  abort(uploadId: string, record: UploadRecord, bound: (key: StorageKey) => Promise<boolean>): Promise<void>;

  /** The size of a key's bytes, or undefined if there are none. */
  stat(key: StorageKey): Promise<{ readonly sizeBytes: number } | undefined>;

  /**
   * Reads bytes `start` to `end` inclusive, in pieces of at most 1 MiB. A piece is valid until the next one is requested.
   * Errors: BLOB_DAMAGED if the key is missing or shorter than requested; before the first piece if `sizeBytes` is given and differs from
   * the stored size.
   */
  read(key: StorageKey, start: number, end: number, sizeBytes?: number): AsyncIterable<Uint8Array>;

  /** An address that serves the key's bytes without the registry, or undefined if the store has none. */
  signedUrl(key: StorageKey, options: SignedUrlOptions): Promise<string | undefined>;

  /**
   * Lists everything under final keys, after `startAfter` if it is given, in a stable order of the store's own. On S3 the list includes the
   * first segments of uploads in progress. Only for finding what the database does not know (`doctor`): nothing else may list a store.
   */
  list?(startAfter?: StorageKey): AsyncIterable<ListedKey>;

  /**
   * Deletes keys; missing ones are fine. Resolves when all deletions are durable. A key that cannot be deleted does not keep the others:
   * `PartialDeletion` names those that stay. Any other error says nothing about any key.
   */
  delete(keys: readonly StorageKey[]): Promise<void>;

  /**
   * Removes temporary leftovers last written before `olderThan`, which is further back than any upload may live. Returns the number of
   * their uploads. Never touches finished blobs.
   */
  sweep(olderThan: Date): Promise<number>;

  /**
   * The id in the store's mark, which names its owner (store-binding.ts); undefined if there is no mark.
   * Errors: UNAVAILABLE, also if the store that should exist does not.
   */
  readMark(): Promise<string | undefined>;

  /**
   * Marks the store durably and returns its id then: another one if another process was faster. `replaces` is the id that may be replaced,
   * "" for none; with it a store that is gone is created again.
   */
  putMark(id: string, options?: { readonly replaces?: string }): Promise<string>;

  /** Checks that the store can be read and written now. Errors: UNAVAILABLE, STORAGE_FULL. */
  probe(): Promise<void>;

  close(): Promise<void>;
}
