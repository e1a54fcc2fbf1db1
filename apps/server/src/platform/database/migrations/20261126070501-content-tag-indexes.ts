// Indexes by which tags are listed in other orders than that of their names. Not here: the columns (20261126070500-content-tag-order.ts).
import type { Migration } from "./migration.ts";

export const tagIndexes: Migration = {
  id: 20261126070501,
  name: "content/tag-indexes",
  oldestProgram: 3,
  loses: { what: "nothing: indexes", content: [] },
  indexes: [
    { name: "tag_by_version", on: "tag (repository_id, version_key, name)" },
    { name: "tag_by_push", on: "tag (repository_id, updated_at, name)" },
    { name: "tag_by_size", on: "tag (repository_id, content_bytes, name)" },
    { name: "tag_unsorted", on: "tag (repository_id, name) where sorted_manifest_id <> manifest_id" },
  ],
  up: () => [],
  down: () => ["tag_by_version", "tag_by_push", "tag_by_size", "tag_unsorted"].map((name) => `drop index ${name}`),
};
