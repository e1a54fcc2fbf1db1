// Which manifests have edges to all that they name: those of earlier releases had none to what an index or a field of another maker names, and
// are read anew in the background (content/older-manifests.ts). Programs of before write the default, so that what they push is found as well.
import type { Migration } from "./migration.ts";

export const edgesVersion: Migration = {
  id: 11,
  name: "edges-version",
  oldestProgram: 3,
  loses: { what: "nothing: manifests are read anew when the database comes back", content: [] },
  up: ({ integer }) => [`alter table manifest add column edges_version ${integer} not null default 0`],
  down: () => [`alter table manifest drop column edges_version`],
};
