// A blob on its way in: begin, append, finish, cancel. Bytes are hashed while they stream.
// Any process may go on with a session that another began: what it must know is in the row, and the hash is rebuilt by reading once.
// Not here: HTTP, small blobs that come in one piece (small-uploads.ts), rows (content/uploads.ts), how bytes are kept (content/blobs/).
import { algorithmOf, createHasher, digestOf, type Digest, type DigestAlgorithm, type Hasher } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import { LRUCache } from "lru-cache";
import type { Grant } from "../access/caller.ts";
import type { BlobPlace } from "../content/blobs.ts";
import type { StorageKey, UploadRecord } from "../content/blobs/blob-store.ts";
import { UNKNOWN_APPEND_BYTES } from "../content/blobs/segments.ts";
import { type GrantedRepository, isRepositoryDeleted } from "../content/repositories.ts";
import { type ContentRules, type QuotaLedger, quotaOf } from "../content/rules.ts";
import type { UploadLimits } from "../content/upload-limits.ts";
import { claimLost, UPLOAD_LOCK_MS, type ClaimedUpload, type Upload } from "../content/uploads.ts";
import { type Clock, MINUTE_MS } from "../platform/clock.ts";
import type { Database } from "../platform/database/database.ts";
import { createPrefixBuffer } from "./prefix-buffer.ts";
import {
  createSmallUploads,
  inlineBytes,
  inlineRecord,
  isInline,
  isIntactIn,
  startsElsewhere,
  tooLarge,
  UNTOUCHED,
  verify,
  wrongLength,
  type Chunk,
  type SmallUploadParts,
} from "./small-uploads.ts";

/** Hash states kept between requests: about 1 KB each. A session whose state was dropped costs one more read of its bytes. */
const MAX_HASH_STATES = 10_000;

/** How long room that is set aside for an upload stays so without another chunk. */
const RESERVED_MS = 15 * MINUTE_MS;
/** Room that is set aside at a time for a body of no known length. */
const RESERVE_STEP_BYTES = 16 * 1024 * 1024;

/** Where a session stands. */
export interface SessionState {
  readonly id: string;
  readonly offsetBytes: number;
}

/** Upload sessions. */
export interface UploadSessions {
  /** Errors: UPLOADS_EXCEEDED. */
  begin(grant: Grant<"push">, algorithm: DigestAlgorithm): Promise<SessionState>;
  /** Errors: BLOB_UPLOAD_UNKNOWN. */
  get(grant: Grant<"push">, id: string): Promise<SessionState>;
  /** Appends a chunk. Errors: BLOB_UPLOAD_UNKNOWN, RANGE_INVALID (with where it stands), CONFLICT, BLOB_TOO_LARGE, SIZE_INVALID. */
  append(grant: Grant<"push">, id: string, chunk: Chunk): Promise<SessionState>;
  /**
   * Appends a last chunk if there is one, verifies, and makes the blob part of the repository, durably. Done as well where the session has
   * ended and the repository has the blob: a client asks again that did not get the answer. Errors: DIGEST_INVALID and those of append.
   */
  finish(grant: Grant<"push">, id: string, digest: Digest, chunk: Chunk | undefined): Promise<void>;
  /** Begin and finish in one. */
  pushWhole(grant: Grant<"push">, digest: Digest, chunk: Chunk): Promise<void>;
  /** Errors: BLOB_UPLOAD_UNKNOWN. */
  cancel(grant: Grant<"push">, id: string): Promise<void>;
  /** Removes sessions past their age, with their bytes. Gives how many. */
  expire(limit: number): Promise<number>;
}

/** What sessions need. */
export interface UploadSessionParts extends SmallUploadParts {
  readonly database: Database;
  readonly clock: Clock;
  /** Whose quota reserves room for uploads that are running. */
  readonly rules: ContentRules;
  /** Asked before a session begins. */
  readonly uploadLimits: UploadLimits;
  /** Called when clearing up behind a finished upload failed: nobody waits for it, and the sweep does it later. */
  readonly onBackgroundError: (error: unknown) => void;
}

// What has been hashed of a session by this process. It stands for one record's bytes, not for an offset: another process may have taken the
// session over and written other bytes of the same length.
interface HashState {
  readonly hasher: Hasher;
  /** Identifies the record: a segment's name is never used twice, so equal records mean equal bytes. */
  readonly recordId: string;
}

/** Makes the upload sessions. */
export function createUploadSessions(parts: UploadSessionParts): UploadSessions {
  const { database, clock, rules, uploadLimits, repositories, uploads, blobs, store, inlineMaxBytes, maxBlobBytes, onBackgroundError } =
    parts;
  const hashStates = new LRUCache<string, HashState>({ max: MAX_HASH_STATES });
  const small = createSmallUploads(parts);

  /** Runs `work` while this request alone may write to the session, and frees it when the work failed. */
  async function claiming<T>(
    grant: Grant<"push">,
    id: string,
    work: (claimed: ClaimedUpload, repository: GrantedRepository<"push">) => Promise<T>,
    purpose: "to write" | "to end" = "to write",
  ): Promise<T> {
    const { claimed, repository } = await inRepository(grant, async (held) => ({
      claimed: await uploads.claim(held, id, purpose),
      repository: held,
    }));
    let renewal: Promise<unknown> = Promise.resolve();
    const timer = setInterval(() => {
      // A lost claim shows when the work is recorded; an unreachable database then as well.
      renewal = uploads.renew(claimed).catch(() => undefined);
    }, UPLOAD_LOCK_MS / 3);
    try {
      return await work(claimed, repository);
    } catch (error) {
      // The same of the reservation, which is forgotten at its time.
      await quotaOf(grant, rules)
        ?.release(grant, id)
        .catch(() => undefined);
      // Where this fails too, the claim runs out by itself; the first error is the one to report.
      await uploads.release(claimed).catch(() => undefined);
      // The session was the deleted repository's. One of the same name that came after it has not asked for this.
      if (isRepositoryDeleted(error)) throw new RegistryError("BLOB_UPLOAD_UNKNOWN", { cause: error });
      throw error;
    } finally {
      clearInterval(timer);
      await renewal;
    }
  }

  /** Looks for a session in the repository; where it is not, the repository may be another one since it was remembered. */
  async function inRepository<T>(grant: Grant<"push">, work: (repository: GrantedRepository<"push">) => Promise<T>): Promise<T> {
    const recalled = await repositories.recall(grant);
    if (recalled === undefined) throw new RegistryError("BLOB_UPLOAD_UNKNOWN");
    try {
      return await work(recalled);
    } catch (error) {
      if (!(error instanceof RegistryError) || error.code !== "BLOB_UPLOAD_UNKNOWN") throw error;
      const present = await repositories.find(grant);
      if (present === undefined || present.id === recalled.id) throw error;
      return work(present);
    }
  }

  function checkStart(upload: Upload, chunk: Chunk): void {
    if (chunk.startBytes !== undefined && chunk.startBytes !== upload.offsetBytes) {
      throw startsElsewhere(upload.offsetBytes, chunk.startBytes);
    }
    checkSize(upload.offsetBytes + (chunk.lengthBytes ?? 0));
  }

  function checkSize(sizeBytes: number): void {
    if (sizeBytes > maxBlobBytes) throw tooLarge(maxBlobBytes);
  }

  /** A chunk for which the project's quota sets room aside before it is read, or as it comes where its length is not known. */
  function withinQuota(grant: Grant<"push">, upload: Upload, chunk: Chunk): Chunk {
    const quota = quotaOf(grant, rules);
    if (quota === undefined) return chunk;
    async function* reserved(ledger: QuotaLedger): AsyncGenerator<Uint8Array, void, void> {
      const reserve = (sizeBytes: number): Promise<void> => ledger.reserve(grant, upload.id, sizeBytes, clock.now() + RESERVED_MS);
      let room = upload.offsetBytes + (chunk.lengthBytes ?? 0);
      if (chunk.lengthBytes !== undefined) await reserve(room);
      let end = upload.offsetBytes;
      let step = RESERVE_STEP_BYTES;
      for await (const piece of chunk.body) {
        end += piece.length;
        if (end > room) {
          // Where not all of the step is left, what is there may still be enough.
          if (step > 0) await reserve((room = end + step)).catch(() => (step = 0));
          if (step === 0) await reserve((room = end));
        }
        yield piece;
      }
    }
    return { ...chunk, body: reserved(quota) };
  }

  /** Writes a chunk behind what is there; gives the new record and offset. Changes nothing of the session when it throws. */
  async function write(upload: Upload, chunk: Chunk, algorithm: DigestAlgorithm): Promise<{ record: UploadRecord; offsetBytes: number }> {
    // A copy, so that a body that breaks off leaves the state of the bytes before it.
    const hasher = hasherOf(upload, algorithm)?.copy();
    let receivedBytes = 0;
    const receive = (piece: Uint8Array): void => {
      receivedBytes += piece.length;
      checkSize(upload.offsetBytes + receivedBytes);
      hasher?.update(piece);
    };
    const earlier = isInline(upload.record) ? inlineBytes(upload.record) : undefined;
    let record: UploadRecord;
    if (earlier !== undefined) {
      // Small so far: hold the bytes until they end or grow out of the database.
      const prefix = createPrefixBuffer(chunk.body, inlineMaxBytes - earlier.length);
      const head = await prefix.head(receive);
      if (head.isWhole) {
        record = inlineRecord([earlier, head.bytes]);
      } else {
        const bytesBefore = earlier.length + head.bytes.length;
        let passed = 0;
        const appended = await store.append(upload.id, store.begin(upload.id), prefix.all(earlier), {
          offsetBytes: 0,
          onBytes: (piece) => {
            // The head was hashed when it came in; the rest is hashed as it is written.
            const skip = Math.max(0, Math.min(piece.length, bytesBefore - passed));
            passed += piece.length;
            if (skip < piece.length) receive(piece.subarray(skip));
          },
        });
        record = appended.record;
      }
    } else {
      const { body, expectedBytes } = await lookAhead(chunk);
      record = (await store.append(upload.id, upload.record, body, { offsetBytes: upload.offsetBytes, onBytes: receive, expectedBytes }))
        .record;
    }
    if (chunk.lengthBytes !== undefined && receivedBytes !== chunk.lengthBytes) {
      throw wrongLength(chunk.lengthBytes, receivedBytes);
    }
    const offsetBytes = upload.offsetBytes + receivedBytes;
    if (hasher !== undefined && !isInline(record)) hashStates.set(upload.id, { hasher, recordId: idOf(record) });
    else hashStates.delete(upload.id);
    return { record, offsetBytes };
  }

  /** The hash of all bytes of a session, where it can be had without reading them from the store. */
  function hasherOf(upload: Upload, algorithm: DigestAlgorithm): Hasher | undefined {
    if (isInline(upload.record) || upload.offsetBytes === 0) {
      const hasher = createHasher(algorithm);
      if (isInline(upload.record)) hasher.update(inlineBytes(upload.record));
      return hasher;
    }
    const state = hashStates.get(upload.id);
    return state?.hasher.algorithm === algorithm && state.recordId === idOf(upload.record) ? state.hasher : undefined;
  }

  /** Verifies what is there against the digest and commits it. */
  async function commit(
    repository: GrantedRepository<"push">,
    upload: ClaimedUpload,
    digest: Digest,
    rowIsDurable: () => Promise<void>,
  ): Promise<void> {
    const known = hasherOf(upload, algorithmOf(digest));
    if (known !== undefined) verify(digest, known.digest());
    const sizeBytes = upload.offsetBytes;
    let place: BlobPlace;
    if (isInline(upload.record)) {
      place = { bytes: inlineBytes(upload.record) };
    } else {
      // From here on bytes may stand at a final key: the row that leads to them must survive a crash.
      await rowIsDurable();
      const read = known === undefined ? createHasher(algorithmOf(digest)) : undefined;
      const stored = await store.finish(upload.id, upload.record, {
        sizeBytes,
        digest,
        onBytes: read === undefined ? undefined : (piece) => read.update(piece),
      });
      if (read !== undefined) verify(digest, read.digest());
      place = { key: stored.key };
    }
    const isAlone = !("key" in place) || store.isAlone(upload.id, upload.record, place.key);
    await blobs.commit(repository, {
      digest,
      sizeBytes,
      place,
      upload,
      isAlone,
      isIntact: isIntactIn(store),
    });
    hashStates.delete(upload.id);
    if ("key" in place) removeLeftovers(upload, place.key, isAlone).catch(onBackgroundError);
  }

  /** Clears up behind a committed upload. Where that is more than `sweep` would find, the row stays, marked as ended, until it is done. */
  async function removeLeftovers(upload: ClaimedUpload, key: StorageKey, isAlone: boolean): Promise<void> {
    await store.removeLeftovers(upload.id, upload.record, key);
    if (!isAlone) await uploads.drop(upload);
  }

  /** Removes what this request wrote after it had lost the session. */
  async function undoAppend(before: ClaimedUpload, written: UploadRecord): Promise<void> {
    if (!isInline(written)) await store.undoAppend(before.id, storeRecord(before), written);
  }

  /** The store's own record of a session, also of one whose content stands in its row so far. */
  function storeRecord(upload: ClaimedUpload): UploadRecord {
    return isInline(upload.record) ? store.begin(upload.id) : upload.record;
  }

  async function discard(upload: ClaimedUpload): Promise<void> {
    // First of all: removing takes time, and who took the session over meanwhile would commit bytes that are being removed.
    if (!(await uploads.markEnded(upload))) throw claimLost();
    await remove(upload);
  }

  /** Removes the bytes and the row of a session that has ended. */
  async function remove(upload: ClaimedUpload): Promise<void> {
    hashStates.delete(upload.id);
    // A session whose row says inline may have bytes in the store all the same: those of an append that nobody lived to record.
    await store.abort(upload.id, storeRecord(upload), blobs.isBound);
    await uploads.drop(upload);
  }

  /**
   * Removes what a writer finished that lost its claim and came after the session's end: perhaps nobody looks there any more. While the
   * session lives, the bytes are its present writer's business.
   */
  async function removeLate(upload: ClaimedUpload): Promise<void> {
    if (isInline(upload.record) || (await uploads.isAlive(upload.id))) return;
    await store.abort(upload.id, upload.record, blobs.isBound);
  }

  async function finishClaimed(
    repository: GrantedRepository<"push">,
    claimed: ClaimedUpload,
    digest: Digest,
    chunk: Chunk | undefined,
  ): Promise<void> {
    // Begun early for what will go to the store, so that it costs no time of its own; small blobs need it not at all.
    const lastBytes = chunk === undefined ? 0 : (chunk.lengthBytes ?? Infinity);
    const early = isInline(claimed.record) && claimed.offsetBytes + lastBytes <= inlineMaxBytes ? undefined : database.sync();
    // Awaited late: a failure must not go unheard meanwhile.
    early?.catch(() => undefined);
    const rowIsDurable = (): Promise<void> => early ?? database.sync();
    let upload = claimed;
    if (chunk !== undefined) {
      checkStart(upload, chunk);
      const written = await write(upload, withinQuota(repository.grant, upload, chunk), algorithmOf(digest));
      upload = { ...upload, ...written };
      // Where the bytes went must be known before they are worth a final name; the inline ones go nowhere.
      if (!isInline(upload.record) && !(await uploads.record(claimed, upload))) {
        await undoAppend(claimed, upload.record);
        throw claimLost();
      }
    }
    try {
      await commit(repository, upload, digest, rowIsDurable);
    } catch (error) {
      // Content that is not what was announced cannot become so: the session ends here.
      if (error instanceof RegistryError && error.code === "DIGEST_INVALID") await discard(upload);
      if (error instanceof RegistryError && error.code === "CONFLICT") await removeLate(upload);
      throw error;
    }
  }

  /** Whether a session that is not there any more may have left what it was for, durably. */
  async function isFinished(grant: Grant<"push">, digest: Digest): Promise<boolean> {
    const repository = await repositories.find(grant);
    if (repository === undefined || (await blobs.find(repository, digest)) === undefined) return false;
    // What can be seen may not be on the disk yet.
    await database.sync();
    return true;
  }

  /** Reads a body that nobody needs, since its client would not hear an answer before it has sent it. */
  async function pass(chunk: Chunk): Promise<void> {
    let passedBytes = 0;
    for await (const piece of chunk.body) {
      checkSize((passedBytes += piece.length));
    }
  }

  return {
    async begin(grant, algorithm) {
      await uploadLimits.check(grant);
      const record = (id: string): UploadRecord => (inlineMaxBytes > 0 ? UNTOUCHED : store.begin(id));
      return repositories.writing(grant, (repository) => uploads.begin(repository, { algorithm, record }));
    },

    get: (grant, id) => inRepository(grant, (repository) => uploads.get(repository, id)),

    append: (grant, id, chunk) =>
      claiming(grant, id, async (claimed) => {
        checkStart(claimed, chunk);
        const written = await write(claimed, withinQuota(grant, claimed, chunk), claimed.algorithm);
        try {
          await grant.renew();
        } catch (error) {
          await undoAppend(claimed, written.record);
          throw error;
        }
        try {
          return await uploads.advance(claimed, written);
        } catch (error) {
          // Only where it is certain that the row does not name these bytes: another writer has the session.
          if (error instanceof RegistryError && error.code === "CONFLICT") await undoAppend(claimed, written.record);
          throw error;
        }
      }),

    async finish(grant, id, digest, chunk) {
      const read = await small.read(chunk);
      if (read !== undefined && (await small.finish(grant, id, digest, read))) return;
      const last = read === undefined || chunk === undefined ? chunk : { ...chunk, body: oneOf(read.bytes) };
      try {
        await claiming(grant, id, (claimed, repository) => finishClaimed(repository, claimed, digest, last));
      } catch (error) {
        if (!(error instanceof RegistryError && error.code === "BLOB_UPLOAD_UNKNOWN") || !(await isFinished(grant, digest))) throw error;
        if (last !== undefined) await pass(last);
      }
    },

    async pushWhole(grant, digest, chunk) {
      const read = await small.read(chunk);
      if (read !== undefined) return small.push(grant, digest, read);
      const { id } = await this.begin(grant, algorithmOf(digest));
      try {
        await this.finish(grant, id, digest, chunk);
      } catch (error) {
        // Nobody else knows this session's id: what it left goes now, or with its age when that fails too.
        await this.cancel(grant, id).catch(() => undefined);
        throw error;
      }
    },

    cancel: (grant, id) =>
      claiming(
        grant,
        id,
        async (claimed) => {
          await discard(claimed);
          await quotaOf(grant, rules)?.release(grant, id);
        },
        "to end",
      ),

    async expire(limit) {
      const expired = await uploads.endExpired(limit);
      const failures: unknown[] = [];
      for (const upload of expired) {
        try {
          await remove(upload);
        } catch (error) {
          // The others still go; this one is tried again when its claim has run out.
          failures.push(error);
        }
      }
      if (failures.length > 0) throw failures.length === 1 ? failures[0] : new AggregateError(failures, "uploads could not be removed");
      return expired.length;
    },
  };
}

/** How long a chunk is: as it says, or as its end shows if that is near. A few bytes at a time must not cost as much as a large chunk. */
async function lookAhead(chunk: Chunk): Promise<{ body: AsyncIterable<Uint8Array>; expectedBytes: number | undefined }> {
  if (chunk.lengthBytes !== undefined) return { body: chunk.body, expectedBytes: chunk.lengthBytes };
  const prefix = createPrefixBuffer(chunk.body, UNKNOWN_APPEND_BYTES);
  const head = await prefix.head(() => undefined);
  return { body: prefix.all(Buffer.alloc(0)), expectedBytes: head.isWhole ? head.bytes.length : undefined };
}

async function* oneOf(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, void> {
  if (bytes.length > 0) yield bytes;
}

// A digest of the record and not the record, which may have 60 KB: thousands of these are kept.
function idOf(record: UploadRecord): string {
  return digestOf(Buffer.from(JSON.stringify(record)));
}
