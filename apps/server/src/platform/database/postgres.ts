// PostgreSQL as the database of many replicas. Named prepared statements, a bounded pool, retries of deadlocks.
// Not here: queries, tables, and the batching of hot look-ups (batch.ts).
import { RegistryError } from "@berth/oci/errors";
import pg from "pg";
import type { Database, Executor, WriteOptions } from "./database.ts";
import { createGroupSync } from "./group-sync.ts";
import { bind, type Statement } from "./statement.ts";

/** Where and how. */
export interface PostgresOptions {
  /** `postgres://user:password@host:port/database`, or libpq's environment variables where empty. */
  readonly url: string;
  /** Most connections of this process. */
  readonly maxConnections: number;
  /** How long a caller waits for a free connection before it gets UNAVAILABLE. */
  readonly acquireTimeoutMs: number;
  /** Called when an idle connection breaks. */
  readonly onBackgroundError: (error: unknown) => void;
}

/**
 * Every statement is made to walk an index (plans.test.ts). The planner, which keeps one plan for all values, would rather read a whole table
 * where statistics say that most rows fit, as they do when a million manifests share one config: for the others that is a second and more.
 */
const PLANNER = "set enable_seqscan = off; set enable_mergejoin = off; set enable_hashjoin = off";
/** A statement that runs for a minute is a defect; without a limit it would hold a connection for ever. */
const STATEMENT_TIMEOUT_MS = 60_000;
/**
 * Longer than the server's own limit: it counts only where the server cannot answer any more, as when its machine has vanished. The system
 * would wait for a quarter of an hour.
 */
const ANSWER_TIMEOUT_MS = STATEMENT_TIMEOUT_MS + 5_000;
/**
 * How long a transaction may rest between two statements. They follow each other at once, so only a process that is held still, or cut off,
 * rests: its row locks must not hold up the other replicas.
 */
const REST_IN_TRANSACTION_MS = 10_000;
/** As long as a timer can be: the driver takes 0 for its own default. */
const NO_TIMEOUT_MS = 2 ** 31 - 1;
/** Tries of a transaction that PostgreSQL chose as a deadlock's victim. */
const MAX_TRIES = 5;
const INT8_OID = 20;

/** Connects a pool; the first query opens the first connection. */
export function openPostgres(options: PostgresOptions): Database {
  const types = new pg.TypeOverrides();
  // Ids, sizes and milliseconds all stay below 2^53.
  types.setTypeParser(INT8_OID, Number);
  const pool = new pg.Pool({
    ...(options.url === "" ? {} : { connectionString: options.url }),
    max: options.maxConnections,
    connectionTimeoutMillis: options.acquireTimeoutMs,
    idleTimeoutMillis: 60_000,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    query_timeout: ANSWER_TIMEOUT_MS,
    idle_in_transaction_session_timeout: REST_IN_TRANSACTION_MS,
    // Found dead after 10 s and ten probes a second apart, also when nothing was asked.
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    types,
    application_name: "berth",
  });
  let isClosed = false;
  pool.on("error", (error) => {
    // The pool forgets a connection before its end has arrived: what comes after that concerns nobody.
    if (!isClosed) options.onBackgroundError(error);
  });
  // Queued before what the connection was opened for.
  pool.on("connect", (client) => {
    client.query(PLANNER).catch((error: unknown) => {
      if (!isClosed) options.onBackgroundError(error);
    });
  });
  const outside = executorOf((config) => pool.query(config));

  /** Lends a connection, and throws it away when it broke meanwhile. */
  async function withClient<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    const client = await pool.connect();
    let broken: Error | undefined;
    // Between two statements nobody else hears of a connection that breaks, and an event that nobody hears ends the process.
    const onError = (error: Error): void => {
      broken = error;
    };
    client.on("error", onError);
    try {
      return await work(client);
    } catch (error) {
      await client.query("rollback").catch(onError);
      throw error;
    } finally {
      client.off("error", onError);
      client.release(broken);
    }
  }

  const once = <T>(work: (tx: Executor) => Promise<T>, durable: boolean): Promise<T> =>
    withClient(async (client) => {
      await client.query(durable ? "begin" : "begin; set local synchronous_commit = off");
      const result = await work(executorOf((config) => client.query(config)));
      await client.query("commit");
      return result;
    });

  // Commits that did not wait (synchronous_commit=off) may still be in the server's memory. A committed message writes to the log behind
  // them, and its commit waits for all that is before it.
  const sync = createGroupSync(async () => {
    try {
      await pool.query("select pg_logical_emit_message(true, 'berth', '')");
    } catch (error) {
      throw translate(error);
    }
  });

  const database: Database = {
    dialect: "postgres",
    all: outside.all,
    first: outside.first,
    run: () => Promise.reject(new TypeError("writes go through transaction() or write()")),
    async transaction(work, writeOptions: WriteOptions = {}) {
      for (let tries = 1; ; tries++) {
        try {
          return await once(work, writeOptions.durable !== false);
        } catch (error) {
          if (tries < MAX_TRIES && isRetryable(error)) continue;
          throw translate(error);
        }
      }
    },
    write: (query, parameters, writeOptions) =>
      writeOptions?.durable === false
        ? database.transaction((tx) => tx.all(query, parameters), writeOptions)
        : outside.all(query, parameters),
    sync,
    async probe() {
      try {
        await pool.query("select 1");
      } catch (error) {
        throw translate(error);
      }
    },
    script: (text) => withClient(async (client) => void (await client.query(text))),
    async session(work) {
      const client = await pool.connect();
      const onError = (): void => undefined;
      // What breaks it shows at the next statement.
      client.on("error", onError);
      try {
        await client.query("set statement_timeout = 0");
        return await work(async (text) => (await client.query({ text, query_timeout: NO_TIMEOUT_MS } as pg.QueryConfig)).rows);
      } catch (error) {
        throw translate(error);
      } finally {
        // Its settings and locks are nobody else's: the connection goes with them.
        client.release(true);
      }
    },
    async close() {
      isClosed = true;
      await pool.end();
    },
    connections: () => ({ open: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount }),
  };
  return database;
}

type Query = (config: pg.QueryConfig) => Promise<pg.QueryResult>;

function executorOf(query: Query): Executor {
  async function execute(statement: Statement<never, unknown>, parameters: Readonly<Record<string, unknown>>): Promise<pg.QueryResult> {
    const compiled = statement.compiled("postgres");
    const values = bind(compiled, parameters).map((value) =>
      value instanceof Uint8Array && !Buffer.isBuffer(value) ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : value,
    );
    try {
      return await query({ name: compiled.id, text: compiled.text, values });
    } catch (error) {
      throw isRetryable(error) ? error : translate(error);
    }
  }
  return {
    dialect: "postgres",
    all: async (statement, parameters) => (await execute(statement, parameters)).rows as never,
    first: async (statement, parameters) => (await execute(statement, parameters)).rows[0] as never,
    run: async (statement, parameters) => (await execute(statement, parameters)).rowCount ?? 0,
  };
}

const DEADLOCK_DETECTED = "40P01";
const SERIALIZATION_FAILURE = "40001";
// A row that a foreign key needs went away between two statements: the next try sees that it is gone.
const FOREIGN_KEY_VIOLATION = "23503";

function isRetryable(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  return code === DEADLOCK_DETECTED || code === SERIALIZATION_FAILURE || code === FOREIGN_KEY_VIOLATION;
}

// Source: PostgreSQL manual, Appendix A. Classes 08 (connection), 53 (resources), 57 (operator intervention), 58 (system).
function translate(error: unknown): unknown {
  if (error instanceof RegistryError || !(error instanceof Error)) return error;
  const code = (error as Error & { code?: string }).code ?? "";
  if (code === "53100") return new RegistryError("STORAGE_FULL", { cause: error });
  // 25006: the server is a standby now. 25P03: the transaction rested too long, and the server ended it.
  const isConnection = /^(?:ECONN|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_|EHOST|ENET)/.test(code) || /^(?:08|53|57|58|25006|25P03)/.test(code);
  const isPool =
    /timeout exceeded when trying to connect|Query read timeout|Connection terminated|Client has encountered a connection error|not queryable/i.test(
      error.message,
    );
  if (isConnection || isPool) return new RegistryError("UNAVAILABLE", { cause: error, headers: { "retry-after": "2" } });
  return error;
}
