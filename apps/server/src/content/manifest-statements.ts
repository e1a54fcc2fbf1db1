// The statements of manifests. Not here: their use (manifests.ts).
import { expressionBuilder } from "kysely";
import type { Schema } from "../platform/database/schema.ts";
import { statement } from "../platform/database/statement.ts";
import { EDGES_VERSION } from "./older-manifests.ts";
import { isLive } from "./repositories.ts";

export const findByTag = statement<{ repositoryId: number; tag: string }>()("manifests.findByTag", (db, p) =>
  db
    .selectFrom("tag")
    .innerJoin("repository", "repository.id", "tag.repository_id")
    .innerJoin("manifest", "manifest.id", "tag.manifest_id")
    .select(["manifest.id", "manifest.digest", "manifest.media_type", "manifest.size_bytes"])
    .where("tag.repository_id", "=", p.repositoryId)
    .where("tag.name", "=", p.tag)
    .where(isLive),
);

export const findByDigest = statement<{ repositoryId: number; digest: string }>()("manifests.findByDigest", (db, p) =>
  db
    .selectFrom("manifest")
    .innerJoin("repository", "repository.id", "manifest.repository_id")
    .select(["manifest.id", "manifest.digest", "manifest.media_type", "manifest.size_bytes"])
    .where("manifest.repository_id", "=", p.repositoryId)
    .where("manifest.digest", "=", p.digest)
    .where(isLive),
);

// The same for many at once; each row has the key that requested it.
export const findManyByTag = statement<{ repositoryIds: number[]; tags: string[] }>()("manifests.findManyByTag", (db, p, tools) =>
  db
    .selectFrom(tools.pairs(p.tags, p.repositoryIds).as("asked"))
    .innerJoin("tag", (join) => join.onRef("tag.repository_id", "=", "asked.number").onRef("tag.name", "=", "asked.text"))
    .innerJoin("repository", "repository.id", "tag.repository_id")
    .innerJoin("manifest", "manifest.id", "tag.manifest_id")
    .select(["tag.repository_id", "tag.name", "manifest.id", "manifest.digest", "manifest.media_type", "manifest.size_bytes"])
    .where(isLive),
);

export const findManyByDigest = statement<{ repositoryIds: number[]; digests: string[] }>()("manifests.findManyByDigest", (db, p, tools) =>
  db
    .selectFrom(tools.pairs(p.digests, p.repositoryIds).as("asked"))
    .innerJoin("manifest", (join) => join.onRef("manifest.repository_id", "=", "asked.number").onRef("manifest.digest", "=", "asked.text"))
    .innerJoin("repository", "repository.id", "manifest.repository_id")
    .select(["manifest.repository_id", "manifest.id", "manifest.digest", "manifest.media_type", "manifest.size_bytes"])
    .where(isLive),
);

export const readBytes = statement<{ id: number }>()("manifests.readBytes", (db, p) =>
  db.selectFrom("manifest").select("bytes").where("id", "=", p.id),
);

// Crossed, not joined: SQLite keeps that order. Its own would begin with everything that the repository has.
export const listLinked = statement<{ repositoryId: number; digests: string[] }>()("manifests.listLinked", (db, p, tools) =>
  db
    .selectFrom(tools.rows(p.digests, "text").as("named"))
    .crossJoin("blob")
    .crossJoin("repository_blob")
    .select(["blob.id", "blob.digest", "blob.size_bytes"])
    .whereRef("blob.digest", "=", "named.value")
    .where("blob.damaged_at", "is", null)
    .whereRef("repository_blob.blob_id", "=", "blob.id")
    .where("repository_blob.repository_id", "=", p.repositoryId),
);

export const putBlobEdges = statement<{ repositoryId: number; manifestId: number; blobIds: number[] }>()(
  "manifests.putBlobEdges",
  (db, p, tools) =>
    db
      .insertInto("manifest_blob")
      .columns(["repository_id", "blob_id", "manifest_id"])
      .expression((eb) =>
        eb
          .selectFrom(tools.rows(p.blobIds, "bigint").as("held"))
          .select((each) => [each.val(p.repositoryId).as("repository_id"), "held.value", each.val(p.manifestId).as("manifest_id")])
          .where(({ lit }) => lit(true)),
      )
      .onConflict((conflict) => conflict.doNothing()),
);

// The sum is null if the lease is, and matches no index of leases: that index may hold a million dead links.
export const holdLinks = statement<{ repositoryId: number; blobIds: number[] }>()("manifests.holdLinks", (db, p, tools) =>
  db
    .updateTable("repository_blob")
    .set({ leased_until: null })
    .where("repository_id", "=", p.repositoryId)
    .where(({ ref }) => tools.inList(ref("blob_id"), p.blobIds, "bigint"))
    .where(({ eb, lit }) => eb(eb("leased_until", "+", lit(0)), "is not", null)),
);

export const putSparse = statement<{ repositoryId: number; manifestId: number; digests: string[] }>()(
  "manifests.putSparse",
  (db, p, tools) =>
    db
      .insertInto("manifest_sparse_blob")
      .columns(["repository_id", "digest", "manifest_id"])
      .expression((eb) =>
        eb
          .selectFrom(tools.rows(p.digests, "text").as("absent"))
          .select((each) => [each.val(p.repositoryId).as("repository_id"), "absent.value", each.val(p.manifestId).as("manifest_id")])
          .where(({ lit }) => lit(true)),
      )
      .onConflict((conflict) => conflict.doNothing()),
);

export const putChildEdges = statement<{ repositoryId: number; manifestId: number; digests: string[] }>()(
  "manifests.putChildEdges",
  (db, p, tools) =>
    db
      .insertInto("manifest_child")
      .columns(["manifest_id", "repository_id", "child_digest"])
      .expression((eb) =>
        eb
          .selectFrom(tools.rows(p.digests, "text").as("child"))
          .select((each) => [each.val(p.manifestId).as("manifest_id"), each.val(p.repositoryId).as("repository_id"), "child.value"])
          .where(({ lit }) => lit(true)),
      )
      .onConflict((conflict) => conflict.doNothing()),
);

export const lockByDigest = statement<{ repositoryId: number; digest: string }>()("manifests.lock", (db, p, tools) =>
  db
    .selectFrom("manifest")
    .select("id")
    .where("repository_id", "=", p.repositoryId)
    .where("digest", "=", p.digest)
    .modifyEnd(tools.lock("update")),
);

export const listHeld = statement<{ manifestId: number }>()("manifests.listHeld", (db, p) =>
  db
    .selectFrom("manifest_blob")
    .select("blob_id")
    .where("manifest_id", "=", p.manifestId)
    .unionAll(
      db
        .selectFrom("manifest_sparse_blob")
        .innerJoin("blob", "blob.digest", "manifest_sparse_blob.digest")
        .select("blob.id as blob_id")
        .where("manifest_id", "=", p.manifestId),
    ),
);

export const dropSparse = statement<{ manifestId: number }>()("manifests.dropSparse", (db, p) =>
  db.deleteFrom("manifest_sparse_blob").where("manifest_id", "=", p.manifestId),
);

export const dropBlobEdges = statement<{ manifestId: number }>()("manifests.dropBlobEdges", (db, p) =>
  db.deleteFrom("manifest_blob").where("manifest_id", "=", p.manifestId),
);

export const dropChildEdges = statement<{ manifestId: number }>()("manifests.dropChildEdges", (db, p) =>
  db.deleteFrom("manifest_child").where("manifest_id", "=", p.manifestId),
);

export const drop = statement<{ manifestId: number }>()("manifests.drop", (db, p) =>
  db.deleteFrom("manifest").where("id", "=", p.manifestId),
);

export const lockLinks = statement<{ repositoryId: number; blobIds: number[] }>()("manifests.lockLinks", (db, p, tools) =>
  db
    .selectFrom("repository_blob")
    .select("blob_id")
    .where("repository_id", "=", p.repositoryId)
    .where(({ ref }) => tools.inList(ref("blob_id"), p.blobIds, "bigint"))
    .orderBy("blob_id")
    .modifyEnd(tools.lock("update")),
);

export const leaseUnheld = statement<{ repositoryId: number; blobIds: number[]; until: number }>()(
  "manifests.leaseUnheld",
  (db, p, tools) =>
    db
      .updateTable("repository_blob")
      .set({ leased_until: p.until })
      .where("repository_id", "=", p.repositoryId)
      .where(({ ref }) => tools.inList(ref("blob_id"), p.blobIds, "bigint"))
      .where(({ not, exists, selectFrom }) =>
        not(
          exists(
            selectFrom("manifest_blob")
              .select("manifest_id")
              .whereRef("manifest_blob.repository_id", "=", "repository_blob.repository_id")
              .whereRef("manifest_blob.blob_id", "=", "repository_blob.blob_id"),
          ),
        ),
      ),
);

export interface InsertParameters extends Record<string, string | number | null | Uint8Array> {
  repositoryId: number;
  digest: string;
  mediaType: string;
  artifactType: string | null;
  subject: string | null;
  sizeBytes: number;
  annotations: string | null;
  now: number;
  bytes: Uint8Array;
}

// Inserts nothing if the repository has been deleted: the manifest may exist already, so that no trigger would check it.
const insertAs = (name: string, hasToBeNew: boolean) =>
  statement<InsertParameters>()(name, (db, p, tools) =>
    db
      .insertInto("manifest")
      .columns([
        "repository_id",
        "digest",
        "media_type",
        "artifact_type",
        "subject_digest",
        "size_bytes",
        "annotations",
        "created_at",
        "bytes",
        "edges_version",
      ])
      .expression((eb) =>
        eb
          .selectFrom("repository")
          .select(({ cast, lit, val }) => [
            "repository.id",
            cast<string>(val(p.digest), "text").as("digest"),
            cast<string>(val(p.mediaType), "text").as("media_type"),
            cast<string | null>(val(p.artifactType), "text").as("artifact_type"),
            cast<string | null>(val(p.subject), "text").as("subject_digest"),
            cast<number>(val(p.sizeBytes), "bigint").as("size_bytes"),
            cast<string | null>(val(p.annotations), "text").as("annotations"),
            cast<number>(val(p.now), "bigint").as("created_at"),
            // SQLite takes a parameter of unknown type for a number.
            (tools.name === "sqlite" ? val(p.bytes) : cast<Uint8Array>(val(p.bytes), "bytea")).as("bytes"),
            lit(EDGES_VERSION).as("edges_version"),
          ])
          .where("repository.id", "=", p.repositoryId)
          .where(isLive),
      )
      // The same bytes may be pushed again because the stored ones are damaged. The digest's other properties, its media type and what is
      // parsed by it, stay those of its first writer: others have pulled it, and tags and indexes refer to it as it is.
      .onConflict((conflict) =>
        hasToBeNew
          ? conflict.columns(["repository_id", "digest"]).doNothing()
          : conflict
              .columns(["repository_id", "digest"])
              .doUpdateSet((eb) => ({ bytes: eb.ref("excluded.bytes"), edges_version: eb.ref("excluded.edges_version") }))
              .whereRef("manifest.media_type", "=", "excluded.media_type"),
      )
      .returning("id"),
  );

export const insert = insertAs("manifests.insert", false);
// Shows for certain that it did not exist, whoever pushes it at the same time.
export const insertNew = insertAs("manifests.insertNew", true);

/** A column of a statement on manifests: 1 where a tag names the manifest, else 0. */
export function isTagged() {
  const eb = expressionBuilder<Schema, "manifest">();
  return eb
    .case()
    .when(eb.exists(eb.selectFrom("tag").select("tag.name").whereRef("tag.manifest_id", "=", "manifest.id")))
    .then(1)
    .else(0)
    .end()
    .as("is_tagged");
}
