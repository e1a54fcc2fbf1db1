// The tables as queries see them. Each owner declares its tables and adds them to `Schema` there, so that queries are checked against all
// of them and this folder knows only its own. Not here: the form of a declaration (table.ts), all tables as values (tables.ts of the
// server).
import { defineTables, integer, looseText, nullable, text, type RowsOf } from "./table.ts";

export const platformTables = defineTables({
  /** The steps that were applied to the database. */
  migration: {
    columns: {
      id: integer(),
      name: looseText(),
      applied_at: integer(),
      /**
       * The oldest program, by the last step that it knows, that may run on a database with this step; null: only programs that know the
       * step.
       */
      oldest_program: nullable(integer()),
    },
    key: ["id"],
    // A restore creates the tables anew, at the version of the backup.
    backup: "left out",
  },
  /** A named lock for work that only one process at a time may do. `fence` rises with every new holder. */
  job_lease: {
    columns: { name: text(), holder: looseText(), fence: integer(), expires_at: integer() },
    key: ["name"],
    backup: "left out",
  },
});

/** Every table, by its name: owners add theirs with `declare module`. */
export interface Schema extends RowsOf<typeof platformTables> {}
