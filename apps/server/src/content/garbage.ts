// The garbage collector: it deletes what nothing refers to, in small batches, while everything else continues. It judges by reference edges
// and leases in the database, never by listing a store. Safe with any number of collectors at once.
//   link (repository, blob): dead when no manifest of the repository holds the blob and the link's lease has ended
//   blob row: dead when no repository links it; its key goes to `reclaim`
//   bytes deleted when the grace for readers that had begun is over
// Why no live blob is deleted: docs/decisions/0005-collection-by-edges-and-leases.md. Not here: when it runs (distribution/collector.ts),
// its backlog (backlog.ts).
import type { Clock } from "../platform/clock.ts";
import { type Database, ON_FULL_DISK } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import { lockFreeBlobs, takeUnlinkedBlobs, type LeaseTimes } from "./blobs.ts";
import { hasOlderManifests, readOlderManifests } from "./older-manifests.ts";
import type { BlobStore, StorageKey } from "./blobs/blob-store.ts";
import { PartialDeletion } from "./blobs/partial-deletion.ts";

/** The result of one batch. */
export interface LinkBatch {
  /** The number of examined links; fewer than the batch size means that nothing more is due now. */
  readonly examined: number;
  readonly unlinked: number;
  readonly blobs: number;
  readonly bytes: number;
}

/** The result of one batch of bytes. */
export interface ByteBatch {
  readonly examined: number;
  readonly deleted: number;
  readonly bytes: number;
}

/** The garbage collector. */
export interface Garbage {
  /** Deletes dead links, and blobs that lose their last one. */
  collectLinks(batchSize: number): Promise<LinkBatch>;
  /** Deletes bytes that are due. */
  reclaimBytes(batchSize: number): Promise<ByteBatch>;
}

/** The first wait after a failed deletion of bytes; it doubles up to an hour. */
const RETRY_MS = 30_000;
const MAX_RETRY_MS = 3_600_000;

const lockDue = statement<{ now: number; limit: number }>()("garbage.lockDue", (db, p, tools) =>
  db
    .selectFrom("repository_blob")
    .select(["repository_id", "blob_id"])
    .where("leased_until", "<", p.now)
    .orderBy("leased_until")
    .limit(p.limit)
    .modifyEnd(tools.lock("update skip locked")),
);

type Pairs = { repositoryIds: number[]; blobIds: number[] };

// Checked by a statement of its own, after the locks: it sees every edge that was committed before them, and a later push waits for the
// lock (its edge refers to the link) and then finds the link deleted.
const listHeld = statement<Pairs>()("garbage.listHeld", (db, p, tools) =>
  db
    .selectFrom(tools.numberPairs(p.repositoryIds, p.blobIds).as("due"))
    .select(["due.a as repository_id", "due.b as blob_id"])
    .where(({ or, exists, selectFrom }) =>
      or([
        exists(
          selectFrom("manifest_blob")
            .select("manifest_blob.manifest_id")
            .whereRef("manifest_blob.repository_id", "=", "due.a")
            .whereRef("manifest_blob.blob_id", "=", "due.b"),
        ),
        exists(
          selectFrom("manifest_sparse_blob")
            .innerJoin("blob", "blob.digest", "manifest_sparse_blob.digest")
            .select("manifest_sparse_blob.manifest_id")
            .whereRef("manifest_sparse_blob.repository_id", "=", "due.a")
            .whereRef("blob.id", "=", "due.b"),
        ),
      ]),
    ),
);

const hold = statement<Pairs>()("garbage.hold", (db, p, tools) =>
  db
    .updateTable("repository_blob")
    .set({ leased_until: null })
    .where(({ eb, refTuple, selectFrom }) =>
      eb(
        refTuple("repository_id", "blob_id"),
        "in",
        selectFrom(tools.numberPairs(p.repositoryIds, p.blobIds).as("due")).select(["due.a", "due.b"]).$asTuple("a", "b"),
      ),
    ),
);

const dropLink = statement<{ repositoryId: number; blobIds: number[] }>()("garbage.dropLinks", (db, p, tools) =>
  db
    .deleteFrom("repository_blob")
    .where("repository_id", "=", p.repositoryId)
    .where(({ ref }) => tools.inList(ref("blob_id"), p.blobIds, "bigint")),
);

const listReclaim = statement<{ now: number; limit: number }>()("garbage.listReclaim", (db, p) =>
  db
    .selectFrom("reclaim")
    .select(["id", "storage_key", "size_bytes", "attempts"])
    .where("due_at", "<", p.now)
    .orderBy("due_at")
    .limit(p.limit),
);

const listBoundKeys = statement<{ keys: string[] }>()("garbage.listBoundKeys", (db, p, tools) =>
  db
    .selectFrom("blob")
    .select("storage_key")
    .where("storage_key", "is not", null)
    .where(({ ref }) => tools.inList(ref("storage_key"), p.keys, "text")),
);

const dropReclaim = statement<{ ids: number[] }>()("garbage.dropReclaim", (db, p, tools) =>
  db.deleteFrom("reclaim").where(({ ref }) => tools.inList(ref("id"), p.ids, "bigint")),
);

const postponeReclaim = statement<{ ids: number[]; dueAt: number }>()("garbage.postponeReclaim", (db, p, tools) =>
  db
    .updateTable("reclaim")
    .set(({ eb }) => ({ due_at: p.dueAt, attempts: eb("attempts", "+", 1) }))
    .where(({ ref }) => tools.inList(ref("id"), p.ids, "bigint")),
);

const NOTHING: LinkBatch = { examined: 0, unlinked: 0, blobs: 0, bytes: 0 };

/** Creates the collector of a database and a store. `judge` decides what has expired; it may accept a step of the clock later. */
export function createGarbage(database: Database, store: BlobStore, clock: Clock, times: LeaseTimes, judge: Clock = clock): Garbage {
  return {
    async collectLinks(batchSize) {
      // First it must be known what is held. A batch of such work counts as a full one: there is more to do.
      if (await readOlderManifests(database)) return { ...NOTHING, examined: batchSize };
      return database.transaction(async (tx) => {
        const due = await tx.all(lockDue, { now: judge.now(), limit: batchSize });
        // Checked after the locks: a replica of the previous release may have pushed meanwhile, or be reading the last of them.
        if (due.length === 0 || (await hasOlderManifests(tx))) return NOTHING;
        const held = await tx.all(listHeld, pairsOf(due));
        // Some manifest holds these after all: a push and a deletion crossed. They leave the queue.
        if (held.length > 0) await tx.run(hold, pairsOf(held), held.length);
        const isHeld = new Set(held.map((link) => `${link.repository_id} ${link.blob_id}`));
        const unheld = due.filter((link) => !isHeld.has(`${link.repository_id} ${link.blob_id}`));
        const free = await lockFreeBlobs(tx, [...new Set(unheld.map((link) => link.blob_id))]);
        // A link whose blob is locked by somebody else stays due.
        const dead = unheld.filter((link) => free.has(link.blob_id));
        for (const [repositoryId, links] of Map.groupBy(dead, (link) => link.repository_id)) {
          await tx.run(dropLink, { repositoryId, blobIds: links.map((link) => link.blob_id) }, links.length);
        }
        const gone = await takeUnlinkedBlobs(tx, [...new Set(dead.map((link) => link.blob_id))], () => clock.now() + times.graceMs);
        return { examined: due.length, unlinked: dead.length, blobs: gone.count, bytes: gone.bytes };
      }, ON_FULL_DISK);
    },

    async reclaimBytes(batchSize) {
      const rows = await database.all(listReclaim, { now: judge.now(), limit: batchSize });
      if (rows.length === 0) return { examined: 0, deleted: 0, bytes: 0 };
      const bound = new Set(
        (await database.all(listBoundKeys, { keys: rows.map((row) => row.storage_key) })).map((row) => row.storage_key),
      );
      // Keys are never bound twice, so this finds nothing; if that rule were ever broken, content would survive the mistake.
      const free = rows.filter((row) => !bound.has(row.storage_key));
      let failure: { readonly error: unknown } | undefined;
      let kept: readonly (typeof rows)[number][] = [];
      try {
        await store.delete(free.map((row) => row.storage_key as StorageKey));
      } catch (error) {
        failure = { error };
        // One key that cannot be deleted must not keep the others for ever.
        kept = error instanceof PartialDeletion ? rows.filter((row) => error.kept.has(row.storage_key)) : rows;
        const wait = Math.min(MAX_RETRY_MS, RETRY_MS * 2 ** Math.min(10, Math.min(...kept.map((row) => row.attempts))));
        // Missing rows were deleted by another collector, which succeeded.
        await database.write(postponeReclaim, { ids: kept.map((row) => row.id), dueAt: clock.now() + wait }, ON_FULL_DISK);
      }
      const isKept = new Set(kept);
      const ids = rows.filter((row) => !isKept.has(row)).map((row) => row.id);
      // As above: their bytes are deleted in any case.
      if (ids.length > 0) await database.write(dropReclaim, { ids }, ON_FULL_DISK);
      if (failure !== undefined) throw failure.error;
      return { examined: rows.length, deleted: free.length, bytes: free.reduce((sum, row) => sum + row.size_bytes, 0) };
    },
  };
}

function pairsOf(links: readonly { repository_id: number; blob_id: number }[]): Pairs {
  return { repositoryIds: links.map((link) => link.repository_id), blobIds: links.map((link) => link.blob_id) };
}
