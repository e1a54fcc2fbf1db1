// What tags are sorted by besides their names: columns. Not here: their indexes (20261126070501-content-tag-indexes.ts), filling them for tags that
// are there (content/unsorted-tags.ts).
import type { Migration } from "./migration.ts";

export const tagOrder: Migration = {
  id: 20261126070500,
  name: "content/tag-order",
  oldestProgram: 3,
  loses: { what: "nothing: what tags are sorted by is written anew", content: [] },
  up: ({ text, integer }) => [
    `alter table tag add column version_key ${text} not null default ''`,
    `alter table tag add column content_bytes ${integer} not null default 0`,
    `alter table tag add column sorted_manifest_id ${integer} not null default 0`,
  ],
  down: () => ["version_key", "content_bytes", "sorted_manifest_id"].map((name) => `alter table tag drop column ${name}`),
};
