// PostgreSQL as the database of many replicas: named prepared statements, retries of deadlocks, and the meaning of its errors. Not here:
// connections and which server they go to (postgres-pool.ts), queries, tables, the batching of hot look-ups (batch.ts).
import { RegistryError } from "@berth/oci/errors";
import pg from "pg";
import { databaseVersionError, type Database, type Executor, type RunSql, type WriteOptions } from "./database.ts";
import { createGroupSync } from "../group-sync.ts";
import { openPostgresChannel } from "./postgres-channel.ts";
import { analyseApart, analyseIn, isAnalytical, type Query } from "./postgres-analysis.ts";
import { isSilent, openPostgresPool } from "./postgres-pool.ts";
import { checkRows } from "./row-counts.ts";
import { bind, type Statement } from "./statement.ts";

/** The options of the database. */
export interface PostgresOptions {
  /** `postgres://user:password@host:port,host2:port/database`; if empty, libpq's environment variables. */
  readonly url: string;
  /** The most connections of this process. */
  readonly maxConnections: number;
  /** How long a caller waits for a free connection before it gets UNAVAILABLE. */
  readonly acquireTimeoutMs: number;
  /** Called when an idle connection breaks. */
  readonly onBackgroundError: (error: unknown) => void;
}

/**
 * Every statement of a request must use an index (plans.test.ts); analytical ones are marked (postgres-analysis.ts). The planner keeps one
 * plan for all values, and prefers to read a whole table where statistics say that most rows match, as when a million manifests share one
 * config: for other values that takes a second and more. Forbidden plan types make a plan look expensive, and for expensive plans
 * PostgreSQL would compile code, for a second each time.
 */
const PLANNER = "set enable_seqscan = off; set enable_mergejoin = off; set enable_hashjoin = off; set jit = off";
/**
 * The lock timeout of a statement. It is longer than the time that our transactions may be idle, so that a statement waits for one of
 * those, but not for an operator's: waiting requests hold connections, and soon no other request would get one.
 */
const LOCKS = "set lock_timeout = 15000";
/** With these the server drops our connections and their locks when this machine vanishes; the default is two hours. */
const KEEP_ALIVE =
  "set tcp_keepalives_idle = 30; set tcp_keepalives_interval = 10; set tcp_keepalives_count = 3; set tcp_user_timeout = 60000; set client_connection_check_interval = 10000";
/** The error of a server on a system that lacks such settings. Source: PostgreSQL manual, Appendix A. */
const NO_SUCH_SETTING = /^(?:22023|42704|0A000|55P02)$/;
/** A statement that runs for a minute is a defect; without a limit it would hold a connection for ever. */
const STATEMENT_TIMEOUT_MS = 60_000;
/**
 * Longer than the server's own limit: it only matters where the server cannot answer any more, as when its machine has vanished. The system
 * would wait for a quarter of an hour.
 */
const ANSWER_TIMEOUT_MS = STATEMENT_TIMEOUT_MS + 5_000;
/**
 * How long a transaction may be idle between two statements. They follow each other at once, so only that of a paused or disconnected
 * process is idle: its row locks must not delay the other replicas.
 */
const REST_IN_TRANSACTION_MS = 10_000;
/**
 * How long a snapshot may be idle between two reads, which happens when the data is written somewhere slow. It has no row locks, but while
 * it exists nothing that was deleted since can be vacuumed, and tables cannot be altered: the server ends one whose reader is stuck.
 */
export const SNAPSHOT_RESTS_MS = 600_000;
const BEGIN_SNAPSHOT = `begin isolation level repeatable read read only; set local idle_in_transaction_session_timeout = ${SNAPSHOT_RESTS_MS}`;
/** The longest timer: the driver takes 0 for its own default. */
const NO_TIMEOUT_MS = 2 ** 31 - 1;
/**
 * Allocates 1 MiB of new pages where the tables are, and frees them. Writes into existing pages succeed on a full disk as well, so they
 * prove nothing. The table is temporary: no other session sees it, and hardly any of it is logged.
 */
const ASK_FOR_ROOM = `begin; set local temp_tablespaces = '';
  create temporary table berth_room as select repeat('x', 1000) as filler from generate_series(1, 1024); rollback`;
/** How long a disk counts as full after a write failed, where we may not allocate space as a test: after that, writes are tried again. */
const FULL_TTL_MS = 60_000;
/** The most runs of a transaction that PostgreSQL chose as a deadlock's victim. */
const MAX_TRIES = 5;
const INT8_OID = 20;
/** The channel on which processes notify each other of commits. Each database has its own channels. */
const CHANNEL = "berth";

/** A PostgreSQL database. */
export interface PostgresDatabase extends Database {
  /**
   * Runs reads that all see one committed state. Unlike a transaction it may be idle between them, for up to `SNAPSHOT_RESTS_MS`, and never
   * runs twice. Errors: UNAVAILABLE, also if it was idle for longer.
   */
  snapshot<T>(read: (executor: Executor) => Promise<T>): Promise<T>;
}

/** Creates a pool; the first query opens the first connection. */
export function openPostgres(options: PostgresOptions): PostgresDatabase {
  const types = new pg.TypeOverrides();
  // Ids, sizes and milliseconds all stay below 2^53.
  types.setTypeParser(INT8_OID, Number);
  // Connections whose last commit did not wait for a standby to the end.
  const unconfirmed = new WeakSet<object>();
  // Set while writes find no space; cleared when allocating some succeeds.
  let full: { readonly at: number; readonly cause: unknown } | undefined;
  const pool = openPostgresPool({
    url: options.url,
    settings: {
      max: options.maxConnections,
      // One connection stays open: when names cannot be resolved, or the server has no connection left, a new one cannot be opened.
      min: 1,
      connectionTimeoutMillis: options.acquireTimeoutMs,
      idleTimeoutMillis: 60_000,
      statement_timeout: STATEMENT_TIMEOUT_MS,
      query_timeout: ANSWER_TIMEOUT_MS,
      idle_in_transaction_session_timeout: REST_IN_TRANSACTION_MS,
      // A dead server is detected after 10 s and ten probes a second apart, also on an idle connection.
      keepAlive: true,
      keepAliveInitialDelayMillis: 10_000,
      types,
      application_name: "berth",
    },
    async prepare(client) {
      client.on("notice", (notice) => {
        // Recognised by its routine in the server's source, because the message is in the server's language and it has no code of its own.
        if ((notice as { routine?: string }).routine === "SyncRepWaitForLSN") unconfirmed.add(client);
      });
      const set = (text: string): Promise<unknown> => client.query({ text, query_timeout: options.acquireTimeoutMs } as pg.QueryConfig);
      await set(`${PLANNER}; ${LOCKS}`);
      await set(KEEP_ALIVE).catch((error: unknown) => {
        if (!NO_SUCH_SETTING.test(String(causeCode(error)))) throw error;
      });
    },
    onBackgroundError: options.onBackgroundError,
  });
  /** A quarter of the connections, so that the others are left for requests. */
  const analyse = analyseApart((work) => withClient(work, true), Math.max(1, Math.floor(options.maxConnections / 4)));
  const outside = executorOf(pool.read, analyse);
  const writing = executorOf((config) => withClient((client) => confirmed(client, client.query(config)), false), analyse);

  /**
   * Waits for a commit. If its wait for synchronous standbys is cancelled, also by the statement timeout, the server says that it has
   * committed and only warns that no standby may have it: a fail-over would lose a write that we acknowledged. Source: PostgreSQL manual,
   * 27.2.8.
   */
  async function confirmed<T>(client: pg.PoolClient, commit: Promise<T>): Promise<T> {
    const result = await commit;
    if (!unconfirmed.delete(client)) return result;
    throw new RegistryError("UNAVAILABLE", { headers: RETRY_AFTER, cause: new Error("no standby has confirmed the commit") });
  }

  /** Lends a connection, and discards it if it broke meanwhile. */
  async function withClient<T>(work: (client: pg.PoolClient) => Promise<T>, inTransaction: boolean): Promise<T> {
    const client = await pool.connect();
    let broken: Error | undefined;
    // Between two statements the pool does not listen to a lent connection, and an error event without a listener ends the process.
    const onError = (error: Error): void => {
      broken = error;
    };
    client.on("error", onError);
    try {
      return await work(client);
    } catch (error) {
      const cause = error instanceof RegistryError ? error.cause : error;
      pool.note(client, cause);
      if (causeCode(cause) === DISK_FULL) full = { at: performance.now(), cause };
      // A connection that did not answer the statement would not answer this either.
      if (isSilent(cause)) broken ??= cause as Error;
      else if (inTransaction) await client.query("rollback").catch(onError);
      throw error;
    } finally {
      client.off("error", onError);
      client.release(broken);
    }
  }

  const once = <T>(work: (tx: Executor) => Promise<T>, durable: boolean): Promise<T> =>
    withClient(async (client) => {
      await client.query(durable ? "begin" : "begin; set local synchronous_commit = off");
      const result = await work(executorIn(client));
      await confirmed(client, client.query("commit"));
      return result;
    }, true);

  /** Runs a transaction again after a conflict with others, if it is certain that it was rolled back. */
  async function retrying<T>(run: () => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        return await run();
      } catch (error) {
        if (tries < MAX_TRIES && isRetryable(error)) continue;
        throw translate(error);
      }
    }
  }

  /** Errors: STORAGE_FULL from the time when a write found the disk full until there is space. */
  async function requireRoom(): Promise<void> {
    const found = full;
    if (found === undefined) return;
    try {
      await withClient((client) => client.query(ASK_FOR_ROOM), true);
    } catch (error) {
      if (causeCode(error) !== INSUFFICIENT_PRIVILEGE) throw error;
      if (performance.now() - found.at < FULL_TTL_MS) throw found.cause;
    }
    if (full === found) full = undefined;
  }

  // Commits that did not wait (synchronous_commit=off) may still be in the server's memory. A committed message writes to the log after
  // them, and its commit waits for everything before it.
  const sync = createGroupSync(async () => {
    try {
      await withClient((client) => confirmed(client, client.query("select pg_logical_emit_message(true, 'berth', '')")), false);
    } catch (error) {
      throw translate(error);
    }
  });

  const database: PostgresDatabase = {
    dialect: "postgres",
    all: outside.all,
    first: outside.first,
    run: () => Promise.reject(new TypeError("writes go through transaction() or write()")),
    change: () => Promise.reject(new TypeError("writes go through transaction() or write()")),
    transaction: (work, writeOptions: WriteOptions = {}) => retrying(() => once(work, writeOptions.durable !== false)),
    write: (query, parameters, writeOptions) =>
      writeOptions?.durable === false
        ? database.transaction((tx) => tx.all(query, parameters), writeOptions)
        : retrying(() => writing.all(query, parameters)),
    async snapshot(read) {
      try {
        return await withClient(async (client) => {
          await client.query(BEGIN_SNAPSHOT);
          const result = await read(executorIn(client));
          await client.query("commit");
          return result;
        }, true);
      } catch (error) {
        throw translate(error);
      }
    },
    sync,
    async probe() {
      try {
        const { rows } = await pool.read({ text: 'select pg_is_in_recovery() as "isStandby"' });
        if ((rows[0] as { isStandby: boolean } | undefined)?.isStandby === true)
          throw new RegistryError("UNAVAILABLE", { headers: RETRY_AFTER, cause: new Error("the server is a standby") });
        await requireRoom();
      } catch (error) {
        throw translate(error);
      }
    },
    script: (text) => withClient(async (client) => void (await client.query(text)), true),
    async session(work) {
      const client = await pool.connect();
      const onError = (): void => undefined;
      // The next statement shows the error.
      client.on("error", onError);
      try {
        await client.query("set statement_timeout = 0");
        const run: RunSql = async (text) =>
          (await client.query<Record<string, unknown>>({ text, query_timeout: NO_TIMEOUT_MS } as pg.QueryConfig)).rows;
        return await work(run);
      } catch (error) {
        throw translate(error);
      } finally {
        // Settings and locks of the session end with the connection, which is closed.
        client.release(true);
      }
    },
    async broadcast(word) {
      try {
        await pool.read({ name: "berth-notify", text: `select pg_notify('${CHANNEL}', $1)`, values: [word] });
      } catch (error) {
        throw translate(error);
      }
    },
    listen(onNotice) {
      const { stop } = openPostgresChannel({
        connect: pool.connectApart,
        name: CHANNEL,
        onNotice,
        onError: (error) => options.onBackgroundError(new Error("no word of other processes' commits is heard for now", { cause: error })),
      });
      return stop;
    },
    async close() {
      await pool.end();
    },
    connections: pool.connections,
  };
  return database;
}

/** Runs the statements of a transaction. */
function executorIn(client: pg.ClientBase): Executor {
  return executorOf((config) => client.query(config), analyseIn(client, STATEMENT_TIMEOUT_MS));
}

function executorOf(query: Query, analyse: Query): Executor {
  async function execute(statement: Statement<never, unknown>, parameters: Readonly<Record<string, unknown>>): Promise<pg.QueryResult> {
    const compiled = statement.compiled("postgres");
    const values = bind(compiled, parameters).map((value) =>
      value instanceof Uint8Array && !Buffer.isBuffer(value) ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : value,
    );
    try {
      return await (isAnalytical(statement) ? analyse : query)({ name: compiled.id, text: compiled.text, values });
    } catch (error) {
      // Only here and not for sessions: a migration checks the code, and tries again.
      if (causeCode(error) === LOCK_NOT_AVAILABLE) throw new RegistryError("UNAVAILABLE", { cause: error, headers: RETRY_AFTER });
      // The same for this error: migrations check the table `migration` and the catalogue in their own way.
      if (NOT_IN_SCHEMA.has(causeCode(error))) throw databaseVersionError(error);
      throw isRetryable(error) ? error : translate(error);
    }
  }
  return {
    dialect: "postgres",
    all: async (statement, parameters) => (await execute(statement, parameters)).rows as never,
    first: async (statement, parameters) => (await execute(statement, parameters)).rows[0] as never,
    run: async (statement, parameters, expected) =>
      checkRows(statement.compiled("postgres").id, (await execute(statement, parameters)).rowCount ?? 0, expected),
    change: async (statement, parameters) => (await execute(statement, parameters)).rowCount ?? 0,
  };
}

const DEADLOCK_DETECTED = "40P01";
const SERIALIZATION_FAILURE = "40001";
// A row that a foreign key needs was deleted between two statements: the next try sees that.
const FOREIGN_KEY_VIOLATION = "23503";
// Another transaction committed the same key between a read and the write that followed: the next try sees it.
const UNIQUE_VIOLATION = "23505";
const LOCK_NOT_AVAILABLE = "55P03";
const DISK_FULL = "53100";
const INSUFFICIENT_PRIVILEGE = "42501";
/** In seconds: long enough for a connection to become free, or for finding the new primary. */
const RETRY_AFTER = { "retry-after": "2" };

function causeCode(error: unknown): unknown {
  return (error as { code?: unknown } | null)?.code;
}

/** Conflicts with other transactions. */
const IN_THE_WAY: ReadonlySet<unknown> = new Set([DEADLOCK_DETECTED, SERIALIZATION_FAILURE, FOREIGN_KEY_VIOLATION, UNIQUE_VIOLATION]);

function isRetryable(error: unknown): boolean {
  return IN_THE_WAY.has(causeCode(error));
}

/** A missing column, table, or unique index of a conflict clause. Source: PostgreSQL manual, Appendix A. */
const NOT_IN_SCHEMA: ReadonlySet<unknown> = new Set(["42703", "42P01", "42P10"]);

// Source: PostgreSQL manual, Appendix A. Classes 08 (connection), 53 (resources), 57 (operator intervention), 58 (system).
function translate(error: unknown): unknown {
  if (error instanceof RegistryError || !(error instanceof Error)) return error;
  const code = (error as Error & { code?: string }).code ?? "";
  if (code === DISK_FULL) return new RegistryError("STORAGE_FULL", { cause: error });
  // It lost against others in every try; the next request may well succeed.
  if (code === DEADLOCK_DETECTED || code === SERIALIZATION_FAILURE) {
    return new RegistryError("UNAVAILABLE", { cause: error, headers: RETRY_AFTER });
  }
  // 25006: the server is a standby now. 25P03: the transaction was idle for too long, and the server ended it.
  const isConnection = /^(?:ECONN|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_|EHOST|ENET)/.test(code) || /^(?:08|53|57|58|25006|25P03)/.test(code);
  const isPool =
    /timeout exceeded when trying to connect|Query read timeout|Connection terminated|Client has encountered a connection error|not queryable/i.test(
      error.message,
    );
  if (isConnection || isPool) return new RegistryError("UNAVAILABLE", { cause: error, headers: RETRY_AFTER });
  return error;
}
