// Removes the content of deleted repositories, in small batches: the rows that refer to it as the tables declare, links to blobs, then the
// repository's row. It is resumable, because the rows themselves say what is left, and safe on many replicas, because a batch locks its
// repository. Not here: the deletion itself, after which nobody can see any of this (repositories.ts); bytes of open uploads
// (distribution/upload-session.ts).
import type { Clock } from "../platform/clock.ts";
import { type Database, type Executor, ON_FULL_DISK } from "../platform/database/database.ts";
import type { Deletion } from "../platform/database/deletion.ts";
import { statement } from "../platform/database/statement.ts";
import { lockFreeBlobs, takeUnlinkedBlobs, type LeaseTimes } from "./blobs.ts";
import { TOMBSTONE } from "./repositories.ts";

/** The repositories of one step. */
const REPOSITORIES = 20;
/** The links of one transaction. */
const BATCH = 500;
/** An expiry long ago, but not that of a session that is being removed: the next round of collection ends it. */
const LONG_AGO = 1;

const listDeleted = statement<{ after: string; limit: number }>()("removal.list", (db, p) =>
  db.selectFrom("repository").select(["id", "name"]).where("name", ">", p.after).orderBy("name").limit(p.limit),
);
const lock = statement<{ id: number }>()("removal.lock", (db, p, tools) =>
  db
    .selectFrom("repository")
    .select("id")
    .where("id", "=", p.id)
    .where("name", ">=", TOMBSTONE)
    .modifyEnd(tools.lock("update skip locked")),
);

const lockLinks = statement<{ id: number; limit: number }>()("removal.lockLinks", (db, p, tools) =>
  db
    .selectFrom("repository_blob")
    .select("blob_id")
    .where("repository_id", "=", p.id)
    .orderBy("blob_id")
    .limit(p.limit)
    .modifyEnd(tools.lock("update skip locked")),
);
const dropLinks = statement<{ id: number; blobIds: number[] }>()("removal.dropLinks", (db, p, tools) =>
  db
    .deleteFrom("repository_blob")
    .where("repository_id", "=", p.id)
    .where(({ ref }) => tools.inList(ref("blob_id"), p.blobIds, "bigint")),
);
const endUploads = statement<{ id: number }>()("removal.endUploads", (db, p) =>
  db.updateTable("upload").set({ expires_at: LONG_AGO }).where("repository_id", "=", p.id).where("expires_at", ">", LONG_AGO),
);
const dropRepository = statement<{ id: number }>()("removal.dropRepository", (db, p) => db.deleteFrom("repository").where("id", "=", p.id));

/**
 * Creates the work in steps: each removes a batch of some deleted repositories and continues with the next ones, so that repositories that
 * wait for the end of an upload delay no others. False when it has seen all of them and none had anything to remove.
 */
export function createRepositoryRemoval(database: Database, clock: Clock, times: LeaseTimes, deletion: Deletion): () => Promise<boolean> {
  // No name equals the prefix alone.
  let after = TOMBSTONE;
  let hasTaken = false;
  return async () => {
    const deleted = await database.all(listDeleted, { after, limit: REPOSITORIES });
    for (const { id } of deleted) {
      const taken = await database.transaction(
        async (tx) => (await tx.first(lock, { id })) !== undefined && removeBatch(tx, id, deletion, () => clock.now() + times.graceMs),
        // Durable, because bytes are deleted only when their row is gone for good.
        ON_FULL_DISK,
      );
      hasTaken ||= taken;
    }
    if (deleted.length === REPOSITORIES) {
      after = deleted.at(-1)!.name;
      return true;
    }
    const goesOn = hasTaken;
    after = TOMBSTONE;
    hasTaken = false;
    return goesOn;
  };
}

/** Removes something of one repository; false if nothing can be removed now. */
async function removeBatch(tx: Executor, id: number, deletion: Deletion, dueAt: () => number): Promise<boolean> {
  if (await deletion.takeSome(tx, id)) return true;
  await tx.run(endUploads, { id }, { any: "as many as are open" });
  // Like the collector: the link is locked, and a blob that somebody else has locked waits for the next time (blobs.ts).
  const linked = (await tx.all(lockLinks, { id, limit: BATCH })).map((row) => row.blob_id);
  if (linked.length > 0) {
    const free = await lockFreeBlobs(tx, linked);
    const blobIds = linked.filter((blobId) => free.has(blobId));
    await tx.run(dropLinks, { id, blobIds }, blobIds.length);
    await takeUnlinkedBlobs(tx, blobIds, dueAt);
    return blobIds.length > 0;
  }
  // The rest are links of locked blobs, uploads whose bytes still exist, and rows that their owner is removing.
  if ((await deletion.findObstacle(tx, id)) !== undefined) return false;
  await tx.run(dropRepository, { id }, 1);
  return false;
}
