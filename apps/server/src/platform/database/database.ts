// The interface of a database for stores: reads of committed state, and transactions that are durable when they return.
// Not here: the engines (sqlite.ts, postgres.ts), queries (the stores), tables (schema.ts).
import { RegistryError } from "@berth/oci/errors";
import type { Tracing } from "../tracing.ts";
import type { ExpectedRows } from "./row-counts.ts";
import type { DialectName, ParameterValue, Statement } from "./statement.ts";

type Row = Readonly<Record<string, ParameterValue>>;

/** Runs statements. */
export interface Executor {
  readonly dialect: DialectName;
  /** All rows. Statements that can return many have a limit. */
  all<P extends Row, R>(statement: Statement<P, R>, parameters: P): Promise<R[]>;
  /** The first row, or undefined. */
  first<P extends Row, R>(statement: Statement<P, R>, parameters: P): Promise<R | undefined>;
  /**
   * Runs a write, and throws `lostRace` if it does not change the expected number of rows. A caller that needs the number or the changed
   * rows uses `change`, or a statement that returns rows.
   */
  run<P extends Row, R>(statement: Statement<P, R>, parameters: P, expected: ExpectedRows): Promise<void>;
  /** Runs a write and returns the number of changed rows, which the caller must check. */
  change<P extends Row, R>(statement: Statement<P, R>, parameters: P): Promise<number>;
  /** Inside a transaction, where notices are supported (topics.ts): calls the subscribers of this topic after the commit, and only then. */
  notify?(topic: string): void;
}

/** How durable a write is, and whether a full disk stops it. */
export interface WriteOptions {
  /**
   * True (the default): when the promise resolves, a power cut cannot undo the write. False: it is visible at once but may be lost with the
   * last moments before a power cut; for writes that no client relies on, such as an upload's progress.
   */
  readonly durable?: boolean;
  /**
   * True for small writes that must be possible on a full disk: those that free space, revoke rights, or let people sign in. The embedded
   * database keeps a reserve for them; other writes get STORAGE_FULL meanwhile.
   */
  readonly usesReserve?: boolean;
}

/** For writes that must be possible on a full disk. */
export const ON_FULL_DISK: WriteOptions = { usesReserve: true };

/**
 * The error of a statement that names a table, a column or an index which the database does not have: the database belongs to another
 * version of the program.
 */
export function databaseVersionError(cause: unknown, isReported = false): RegistryError {
  return new RegistryError("DATABASE_VERSION", { cause, isReported, headers: { "retry-after": "10" } });
}

/** Runs one statement of plain SQL and returns its rows. */
export type RunSql = (sql: string) => Promise<readonly Readonly<Record<string, unknown>>[]>;

/**
 * A database. Reads outside a transaction see committed state only.
 * All methods throw `RegistryError` UNAVAILABLE (with `retry-after`) when the engine is out of reach or has no connection to spare,
 * STORAGE_FULL when it has no room, DATABASE_DAMAGED when its files are, and DATABASE_VERSION when it lacks what a statement names.
 */
export interface Database extends Executor {
  /**
   * Runs `work` in one transaction: all of it or nothing. `work` may run again after a deadlock or serialization failure, so it must change
   * nothing but the database, and await nothing but it: no file, no store, no timer, no other connection (tests fail where it does,
   * transaction-guard.testing.ts). On SQLite transactions run one at a time.
   */
  transaction<T>(work: (tx: Executor) => Promise<T>, options?: WriteOptions): Promise<T>;
  /** One statement as a transaction of its own. */
  write<P extends Row, R>(statement: Statement<P, R>, parameters: P, options?: WriteOptions): Promise<R[]>;
  /** When it resolves, everything committed before the call is durable. */
  sync(): Promise<void>;
  /** Checks that the engine answers and takes writes. Errors: UNAVAILABLE, STORAGE_FULL, DATABASE_DAMAGED. */
  probe(): Promise<void>;
  /** For databases that are files: whether the files at its path are still the open ones. */
  isInPlace?(): Promise<boolean>;
  /** Runs plain SQL without parameters; on failure it is rolled back. For migrations and tests only. */
  script(sql: string): Promise<void>;
  /**
   * Opens one connection for single statements of plain SQL, one after the other, without a time limit. For migrations, which check what
   * they find and on PostgreSQL use statements that cannot run in a transaction. Open transactions and settings of `work` end with the
   * connection.
   */
  session<T>(work: (run: RunSql) => Promise<T>): Promise<T>;
  close(): Promise<void>;
  /** The pool, if the engine has one: open connections, idle ones, and callers that wait. */
  connections?(): { readonly open: number; readonly idle: number; readonly waiting: number };
  /**
   * Where reads outside transactions share snapshots: the number of the present snapshot. As long as it does not change, a read would
   * return the same again.
   */
  snapshotNumber?(): number;
  /** The tracing of the database's work; undefined if there is none. */
  readonly tracing?: Tracing;
  /**
   * Calls back for the topics that transactions notify, in this process or others; returns a function that unsubscribes. Notices may be
   * lost, so subscribers also poll now and then.
   */
  subscribe?(topic: string, onNotice: () => void): () => void;
  /** Where several processes may use the database: sends a message to all of them, including this one. */
  broadcast?(message: string): Promise<void>;
  /** Receives such messages, and undefined when some may have been missed; returns a function that ends it. */
  listen?(onMessage: (message: string | undefined) => void): () => Promise<void>;
}
