// The statements of blobs. Not here: their use (blobs.ts).
import { statement } from "../platform/database/statement.ts";
import { isLive } from "./repositories.ts";
import { type Claims, isFree } from "./uploads.ts";

export const find = statement<{ repositoryId: number; digest: string }>()("blobs.find", (db, p) =>
  db
    .selectFrom("blob")
    .innerJoin("repository_blob", "repository_blob.blob_id", "blob.id")
    .innerJoin("repository", "repository.id", "repository_blob.repository_id")
    .select(["blob.id", "blob.digest", "blob.size_bytes", "blob.storage_key", "repository_blob.leased_until"])
    .where(isLive)
    .where("blob.digest", "=", p.digest)
    .where("repository_blob.repository_id", "=", p.repositoryId)
    .where("blob.damaged_at", "is", null),
);

// The same for many at once; each row has the key that requested it.
export const findMany = statement<{ repositoryIds: number[]; digests: string[] }>()("blobs.findMany", (db, p, tools) =>
  db
    .selectFrom(tools.pairs(p.digests, p.repositoryIds).as("asked"))
    .innerJoin("blob", "blob.digest", "asked.text")
    .innerJoin("repository_blob", (join) =>
      join.onRef("repository_blob.repository_id", "=", "asked.number").onRef("repository_blob.blob_id", "=", "blob.id"),
    )
    .innerJoin("repository", "repository.id", "repository_blob.repository_id")
    .where(isLive)
    .select([
      "repository_blob.repository_id",
      "blob.id",
      "blob.digest",
      "blob.size_bytes",
      "blob.storage_key",
      "repository_blob.leased_until",
    ])
    .where("blob.damaged_at", "is", null),
);

export const renewLease = statement<{ repositoryId: number; blobId: number; until: number }>()("blobs.renewLease", (db, p) =>
  db
    .updateTable("repository_blob")
    .set({ leased_until: p.until })
    .where("repository_id", "=", p.repositoryId)
    .where("blob_id", "=", p.blobId)
    .where("leased_until", "<", p.until)
    .returning("blob_id"),
);

export const isLinked = statement<{ repositoryId: number; blobId: number }>()("blobs.isLinked", (db, p) =>
  db.selectFrom("repository_blob").select("leased_until").where("repository_id", "=", p.repositoryId).where("blob_id", "=", p.blobId),
);

export const readInline = statement<{ blobId: number }>()("blobs.readInline", (db, p) =>
  db.selectFrom("blob_inline").select("bytes").where("blob_id", "=", p.blobId),
);

export const lockByDigest = statement<{ digest: string }>()("blobs.lock", (db, p, tools) =>
  db
    .selectFrom("blob")
    .select(["id", "size_bytes", "storage_key", "damaged_at"])
    .where("digest", "=", p.digest)
    .modifyEnd(tools.lock("update")),
);

export const insertBlob = statement<{ digest: string; sizeBytes: number; key: string | null; now: number }>()("blobs.insert", (db, p) =>
  db
    .insertInto("blob")
    .values({ digest: p.digest, size_bytes: p.sizeBytes, storage_key: p.key, created_at: p.now, damaged_at: null })
    .onConflict((conflict) => conflict.column("digest").doNothing())
    .returning("id"),
);

export const replaceBytes = statement<{ blobId: number; key: string | null }>()("blobs.replaceBytes", (db, p) =>
  db.updateTable("blob").set({ storage_key: p.key, damaged_at: null }).where("id", "=", p.blobId),
);

export const putInline = statement<{ blobId: number; bytes: Uint8Array }>()("blobs.putInline", (db, p) =>
  db
    .insertInto("blob_inline")
    .values({ blob_id: p.blobId, bytes: p.bytes })
    .onConflict((conflict) => conflict.column("blob_id").doUpdateSet((eb) => ({ bytes: eb.ref("excluded.bytes") }))),
);

export const dropInline = statement<{ blobId: number }>()("blobs.dropInline", (db, p) =>
  db.deleteFrom("blob_inline").where("blob_id", "=", p.blobId),
);

export const putLink = statement<{ repositoryId: number; blobId: number; until: number }>()("blobs.putLink", (db, p, tools) =>
  db
    .insertInto("repository_blob")
    .values({ repository_id: p.repositoryId, blob_id: p.blobId, leased_until: p.until })
    .onConflict((conflict) =>
      conflict
        .columns(["repository_id", "blob_id"])
        .doUpdateSet((eb) => ({ leased_until: tools.greatest(eb.ref("repository_blob.leased_until"), eb.ref("excluded.leased_until")) }))
        .where("repository_blob.leased_until", "is not", null),
    ),
);

// Shows for certain that the link did not exist, whoever creates it at the same time.
export const putNewLink = statement<{ repositoryId: number; blobId: number; until: number }>()("blobs.putNewLink", (db, p) =>
  db
    .insertInto("repository_blob")
    .values({ repository_id: p.repositoryId, blob_id: p.blobId, leased_until: p.until })
    .onConflict((conflict) => conflict.columns(["repository_id", "blob_id"]).doNothing())
    .returning("blob_id"),
);

export const sourceForMount = statement<{ repositoryId: number; digest: string }>()("blobs.sourceForMount", (db, p, tools) =>
  db
    .selectFrom("repository_blob")
    .innerJoin("blob", "blob.id", "repository_blob.blob_id")
    .select(["blob.id", "blob.size_bytes"])
    .where("blob.digest", "=", p.digest)
    .where("repository_blob.repository_id", "=", p.repositoryId)
    .where("blob.damaged_at", "is", null)
    .modifyEnd(tools.lock("key share")),
);

// Whether a repository has not been deleted: the link may exist already, so that no trigger would check it.
export const findLiving = statement<{ repositoryId: number }>()("blobs.findLiving", (db, p) =>
  db.selectFrom("repository").select("id").where("id", "=", p.repositoryId).where(isLive),
);

export const dropUpload = statement<{ id: string; token: string }>()("blobs.dropUpload", (db, p) =>
  db
    .deleteFrom("upload")
    .where("id", "=", p.id)
    .where("lock_token", "=", p.token)
    .returning(({ selectFrom }) =>
      selectFrom("repository").select("repository.name").whereRef("repository.id", "=", "upload.repository_id").as("repository"),
    ),
);

// For an idle session: its content is what was verified, nobody has claimed it, and nobody is removing it.
export const dropResting = statement<Claims & { id: string; repositoryId: number; record: string; offset: number }>()(
  "blobs.dropRestingUpload",
  (db, p) =>
    db
      .deleteFrom("upload")
      .where("id", "=", p.id)
      .where("repository_id", "=", p.repositoryId)
      .where("record", "=", p.record)
      .where("offset_bytes", "=", p.offset)
      .where("expires_at", ">", 0)
      .where((eb) => isFree(eb, p))
      .returning(({ selectFrom }) =>
        selectFrom("repository").select("repository.name").whereRef("repository.id", "=", "upload.repository_id").as("repository"),
      ),
);

// As in `content/uploads.ts`: 0 is the expiry of a session that is being removed.
export const markUploadEnded = statement<{ id: string; token: string }>()("blobs.markUploadEnded", (db, p) =>
  db
    .updateTable("upload")
    .set({ expires_at: 0 })
    .where("id", "=", p.id)
    .where("lock_token", "=", p.token)
    .returning(({ selectFrom }) =>
      selectFrom("repository").select("repository.name").whereRef("repository.id", "=", "upload.repository_id").as("repository"),
    ),
);

export const putReclaim = statement<{ key: string; sizeBytes: number; dueAt: number }>()("blobs.putReclaim", (db, p) =>
  db.insertInto("reclaim").values({ storage_key: p.key, size_bytes: p.sizeBytes, due_at: p.dueAt, attempts: 0 }),
);

export const putReclaims = statement<{ keys: string[]; sizes: number[]; dueAt: number }>()("blobs.putReclaims", (db, p, tools) =>
  db
    .insertInto("reclaim")
    .columns(["storage_key", "size_bytes", "due_at", "attempts"])
    .expression((eb) =>
      eb
        .selectFrom(tools.pairs(p.keys, p.sizes).as("gone"))
        .select((each) => ["gone.text", "gone.number", each.val(p.dueAt).as("due_at"), each.lit(0).as("attempts")]),
    ),
);

export const lockLink = statement<{ repositoryId: number; digest: string }>()("blobs.lockLink", (db, p, tools) =>
  db
    .selectFrom("repository_blob")
    .innerJoin("blob", "blob.id", "repository_blob.blob_id")
    .select("blob.id")
    .where("blob.digest", "=", p.digest)
    .where("repository_blob.repository_id", "=", p.repositoryId)
    .modifyEnd(tools.lock("update")),
);

export const findSparseHolder = statement<{ repositoryId: number; digest: string }>()("blobs.findSparseHolder", (db, p) =>
  db
    .selectFrom("manifest_sparse_blob")
    .innerJoin("manifest", "manifest.id", "manifest_sparse_blob.manifest_id")
    .select("manifest.digest")
    .where("manifest_sparse_blob.repository_id", "=", p.repositoryId)
    .where("manifest_sparse_blob.digest", "=", p.digest)
    .limit(1),
);

export const findHolder = statement<{ repositoryId: number; blobId: number }>()("blobs.findHolder", (db, p) =>
  db
    .selectFrom("manifest_blob")
    .innerJoin("manifest", "manifest.id", "manifest_blob.manifest_id")
    .select("manifest.digest")
    .where("manifest_blob.repository_id", "=", p.repositoryId)
    .where("manifest_blob.blob_id", "=", p.blobId)
    .limit(1),
);

export const dropLink = statement<{ repositoryId: number; blobId: number }>()("blobs.dropLink", (db, p) =>
  db.deleteFrom("repository_blob").where("repository_id", "=", p.repositoryId).where("blob_id", "=", p.blobId),
);

export const markDamaged = statement<{ blobId: number; key: string; now: number }>()("blobs.markDamaged", (db, p) =>
  db
    .updateTable("blob")
    .set({ damaged_at: p.now })
    .where("id", "=", p.blobId)
    // Only if it is still the damaged copy: a push may have healed the blob meanwhile.
    .where(({ eb, fn, val }) => eb(fn.coalesce("storage_key", val("")), "=", p.key))
    .where("damaged_at", "is", null)
    .returning("id"),
);

export const countDamagedRows = statement<{ limit: number }>()(
  "blobs.countDamaged",
  (db, p) =>
    db
      .selectFrom(db.selectFrom("blob").select("id").where("damaged_at", ">", 0).limit(p.limit).as("damaged"))
      .select(({ fn }) => fn.countAll<number>().as("count")),
  { bounded: "counts what its limit gave" },
);

export const findByKey = statement<{ key: string }>()("blobs.findByKey", (db, p) =>
  db.selectFrom("blob").select("id").where("storage_key", "=", p.key).limit(1),
);

export const lockByDigestRead = statement<{ digest: string }>()("blobs.findAny", (db, p) =>
  db.selectFrom("blob").select(["id", "size_bytes", "storage_key", "damaged_at"]).where("digest", "=", p.digest),
);

export const lockBlobs = statement<{ blobIds: number[] }>()("blobs.lockMany", (db, p, tools) =>
  db
    .selectFrom("blob")
    .select("id")
    .where(({ ref }) => tools.inList(ref("id"), p.blobIds, "bigint"))
    .orderBy("id")
    .modifyEnd(tools.lock("update")),
);

export const lockFree = statement<{ blobIds: number[] }>()("blobs.lockFree", (db, p, tools) =>
  db
    .selectFrom("blob")
    .select("id")
    .where(({ ref }) => tools.inList(ref("id"), p.blobIds, "bigint"))
    .modifyEnd(tools.lock("update skip locked")),
);

export const dropUnlinked = statement<{ blobIds: number[] }>()("blobs.dropUnlinked", (db, p, tools) =>
  db
    .deleteFrom("blob")
    .where(({ ref }) => tools.inList(ref("id"), p.blobIds, "bigint"))
    .where(({ not, exists, selectFrom }) =>
      not(exists(selectFrom("repository_blob").select("blob_id").whereRef("repository_blob.blob_id", "=", "blob.id"))),
    )
    .returning(["id", "storage_key", "size_bytes"]),
);
