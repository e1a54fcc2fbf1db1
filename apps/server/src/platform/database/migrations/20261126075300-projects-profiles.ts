// What projects say of themselves: a description, whom to write to, labels. Not here: the rules (features/projects).
import type { Migration } from "./migration.ts";

export const projectProfiles: Migration = {
  id: 20261126075300,
  name: "projects/profiles",
  oldestProgram: 3,
  loses: { what: "descriptions, contacts and labels of projects", content: ["project_profile"] },
  up: ({ integer, clustered }) => [
    `create table project_profile (
      project_id ${integer} primary key references project (id) on delete cascade,
      description text,
      contact text,
      labels text not null) ${clustered}`,
  ],
  down: () => ["drop table project_profile"],
};
