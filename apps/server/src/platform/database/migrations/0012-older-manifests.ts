// An index that finds the manifests with an earlier release's edges (0011-edges-version.ts); an index must come after its column.
import type { Migration } from "./migration.ts";

export const olderManifests: Migration = {
  id: 12,
  name: "older-manifests",
  oldestProgram: 3,
  loses: { what: "nothing: an index", content: [] },
  indexes: [{ name: "manifest_older", on: "manifest (repository_id, id) where edges_version = 0" }],
  up: () => [],
  down: () => [`drop index manifest_older`],
};
