// Blobs in the database: one row for each digest, one link for each repository that has it, and the leases that protect links from the
// collector. Not here: bytes (blobs/), the removal of links and blobs in the background (garbage.ts).
import { algorithmOf, digestOf, type Digest } from "@berth/oci/digest";
import { refuseNarrowed } from "../access/tag-patterns.ts";
import { RegistryError } from "@berth/oci/errors";
import type { Clock } from "../platform/clock.ts";
import { createLookUp } from "../platform/database/batch.ts";
import { type Database, type Executor, ON_FULL_DISK } from "../platform/database/database.ts";
import { type ExpectedRows, lostRace } from "../platform/database/row-counts.ts";
import {
  find,
  findMany,
  renewLease,
  isLinked,
  readInline,
  lockByDigest,
  insertBlob,
  replaceBytes,
  putInline,
  dropInline,
  putLink,
  putNewLink,
  sourceForMount,
  findLiving,
  dropUpload,
  dropResting,
  markUploadEnded,
  putReclaim,
  putReclaims,
  lockLink,
  findSparseHolder,
  findHolder,
  dropLink,
  markDamaged,
  countDamagedRows,
  findByKey,
  lockByDigestRead,
  lockBlobs,
  lockFree,
  dropUnlinked,
} from "./blob-statements.ts";
import type { StorageKey } from "./blobs/blob-store.ts";
import { hasOlderManifestsIn } from "./older-manifests.ts";
import { type GrantedRepository, isTombstone, repositoryDeleted, repositoryTransaction } from "./repositories.ts";
import { type ContentRules, NO_RULES, quotaOf } from "./rules.ts";
import { claimLost, claimsAt, type ClaimedUpload, type RestingUpload } from "./uploads.ts";

/** A blob of a repository. */
export interface BlobRow {
  readonly id: number;
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** Undefined: the bytes are in the database. */
  readonly key: StorageKey | undefined;
}

/** The place of an uploaded blob's bytes. */
export type BlobPlace = { readonly key: StorageKey } | { readonly bytes: Uint8Array };

/** A verified upload that becomes a blob. */
export interface BlobCommit {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly place: BlobPlace;
  /** The session, whose row is deleted by the commit: only the holder of its claim may commit. Undefined: there was no session. */
  readonly upload: ClaimedUpload | RestingUpload | undefined;
  /** Whether only the row leads to nothing else that the session left. If it does, the row stays, ended, until that is removed. */
  readonly isAlone: boolean;
  /** Called with the key of an older copy: false means that its bytes are lost, and the new ones replace it. */
  readonly isIntact: (key: StorageKey, sizeBytes: number) => Promise<boolean>;
}

/** The blobs of repositories. */
export interface Blobs {
  /**
   * Finds a blob of a repository. The answer promises that the collector keeps it for a lease: a blob that a manifest holds gets a lease
   * when the last such manifest is deleted; for others the lease is renewed here when half of it has passed. Also undefined if the
   * repository has been deleted, since its id may come from a cache.
   */
  find(repository: GrantedRepository, digest: Digest): BlobRow | undefined | Promise<BlobRow | undefined>;
  /** The bytes of a blob that is stored in the database. Errors: BLOB_DAMAGED. */
  readInline(blob: BlobRow): Promise<Uint8Array>;
  /**
   * Makes verified bytes part of the repository, durably. The collector deletes bytes that duplicate another copy.
   * Errors: CONFLICT when the session's claim was lost, or when an idle session has changed.
   */
  commit(repository: GrantedRepository<"push">, commit: BlobCommit): Promise<void>;
  /** Makes a blob of one repository part of another. False if the source does not have it. */
  mount(repository: GrantedRepository<"push">, source: GrantedRepository<"pull">, digest: Digest): Promise<boolean>;
  /** Removes a blob from a repository at once. Errors: BLOB_UNKNOWN, UNSUPPORTED while a manifest there names it, UNAVAILABLE. */
  delete(repository: GrantedRepository<"delete">, digest: Digest): Promise<void>;
  /** Records that a blob's bytes are missing or wrong: it is answered as unknown until a push replaces them. */
  markDamaged(blob: BlobRow): Promise<void>;
  /** Whether a blob row uses a key. */
  isBound(key: StorageKey): Promise<boolean>;
}

/** A conflict locks the link even if it is held and does not change, so that neither its manifest nor the collector can delete it. */
const HELD_OR_LEASED: ExpectedRows = { any: "a link that a manifest holds needs no lease" };

/** Counts blobs that are known to be damaged and not healed yet, up to `limit`. */
export async function countDamagedBlobs(database: Database, limit: number): Promise<number> {
  return Number((await database.first(countDamagedRows, { limit }))?.count ?? 0);
}

/** How long links stay without a manifest, and bytes without a row. */
export interface LeaseTimes {
  /** How long content that nothing holds stays, counted from the last answer that it exists. */
  readonly leaseMs: number;
  /** How long bytes stay after their row was deleted, for readers that have already begun. */
  readonly graceMs: number;
}

/** A blob with its link in a repository. */
interface LinkedBlob {
  readonly blob: BlobRow;
  /** Null while a manifest holds it. */
  readonly leasedUntil: number | null;
}

function linkedBlob(row: {
  id: number;
  digest: string;
  size_bytes: number;
  storage_key: string | null;
  leased_until: number | null;
}): LinkedBlob {
  const key = (row.storage_key as StorageKey | null) ?? undefined;
  return { blob: { id: row.id, digest: row.digest as Digest, sizeBytes: row.size_bytes, key }, leasedUntil: row.leased_until };
}

/** Creates the service for the blobs of a database. */
export function createBlobs(database: Database, clock: Clock, times: LeaseTimes, rules: ContentRules = NO_RULES): Blobs {
  const lookUp = createLookUp(database, {
    one: find,
    many: findMany,
    manyOf: (keys) => ({ repositoryIds: keys.map((key) => key.repositoryId), digests: keys.map((key) => key.digest) }),
    idOfKey: (key) => `${key.repositoryId}:${key.digest}`,
    idOfRow: (row) => `${row.repository_id}:${row.digest}`,
    toValue: linkedBlob,
  });
  const leaseEnd = (): number => clock.now() + times.leaseMs;
  const isLeased = (until: number | null): boolean => until !== null && until > clock.now();

  /** The blob of an existing link, whose lease then lasts for its full time from now. */
  function leasedBlob(repositoryId: number, link: LinkedBlob | undefined): BlobRow | undefined | Promise<BlobRow | undefined> {
    if (link === undefined) return undefined;
    const { leasedUntil, blob } = link;
    return leasedUntil === null || leasedUntil - clock.now() >= times.leaseMs / 2 ? blob : renew(repositoryId, link);
  }

  async function renew(repositoryId: number, { leasedUntil, blob }: LinkedBlob): Promise<BlobRow | undefined> {
    const renewed = await database
      .write(renewLease, { repositoryId, blobId: blob.id, until: leaseEnd() }, { durable: false })
      .catch((error: unknown) => {
        // The database takes no writes now, but reads continue. Less than half of the lease is left: a client that pushes after it has
        // ended, because writes work again, is answered that the blob is unknown.
        if (isLeased(leasedUntil) && error instanceof RegistryError && error.status >= 500) return undefined;
        throw error;
      });
    // It was not renewed: a manifest holds it now, another request renewed it, or the collector deleted it between the two statements.
    if (renewed?.length === 0 && (await database.first(isLinked, { repositoryId, blobId: blob.id })) === undefined) return undefined;
    return blob;
  }

  async function placeBytes(tx: Executor, blobId: number, place: BlobPlace): Promise<void> {
    if ("bytes" in place) await tx.run(putInline, { blobId, bytes: place.bytes }, 1);
    else await tx.run(dropInline, { blobId }, { any: "the older copy may have lain in the store" });
  }

  /** Links a blob to the repository, within its project's quota. Errors: DENIED. */
  async function link(tx: Executor, { grant, id }: GrantedRepository<"push">, blobId: number, sizeBytes: number, upload?: string) {
    const quota = quotaOf(grant, rules);
    const put = { repositoryId: id, blobId, until: leaseEnd() };
    const isNew = quota !== undefined && (await tx.first(putNewLink, put)) !== undefined;
    if (!isNew) await tx.run(putLink, put, HELD_OR_LEASED);
    await quota?.take(tx, grant, isNew ? sizeBytes : 0, upload);
  }

  /** Ends the session in the transaction that takes over its bytes. Errors: CONFLICT, the deleted repository's. */
  async function endUpload(tx: Executor, repositoryId: number, { upload, isAlone }: BlobCommit): Promise<void> {
    if (upload === undefined) {
      if ((await tx.first(findLiving, { repositoryId })) === undefined) throw repositoryDeleted();
      return;
    }
    const ended =
      "lockToken" in upload
        ? await tx.first(isAlone ? dropUpload : markUploadEnded, { id: upload.id, token: upload.lockToken })
        : await tx.first(dropResting, {
            id: upload.id,
            repositoryId,
            record: JSON.stringify(upload.record),
            offset: upload.offsetBytes,
            ...claimsAt(clock.now()),
          });
    if (ended === undefined) throw claimLost();
    if (ended.repository === null || isTombstone(ended.repository)) throw repositoryDeleted();
  }

  return {
    find({ id: repositoryId }, digest) {
      const link = lookUp({ repositoryId, digest });
      return link instanceof Promise ? link.then((found) => leasedBlob(repositoryId, found)) : leasedBlob(repositoryId, link);
    },

    async readInline(blob) {
      const row = await database.first(readInline, { blobId: blob.id });
      // Hashing such a small blob costs less than reading it did.
      if (row === undefined || digestOf(row.bytes, algorithmOf(blob.digest)) !== blob.digest)
        throw new RegistryError("BLOB_DAMAGED", {
          detail: { digest: blob.digest },
          cause: new Error(row === undefined ? "the database has no bytes of it" : "the database's bytes have another digest"),
        });
      return row.bytes;
    },

    async commit(repository, commit) {
      const repositoryId = repository.id;
      const { digest, sizeBytes, place, isIntact } = commit;
      const key = "key" in place ? place.key : null;
      // Read before the transaction, which must wait for nothing but the database.
      const older = await database.first(lockByDigestRead, { digest });
      const isOlderIntact =
        older !== undefined &&
        older.damaged_at === null &&
        (older.storage_key === null || (await isIntact(older.storage_key as StorageKey, older.size_bytes)));
      await repositoryTransaction(database, repository, async (tx, present) => {
        await endUpload(tx, repositoryId, commit);
        const inserted = await tx.first(insertBlob, { digest, sizeBytes, key, now: clock.now() });
        let blobId: number;
        if (inserted !== undefined) {
          blobId = inserted.id;
          if ("bytes" in place) await placeBytes(tx, blobId, place);
        } else {
          const existing = await tx.first(lockByDigest, { digest });
          // It was collected between the two statements: the next try inserts it.
          if (existing === undefined) throw lostRace("blob row vanished");
          blobId = existing.id;
          const isSameCopy = existing.storage_key === older?.storage_key && existing.id === older.id;
          if (existing.damaged_at !== null || (isSameCopy && !isOlderIntact)) {
            await tx.run(replaceBytes, { blobId, key }, 1);
            await placeBytes(tx, blobId, place);
            if (existing.storage_key !== null && existing.storage_key !== key) {
              const dueAt = clock.now() + times.graceMs;
              await tx.run(putReclaim, { key: existing.storage_key, sizeBytes: existing.size_bytes, dueAt }, 1);
            }
          } else if (key !== null && existing.storage_key !== key) {
            await tx.run(putReclaim, { key, sizeBytes, dueAt: clock.now() }, 1);
          }
        }
        await link(tx, present, blobId, sizeBytes, commit.upload?.id);
      });
    },

    mount: (repository, source, digest) =>
      repositoryTransaction(database, repository, async (tx, present) => {
        const repositoryId = repository.id;
        // The caller may have lost access to the source as well as to the target.
        await source.grant.renew(tx);
        if ((await tx.first(findLiving, { repositoryId })) === undefined) throw repositoryDeleted();
        const found = await tx.first(sourceForMount, { repositoryId: source.id, digest });
        if (found === undefined) return false;
        await link(tx, present, found.id, found.size_bytes);
        return true;
      }),

    delete(repository, digest) {
      const repositoryId = repository.id;
      refuseNarrowed(repository.grant, "delete blobs");
      const work = async (tx: Executor): Promise<void> => {
        const blob = await tx.first(lockLink, { repositoryId, digest });
        if (blob === undefined) throw new RegistryError("BLOB_UNKNOWN", { detail: { digest } });
        if (await hasOlderManifestsIn(tx, repositoryId)) {
          throw new RegistryError("UNAVAILABLE", {
            message: "what manifests of an earlier release name is still being read: try again in a moment",
            headers: { "retry-after": "5" },
          });
        }
        const holder =
          (await tx.first(findHolder, { repositoryId, blobId: blob.id })) ?? (await tx.first(findSparseHolder, { repositoryId, digest }));
        if (holder !== undefined) {
          throw new RegistryError("UNSUPPORTED", {
            message: "a manifest of this repository names the blob: delete that first",
            detail: { digest, manifest: holder.digest },
          });
        }
        await tx.run(dropLink, { repositoryId, blobId: blob.id }, 1);
        await takeUnlinkedBlobs(tx, [blob.id], () => clock.now() + times.graceMs);
      };
      return repositoryTransaction(database, repository, work, ON_FULL_DISK);
    },

    async markDamaged(blob) {
      // No row: a push has healed it, or another reader has marked it.
      await database.write(markDamaged, { blobId: blob.id, key: blob.key ?? "", now: clock.now() }, ON_FULL_DISK);
    },

    isBound: async (key) => (await database.first(findByKey, { key })) !== undefined,
  };
}

/**
 * Locks and returns those of the blobs that nobody else has locked. A push locks the blob and then its link, the collector has the link and
 * then needs the blob: if it waited here, that would be a deadlock.
 */
export async function lockFreeBlobs(tx: Executor, blobIds: readonly number[]): Promise<Set<number>> {
  return new Set((await tx.all(lockFree, { blobIds: [...blobIds] })).map((blob) => blob.id));
}

/**
 * Removes those of the blobs that no repository links any more, and adds their keys to `reclaim`, due at the time that `dueAt` returns
 * after the removal: readers found them while their locks were waited for. Returns their number and bytes. The rows are locked first and
 * checked by a later statement, so that a link made meanwhile is either seen or waits and fails.
 */
export async function takeUnlinkedBlobs(
  tx: Executor,
  blobIds: readonly number[],
  dueAt: () => number,
): Promise<{ count: number; bytes: number }> {
  const ids = [...blobIds];
  await tx.all(lockBlobs, { blobIds: ids });
  const gone = await tx.all(dropUnlinked, { blobIds: ids });
  const stored = gone.flatMap((blob) => (blob.storage_key === null ? [] : [{ key: blob.storage_key, sizeBytes: blob.size_bytes }]));
  if (stored.length > 0)
    await tx.run(
      putReclaims,
      { keys: stored.map((blob) => blob.key), sizes: stored.map((blob) => blob.sizeBytes), dueAt: dueAt() },
      stored.length,
    );
  return { count: gone.length, bytes: gone.reduce((sum, blob) => sum + blob.size_bytes, 0) };
}
