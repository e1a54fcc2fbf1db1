// Connections to the one PostgreSQL server that takes writes, out of one or several hosts: it is found by asking all of them, searched for
// again when it fails, and given up when it does not answer. Not here: statements, transactions, the meaning of errors (postgres.ts).
import { RegistryError } from "@berth/oci/errors";
import pg from "pg";
import { parsePostgresAddress, type PostgresHost } from "./postgres-hosts.ts";

/** A pool that follows the primary. */
export interface PostgresPool {
  /** Lends a connection; give it back with `release`. */
  connect(): Promise<pg.PoolClient>;
  /** Runs a read-only statement on any free connection, and again on the new primary if the old one was lost meanwhile. */
  read(config: pg.QueryConfig): Promise<pg.QueryResult>;
  /** Opens a connection outside the pool; the caller closes it. */
  connectApart(): Promise<pg.Client>;
  /** Reports an error of a lent connection. If it means that the server is no longer the primary, the hosts are asked again. */
  note(client: pg.PoolClient, error: unknown): void;
  /** Open connections, idle ones, and callers that wait. */
  connections(): { readonly open: number; readonly idle: number; readonly waiting: number };
  end(): Promise<void>;
}

/** The options of the pool. */
export interface PostgresPoolOptions {
  /** One host or several; if empty, libpq's environment variables. */
  readonly url: string;
  /** Options of the driver's pools. */
  readonly settings: Omit<pg.PoolConfig, "connectionString">;
  /** Runs after a connection was opened, before it is first lent. */
  readonly prepare: (client: pg.ClientBase) => Promise<void>;
  /** Called when an idle connection breaks, and when another host becomes the primary. */
  readonly onBackgroundError: (error: unknown) => void;
}

/** The timeout for a host's answer whether it is the primary. */
const ASK_TIMEOUT_MS = 3_000;
/** The time for which a failed search is cached: requests that come meanwhile must not cause a storm of connections. */
const FAILED_TTL_MS = 500;
/** After this time a lent connection is checked: its server may have vanished silently. */
const SUSPECT_AFTER_MS = 5_000;
/** How long no new connection is opened after one failed, if others are open. After that, one is tried at a time. */
const STANDING_ONLY_MS = 1_000;
/** A caller that got no new connection waits for an open one; it may be the one that tries again. */
const STANDING_TRIES = 3;
/** Attempts to reach a suspected server before all its connections are closed. One attempt may fail because the server is slow. */
const SUSPECT_TRIES = 2;

/**
 * Asks whether a server takes writes, and its timeline. The timeline grows with every promotion: of two servers that both claim to be the
 * primary, the one that was promoted later is. Source: PostgreSQL manual, 26.3.5 Timelines.
 */
const ASK = `select not pg_is_in_recovery() and current_setting('transaction_read_only') = 'off' as "isPrimary",
  case when pg_is_in_recovery() then '' else substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) end as timeline`;

interface Elected {
  readonly host: PostgresHost;
  readonly pool: pg.Pool;
}

/** Creates the pool; the first query opens the first connection. */
export function openPostgresPool({ url, settings, prepare, onBackgroundError }: PostgresPoolOptions): PostgresPool {
  const address = parsePostgresAddress(url === "" ? "postgres://" : url);
  if (!address.ok) throw new Error(`the database's address is wrong: ${address.problem}`);
  const { hosts } = address;
  const lentAt = new Map<pg.PoolClient, number>();
  const standing = new WeakMap<pg.Pool, Set<pg.ClientBase>>();
  const maxConnections = settings.max ?? 10;
  const retired = new Set<Promise<void>>();
  let isClosed = false;
  let current: Elected | undefined;
  let electing: Promise<Elected> | undefined;
  let failedElection: { readonly at: number; readonly error: unknown } | undefined;
  /** The highest timeline seen: a server with a lower one is a primary that has been replaced. */
  let timeline = "";

  const report = (error: unknown): void => {
    if (!isClosed) onBackgroundError(error);
  };

  function connectionOf(host: PostgresHost): pg.PoolConfig {
    return { ...settings, ...(url === "" ? {} : { connectionString: host.url }) };
  }

  function createPool(host: PostgresHost): pg.Pool {
    // The pool awaits the returned promise, although its type does not say so.
    const onConnect = prepare as (client: pg.ClientBase) => void;
    const pool = new pg.Pool({ ...connectionOf(host), max: maxConnections, onConnect });
    const open = new Set<pg.ClientBase>();
    standing.set(pool, open);
    pool.on("connect", (client) => {
      open.add(client);
      pool.options.max = maxConnections;
    });
    pool.on("remove", (client) => void open.delete(client));
    // The pool forgets a connection before its end has arrived: later errors of it do not matter.
    pool.on("error", (error) => {
      report(error);
      noteOf(pool, error);
    });
    pool.on("acquire", (client) => void lentAt.set(client, performance.now()));
    pool.on("release", (_error, client) => void lentAt.delete(client));
    return pool;
  }

  /** Asks one host, over a separate connection. */
  async function ask(host: PostgresHost): Promise<{ readonly host: PostgresHost; readonly timeline: string } | undefined> {
    const client = new pg.Client({ ...connectionOf(host), connectionTimeoutMillis: ASK_TIMEOUT_MS, query_timeout: ASK_TIMEOUT_MS });
    // A connection that breaks also emits this event, which would end the process without a listener.
    client.on("error", () => undefined);
    try {
      await client.connect();
      const row = (await client.query<{ isPrimary: boolean; timeline: string }>(ASK)).rows[0];
      return row?.isPrimary === true ? { host, timeline: row.timeline } : undefined;
    } finally {
      void client.end().catch(() => undefined);
    }
  }

  async function elect(): Promise<Elected> {
    const [only] = hosts;
    if (hosts.length === 1 && only !== undefined) return (current = { host: only, pool: createPool(only) });
    if (failedElection !== undefined && performance.now() - failedElection.at < FAILED_TTL_MS) throw failedElection.error;
    const answers = await Promise.allSettled(hosts.map(ask));
    const primaries = answers.flatMap((each) => (each.status === "fulfilled" && each.value !== undefined ? [each.value] : []));
    const newest = primaries.toSorted((one, other) => (one.timeline < other.timeline ? 1 : -1))[0];
    if (newest === undefined || newest.timeline < timeline || isClosed) {
      const refused = answers.find((each) => each.status === "rejected");
      const error = new RegistryError("UNAVAILABLE", {
        headers: { "retry-after": "2" },
        cause: new Error(`none of ${hosts.map(({ shown }) => shown).join(", ")} is the primary`, { cause: refused?.reason }),
      });
      failedElection = { at: performance.now(), error };
      throw error;
    }
    ({ timeline } = newest);
    return (current = { host: newest.host, pool: createPool(newest.host) });
  }

  async function elected(): Promise<Elected> {
    if (current !== undefined) return current;
    electing ??= elect().finally(() => {
      electing = undefined;
    });
    return electing;
  }

  /** The server of this pool may no longer be the primary: the next caller asks all hosts. */
  function noteOf(pool: pg.Pool, error: unknown): void {
    if (hosts.length === 1 || current?.pool !== pool || !isLostServer(error)) return;
    // Names cannot be resolved now, so the other hosts would not be found either, and this one works.
    if (isUnnamed(error) && (standing.get(pool)?.size ?? 0) > 0) return;
    report(new Error(`${current.host.shown} is lost; all hosts are asked which one is the primary`, { cause: error }));
    current = undefined;
    retire(pool);
  }

  function retire(pool: pg.Pool): void {
    const ended = pool
      .end()
      .catch(report)
      .finally(() => retired.delete(ended));
    retired.add(ended);
  }

  /** Whether callers share the open connections: no new one can be opened, but that does not mean that the server has failed. */
  function shareStanding(pool: pg.Pool, error: unknown): boolean {
    const open = standing.get(pool)?.size ?? 0;
    if (open === 0 || current?.pool !== pool || !isUnopened(error)) return false;
    // The pool reads it each time. Further callers wait for a returned connection, as they do when the pool is full.
    pool.options.max = Math.min(maxConnections, open);
    const more = (): void => {
      if (pool.options.max < maxConnections) pool.options.max = Math.min(maxConnections, (standing.get(pool)?.size ?? 0) + 1);
    };
    setTimeout(more, STANDING_ONLY_MS).unref();
    return true;
  }

  /** Runs on the open connections if no new one can be opened at the moment. */
  async function onPool<T>(pool: pg.Pool, work: (pool: pg.Pool) => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        return await work(pool);
      } catch (error) {
        if (!shareStanding(pool, error) || tries === STANDING_TRIES) throw error;
      }
    }
  }

  /** Runs once more if the server was lost, on the primary of that moment. */
  async function withRetry<T>(work: (pool: pg.Pool) => Promise<T>): Promise<T> {
    const { pool } = await elected();
    try {
      return await onPool(pool, work);
    } catch (error) {
      noteOf(pool, error);
      if (hosts.length === 1 || current?.pool === pool || !isLostServer(error)) throw error;
    }
    const next = await elected();
    return onPool(next.pool, work);
  }

  const poolOf = new WeakMap<pg.PoolClient, pg.Pool>();
  let isLooking = false;

  /** Closes all connections to an unreachable server. Their statements would otherwise wait for their own timeouts, a minute each. */
  async function lookAfter(): Promise<void> {
    const suspected = current;
    const now = performance.now();
    if (isLooking || suspected === undefined || ![...lentAt.values()].some((at) => now - at > SUSPECT_AFTER_MS)) return;
    isLooking = true;
    try {
      for (let tries = 0; tries < SUSPECT_TRIES; tries++) {
        try {
          await ask(suspected.host);
          return;
        } catch (error) {
          // A server that refuses connections is reachable; a server that is starting has closed its connections itself.
          if (!isSilent(error)) return;
        }
      }
      report(new Error(`${suspected.host.shown} does not answer: its connections are given up`));
      for (const [client, at] of lentAt) if (at <= now) breakOff(client);
      if (current === suspected) {
        current = undefined;
        retire(suspected.pool);
      }
    } finally {
      isLooking = false;
    }
  }
  const looking = setInterval(() => void lookAfter().catch(report), SUSPECT_AFTER_MS);
  looking.unref();

  return {
    async connect() {
      return withRetry(async (pool) => {
        const client = await pool.connect();
        poolOf.set(client, pool);
        return client;
      });
    },
    async connectApart() {
      const { host } = await elected();
      const client = new pg.Client(connectionOf(host));
      // Until the caller adds its own listener: without one, a connection that breaks would end the process.
      client.on("error", () => undefined);
      try {
        await client.connect();
        await prepare(client);
        return client;
      } catch (error) {
        void client.end().catch(() => undefined);
        throw error;
      }
    },
    read: (config) => withRetry((pool) => pool.query(config)),
    note(client, error) {
      const pool = poolOf.get(client);
      if (pool !== undefined) noteOf(pool, error);
    },
    connections() {
      const { totalCount = 0, idleCount = 0, waitingCount = 0 } = current?.pool ?? {};
      return { open: totalCount, idle: idleCount, waiting: waitingCount };
    },
    async end() {
      isClosed = true;
      clearInterval(looking);
      if (current !== undefined) retire(current.pool);
      await Promise.all(retired);
    },
  };
}

/** Closes a connection without the protocol's goodbye, which the other side would not receive. */
function breakOff(client: pg.PoolClient): void {
  (client as unknown as { connection: { stream: { destroy(error: Error): void } } }).connection.stream.destroy(
    Object.assign(new Error("the database's server does not answer"), { code: "ETIMEDOUT" }),
  );
}

// The driver's messages for errors without a code.
const CONNECT_TIMEOUT = /timeout expired|Connection terminated due to connection timeout|Query read timeout/;
const CUT_OFF = /Connection terminated|Client has encountered a connection error|not queryable/;

function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : "";
}

/** Whether a name could not be resolved: no connection was tried. */
function isUnnamed(error: unknown): boolean {
  return /^(?:ENOTFOUND|EAI_)/.test(codeOf(error));
}

/** Whether opening a connection failed, which says nothing about open ones: the name was not resolved, or the host did not answer. */
function isUnopened(error: unknown): boolean {
  return isUnnamed(error) || (error instanceof Error && error.message.startsWith("Connection terminated due to connection timeout"));
}

/** Whether the server sent nothing at all. */
export function isSilent(error: unknown): boolean {
  return /^(?:ETIMEDOUT|EHOST|ENET)/.test(codeOf(error)) || (error instanceof Error && CONNECT_TIMEOUT.test(error.message));
}

/**
 * Whether an error means that the server is down, stopping, or a standby. Not that it is full, or that a statement was cancelled.
 * Source: PostgreSQL manual, Appendix A: 57P01 to 57P03 shut down or starting, 25006 read-only.
 */
function isLostServer(error: unknown): boolean {
  const code = codeOf(error);
  if (/^(?:ECONN|EPIPE|ENOTFOUND|EAI_|08|57P0[123]|25006)/.test(code) || isSilent(error)) return true;
  return error instanceof Error && code === "" && CUT_OFF.test(error.message);
}
