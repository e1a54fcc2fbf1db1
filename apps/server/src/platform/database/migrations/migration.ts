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

/**
 * An index, or what becomes of one. Built while everything goes on: PostgreSQL builds it under another name without a lock that anybody
 * waits for, ahead of `up`'s transaction, in which it then takes its name and its predecessor's place.
 */
export interface OnlineIndex {
  readonly name: string;
  /** Table, columns and condition, as they follow `create index NAME on`; of tables and columns that were there before the step. */
  readonly on: string;
}

/**
 * A column that pulls read: added where it is missing, and left on the way back, so that pulls go on while the tables are taken back under a
 * server. Nullable or with a default, so that older programs need not know it; what it holds is there again when the step is taken again.
 */
export interface KeptColumn {
  readonly table: string;
  readonly name: string;
  /** What stands behind the name. */
  type(types: ColumnTypes): string;
}

/** What the way back over a step takes away. */
export interface Loss {
  /** In words that follow "loses": for who decides whether to go. */
  readonly what: string;
  /** Tables, or columns as `table.column`, whose content nothing can make anew. Where one has any, the operator must name the database. */
  readonly content: readonly string[];
}

/** One step. Each list of statements runs in one transaction. */
export interface Migration {
  /**
   * When the step was begun, as YYYYMMDDhhmmss in UTC, so that two who work at the same time do not take the same; the steps up to 15 were counted.
   * Steps run in this order, and what ran is recorded by it: one that is merged late runs late.
   */
  readonly id: number;
  /** `owner/what`: whose tables they are, and what happens to them. Under one id another name is another step. */
  readonly name: string;
  /**
   * The oldest program, named by the last step that it must know, that may run on a database that has this step: at least the release before, so
   * that both serve at once. A step that only adds says an older one; one that takes away what a program still uses says the first that no
   * longer does, and comes a release later. Adding a column breaks programs that select `*` from the table on a kept connection.
   */
  readonly oldestProgram: number;
  /** Indexes of tables that may be large. */
  readonly indexes?: readonly OnlineIndex[];
  readonly keptColumns?: readonly KeptColumn[];
  /** What `down` takes away. */
  readonly loses: Loss;
  up(types: ColumnTypes): readonly string[];
  down(types: ColumnTypes): readonly string[];
}
