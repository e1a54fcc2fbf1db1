// A database with measurements: durations and failures of its work, by kind and by statement, and spans where tracing is on. Not here: the
// metrics page (../metrics.ts), connections (sqlite.ts, postgres.ts).
import { RegistryError } from "@berth/oci/errors";
import { ACCESS_BUCKETS, type Metrics } from "../metrics.ts";
import type { Tracing } from "../tracing.ts";
import type { Database, Executor } from "./database.ts";
import type { Statement } from "./statement.ts";

/**
 * The kinds that are counted separately: reads outside transactions; transactions and writes, with their wait for the disk; waits for the
 * log alone.
 */
const OPERATIONS = ["read", "transaction", "sync"] as const;

type Operation = (typeof OPERATIONS)[number];
type AnyStatement = Statement<never, unknown>;

/** Counts what the database does. */
export interface DatabaseMeter {
  end(operation: Operation, isGood: boolean, seconds: number): void;
  /** The counter of one statement, by its id; callers keep it. Ids come from the program's own text, so they are bounded. */
  statement(id: string): (seconds: number) => void;
}

/** Declares the database's metrics. */
export function createDatabaseMeter(metrics: Metrics): DatabaseMeter {
  const durations = metrics.addHistogram({
    name: "database_duration_seconds",
    help: "Reads, transactions with their wait for the disk, and waits for the disk alone; good and failed.",
    kinds: OPERATIONS,
    buckets: ACCESS_BUCKETS,
  });
  const failures: Record<Operation, number> = { read: 0, transaction: 0, sync: 0 };
  const statements = new Map<string, { runs: number; seconds: number }>();
  metrics.addCounters("database_failures_total", "Those of them that failed, rules that said no left aside.", () =>
    OPERATIONS.map((kind) => ({ labels: { kind }, value: failures[kind] })),
  );
  metrics.addCounters("database_statements_total", "Statements that were run, by name.", () =>
    [...statements].map(([statement, { runs }]) => ({ labels: { statement }, value: runs })),
  );
  metrics.addCounters("database_statement_seconds_total", "Time that statements took, by name.", () =>
    [...statements].map(([statement, { seconds }]) => ({ labels: { statement }, value: seconds })),
  );
  return {
    end(operation, isGood, seconds) {
      durations[operation](seconds);
      if (!isGood) failures[operation]++;
    },
    statement(id) {
      let found = statements.get(id);
      if (found === undefined) statements.set(id, (found = { runs: 0, seconds: 0 }));
      const numbers = found;
      return (seconds) => {
        numbers.runs++;
        numbers.seconds += seconds;
      };
    },
  };
}

/** Wraps a database. `explain` may replace the error that an operation ended with. */
export function observeDatabase(
  database: Database,
  meter: DatabaseMeter,
  tracing: Tracing | undefined,
  explain: (error: unknown) => unknown = (error) => error,
): Database {
  const system = database.dialect === "sqlite" ? "sqlite" : "postgresql";
  // Keyed by the statement itself: its id would have to be looked up in the compiled text each time.
  const statements = new Map<AnyStatement, { readonly id: string; count(seconds: number): void }>();
  function countOf(statement: AnyStatement) {
    let found = statements.get(statement);
    if (found === undefined) {
      const { id } = statement.compiled(database.dialect);
      found = { id, count: meter.statement(id) };
      statements.set(statement, found);
    }
    return found;
  }

  /** Runs one statement; outside transactions it counts as an operation. */
  async function runStatement<T>(operation: Operation | undefined, statement: AnyStatement, run: () => Promise<T>): Promise<T> {
    const { id, count } = countOf(statement);
    const startedAt = performance.now();
    let isGood = true;
    try {
      if (tracing === undefined) return await run();
      return await tracing.span(id, "client", { "db.system.name": system, "db.query.summary": id }, run);
    } catch (error) {
      isGood = !isDatabaseFailure(error);
      // Not for a statement of a transaction: the transaction's own error is explained.
      throw operation === undefined ? error : await explain(error);
    } finally {
      const seconds = (performance.now() - startedAt) / 1000;
      count(seconds);
      if (operation !== undefined) meter.end(operation, isGood, seconds);
    }
  }

  async function runOperation<T>(operation: Operation, run: () => Promise<T>): Promise<T> {
    const startedAt = performance.now();
    let isGood = true;
    try {
      if (tracing === undefined) return await run();
      return await tracing.span(operation, "client", { "db.system.name": system, "db.operation.name": operation }, run);
    } catch (error) {
      isGood = !isDatabaseFailure(error);
      throw await explain(error);
    } finally {
      meter.end(operation, isGood, (performance.now() - startedAt) / 1000);
    }
  }

  function watch(executor: Executor): Executor {
    return {
      dialect: executor.dialect,
      all: (statement, parameters) => runStatement(undefined, statement, () => executor.all(statement, parameters)),
      first: (statement, parameters) => runStatement(undefined, statement, () => executor.first(statement, parameters)),
      run: (statement, parameters, expected) => runStatement(undefined, statement, () => executor.run(statement, parameters, expected)),
      change: (statement, parameters) => runStatement(undefined, statement, () => executor.change(statement, parameters)),
    };
  }

  return {
    ...database,
    all: (statement, parameters) => runStatement("read", statement, () => database.all(statement, parameters)),
    first: (statement, parameters) => runStatement("read", statement, () => database.first(statement, parameters)),
    transaction: (work, options) =>
      runOperation("transaction", () => {
        if (tracing === undefined) return database.transaction((tx) => work(watch(tx)), options);
        // Transactions that share a commit run where the first of them was called, so each has to return to its own span.
        const scope = tracing.scope();
        return database.transaction((tx) => tracing.within(scope, () => work(watch(tx))), options);
      }),
    write: (statement, parameters, options) => runStatement("transaction", statement, () => database.write(statement, parameters, options)),
    sync: () => runOperation("sync", () => database.sync()),
    ...(tracing === undefined ? {} : { tracing }),
  };
}

// A rule that refuses a transaction throws through it, which is no failure of the database.
function isDatabaseFailure(error: unknown): boolean {
  return !(error instanceof RegistryError) || error.status >= 500;
}
