// What a project has beyond its members: an upstream, policies, a quota. Null for most, which have nothing. Programs that do not know the columns
// leave them as they are. Not here: what a trait says (access/project-traits.ts).
import type { Migration } from "./migration.ts";

export const projectTraits: Migration = {
  id: 15,
  name: "project-traits",
  oldestProgram: 3,
  loses: { what: "what projects have beyond their members, such as policies and upstreams", content: ["project.traits"] },
  up: ({ integer }) => [
    `alter table project add column traits text`,
    `alter table project add column traits_revision ${integer} not null default 0`,
  ],
  down: () => [`alter table project drop column traits_revision`, `alter table project drop column traits`],
};
