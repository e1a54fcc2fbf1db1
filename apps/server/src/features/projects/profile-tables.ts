// The table of what projects say of themselves. Not here: the statements (profile-store.ts).
import { defineTables, looseText, nullable, refersTo, type RowsOf } from "../../platform/database/table.ts";

export const profileTables = defineTables({
  /** At most one a project; none where it says nothing. */
  project_profile: {
    columns: {
      project_id: refersTo("project", "cascade"),
      description: nullable(looseText()),
      contact: nullable(looseText()),
      /** A JSON list of pairs, in the order of their keys. */
      labels: looseText(),
    },
    key: ["project_id"],
    isClustered: true,
    backup: "kept",
  },
});

declare module "../../platform/database/schema.ts" {
  interface Schema extends RowsOf<typeof profileTables> {}
}
