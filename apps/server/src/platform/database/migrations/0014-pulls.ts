// Pulls: how often and when manifests and repositories were last pulled. Programs that do not know the tables can still delete manifests:
// the pull records are deleted with them. Not here: counting (content/pulls.ts).
import type { Migration } from "./migration.ts";

export const pulls: Migration = {
  id: 14,
  name: "pulls",
  oldestProgram: 3,
  loses: { what: "how often and when content was pulled, which is counted anew from then on", content: [] },
  up: ({ integer, clustered }) => [
    `create table manifest_pull (
      manifest_id ${integer} primary key references manifest (id) on delete cascade,
      pulls ${integer} not null,
      pulled_at ${integer} not null) ${clustered}`,
    `create table repository_pull (
      repository_id ${integer} primary key references repository (id) on delete cascade,
      pulls ${integer} not null,
      pulled_at ${integer} not null) ${clustered}`,
  ],
  down: () => [`drop table repository_pull`, `drop table manifest_pull`],
};
