// Takes away what deleted repositories held, in small batches: tags, manifests, history, links, then the repository's row. Resumable, since
// the rows themselves say what is left; safe on many replicas, since a batch locks its repository. Not here: the deletion itself, after which
// nobody can see any of this (repositories.ts); bytes of open uploads (distribution/upload-session.ts).
import type { Clock } from "../platform/clock.ts";
import { type Database, type Executor, ON_FULL_DISK } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import { lockFreeBlobs, takeUnlinkedBlobs, type LeaseTimes } from "./blobs.ts";
import { TOMBSTONE } from "./repositories.ts";

/** Repositories that are looked at in a step. */
const REPOSITORIES = 20;
/** Rows that a transaction takes. */
const BATCH = 500;
/** Manifests have up to megabytes and thousands of edges each. */
const MANIFEST_BATCH = 50;
/** An expiry long ago, and yet not that of a session that is being removed: the next round of collection ends it. */
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

const dropTags = statement<{ id: number; limit: number }>()("removal.dropTags", (db, p) =>
  db
    .deleteFrom("tag")
    .where("repository_id", "=", p.id)
    .where("name", "in", db.selectFrom("tag").select("name").where("repository_id", "=", p.id).orderBy("name").limit(p.limit)),
);
const listManifests = statement<{ id: number; limit: number }>()("removal.listManifests", (db, p) =>
  db.selectFrom("manifest").select("id").where("repository_id", "=", p.id).limit(p.limit),
);
type ManifestIds = { manifestIds: number[] };
const dropBlobEdges = statement<ManifestIds>()("removal.dropBlobEdges", (db, p, tools) =>
  db.deleteFrom("manifest_blob").where(({ ref }) => tools.inList(ref("manifest_id"), p.manifestIds, "bigint")),
);
const dropSparse = statement<ManifestIds>()("removal.dropSparse", (db, p, tools) =>
  db.deleteFrom("manifest_sparse_blob").where(({ ref }) => tools.inList(ref("manifest_id"), p.manifestIds, "bigint")),
);
const dropChildEdges = statement<ManifestIds>()("removal.dropChildEdges", (db, p, tools) =>
  db.deleteFrom("manifest_child").where(({ ref }) => tools.inList(ref("manifest_id"), p.manifestIds, "bigint")),
);
const dropManifests = statement<ManifestIds>()("removal.dropManifests", (db, p, tools) =>
  db.deleteFrom("manifest").where(({ ref }) => tools.inList(ref("id"), p.manifestIds, "bigint")),
);
const dropHistory = statement<{ id: number; limit: number }>()("removal.dropHistory", (db, p) =>
  db
    .deleteFrom("tag_history")
    .where("id", "in", db.selectFrom("tag_history").select("id").where("repository_id", "=", p.id).limit(p.limit)),
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
const anyLink = statement<{ id: number }>()("removal.anyLink", (db, p) =>
  db.selectFrom("repository_blob").select("blob_id").where("repository_id", "=", p.id).limit(1),
);
const endUploads = statement<{ id: number }>()("removal.endUploads", (db, p) =>
  db.updateTable("upload").set({ expires_at: LONG_AGO }).where("repository_id", "=", p.id).where("expires_at", ">", LONG_AGO),
);
const anyUpload = statement<{ id: number }>()("removal.anyUpload", (db, p) =>
  db.selectFrom("upload").select("id").where("repository_id", "=", p.id).limit(1),
);
const dropRepository = statement<{ id: number }>()("removal.dropRepository", (db, p) => db.deleteFrom("repository").where("id", "=", p.id));

/**
 * Makes the work in steps: each takes a batch of some deleted repositories and goes on with the next ones, so that those that wait for the end
 * of an upload keep nobody waiting. False when it has seen all of them and none had anything to take.
 */
export function createRepositoryRemoval(database: Database, clock: Clock, times: LeaseTimes): () => Promise<boolean> {
  // No name is just the mark.
  let after = TOMBSTONE;
  let hasTaken = false;
  return async () => {
    const deleted = await database.all(listDeleted, { after, limit: REPOSITORIES });
    for (const { id } of deleted) {
      const taken = await database.transaction(
        async (tx) => (await tx.first(lock, { id })) !== undefined && removeBatch(tx, id, () => clock.now() + times.graceMs),
        // Durable: bytes go when their row is gone for good.
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

/** Takes something of one repository; false where nothing can be taken now. */
async function removeBatch(tx: Executor, id: number, dueAt: () => number): Promise<boolean> {
  if ((await tx.change(dropTags, { id, limit: BATCH })) > 0) return true;
  const manifestIds = (await tx.all(listManifests, { id, limit: MANIFEST_BATCH })).map((row) => row.id);
  if (manifestIds.length > 0) {
    for (const drop of [dropBlobEdges, dropSparse, dropChildEdges]) await tx.run(drop, { manifestIds }, { any: "edges of any number" });
    await tx.run(dropManifests, { manifestIds }, manifestIds.length);
    return true;
  }
  if ((await tx.change(dropHistory, { id, limit: BATCH })) > 0) return true;
  await tx.run(endUploads, { id }, { any: "as many as are open" });
  // In the collector's way: the link is locked, and a blob that somebody is busy with waits for the next time (blobs.ts).
  const linked = (await tx.all(lockLinks, { id, limit: BATCH })).map((row) => row.blob_id);
  if (linked.length > 0) {
    const free = await lockFreeBlobs(tx, linked);
    const blobIds = linked.filter((blobId) => free.has(blobId));
    await tx.run(dropLinks, { id, blobIds }, blobIds.length);
    await takeUnlinkedBlobs(tx, blobIds, dueAt);
    return blobIds.length > 0;
  }
  if ((await tx.first(anyLink, { id })) !== undefined || (await tx.first(anyUpload, { id })) !== undefined) return false;
  await tx.run(dropRepository, { id }, 1);
  return false;
}
