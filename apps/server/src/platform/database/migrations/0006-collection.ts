// Garbage collection: its pending work can be read page by page, also when much became due at the same time, as after the deletion of a
// repository.
import type { Migration } from "./migration.ts";

export const collection: Migration = {
  id: 6,
  name: "collection",
  oldestProgram: 3,
  loses: { what: "nothing: indexes", content: [] },
  indexes: [
    { name: "repository_blob_by_lease", on: "repository_blob (leased_until, repository_id, blob_id) where leased_until is not null" },
    { name: "reclaim_by_due", on: "reclaim (due_at, id)" },
    { name: "upload_by_expiry", on: "upload (expires_at, id)" },
  ],
  up: () => [],
  down: () => [
    `drop index upload_by_expiry`,
    `create index upload_by_expiry on upload (expires_at)`,
    `drop index reclaim_by_due`,
    `create index reclaim_by_due on reclaim (due_at)`,
    `drop index repository_blob_by_lease`,
    `create index repository_blob_by_lease on repository_blob (leased_until) where leased_until is not null`,
  ],
};
