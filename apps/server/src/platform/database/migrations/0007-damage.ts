// Damage: damaged blobs can be counted without reading the others, of which there are a million times as many.
import type { Migration } from "./migration.ts";

export const damage: Migration = {
  id: 7,
  name: "damage",
  oldestProgram: 3,
  loses: { what: "nothing: an index", content: [] },
  indexes: [{ name: "blob_damaged", on: "blob (damaged_at) where damaged_at is not null" }],
  up: () => [],
  down: () => [`drop index blob_damaged`],
};
