// Reading a database as a whole, beside whoever writes to it: single reads of the newest state, and many reads of one state.
// Not here: the engines (sqlite.ts has its own reader), what is read.
import { sql } from "kysely";
import type { Database, Executor } from "./database.ts";
import { statement } from "./statement.ts";

/** Reads only. */
export interface DatabaseReader {
  /** Each statement sees what is committed when it runs. */
  readonly live: Executor;
  /**
   * All statements of `read` see one committed state, however long it takes. Meanwhile the engine keeps what was deleted since (PostgreSQL:
   * vacuum; SQLite: the log grows), so it should end soon.
   */
  snapshot<T>(read: (executor: Executor) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

const oneState = statement<Record<never, never>>()<never>("snapshot.begin", (db) => ({
  compile: () => sql<never>`set transaction isolation level repeatable read read only`.compile(db),
}));

/** The reader of an open PostgreSQL database, which closing the reader closes. */
export function readerOfPostgres(database: Database): DatabaseReader {
  return {
    live: database,
    snapshot: (read) =>
      database.transaction(async (tx) => {
        await tx.run(oneState, {}, { any: "it changes no row" });
        return read(tx);
      }),
    close: () => database.close(),
  };
}
