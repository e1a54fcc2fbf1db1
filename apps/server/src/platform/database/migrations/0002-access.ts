// Access: lists of the projects that an account may read, without reading those that it may not; registry robots; old login failures.
import type { Migration } from "./migration.ts";

export const access: Migration = {
  id: 2,
  name: "access",
  oldestProgram: 2,
  loses: { what: "nothing: indexes, and a column that is filled anew", content: [] },
  indexes: [
    { name: "member_by_project_and_role", on: "member (project_id, role)" },
    { name: "project_public_in_order", on: "project (sort_key) where is_public = 1" },
    { name: "account_of_registry", on: "account (kind, name) where project_id is null" },
    { name: "login_failure_by_age", on: "login_failure (window_started_at)" },
  ],
  up: ({ text }) => [
    // A copy of the project's sort_key, so that an index returns a member's projects in order. Projects are never renamed.
    `alter table member add column project_sort_key ${text} not null default ''`,
    `update member set project_sort_key = (select sort_key from project where project.id = member.project_id)`,
    `create index member_by_account_in_order on member (account_id, project_sort_key)`,
  ],
  down: () => [
    `drop index login_failure_by_age`,
    `drop index account_of_registry`,
    `drop index project_public_in_order`,
    `drop index member_by_project_and_role`,
    `drop index member_by_account_in_order`,
    `alter table member drop column project_sort_key`,
  ],
};
