// From where accounts may be used; most have no row. A table of its own, since programs of before select every column of accounts. Those that do not know
// it let accounts in from everywhere; pulls read it, so that the way back leaves it where it is. Not here: what a row means (access/network-rules.ts).
import type { Migration } from "./migration.ts";

export const accountNetworks: Migration = {
  id: 20261126105000,
  name: "access/account-networks",
  oldestProgram: 3,
  keptTables: ["account_networks"],
  loses: { what: "nothing that is stored, but robots may be used from everywhere meanwhile", content: [] },
  up: ({ integer, clustered }) => [
    `create table if not exists account_networks (
      account_id ${integer} not null primary key references account (id) on delete cascade,
      lists text not null
    ) ${clustered}`,
  ],
  down: () => [],
};
