// Reads a whole database while others write to it: single reads of the newest state, and many reads of one state. Not here: the engines
// (sqlite.ts has its own reader), what is read.
import type { Executor } from "./database.ts";
import type { PostgresDatabase } from "./postgres.ts";

/** Reads of a database. */
export interface DatabaseReader {
  /** Each statement sees what is committed when it runs. */
  readonly live: Executor;
  /**
   * All statements of `read` see one committed state, however long it takes. Unlike a transaction, `read` may wait for other things between
   * them, because it locks no row. Meanwhile the engine keeps what was deleted since (PostgreSQL: no vacuum; SQLite: the log grows), so it
   * should end soon; on PostgreSQL it must not be idle for more than ten minutes.
   */
  snapshot<T>(read: (executor: Executor) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/** The reader of an open PostgreSQL database; closing the reader closes the database. */
export function readerOfPostgres(database: PostgresDatabase): DatabaseReader {
  return { live: database, snapshot: database.snapshot, close: () => database.close() };
}
