// Scale: indexes that serve whole conditions, so that neither a blob of a million repositories nor a subject of a million referrers makes a
// statement walk over what it does not give.
import type { Migration } from "./migration.ts";

export const scale: Migration = {
  id: 3,
  name: "scale",
  oldestProgram: 2,
  loses: { what: "nothing: indexes", content: [] },
  indexes: [
    { name: "repository_blob_by_blob", on: "repository_blob (blob_id, repository_id)" },
    { name: "tag_by_manifest", on: "tag (manifest_id, name)" },
    // The id as an expression: a plain one could also be had in order from the primary key, past the manifests of everybody else.
    { name: "manifest_by_subject", on: "manifest (repository_id, subject_digest, (id + 0)) where subject_digest is not null" },
    {
      name: "manifest_by_subject_and_type",
      on: "manifest (repository_id, subject_digest, artifact_type, (id + 0)) where subject_digest is not null",
    },
  ],
  up: () => [],
  down: () => [
    `drop index manifest_by_subject_and_type`,
    `create index manifest_by_subject_and_type on manifest (repository_id, subject_digest, artifact_type, id) where subject_digest is not null`,
    `drop index manifest_by_subject`,
    `create index manifest_by_subject on manifest (repository_id, subject_digest, id) where subject_digest is not null`,
    `drop index tag_by_manifest`,
    `create index tag_by_manifest on tag (manifest_id)`,
    `drop index repository_blob_by_blob`,
    `create index repository_blob_by_blob on repository_blob (blob_id)`,
  ],
};
