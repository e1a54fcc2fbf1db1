// What waits for the collector, in a row that all processes read. Not here: who counts it (content/backlog-count.ts).
import type { Migration } from "./migration.ts";

export const collectionBacklog: Migration = {
  id: 20261126071000,
  name: "content/collection-backlog",
  oldestProgram: 3,
  loses: { what: "nothing: what waits for the collector is counted anew", content: [] },
  up: ({ id, integer }) => [
    `create table collection_backlog (id ${id}, links ${integer} not null, link_bytes ${integer} not null, keys ${integer} not null,
      key_bytes ${integer} not null, oldest_due_at ${integer}, good_until ${integer} not null)`,
  ],
  down: () => ["drop table collection_backlog"],
};
