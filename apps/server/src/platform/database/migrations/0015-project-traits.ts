// What a project has beyond its members: an upstream, policies, a quota. Null for most, which have nothing. Programs that do not know the columns
// leave them as they are. Not here: what a trait says (access/project-traits.ts).
import type { Migration } from "./migration.ts";

export const projectTraits: Migration = {
  id: 15,
  name: "project-traits",
  oldestProgram: 3,
  keptColumns: [
    { table: "project", name: "traits", type: () => "text" },
    { table: "project", name: "traits_revision", type: ({ integer }) => `${integer} not null default 0` },
  ],
  loses: {
    what: "nothing that is stored, but what projects have beyond their members, such as policies, has no effect meanwhile",
    content: [],
  },
  up: () => [],
  down: () => [],
};
