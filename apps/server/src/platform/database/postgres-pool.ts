// Connections to the one PostgreSQL server that takes writes, out of one or several hosts: found by asking all of them, asked for again when it
// fails, and given up when it does not answer. Not here: statements, transactions, what an error means to callers (postgres.ts).
import { RegistryError } from "@berth/oci/errors";
import pg from "pg";
import { parsePostgresAddress, type PostgresHost } from "./postgres-hosts.ts";

/** A pool that follows the primary. */
export interface PostgresPool {
  /** Lends a connection; give it back with `release`. */
  connect(): Promise<pg.PoolClient>;
  /** Runs a statement that changes nothing, on any free connection; again on the new primary where the old one was lost under it. */
  read(config: pg.QueryConfig): Promise<pg.QueryResult>;
  /** Opens a connection that is the caller's alone, and none of the pool's number; the caller ends it. */
  connectApart(): Promise<pg.Client>;
  /** Tells of an error that a lent connection met: one that means that its server is the primary no more has the hosts asked again. */
  note(client: pg.PoolClient, error: unknown): void;
  /** Connections that are open, those of them at rest, callers that wait for one. */
  connections(): { readonly open: number; readonly idle: number; readonly waiting: number };
  end(): Promise<void>;
}

/** How. */
export interface PostgresPoolOptions {
  /** One host or several; empty: libpq's environment variables. */
  readonly url: string;
  /** Of the driver's pools. */
  readonly settings: Omit<pg.PoolConfig, "connectionString">;
  /** Runs when a connection has been opened, before it is lent for the first time. */
  readonly prepare: (client: pg.ClientBase) => Promise<void>;
  /** Called when an idle connection breaks, and when another host becomes the one. */
  readonly onBackgroundError: (error: unknown) => void;
}

/** How long a host may take to say whether it is the primary. */
const ASK_TIMEOUT_MS = 3_000;
/** An election without a result holds for so long: requests that come meanwhile must not become a storm of connections. */
const FAILED_TTL_MS = 500;
/** A connection that has been out for so long is looked after: its server may be gone without a word. */
const SUSPECT_AFTER_MS = 5_000;
/** How long no connection is opened after one could not be, where others stand. Then one more is tried at a time. */
const STANDING_ONLY_MS = 1_000;
/** Who asked for a new connection and did not get one waits for one that stands; it may be the one that is to try again. */
const STANDING_TRIES = 3;
/** Tries to reach a suspected server before all its connections are given up. One may fail for being slow. */
const SUSPECT_TRIES = 2;

/**
 * Who takes writes, and since when: the timeline grows with every promotion, so that of two servers that both think to be the primary the one
 * that was promoted later is it. Source: PostgreSQL manual, 26.3.5 Timelines.
 */
const ASK = `select not pg_is_in_recovery() and current_setting('transaction_read_only') = 'off' as "isPrimary",
  case when pg_is_in_recovery() then '' else substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) end as timeline`;

interface Elected {
  readonly host: PostgresHost;
  readonly pool: pg.Pool;
}

/** Makes the pool; the first query opens the first connection. */
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
  /** The highest that was seen: a server of an older one is a primary that has been replaced. */
  let timeline = "";

  const report = (error: unknown): void => {
    if (!isClosed) onBackgroundError(error);
  };

  function connectionOf(host: PostgresHost): pg.PoolConfig {
    return { ...settings, ...(url === "" ? {} : { connectionString: host.url }) };
  }

  function createPool(host: PostgresHost): pg.Pool {
    // The pool waits for what it gives, although its type does not say so.
    const onConnect = prepare as (client: pg.ClientBase) => void;
    const pool = new pg.Pool({ ...connectionOf(host), max: maxConnections, onConnect });
    const open = new Set<pg.ClientBase>();
    standing.set(pool, open);
    pool.on("connect", (client) => {
      open.add(client);
      pool.options.max = maxConnections;
    });
    pool.on("remove", (client) => void open.delete(client));
    // The pool forgets a connection before its end has arrived: what comes after that concerns nobody.
    pool.on("error", (error) => {
      report(error);
      noteOf(pool, error);
    });
    pool.on("acquire", (client) => void lentAt.set(client, performance.now()));
    pool.on("release", (_error, client) => void lentAt.delete(client));
    return pool;
  }

  /** Asks one host, over a connection of its own. */
  async function ask(host: PostgresHost): Promise<{ readonly host: PostgresHost; readonly timeline: string } | undefined> {
    const client = new pg.Client({ ...connectionOf(host), connectionTimeoutMillis: ASK_TIMEOUT_MS, query_timeout: ASK_TIMEOUT_MS });
    // A connection that ends under us also says so by this event, and unheard it would end the process.
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

  /** The server of this pool may be the primary no more: the next caller asks all hosts. */
  function noteOf(pool: pg.Pool, error: unknown): void {
    if (hosts.length === 1 || current?.pool !== pool || !isLostServer(error)) return;
    // The other hosts' names would lead nowhere either, and this one serves.
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

  /** Whether callers are to share the connections that stand: no new one can be made, but the server's failure is not said by that. */
  function shareStanding(pool: pg.Pool, error: unknown): boolean {
    const open = standing.get(pool)?.size ?? 0;
    if (open === 0 || current?.pool !== pool || !isUnopened(error)) return false;
    // The pool asks for it each time. Callers beyond it wait for one that is given back, as they do for a full pool's.
    pool.options.max = Math.min(maxConnections, open);
    const more = (): void => {
      if (pool.options.max < maxConnections) pool.options.max = Math.min(maxConnections, (standing.get(pool)?.size ?? 0) + 1);
    };
    setTimeout(more, STANDING_ONLY_MS).unref();
    return true;
  }

  /** Runs on the connections that stand where a new one cannot be had just now. */
  async function onPool<T>(pool: pg.Pool, work: (pool: pg.Pool) => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        return await work(pool);
      } catch (error) {
        if (!shareStanding(pool, error) || tries === STANDING_TRIES) throw error;
      }
    }
  }

  /** Runs once more where the server was lost, on whichever is the primary by then. */
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

  /** Breaks off all connections to a server that cannot be reached any more. Their statements would wait for their own limits, a minute each. */
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
          // A server that refuses is there; one that is starting has ended the connections itself.
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
      // Until the caller hears of it: unheard, a connection that breaks would end the process.
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

/** Ends a connection without a word to the other side, which would not hear it. */
function breakOff(client: pg.PoolClient): void {
  (client as unknown as { connection: { stream: { destroy(error: Error): void } } }).connection.stream.destroy(
    Object.assign(new Error("the database's server does not answer"), { code: "ETIMEDOUT" }),
  );
}

// The driver's words where it has no code.
const CONNECT_TIMEOUT = /timeout expired|Connection terminated due to connection timeout|Query read timeout/;
const CUT_OFF = /Connection terminated|Client has encountered a connection error|not queryable/;

function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : "";
}

/** Whether a name has no address now: no connection was tried. */
function isUnnamed(error: unknown): boolean {
  return /^(?:ENOTFOUND|EAI_)/.test(codeOf(error));
}

/** Whether an error is that of opening a connection, which says nothing of those that stand: its name has no address, or nobody answers. */
function isUnopened(error: unknown): boolean {
  return isUnnamed(error) || (error instanceof Error && error.message.startsWith("Connection terminated due to connection timeout"));
}

/** Whether nothing at all was heard of the server. */
export function isSilent(error: unknown): boolean {
  return /^(?:ETIMEDOUT|EHOST|ENET)/.test(codeOf(error)) || (error instanceof Error && CONNECT_TIMEOUT.test(error.message));
}

/**
 * Whether an error means that the server is gone, going, or a standby. Not that it is full, or that a statement was cancelled.
 * Source: PostgreSQL manual, Appendix A: 57P01 to 57P03 shut down or starting, 25006 read-only.
 */
function isLostServer(error: unknown): boolean {
  const code = codeOf(error);
  if (/^(?:ECONN|EPIPE|ENOTFOUND|EAI_|08|57P0[123]|25006)/.test(code) || isSilent(error)) return true;
  return error instanceof Error && code === "" && CUT_OFF.test(error.message);
}
