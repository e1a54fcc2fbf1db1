// What accounts are in the whole registry. Programs that do not know the tables give nobody a right by them. Pulls read them, so that the way
// back leaves them where they are; accounts that are deleted meanwhile take their rows along.
import type { Migration } from "./migration.ts";

export const people: Migration = {
  id: 20261126070000,
  name: "access/people",
  oldestProgram: 3,
  loses: { what: "nothing that is stored, but auditors and creators are ordinary users meanwhile", content: [] },
  up: ({ integer, clustered }) => [
    `create table if not exists system_role (
      account_id ${integer} not null primary key references account (id) on delete cascade,
      role text not null
    ) ${clustered}`,
  ],
  down: () => [],
};
