// A project's traits beyond its members: an upstream, policies, a quota. The value is null for most projects. Programs that do not know the
// columns leave them unchanged. Not here: what a trait means (access/project-traits.ts).
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
