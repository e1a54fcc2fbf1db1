// Reading a database as a whole, beside whoever writes to it: single reads of the newest state, and many reads of one state.
// Not here: the engines (sqlite.ts has its own reader), what is read.
import type { Executor } from "./database.ts";
import type { PostgresDatabase } from "./postgres.ts";

/** Reads only. */
export interface DatabaseReader {
  /** Each statement sees what is committed when it runs. */
  readonly live: Executor;
  /**
   * All statements of `read` see one committed state, however long it takes. `read` may wait for other things between them, unlike a
   * transaction: it locks no row. Meanwhile the engine keeps what was deleted since (PostgreSQL: vacuum; SQLite: the log grows), so it should end
   * soon; on PostgreSQL it must not rest for more than ten minutes.
   */
  snapshot<T>(read: (executor: Executor) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/** The reader of an open PostgreSQL database, which closing the reader closes. */
export function readerOfPostgres(database: PostgresDatabase): DatabaseReader {
  return { live: database, snapshot: database.snapshot, close: () => database.close() };
}
