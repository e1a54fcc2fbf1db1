// What accounts are in the whole registry, and groups of them. Programs that do not know the tables give nobody a right by them. Pulls read them, so that the way
// back leaves them where they are; accounts that are deleted meanwhile take their rows along.
import type { Migration } from "./migration.ts";

export const people: Migration = {
  id: 20261126070000,
  name: "access/people",
  oldestProgram: 3,
  keptTables: ["system_role", "account_group", "group_member", "project_group", "robot_tag_scope", "narrowed_member"],
  loses: {
    what: "nothing that is stored, but auditors and creators are ordinary users meanwhile, and groups and rights that are narrowed to tags or repositories give nobody anything",
    content: [],
  },
  up: ({ id, integer, text, clustered }) => [
    `create table if not exists system_role (
      account_id ${integer} not null primary key references account (id) on delete cascade,
      role text not null
    ) ${clustered}`,
    `create table if not exists account_group (
      id ${id},
      name ${text} not null unique,
      description text not null,
      source ${text} not null,
      provider ${text} not null,
      external_key ${text},
      system_role text,
      created_at ${integer} not null
    )`,
    `create unique index if not exists account_group_external on account_group (source, provider, external_key) where external_key is not null`,
    `create table if not exists group_member (
      group_id ${integer} not null references account_group (id) on delete cascade,
      account_id ${integer} not null references account (id) on delete cascade,
      source ${text} not null,
      primary key (group_id, account_id, source)
    ) ${clustered}`,
    `create index if not exists group_member_of_account on group_member (account_id, group_id)`,
    `create table if not exists project_group (
      project_id ${integer} not null references project (id) on delete cascade,
      group_id ${integer} not null references account_group (id) on delete cascade,
      role text not null,
      scopes text,
      project_sort_key ${text} not null,
      primary key (project_id, group_id)
    ) ${clustered}`,
    `create table if not exists robot_tag_scope (
      account_id ${integer} not null references account (id) on delete cascade,
      repository_pattern ${text} not null,
      actions text not null,
      tags text not null,
      primary key (account_id, repository_pattern)
    ) ${clustered}`,
    `create table if not exists narrowed_member (
      project_id ${integer} not null references project (id) on delete cascade,
      account_id ${integer} not null references account (id) on delete cascade,
      role text not null,
      scopes text not null,
      project_sort_key ${text} not null,
      primary key (project_id, account_id)
    ) ${clustered}`,
    `create index if not exists narrowed_member_in_order on narrowed_member (account_id, project_sort_key)`,
    `create index if not exists project_group_in_order on project_group (group_id, project_sort_key)`,
  ],
  down: () => [],
};
