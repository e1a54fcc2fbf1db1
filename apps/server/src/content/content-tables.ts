// The tables of stored content: repositories, blobs and manifests with the edges between them, tags, uploads in progress, and counters. Not
// here: the statements (the files beside this one).
import {
  bytes,
  defineTables,
  id,
  integer,
  integerOr,
  looseText,
  names,
  nullable,
  refersTo,
  text,
  withStandard,
  type RowsOf,
} from "../platform/database/table.ts";

/**
 * The content of a repository, of all repositories of a project together (`repository_id` 0), and of the registry (both 0: blobs, each
 * once, and their bytes). Triggers maintain it; it is right together with the rows of `usage_change` with the same key. No row: nothing.
 */
const usageColumns = {
  project_id: names("project", "stays"),
  repository_id: names("repository", "stays"),
  repositories: integer(),
  manifests: integer(),
  tags: integer(),
  /** Links, in a repository. */
  blobs: integer(),
  /** Of linked blobs and manifests. */
  bytes: integer(),
  /** When a manifest or tag was last pushed; 0: never. */
  updated_at: integer(),
};

export const contentTables = defineTables({
  repository: {
    columns: {
      id: id(),
      project_id: refersTo("project", "refuses"),
      /** The whole name, project included. */
      name: text(),
      created_at: integer(),
    },
    key: ["id"],
    unique: [["name"]],
    indexes: { repository_by_project: "(project_id, name)" },
    backup: "kept",
  },
  /** What waits for the collector, as far as it was counted: one row. */
  collection_backlog: {
    columns: {
      id: id(),
      links: integer(),
      link_bytes: integer(),
      keys: integer(),
      key_bytes: integer(),
      oldest_due_at: nullable(integer()),
      /** Until when nothing need be counted anew. */
      good_until: integer(),
    },
    key: ["id"],
    // Counted anew.
    backup: "left out",
  },
  /** One row for each digest: its bytes are at `storage_key`, or in `blob_inline` if that is null. */
  blob: {
    columns: {
      id: id(),
      digest: text(),
      size_bytes: integer(),
      storage_key: nullable(text()),
      created_at: integer(),
      /** Set when a read found the bytes missing or wrong: the blob is answered as unknown until a push heals it. */
      damaged_at: nullable(integer()),
    },
    key: ["id"],
    unique: [["digest"]],
    indexes: { blob_by_key: "(storage_key) where storage_key is not null", blob_damaged: "(damaged_at) where damaged_at is not null" },
    backup: "kept",
  },
  blob_inline: {
    columns: { blob_id: refersTo("blob", "cascade"), bytes: bytes() },
    key: ["blob_id"],
    backup: "kept",
  },
  /**
   * A blob is part of a repository. `leased_until` null: some manifest of the repository holds it. Otherwise nothing does, and the
   * collector may delete the link after that time.
   */
  repository_blob: {
    columns: {
      // They are deleted in the collector's order of locks, and with blobs that no repository has any more (repository-removal.ts).
      repository_id: refersTo("repository", "waits"),
      blob_id: refersTo("blob", "refuses"),
      leased_until: nullable(integer()),
    },
    key: ["repository_id", "blob_id"],
    isClustered: true,
    indexes: {
      repository_blob_by_blob: "(blob_id, repository_id)",
      repository_blob_by_lease: "(leased_until, repository_id, blob_id) where leased_until is not null",
    },
    backup: "kept",
  },
  manifest: {
    columns: {
      id: id(),
      repository_id: refersTo("repository", "deleted"),
      digest: text(),
      media_type: text(),
      artifact_type: nullable(text()),
      subject_digest: nullable(text()),
      size_bytes: integer(),
      /** JSON object; null if there are none. Stored beside the bytes so that referrers need not parse them. */
      annotations: nullable(looseText()),
      created_at: integer(),
      bytes: bytes(),
      /** The rule by which its edges were read (older-manifests.ts): 0 is that of earlier releases. */
      edges_version: integerOr(0),
    },
    key: ["id"],
    unique: [["repository_id", "digest"]],
    indexes: {
      // The id is an expression: with a plain column the planner could use the primary key's order instead, and walk over all other
      // manifests.
      manifest_by_subject: "(repository_id, subject_digest, (id + 0)) where subject_digest is not null",
      manifest_by_subject_and_type: "(repository_id, subject_digest, artifact_type, (id + 0)) where subject_digest is not null",
      manifest_older: "(repository_id, id) where edges_version = 0",
    },
    backup: "kept",
  },
  manifest_blob: {
    columns: {
      repository_id: names("repository", "follows"),
      blob_id: names("blob", "follows"),
      manifest_id: refersTo("manifest", "deleted"),
    },
    key: ["repository_id", "blob_id", "manifest_id"],
    isClustered: true,
    foreignKeys: [{ columns: ["repository_id", "blob_id"], table: "repository_blob", to: ["repository_id", "blob_id"] }],
    indexes: { manifest_blob_by_manifest: "(manifest_id)" },
    backup: "kept",
  },
  /**
   * A digest that a manifest names and that need not exist here: an absent layer of a sparse image, an entry of an index, a subject, a
   * layer that is stored elsewhere, a field of another maker. If the repository has a blob of it, or gets one, the row holds it.
   */
  manifest_sparse_blob: {
    columns: { repository_id: names("repository", "follows"), digest: text(), manifest_id: refersTo("manifest", "deleted") },
    key: ["repository_id", "digest", "manifest_id"],
    isClustered: true,
    indexes: { manifest_sparse_blob_by_manifest: "(manifest_id)" },
    backup: "kept",
  },
  manifest_child: {
    columns: { manifest_id: refersTo("manifest", "deleted"), repository_id: names("repository", "follows"), child_digest: text() },
    key: ["manifest_id", "child_digest"],
    isClustered: true,
    indexes: { manifest_child_by_child: "(repository_id, child_digest)" },
    backup: "kept",
  },
  tag: {
    columns: {
      repository_id: refersTo("repository", "deleted"),
      name: text(),
      manifest_id: refersTo("manifest", "deleted"),
      updated_at: integer(),
      /** Its place among versions (@berth/oci/version-key). */
      version_key: withStandard(text(), ""),
      /** Of the manifest and what that names itself. */
      content_bytes: integerOr(0),
      /** The manifest for which the two above were written: programs that do not know them leave another, and they are written anew. */
      sorted_manifest_id: { ...integerOr(0), reference: names("manifest", "follows").reference! },
    },
    key: ["repository_id", "name"],
    isClustered: true,
    indexes: {
      tag_by_manifest: "(manifest_id, name)",
      tag_by_version: "(repository_id, version_key, name)",
      tag_by_push: "(repository_id, updated_at, name)",
      tag_by_size: "(repository_id, content_bytes, name)",
      tag_unsorted: "(repository_id, name) where sorted_manifest_id <> manifest_id",
    },
    backup: "kept",
  },
  tag_history: {
    columns: {
      id: id(),
      repository_id: refersTo("repository", "deleted"),
      name: text(),
      /** Null: the tag was deleted. */
      digest: nullable(text()),
      account_id: nullable(names("account", "stays")),
      at: integer(),
    },
    key: ["id"],
    indexes: { tag_history_by_tag: "(repository_id, name, id)" },
    backup: "kept",
  },
  upload: {
    columns: {
      id: text(),
      // Its bytes are deleted first, by the collector (distribution/upload-session.ts).
      repository_id: refersTo("repository", "waits"),
      account_id: nullable(names("account", "stays")),
      algorithm: looseText(),
      /** JSON of the blob store's own record. */
      record: looseText(),
      offset_bytes: integer(),
      started_at: integer(),
      expires_at: integer(),
      /** The present writer, and how long it holds the session without renewal. */
      lock_token: nullable(looseText()),
      locked_until: nullable(integer()),
    },
    key: ["id"],
    indexes: { upload_by_expiry: "(expires_at, id)", upload_by_repository: "(repository_id)" },
    // Sessions in progress: their bytes are in the store's temporary places.
    backup: "left out",
  },
  /** Keys whose bytes nobody can reach any more, and which are due to be deleted. */
  reclaim: {
    columns: { id: id(), storage_key: text(), size_bytes: integer(), due_at: integer(), attempts: integer() },
    key: ["id"],
    indexes: { reclaim_by_due: "(due_at, id)" },
    // They are keys of the backed-up store; a restore creates its own.
    backup: "left out",
  },
  usage: {
    columns: usageColumns,
    key: ["project_id", "repository_id"],
    isClustered: true,
    // Triggers count it anew while the rest is restored.
    backup: "left out",
  },
  /**
   * Changes that no job has added to `usage` yet: those of a repository count for its project as well. On SQLite, a view whose trigger adds
   * at once.
   */
  usage_change: {
    columns: { ...usageColumns, id: id() },
    key: ["project_id", "repository_id", "id"],
    only: "postgres",
    backup: "left out",
  },
  /** How often a manifest was pulled, and when last. */
  manifest_pull: {
    columns: { manifest_id: refersTo("manifest", "cascade"), pulls: integer(), pulled_at: integer() },
    key: ["manifest_id"],
    isClustered: true,
    backup: "kept",
  },
  /** The same for everything that a repository has and had. */
  repository_pull: {
    columns: { repository_id: refersTo("repository", "cascade"), pulls: integer(), pulled_at: integer() },
    key: ["repository_id"],
    isClustered: true,
    backup: "kept",
  },
});

declare module "../platform/database/schema.ts" {
  interface Schema extends RowsOf<typeof contentTables> {}
}
