// Plans to untag or delete many at once, and what is in them. Not here: what becomes of them (features/deletions).
import type { Migration } from "./migration.ts";

export const deletionPlans: Migration = {
  id: 20261126073000,
  name: "deletions/plans",
  oldestProgram: 3,
  loses: { what: "plans to delete that have not run: they have to be made anew", content: [] },
  up: ({ id, integer, clustered }) => [
    `create table deletion_plan (
      id ${id},
      repository_id ${integer} not null references repository (id) on delete cascade,
      account_id ${integer},
      action text not null,
      state text not null,
      error text,
      created_at ${integer} not null,
      expires_at ${integer} not null,
      tags ${integer} not null,
      manifests ${integer} not null,
      stays ${integer} not null,
      freed_bytes ${integer} not null,
      next text,
      deleted ${integer} not null,
      kept ${integer} not null)`,
    `create index deletion_plan_by_repository on deletion_plan (repository_id, state, id)`,
    `create index deletion_plan_by_expiry on deletion_plan (expires_at, id)`,
    `create table deletion_item (
      plan_id ${integer} not null references deletion_plan (id) on delete cascade,
      number ${integer} not null,
      tag text,
      digest text not null,
      because text,
      because_of text,
      outcome text,
      primary key (plan_id, number)) ${clustered}`,
  ],
  down: () => ["drop table deletion_item", "drop table deletion_plan"],
};
