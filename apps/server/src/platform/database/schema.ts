// The tables as queries see them. Each owner declares its tables beside itself and adds them to `Schema` there, so that queries are checked
// against all of them and this folder knows none but its own. Not here: how a table is declared (table.ts), all tables as values (tables.ts of
// the server).
import { defineTables, integer, looseText, nullable, text, type RowsOf } from "./table.ts";

export const platformTables = defineTables({
  /** Which steps the database has had. */
  migration: {
    columns: {
      id: integer(),
      name: looseText(),
      applied_at: integer(),
      /** The oldest program, by the last step that it knows, that may run on a database with this step; null: only those that know the step. */
      oldest_program: nullable(integer()),
    },
    key: ["id"],
    // A restore makes the tables anew, at the version that the backup names.
    backup: "left out",
  },
  /** A named piece of work that one process at a time may do. `fence` rises with every new holder. */
  job_lease: {
    columns: { name: text(), holder: looseText(), fence: integer(), expires_at: integer() },
    key: ["name"],
    backup: "left out",
  },
});

/** Every table, by its name: owners add theirs with `declare module`. */
export interface Schema extends RowsOf<typeof platformTables> {}
