// From where an account may be used. The value is null for most accounts. Programs that do not know the column leave it unchanged, and let accounts in
// from everywhere. Not here: what a value means (access/network-rules.ts).
import type { Migration } from "./migration.ts";

export const accountNetworks: Migration = {
  id: 20261126105000,
  name: "access/account-networks",
  oldestProgram: 3,
  keptColumns: [{ table: "account", name: "networks", type: () => "text" }],
  loses: { what: "nothing that is stored, but robots may be used from everywhere meanwhile", content: [] },
  up: () => [],
  down: () => [],
};
