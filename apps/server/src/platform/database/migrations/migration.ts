// The form of a migration, and the column types in which its tables are written. Not here: running it (../migrate.ts).
import type { DialectName } from "../statement.ts";

/** The few types that the engines spell differently. */
export interface ColumnTypes {
  readonly dialect: DialectName;
  /** A primary key with ascending numbers. */
  readonly id: string;
  /** A whole number up to 2^53. */
  readonly integer: string;
  /** Text that compares by bytes. */
  readonly text: string;
  readonly bytes: string;
  /** Written after a table's closing bracket: rows are stored in the primary key's order if the engine can. */
  readonly clustered: string;
}

/**
 * An index, or its replacement, that is built while the database is in use: PostgreSQL builds it under another name without a lock that
 * others wait for, before `up`'s transaction, in which it is renamed and replaces its predecessor.
 */
export interface OnlineIndex {
  readonly name: string;
  /** Table, columns and condition, as they follow `create index NAME on`; the tables and columns existed before the step. */
  readonly on: string;
}

/**
 * A column that pulls read. It is added if it is missing, and stays when the step is taken back, so that pulls continue while a running
 * server's tables are migrated back. It is nullable or has a default, so that older programs need not know it; its content is kept until
 * the step is applied again.
 */
export interface KeptColumn {
  readonly table: string;
  readonly name: string;
  /** The SQL after the column's name. */
  type(types: ColumnTypes): string;
}

/** What taking back a step loses. */
export interface Loss {
  /** A text that follows "loses", for the operator who decides. */
  readonly what: string;
  /**
   * Tables, or columns as `table.column`, whose content cannot be recreated. If one has content, the operator must confirm with the
   * database's name.
   */
  readonly content: readonly string[];
}

/** One step. Each list of statements runs in one transaction. */
export interface Migration {
  /**
   * When the step was begun, as YYYYMMDDhhmmss in UTC, so that two people who work at the same time do not choose the same; the steps up to
   * 15 were numbered. Steps run in this order, and applied steps are recorded by it: a step that is merged late runs late.
   */
  readonly id: number;
  /** `owner/what`: the owner of the tables, and what happens to them. The same id with another name is another step. */
  readonly name: string;
  /**
   * The oldest program, named by the last step that it must know, that may run on a database with this step: at least the previous release,
   * so that both can serve at once. A step that only adds names an older one; a step that removes something names the first program that no
   * longer uses it, and comes a release later. Adding a column breaks programs that select `*` from the table on a kept connection.
   */
  readonly oldestProgram: number;
  /** Indexes of tables that may be large. */
  readonly indexes?: readonly OnlineIndex[];
  readonly keptColumns?: readonly KeptColumn[];
  /** Tables that `down` leaves where they are, in the order in which they are made. They go with everything else, with the first step. */
  readonly keptTables?: readonly string[];
  /** What `down` loses. */
  readonly loses: Loss;
  up(types: ColumnTypes): readonly string[];
  down(types: ColumnTypes): readonly string[];
}
