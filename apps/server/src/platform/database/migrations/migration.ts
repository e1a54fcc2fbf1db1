// What a migration is, and the column types that it spells its tables with. Not here: running them (../migrate.ts).
import type { DialectName } from "../statement.ts";

/** The few types that the engines spell differently. */
export interface ColumnTypes {
  readonly dialect: DialectName;
  /** A primary key that counts up. */
  readonly id: string;
  /** A whole number up to 2^53. */
  readonly integer: string;
  /** Text that compares by bytes. */
  readonly text: string;
  readonly bytes: string;
  /** Behind a table's closing bracket: rows stored in the primary key's order where the engine can. */
  readonly clustered: string;
}

/** One step. Each list of statements runs in one transaction. */
export interface Migration {
  /** Counts up from 1 without gaps. */
  readonly id: number;
  readonly name: string;
  /**
   * The oldest program, named by the last step that it knows, that may run on a database that has this step: at least the release before, so
   * that both serve at once. A step that only adds says an older one; one that takes away what a program still uses says the first that no
   * longer does, and comes a release later. Adding a column breaks programs that select `*` from the table on a kept connection.
   */
  readonly oldestProgram: number;
  up(types: ColumnTypes): readonly string[];
  down(types: ColumnTypes): readonly string[];
}
