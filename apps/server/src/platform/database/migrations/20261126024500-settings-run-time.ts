// Settings that administrators change at run time. Not here: the settings and their meaning (features/settings).
import type { Migration } from "./migration.ts";

export const settingsRunTime: Migration = {
  id: 20261126024500,
  name: "settings/run-time",
  oldestProgram: 3,
  loses: { what: "settings that were changed in the API: what is configured counts again, and they have to be changed anew", content: [] },
  up: ({ text, integer, clustered }) => [
    `create table setting (path ${text} primary key, value ${text} not null, changed_at ${integer} not null) ${clustered}`,
  ],
  down: () => ["drop table setting"],
};
