// The candidates of garbage collection and what may hold them, page by page in the order in which they become due. Reads only. Not here:
// the explanations (explain.ts), the collection (content/garbage.ts).
import { sql, type ExpressionBuilder } from "kysely";
import type { Schema } from "../../platform/database/schema.ts";
import { statement } from "../../platform/database/statement.ts";

/** The rows of one statement. */
export const PAGE = 500;
/** The number of names that are listed; the others are counted, up to `COUNTED`. */
const TOLD = 3;
export const COUNTED = 100;

type LinkTables = Schema & { link: Schema["repository_blob"] };

/** For a link: the manifest that holds it, by a blob's edge or a sparse one, and the other repositories that have the blob. */
function holders({ selectFrom }: ExpressionBuilder<LinkTables, "link" | "blob" | "repository">) {
  return [
    selectFrom("manifest_blob as edge")
      .select("edge.manifest_id")
      .whereRef("edge.repository_id", "=", "link.repository_id")
      .whereRef("edge.blob_id", "=", "link.blob_id")
      .limit(1)
      .as("held_by"),
    selectFrom("manifest_sparse_blob as sparse")
      .select("sparse.manifest_id")
      .whereRef("sparse.repository_id", "=", "link.repository_id")
      .whereRef("sparse.digest", "=", "blob.digest")
      .limit(1)
      .as("sparsely_held_by"),
    selectFrom((inner) =>
      inner
        .selectFrom("repository_blob as other")
        .select("other.blob_id")
        .whereRef("other.blob_id", "=", "link.blob_id")
        .whereRef("other.repository_id", "!=", "link.repository_id")
        .limit(COUNTED)
        .as("others"),
    )
      .select(({ fn }) => fn.countAll<number>().as("count"))
      .as("others"),
    selectFrom("repository_blob as first")
      .innerJoin("repository as elsewhere", "elsewhere.id", "first.repository_id")
      .select("elsewhere.name")
      .whereRef("first.blob_id", "=", "link.blob_id")
      .whereRef("first.repository_id", "!=", "link.repository_id")
      .limit(1)
      .as("other_repository"),
  ] as const;
}

/** Links with a lease, the oldest first, after a given one. */
export const listLeased = statement<{ leasedUntil: number; repositoryId: number; blobId: number; limit: number }>()(
  "collection.leased",
  (db, p) =>
    db
      .selectFrom("repository_blob as link")
      .innerJoin("repository", "repository.id", "link.repository_id")
      .innerJoin("blob", "blob.id", "link.blob_id")
      .select(["link.repository_id", "link.blob_id", "link.leased_until", "repository.name", "blob.digest", "blob.size_bytes"])
      .select(holders)
      .where("link.leased_until", "is not", null)
      .where(sql<boolean>`(link.leased_until, link.repository_id, link.blob_id) > (${p.leasedUntil}, ${p.repositoryId}, ${p.blobId})`)
      .orderBy("link.leased_until")
      .orderBy("link.repository_id")
      .orderBy("link.blob_id")
      .limit(p.limit),
);

/** All links of one blob, after a given repository. */
export const listLinksOf = statement<{ digest: string; repositoryId: number; limit: number }>()("collection.linksOf", (db, p) =>
  db
    .selectFrom("blob")
    .innerJoin("repository_blob as link", "link.blob_id", "blob.id")
    .innerJoin("repository", "repository.id", "link.repository_id")
    .select(["link.repository_id", "link.blob_id", "link.leased_until", "repository.name", "blob.digest", "blob.size_bytes"])
    .select(holders)
    .where("blob.digest", "=", p.digest)
    .where("link.repository_id", ">", p.repositoryId)
    .orderBy("link.repository_id")
    .limit(p.limit),
);

/** Keys whose bytes are to be deleted, with the blob that uses one after all. */
export const listKeys = statement<{ dueAt: number; id: number; limit: number }>()("collection.keys", (db, p) =>
  db
    .selectFrom("reclaim")
    .select(["reclaim.id", "reclaim.storage_key", "reclaim.size_bytes", "reclaim.due_at", "reclaim.attempts"])
    .select(({ selectFrom }) =>
      selectFrom("blob").select("blob.digest").whereRef("blob.storage_key", "=", "reclaim.storage_key").limit(1).as("used_by"),
    )
    .where(sql<boolean>`(reclaim.due_at, reclaim.id) > (${p.dueAt}, ${p.id})`)
    .orderBy("reclaim.due_at")
    .orderBy("reclaim.id")
    .limit(p.limit),
);

/** Upload sessions, the first to expire first. */
export const listUploads = statement<{ expiresAt: number; id: string; limit: number }>()("collection.uploads", (db, p) =>
  db
    .selectFrom("upload")
    .innerJoin("repository", "repository.id", "upload.repository_id")
    .select(["upload.id", "repository.name", "upload.offset_bytes", "upload.started_at", "upload.expires_at", "upload.locked_until"])
    .where(sql<boolean>`(upload.expires_at, upload.id) > (${p.expiresAt}, ${p.id})`)
    .orderBy("upload.expires_at")
    .orderBy("upload.id")
    .limit(p.limit),
);

export const findManifest = statement<{ id: number }>()("collection.manifest", (db, p) =>
  db.selectFrom("manifest").select(["repository_id", "digest"]).where("id", "=", p.id),
);

/** The first tags that name a manifest. */
export const listTagsOf = statement<{ manifestId: number }>()("collection.tagsOf", (db, p) =>
  db.selectFrom("tag").select("name").where("manifest_id", "=", p.manifestId).orderBy("name").limit(TOLD),
);

/** Some indexes of the repository that list a manifest. */
export const listParentsOf = statement<{ repositoryId: number; digest: string }>()("collection.parentsOf", (db, p) =>
  db
    .selectFrom("manifest_child")
    .innerJoin("manifest", "manifest.id", "manifest_child.manifest_id")
    .select("manifest.digest")
    .where("manifest_child.repository_id", "=", p.repositoryId)
    .where("manifest_child.child_digest", "=", p.digest)
    .limit(TOLD),
);
