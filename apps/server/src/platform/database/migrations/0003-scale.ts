// Scale: indexes that cover whole conditions, so that no statement walks over rows that it does not return, even with a blob in a million
// repositories or a subject with a million referrers.
import type { Migration } from "./migration.ts";

export const scale: Migration = {
  id: 3,
  name: "scale",
  oldestProgram: 2,
  loses: { what: "nothing: indexes", content: [] },
  indexes: [
    { name: "repository_blob_by_blob", on: "repository_blob (blob_id, repository_id)" },
    { name: "tag_by_manifest", on: "tag (manifest_id, name)" },
    // The id is an expression: with a plain column the planner could use the primary key's order instead, and walk over all other
    // manifests.
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
