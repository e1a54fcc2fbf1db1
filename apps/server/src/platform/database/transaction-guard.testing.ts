// Fails transactions of tests that wait for anything but their own statements: a file, a store, a timer, another connection, a thread. Each
// wait is a turn of the event loop in which the transaction is idle, holds its locks and may be ended by the server. Not here: the rule
// (database.ts), the databases of tests (databases.testing.ts).
import { createHook } from "node:async_hooks";
import type { Database, Executor } from "./database.ts";

/** The error of such a transaction. */
export class TransactionRested extends Error {}

const PLAIN = Symbol("the database that is guarded");

/** Counts the turns of the event loop. Promises, ticks and microtasks belong to the same turn. */
function countTurns(): { now(): number; stop(): void } {
  let turns = 0;
  const inside = new Set<number>();
  const hook = createHook({
    init(id, type) {
      if (type === "TickObject" || type === "Microtask") inside.add(id);
    },
    before(id) {
      if (!inside.delete(id)) turns++;
    },
    trackPromises: false,
  }).enable();
  return { now: () => turns, stop: () => void hook.disable() };
}

/** Guards a database. Reads and writes outside transactions are not guarded, and neither are statements that contain no code of ours. */
export function guardTransactions(database: Database): Database {
  const turns = countTurns();

  async function guarded<T>(tx: Executor, work: (tx: Executor) => Promise<T>): Promise<T> {
    let running = 0;
    let turn = turns.now();
    let last = "it began";
    // Remembered, so that a test that swallows the statement's error fails as well.
    let rested: TransactionRested | undefined;
    function check(next: string): void {
      if (running === 0 && turns.now() !== turn) {
        rested ??= new TransactionRested(`a transaction waited for something else than its database after ${last} and before ${next}`);
      }
      if (rested !== undefined) throw rested;
    }
    async function step<R>(id: string, run: () => Promise<R>): Promise<R> {
      check(id);
      running++;
      try {
        return await run();
      } finally {
        running--;
        turn = turns.now();
        last = id;
      }
    }
    const result = await work({
      dialect: tx.dialect,
      all: (query, parameters) => step(query.compiled(tx.dialect).id, () => tx.all(query, parameters)),
      first: (query, parameters) => step(query.compiled(tx.dialect).id, () => tx.first(query, parameters)),
      run: (query, parameters, expected) => step(query.compiled(tx.dialect).id, () => tx.run(query, parameters, expected)),
      change: (query, parameters) => step(query.compiled(tx.dialect).id, () => tx.change(query, parameters)),
    });
    check("its end");
    return result;
  }

  const guardedDatabase: Database = {
    ...database,
    transaction: <T>(work: (tx: Executor) => Promise<T>, options?: Parameters<Database["transaction"]>[1]) =>
      database.transaction((tx) => guarded(tx, work), options),
    async close() {
      turns.stop();
      await database.close();
    },
  };
  // Not enumerable: a wrapped copy of the database is not the guarded one, and bypassing the guard must not bypass the wrapper.
  return Object.defineProperty(guardedDatabase, PLAIN, { value: database });
}

/** The database without the guard, for tests whose transactions wait on purpose. */
export function unguarded(database: Database): Database {
  return (database as Partial<Record<typeof PLAIN, Database>>)[PLAIN] ?? database;
}
