// SQLite as the embedded database: one connection that writes, one that reads, and durability by group commit.
// Commits run with synchronous=NORMAL (no fsync on the event loop); a transaction is acknowledged after an asynchronous fdatasync of
// the WAL that all commits since the last one share. Checkpoints run in a worker thread (checkpoint-worker.ts).
// Decision and measurements: docs/decisions/0003-group-commit-on-sqlite.md. Not here: queries, tables.
import { close, fdatasync, open, openSync, closeSync, fsyncSync, mkdirSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";
import { RegistryError } from "@berth/oci/errors";
import type { Database, Executor, WriteOptions } from "./database.ts";
import type { DatabaseReader } from "./database-reader.ts";
import { createGroupSync } from "./group-sync.ts";
import { bind, type Statement } from "./statement.ts";

/** Where and how. */
export interface SqliteOptions {
  /** The database file; `-wal` and `-shm` stand beside it. */
  readonly path: string;
  /** Called when something went wrong that no caller waits for, such as a checkpoint. */
  readonly onBackgroundError: (error: unknown) => void;
}

/**
 * Log bytes after which a checkpoint is worth its work: 16 MiB keeps recovery under a second and the -wal file small. Estimated from what is
 * bound to statements, since the file keeps its size when it begins anew.
 */
const CHECKPOINT_AT_BYTES = 16 * 1024 * 1024;
/** Log bytes behind a running checkpoint at which writers wait for it. */
const MAX_LOG_BYTES = 3 * CHECKPOINT_AT_BYTES;
/** What a statement writes besides its values: a table's page and an index's. */
const STATEMENT_BYTES = 2 * 4096;
/** Page cache a connection, in KiB. Hot look-ups touch a few inner pages; the operating system caches the rest. */
const CACHE_KIB = 8 * 1024;

/** Opens or creates a database file. */
export async function openSqlite(options: SqliteOptions): Promise<Database> {
  mkdirSync(dirname(options.path), { recursive: true, mode: 0o700 });
  const writer = connect(options.path, false);
  const reader = connect(options.path, true);
  const walPath = `${options.path}-wal`;
  const walFile = await promisify(open)(walPath, "r+");
  // The files' own entries, and that of the directory itself, which may be as new as they are.
  syncDirectory(dirname(options.path));
  syncParent(dirname(resolve(options.path)));
  let syncFailure: Error | undefined;
  const syncWal = createGroupSync(async () => {
    // After a failed sync the kernel may take pages for clean that never reached the disk, so a later success proves nothing: every commit
    // that follows in the log would be lost with them. Only opening the file anew, which copies the log into the database, heals that.
    if (syncFailure !== undefined) throw syncFailure;
    try {
      await promisify(fdatasync)(walFile);
    } catch (error) {
      syncFailure = toError(translate(error));
      options.onBackgroundError(
        new Error("the database's log could not be synced: nothing is acknowledged until a restart", { cause: error }),
      );
      throw syncFailure;
    }
  });

  let loggedBytes = 0;
  // Reads share one snapshot until the next commit: beginning one for each read would cost more system calls than the read itself.
  const beginSnapshot = reader.prepare("begin");
  const endSnapshot = reader.prepare("commit");
  const snapshot = {
    open(): void {
      if (!reader.isTransaction) beginSnapshot.run();
    },
    end(): void {
      if (reader.isTransaction) endSnapshot.run();
    },
  };
  const readExecutor = executorOf(reader, snapshot.open);
  const writeExecutor = executorOf(writer, (boundBytes) => {
    loggedBytes += boundBytes + STATEMENT_BYTES;
  });
  const begin = writer.prepare("begin immediate");
  const commit = writer.prepare("commit");
  const rollback = writer.prepare("rollback");

  // Transactions queue here; each waits for the one before, so that no two interleave on the writer.
  let tail: Promise<unknown> = Promise.resolve();
  let checkpoints: Checkpoints | undefined;
  let isClosed = false;

  function exclusively<T>(work: () => Promise<T>): Promise<T> {
    const run = tail.then(work);
    tail = run.catch(() => undefined);
    return run;
  }

  async function runTransaction<T>(work: (tx: Executor) => Promise<T>): Promise<T> {
    try {
      // An open snapshot would keep the log from beginning anew.
      snapshot.end();
      begin.run();
    } catch (error) {
      throw translate(error);
    }
    try {
      const result = await work(writeExecutor);
      commit.run();
      snapshot.end();
      return result;
    } catch (error) {
      if (writer.isTransaction) rollback.run();
      throw translate(error);
    }
  }

  function checkpointWhenDue(): void {
    checkpoints ??= createCheckpoints(options, exclusively);
    if (loggedBytes < CHECKPOINT_AT_BYTES || checkpoints.running() !== undefined) return;
    loggedBytes = 0;
    checkpoints.run();
  }

  const database: Database = {
    dialect: "sqlite",
    all: readExecutor.all,
    first: readExecutor.first,
    run: () => Promise.reject(new TypeError("writes go through transaction() or write()")),
    async transaction(work, writeOptions: WriteOptions = {}) {
      // Writers that outrun the checkpoint wait for it, so that the log stays bounded.
      if (loggedBytes > MAX_LOG_BYTES) await checkpoints?.running();
      const result = await exclusively(() => runTransaction(work));
      if (writeOptions.durable !== false) await syncWal();
      checkpointWhenDue();
      return result;
    },
    write: (query, parameters, writeOptions) => database.transaction((tx) => tx.all(query, parameters), writeOptions),
    sync: syncWal,
    async probe() {
      if (syncFailure !== undefined) throw syncFailure;
      reader.prepare("select 1").get();
    },
    script: (text) =>
      exclusively(async () => {
        try {
          writer.exec(text);
          snapshot.end();
        } catch (error) {
          if (writer.isTransaction) writer.exec("rollback");
          throw error;
        }
      }),
    session: (work) =>
      exclusively(async () => {
        try {
          return await work(async (text) => writer.prepare(text).all());
        } finally {
          if (writer.isTransaction) writer.exec("rollback");
          snapshot.end();
        }
      }),
    async close() {
      if (isClosed) return;
      isClosed = true;
      await tail;
      try {
        await syncWal();
      } finally {
        await checkpoints?.stop();
        reader.close();
        writer.close();
        await promisify(close)(walFile);
      }
    },
  };
  return database;
}

/**
 * Opens an existing file for reading only, also while another process writes to it. Nothing of it delays that process; as long as a snapshot
 * lasts the log cannot begin anew and grows.
 */
export function openSqliteReader(path: string): DatabaseReader {
  const connection = connect(path, true);
  return {
    live: executorOf(connection, () => undefined),
    async snapshot(read) {
      const own = connect(path, true);
      try {
        own.exec("begin");
        // A transaction sees the state at its first read.
        own.prepare("select 1 from sqlite_schema").get();
        return await read(executorOf(own, () => undefined));
      } catch (error) {
        throw translate(error);
      } finally {
        own.close();
      }
    },
    async close() {
      connection.close();
    },
  };
}

function connect(path: string, readOnly: boolean): DatabaseSync {
  const connection = new DatabaseSync(path, { readOnly, timeout: 5000, enableForeignKeyConstraints: true });
  if (!readOnly) {
    connection.exec("pragma journal_mode = wal");
    connection.exec("pragma synchronous = normal");
    connection.exec("pragma wal_autocheckpoint = 0");
    // Creates the -wal file, which the group sync holds open. An empty transaction would not.
    connection.exec("create table if not exists berth_marker (one integer primary key)");
    connection.exec("insert into berth_marker values (1) on conflict do update set one = 1");
    // What a process before this one left in the log becomes durable now, whether or not it was ever synced.
    connection.exec("pragma wal_checkpoint(truncate)");
    connection.exec("update berth_marker set one = 1");
  }
  connection.exec(`pragma cache_size = -${CACHE_KIB}`);
  connection.exec("pragma temp_store = memory");
  return connection;
}

function executorOf(connection: DatabaseSync, onBound: (bytes: number) => void): Executor {
  const prepared = new Map<Statement<never, unknown>, StatementSync>();
  function prepare(query: Statement<never, unknown>): StatementSync {
    let found = prepared.get(query);
    if (found === undefined) {
      found = connection.prepare(query.compiled("sqlite").text);
      prepared.set(query, found);
    }
    return found;
  }
  function values(query: Statement<never, unknown>, parameters: Readonly<Record<string, unknown>>): SQLInputValue[] {
    let bytes = 0;
    const bound = bind(query.compiled("sqlite"), parameters).map((value) => {
      const input = Array.isArray(value) ? JSON.stringify(value) : (value as SQLInputValue);
      if (typeof input === "string" || input instanceof Uint8Array) bytes += input.length;
      return input;
    });
    onBound(bytes);
    return bound;
  }
  return {
    dialect: "sqlite",
    async all(query, parameters) {
      return prepare(query).all(...values(query, parameters)) as never;
    },
    async first(query, parameters) {
      return prepare(query).get(...values(query, parameters)) as never;
    },
    async run(query, parameters) {
      return Number(prepare(query).run(...values(query, parameters)).changes);
    },
  };
}

interface Checkpoints {
  run(): void;
  /** The checkpoint that runs now; it never rejects. */
  running(): Promise<void> | undefined;
  stop(): Promise<void>;
}

// Two passes: the first copies the bulk while writes go on; the second, short, runs while no transaction does, so that it reaches the
// WAL's end and the next writer begins the file anew. The event loop never waits: only queued transactions do.
function createCheckpoints(options: SqliteOptions, exclusively: <T>(work: () => Promise<T>) => Promise<T>): Checkpoints {
  let worker: Worker | undefined;
  let running: Promise<void> | undefined;
  async function pass(): Promise<void> {
    worker ??= new Worker(new URL("./checkpoint-worker.ts", import.meta.url), { workerData: { path: options.path } });
    worker.unref();
    const current = worker;
    await new Promise<void>((resolve, reject) => {
      const onMessage = (answer: { error?: string }): void => settle(answer.error === undefined ? undefined : new Error(answer.error));
      const onExit = (): void => settle(new Error("the checkpoint thread ended"));
      function settle(error: Error | undefined): void {
        current.off("message", onMessage).off("error", settle).off("exit", onExit);
        if (error === undefined) resolve();
        else reject(error);
      }
      current.on("message", onMessage).on("error", settle).on("exit", onExit);
      current.postMessage("checkpoint");
    });
  }
  async function checkpoint(): Promise<void> {
    try {
      await pass();
      await exclusively(pass);
    } catch (error) {
      await worker?.terminate();
      worker = undefined;
      options.onBackgroundError(error);
    } finally {
      running = undefined;
    }
  }
  return {
    run() {
      running ??= checkpoint();
    },
    running: () => running,
    async stop() {
      await running;
      await worker?.terminate();
    },
  };
}

function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

function syncDirectory(path: string): void {
  const directory = openSync(path, "r");
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}

// A parent that we may not even read was not ours to make: the entry in it is older than we are.
function syncParent(directory: string): void {
  try {
    syncDirectory(dirname(directory));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EACCES") throw error;
  }
}

// Result codes: https://www.sqlite.org/rescode.html
const SQLITE_BUSY = 5;
const SQLITE_READONLY = 8;
const SQLITE_IOERR = 10;
const SQLITE_FULL = 13;
const SQLITE_CANTOPEN = 14;

function translate(error: unknown): unknown {
  if (error instanceof RegistryError || !(error instanceof Error)) return error;
  const { errcode, code } = error as Error & { errcode?: number; code?: string };
  const primary = errcode === undefined ? undefined : errcode & 0xff;
  if (primary === SQLITE_FULL || code === "ENOSPC" || code === "EDQUOT") return new RegistryError("STORAGE_FULL", { cause: error });
  if (primary === SQLITE_BUSY || primary === SQLITE_READONLY || primary === SQLITE_IOERR || primary === SQLITE_CANTOPEN || code === "EIO") {
    return new RegistryError("UNAVAILABLE", { cause: error, headers: { "retry-after": "2" } });
  }
  return error;
}
