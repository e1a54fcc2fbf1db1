// The table of settings that are changed while everything runs. Not here: its statements (run-time.ts).
import { defineTables, integer, text, type RowsOf } from "../../platform/database/table.ts";

export const settingTables = defineTables({
  setting: {
    columns: {
      /** As in the configuration, such as log.level. */
      path: text(),
      /** As it would be written there. */
      value: text(),
      changed_at: integer(),
    },
    key: ["path"],
    isClustered: true,
    backup: "kept",
  },
});

declare module "../../platform/database/schema.ts" {
  interface Schema extends RowsOf<typeof settingTables> {}
}
