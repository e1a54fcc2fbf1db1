// What every store of blob bytes must do. Stores know keys and bytes; which digest a key holds is the database's business.
// Not here: the implementations (filesystem.ts, s3.ts, memory.ts) and where keys come from (paths.ts).
import type { Digest } from "@berth/oci/digest";

/**
 * A name for bytes in a store: made once for one upload and never used again, so that deleting a key can never delete what
 * somebody else has just written. Made only by `paths.ts`.
 */
export type StorageKey = string & { readonly __storageKey: unique symbol };

/** A store's own record of an upload in progress: JSON, kept in the upload's database row between requests. */
export type UploadRecord = { readonly [key: string]: unknown };

/** What appending gave. */
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
   * Called with every piece in order, once each, before or while it is written; the piece is not kept. The caller hashes, counts and
   * enforces its size limit here: what it throws ends the append and is thrown on.
   */
  readonly onBytes: (piece: Uint8Array) => void;
  /** How many bytes will come, where that is known: what of the bytes before is copied into one piece with them depends on it. */
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
  /** The digest that the client announced: it makes the key readable to people where the key is not settled yet. */
  readonly digest: Digest;
  /**
   * Given where the caller could not hash all bytes itself (another process wrote some of them): the store reads the whole content once and
   * passes it in order, before it finishes (file system) or before it returns (S3).
   */
  readonly onBytes?: ((piece: Uint8Array) => void) | undefined;
}

/** Bytes that a store holds, as a listing finds them. */
export interface ListedKey {
  readonly key: StorageKey;
  readonly sizeBytes: number;
  /** When they were written. */
  readonly changedAt: Date;
}

/** What a redirect may carry. */
export interface SignedUrlOptions {
  readonly mediaType: string;
  readonly ttlSeconds: number;
}

/**
 * Bytes at rest. All methods may throw `RegistryError` STORAGE_FULL (no room) or UNAVAILABLE (the store is out of reach; worth a retry);
 * anything else is a defect or damage. Every method is safe to call from several processes at once.
 */
export interface BlobStore {
  /** For logs and metrics: "filesystem", "s3" or "memory". */
  readonly kind: string;

  /** Starts an upload; reserves nothing visible. `uploadId` is unique for ever. */
  begin(uploadId: string): UploadRecord;

  /**
   * Writes the body behind what is there, as a segment of its own that nothing else ever writes to; an empty body changes nothing.
   * So an append that lost the upload (a client that gave up waiting, a paused process) cannot touch the bytes of the one that has it:
   * each returned record names only its own.
   * On a thrown error the bytes of this call are not part of the upload: the old record stays valid.
   */
  append(uploadId: string, record: UploadRecord, body: AsyncIterable<Uint8Array>, options: AppendOptions): Promise<Appended>;

  /**
   * Makes the upload durable under its final key and returns it. A crash before the return leaves only what `abort` of the same
   * record, or `sweep`, removes. May be called again with the same record until it is settled; it may then
   * return another key, and `removeLeftovers` removes all but the one that was bound.
   * Errors: BLOB_UPLOAD_INVALID where the bytes are not `sizeBytes` many, BLOB_UPLOAD_UNKNOWN where they are no longer there.
   */
  finish(uploadId: string, record: UploadRecord, options: FinishOptions): Promise<Stored>;

  /**
   * Removes what an append wrote and no saved record names: the segments of `to` that `from` does not have. For a writer that lost the upload
   * while it wrote; nothing of any other writer is touched.
   */
  undoAppend(uploadId: string, from: UploadRecord, to: UploadRecord): Promise<void>;

  /**
   * Called once `key` is bound in the database: removes what only `abort` would have needed to find it, and what was put aside on the
   * way. Nothing need wait for it; where it is lost in a crash, `abort` does its work, or `sweep` where the upload `isAlone`.
   */
  removeLeftovers(uploadId: string, record: UploadRecord, key: StorageKey): Promise<void>;

  /** Whether a finished upload has put nothing under final keys besides `key`, so that `sweep` finds everything else that it left. */
  isAlone(uploadId: string, record: UploadRecord, key: StorageKey): boolean;

  /**
   * Removes what an upload left, finished or not; nothing to remove is fine. Never removes a key that `bound` says is in use. An old
   * record, even the first, is enough: the store finds by the id what later calls made.
   */
  abort(uploadId: string, record: UploadRecord, bound: (key: StorageKey) => Promise<boolean>): Promise<void>;

  /** Size of a key's bytes, or undefined where there are none. */
  stat(key: StorageKey): Promise<{ readonly sizeBytes: number } | undefined>;

  /**
   * Reads bytes `start` to `end` inclusive, in pieces of at most 1 MiB. A piece is valid until the next one is asked for.
   * Errors: BLOB_DAMAGED where the key is missing or shorter than asked for; before the first piece where `sizeBytes` is given and is not
   * the size of what is there.
   */
  read(key: StorageKey, start: number, end: number, sizeBytes?: number): AsyncIterable<Uint8Array>;

  /** An address that serves the key's bytes without the registry, or undefined where the store has none. */
  signedUrl(key: StorageKey, options: SignedUrlOptions): Promise<string | undefined>;

  /**
   * Everything under final keys, behind `startAfter` where it is given, in an order of the store's own that stays. On S3 also the first
   * segments of uploads in progress. Only for finding what the database does not know (`doctor`): nothing else may ask a store what there is.
   */
  list?(startAfter?: StorageKey): AsyncIterable<ListedKey>;

  /**
   * Deletes keys; those already gone are fine. Resolves when all are gone durably. One that cannot be deleted does not keep the others:
   * `PartialDeletion` names those that stay. Any other error says nothing of any key.
   */
  delete(keys: readonly StorageKey[]): Promise<void>;

  /**
   * Removes temporary leftovers last written before `olderThan`, which lies further back than any upload may live. Returns how many
   * uploads they were of. Never looks at finished blobs.
   */
  sweep(olderThan: Date): Promise<number>;

  /**
   * The id in the store's mark, which says whose it is (store-binding.ts); undefined where it bears none.
   * Errors: UNAVAILABLE, also where the store that should be there is not.
   */
  readMark(): Promise<string | undefined>;

  /**
   * Marks the store, durably, and gives the id that it bears then: another one where somebody was quicker. `replaces` names the id that may be
   * replaced, "" where there is none; with it a store is also made where one was and is gone.
   */
  putMark(id: string, options?: { readonly replaces?: string }): Promise<string>;

  /** Proves that the store can be read and written now. Errors: UNAVAILABLE, STORAGE_FULL. */
  probe(): Promise<void>;

  close(): Promise<void>;
}
