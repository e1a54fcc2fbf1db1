// Marks which manifests have edges to everything that they name. Earlier releases stored none for some fields of indexes and of other
// makers' manifests; those manifests are read again in the background (content/older-manifests.ts). Earlier programs write the default, so
// that their pushes are found as well.
import type { Migration } from "./migration.ts";

export const edgesVersion: Migration = {
  id: 11,
  name: "edges-version",
  oldestProgram: 3,
  loses: { what: "nothing: manifests are read anew when the database comes back", content: [] },
  up: ({ integer }) => [`alter table manifest add column edges_version ${integer} not null default 0`],
  down: () => [`alter table manifest drop column edges_version`],
};
