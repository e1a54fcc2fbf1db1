// Doctor's statements, page by page, and the few repairs in the database. Not here: what counts as a problem.
import { sql } from "kysely";
import type { Database, Executor } from "../../platform/database/database.ts";
import { statement } from "../../platform/database/statement.ts";

/** The rows that one statement reads. */
export const PAGE = 500;
/** A manifest may have megabytes. */
export const MANIFEST_PAGE = 32;

type None = Record<never, never>;

export const listBlobs = statement<{ after: number }>()("doctor.listBlobs", (db, p) =>
  db
    .selectFrom("blob")
    .leftJoin("blob_inline", "blob_inline.blob_id", "blob.id")
    .select(["blob.id", "blob.digest", "blob.size_bytes", "blob.storage_key", "blob.damaged_at"])
    .select(sql<number | null>`octet_length(blob_inline.bytes)`.as("inline_bytes"))
    .where("blob.id", ">", p.after)
    .orderBy("blob.id")
    .limit(PAGE),
);

export const findBlob = statement<{ id: number }>()("doctor.findBlob", (db, p) =>
  db.selectFrom("blob").select(["storage_key", "damaged_at"]).where("id", "=", p.id),
);

export const readInline = statement<{ id: number }>()("doctor.readInline", (db, p) =>
  db.selectFrom("blob_inline").select("bytes").where("blob_id", "=", p.id),
);

/** The first repositories that have a blob. */
export const listRepositoriesOf = statement<{ blobId: number }>()(
  "doctor.repositoriesOf",
  (db, p) =>
    db
      .selectFrom("repository_blob")
      .innerJoin("repository", "repository.id", "repository_blob.repository_id")
      .select("repository.name")
      .where("repository_blob.blob_id", "=", p.blobId)
      .orderBy("repository.name")
      .limit(5),
  { analytical: "sorts all repositories that have one blob" },
);

/** Those of the keys that a blob has or that are queued for deletion. */
export const listKnownKeys = statement<{ keys: string[] }>()(
  "doctor.knownKeys",
  (db, p, tools) =>
    db
      .selectFrom("blob")
      .select("storage_key")
      .where("storage_key", "is not", null)
      .where(({ ref }) => tools.inList(ref("storage_key"), p.keys, "text"))
      .unionAll(
        db
          .selectFrom("reclaim")
          .select("storage_key")
          .where(({ ref }) => tools.inList(ref("storage_key"), p.keys, "text")),
      ),
  { analytical: "keys that wait to be deleted have no index by key: all of them are looked at for a page of the store" },
);

/** Those of the ids that belong to upload sessions. */
export const listUploads = statement<{ ids: string[] }>()("doctor.uploads", (db, p, tools) =>
  db
    .selectFrom("upload")
    .select("id")
    .where(({ ref }) => tools.inList(ref("id"), p.ids, "text")),
);

/** Links in order, each with whether something of its repository holds it. */
export const listLinks = statement<{ repositoryId: number; blobId: number }>()("doctor.listLinks", (db, p) =>
  db
    .selectFrom("repository_blob as link")
    .innerJoin("blob", "blob.id", "link.blob_id")
    .innerJoin("repository", "repository.id", "link.repository_id")
    .select(["link.repository_id", "link.blob_id", "link.leased_until", "blob.digest", "repository.name"])
    .select(
      sql<number>`case when exists (select 1 from manifest_blob as held
          where held.repository_id = link.repository_id and held.blob_id = link.blob_id)
        or exists (select 1 from manifest_sparse_blob as sparse
          where sparse.repository_id = link.repository_id and sparse.digest = blob.digest) then 1 else 0 end`.as("is_held"),
    )
    .where(sql<boolean>`(link.repository_id, link.blob_id) > (${p.repositoryId}, ${p.blobId})`)
    .orderBy("link.repository_id")
    .orderBy("link.blob_id")
    .limit(PAGE),
);

/** Edges and tags that belong to another repository than their manifest. */
export const listCrossed = statement<None>()(
  "doctor.crossed",
  (db) => ({
    compile: () =>
      sql<{ kind: string; manifest_id: number; detail: string }>`
      select 'tag' as kind, tag.manifest_id, tag.name as detail from tag join manifest on manifest.id = tag.manifest_id
        where manifest.repository_id <> tag.repository_id
      union all select 'blob edge', e.manifest_id, blob.digest from manifest_blob as e join manifest on manifest.id = e.manifest_id
        join blob on blob.id = e.blob_id where manifest.repository_id <> e.repository_id
      union all select 'sparse edge', e.manifest_id, e.digest from manifest_sparse_blob as e join manifest on manifest.id = e.manifest_id
        where manifest.repository_id <> e.repository_id
      union all select 'child edge', e.manifest_id, e.child_digest from manifest_child as e join manifest on manifest.id = e.manifest_id
        where manifest.repository_id <> e.repository_id
      limit ${sql.lit(1000)}`.compile(db),
  }),
  { analytical: "looks at every edge and tag" },
);

export const countStuck = statement<{ before: number }>()("doctor.stuck", (db, p) =>
  db
    .selectFrom("reclaim")
    .select(({ fn }) => [fn.countAll<number>().as("count"), fn.sum<number | null>("size_bytes").as("bytes")])
    .where("due_at", "<", p.before),
);

const foreignKeys = statement<None>()(
  "doctor.foreignKeys",
  (db) => ({
    compile: () =>
      sql<{ detail: string }>`select distinct "table" || ' -> ' || parent as detail from pragma_foreign_key_check limit 100`.compile(db),
  }),
  { analytical: "the engine looks at every row of its file" },
);

const integrity = statement<None>()(
  "doctor.integrity",
  (db) => ({
    compile: () => sql<{ detail: string }>`select integrity_check as detail from pragma_integrity_check`.compile(db),
  }),
  { analytical: "the engine looks at every row of its file" },
);

/** SQLite's own check of its file and references. PostgreSQL enforces references itself and has its own tools for its pages. */
export async function listEngineFaults(executor: Executor, isDeep: boolean): Promise<string[]> {
  if (executor.dialect === "postgres") return [];
  const broken = (await executor.all(foreignKeys, {})).map((row) => `a row refers to nothing: ${row.detail}`);
  const pages = isDeep ? (await executor.all(integrity, {})).map((row) => row.detail).filter((detail) => detail !== "ok") : [];
  return [...broken, ...pages];
}

export const listManifests = statement<{ after: number }>()("doctor.manifests", (db, p) =>
  db
    .selectFrom("manifest")
    .innerJoin("repository", "repository.id", "manifest.repository_id")
    .select(["manifest.id", "manifest.digest", "manifest.media_type", "manifest.bytes", "manifest.edges_version", "repository.name"])
    .where("manifest.id", ">", p.after)
    .orderBy("manifest.id")
    .limit(MANIFEST_PAGE),
);

/** The recorded edges of manifests: digests that may be blobs (also missing ones), and children. */
export const listEdges = statement<{ ids: number[] }>()("doctor.edges", (db, p, tools) =>
  db
    .selectFrom("manifest_blob")
    .innerJoin("blob", "blob.id", "manifest_blob.blob_id")
    .select(["manifest_blob.manifest_id", "blob.digest", sql<string>`'blob'`.as("kind")])
    .where(({ ref }) => tools.inList(ref("manifest_blob.manifest_id"), p.ids, "bigint"))
    .unionAll(
      db
        .selectFrom("manifest_sparse_blob")
        .select(["manifest_id", "digest", sql<string>`'blob'`.as("kind")])
        .where(({ ref }) => tools.inList(ref("manifest_id"), p.ids, "bigint")),
    )
    .unionAll(
      db
        .selectFrom("manifest_child")
        .select(["manifest_id", "child_digest as digest", sql<string>`'child'`.as("kind")])
        .where(({ ref }) => tools.inList(ref("manifest_id"), p.ids, "bigint")),
    ),
);

export const findManifest = statement<{ id: number }>()("doctor.findManifest", (db, p) =>
  db.selectFrom("manifest").select("id").where("id", "=", p.id),
);

const clearDamage = statement<{ id: number; key: string }>()("doctor.clearDamage", (db, p) =>
  db
    .updateTable("blob")
    .set({ damaged_at: null })
    .where("id", "=", p.id)
    .where("damaged_at", "is not", null)
    .where(({ eb, fn, val }) => eb(fn.coalesce("storage_key", val("")), "=", p.key)),
);

const lease = statement<{ repositoryId: number; blobId: number; until: number }>()("doctor.lease", (db, p) =>
  db
    .updateTable("repository_blob")
    .set({ leased_until: p.until })
    .where("repository_id", "=", p.repositoryId)
    .where("blob_id", "=", p.blobId)
    .where("leased_until", "is", null),
);

const putReclaim = statement<{ key: string; sizeBytes: number; dueAt: number }>()("doctor.putReclaim", (db, p) =>
  db.insertInto("reclaim").values({ storage_key: p.key, size_bytes: p.sizeBytes, due_at: p.dueAt, attempts: 0 }),
);

/** Clears the damage mark of a blob whose bytes were just verified at that key. False if it has another key by now, or was healed. */
export async function clearDamageMark(database: Database, id: number, key: string | null): Promise<boolean> {
  return (await database.transaction((tx) => tx.change(clearDamage, { id, key: key ?? "" }))) > 0;
}

/**
 * Gives a lease to a link that nothing holds. The collector then checks it again and, if something holds it after all, only clears the
 * lease. False if the link has a lease by now, or is deleted.
 */
export async function leaseLink(database: Database, repositoryId: number, blobId: number, until: number): Promise<boolean> {
  return (await database.transaction((tx) => tx.change(lease, { repositoryId, blobId, until }))) > 0;
}

/** Queues a key that nothing names for the collector, which deletes its bytes when it is due and still unnamed. */
export async function reclaimKey(database: Database, key: string, sizeBytes: number, dueAt: number): Promise<void> {
  await database.transaction(async (tx) => {
    if ((await tx.all(listKnownKeys, { keys: [key] })).length === 0) await tx.run(putReclaim, { key, sizeBytes, dueAt }, 1);
  });
}
