// What stores ask of a database: reads of committed state, and transactions that are durable when they return.
// Not here: the engines (sqlite.ts, postgres.ts), queries (the stores), tables (schema.ts).
import { RegistryError } from "@berth/oci/errors";
import type { Tracing } from "../tracing.ts";
import type { ExpectedRows } from "./row-counts.ts";
import type { DialectName, ParameterValue, Statement } from "./statement.ts";

type Row = Readonly<Record<string, ParameterValue>>;

/** Runs statements. */
export interface Executor {
  readonly dialect: DialectName;
  /** All rows. Statements that can give many carry a limit of their own. */
  all<P extends Row, R>(statement: Statement<P, R>, parameters: P): Promise<R[]>;
  /** The first row, or undefined. */
  first<P extends Row, R>(statement: Statement<P, R>, parameters: P): Promise<R | undefined>;
  /**
   * Runs for effect, and throws `lostRace` where it does not change as many rows as are expected. Whoever wants to judge by the number or by what
   * was changed takes `change`, or a statement that returns rows.
   */
  run<P extends Row, R>(statement: Statement<P, R>, parameters: P, expected: ExpectedRows): Promise<void>;
  /** Runs for effect and gives how many rows it changed, which the caller looks at. */
  change<P extends Row, R>(statement: Statement<P, R>, parameters: P): Promise<number>;
  /** In a transaction, where somebody may hear it (topics.ts): after the commit, and not without one, whoever hears this topic is called. */
  notify?(topic: string): void;
}

/** How a write is to be kept. */
export interface WriteOptions {
  /**
   * True (the default): when the promise resolves, a power cut cannot undo the write. False: it is visible at once but may be lost with the
   * last moments before a power cut; for what nobody was promised, such as an upload's progress.
   */
  readonly durable?: boolean;
  /**
   * True for small writes that must be possible on a full disk: those that free room, take rights away, or let people sign in. The embedded
   * database keeps room for them; the others get STORAGE_FULL meanwhile.
   */
  readonly usesReserve?: boolean;
}

/** For what must be possible on a full disk. */
export const ON_FULL_DISK: WriteOptions = { usesReserve: true };

/** What a statement throws that names a table, a column or an index which the database does not have: it is another program's. */
export function databaseVersionError(cause: unknown, isReported = false): RegistryError {
  return new RegistryError("DATABASE_VERSION", { cause, isReported, headers: { "retry-after": "10" } });
}

/** Runs one statement of plain SQL and gives its rows. */
export type RunSql = (sql: string) => Promise<readonly Readonly<Record<string, unknown>>[]>;

/**
 * A database. Reads outside a transaction see committed state only.
 * All methods throw `RegistryError` UNAVAILABLE (with `retry-after`) when the engine is out of reach or has no connection to spare,
 * STORAGE_FULL when it has no room, DATABASE_DAMAGED when its files are, and DATABASE_VERSION when it lacks what a statement names.
 */
export interface Database extends Executor {
  /**
   * Runs `work` in one transaction: all of it or nothing. `work` may be run again after a deadlock or serialization failure, so it must
   * change nothing but the database, and await nothing but it: no file, no store, no timer, no other connection (tests fail where it does,
   * transaction-guard.testing.ts). On SQLite transactions run one at a time.
   */
  transaction<T>(work: (tx: Executor) => Promise<T>, options?: WriteOptions): Promise<T>;
  /** One statement as a transaction of its own. */
  write<P extends Row, R>(statement: Statement<P, R>, parameters: P, options?: WriteOptions): Promise<R[]>;
  /** When it resolves, everything committed before the call is durable. */
  sync(): Promise<void>;
  /** Proves that the engine answers and takes writes. Errors: UNAVAILABLE, STORAGE_FULL, DATABASE_DAMAGED. */
  probe(): Promise<void>;
  /** Where the database is files: whether those at its path are still the ones that are open. */
  isInPlace?(): Promise<boolean>;
  /** Runs plain SQL without parameters, rolling back what a failed text began: for migrations and tests only. */
  script(sql: string): Promise<void>;
  /**
   * One connection for single statements of plain SQL, one after the other, which may take as long as they need: for migrations, which look
   * at what they find and on PostgreSQL do things that no transaction may hold. What `work` leaves open or set ends with it.
   */
  session<T>(work: (run: RunSql) => Promise<T>): Promise<T>;
  close(): Promise<void>;
  /** The pool, where the engine has one: connections that are open, those of them at rest, callers that wait for one. */
  connections?(): { readonly open: number; readonly idle: number; readonly waiting: number };
  /**
   * Where reads outside transactions share snapshots, the number of the present one: what was read under a number would be read again as long
   * as it is the same.
   */
  snapshotNumber?(): number;
  /** Where the database's work shows in traces; undefined where there are none. */
  readonly tracing?: Tracing;
  /** Calls back for the topics that transactions notify, here or in other processes; gives how to end that. Word may get lost: look now and then as well. */
  subscribe?(topic: string, onTold: () => void): () => void;
  /** Where several processes may work on the database: sends a word to all of them, this one too. */
  broadcast?(message: string): Promise<void>;
  /** Hears such words, and undefined where some may have been missed; gives how to end that. */
  listen?(onMessage: (message: string | undefined) => void): () => Promise<void>;
}
