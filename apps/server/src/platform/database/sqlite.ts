// SQLite as the embedded database: one connection that writes, one that reads, and durability by group commit. Transactions that arrive in
// one turn of the event loop share a commit. Commits run with synchronous=NORMAL (no fsync on the event loop); a transaction is
// acknowledged after an asynchronous fdatasync of the WAL that all commits since the last one share. Checkpoints run in a worker thread
// (checkpoint-worker.ts).
// Decision and measurements: docs/decisions/0003-group-commit-on-sqlite.md. Not here: queries, tables.
import { close, fdatasync, fstat, open, openSync, closeSync, fsyncSync, mkdirSync } from "node:fs";
import { stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { promisify } from "node:util";
import { RegistryError } from "@berth/oci/errors";
import { makePrivateFile } from "../private-files.ts";
import { shownBytes } from "../report.ts";
import { createCheckpoints, type Checkpoints } from "./checkpoints.ts";
import type { Database, Executor, WriteOptions } from "./database.ts";
import type { DatabaseReader } from "./database-reader.ts";
import { createTransactionBatches } from "./batched-transactions.ts";
import { createGroupSync } from "../group-sync.ts";
import { createDiskReserve, giveUpReserve, NO_RESERVE, roomWantedFor } from "./disk-reserve.ts";
import { sqliteOpenError, translateSqliteError } from "./sqlite-errors.ts";
import { executorOf } from "./sqlite-executor.ts";

/** The options of the database. */
export interface SqliteOptions {
  /** The database file; `-wal` and `-shm` are beside it. */
  readonly path: string;
  /** Called when background work failed that no caller waits for, such as a checkpoint. */
  readonly onBackgroundError: (error: unknown) => void;
  /** Called after each wait for the disk, which all commits since the last one share. */
  readonly onSync?: (isGood: boolean, seconds: number) => void;
  /** Disk space that is reserved for the writes that must be possible on a full disk; none if it is not given. */
  readonly reserveBytes?: number;
  /** Called when there is space again. */
  readonly onRoom?: () => void;
}

/**
 * The size of the log at which a checkpoint starts: 16 MiB keeps recovery under a second and the -wal file small. It is estimated from the
 * values bound to statements, because the file keeps its size when the log restarts.
 */
const CHECKPOINT_AT_BYTES = 16 * 1024 * 1024;
/** The same while the disk is full, or after a failed checkpoint: only the log's own space is then left to write into. */
const CHECKPOINT_SOON_AT_BYTES = 1024 * 1024;
/** The size of the log at which writers wait for a running checkpoint. */
const MAX_LOG_BYTES = 3 * CHECKPOINT_AT_BYTES;
/** What a statement writes besides its values: one page of a table and one of an index. */
const STATEMENT_BYTES = 2 * 4096;
/** Page cache of each connection, in KiB. Hot look-ups read a few inner pages; the operating system caches the rest. */
const CACHE_KIB = 8 * 1024;

/** Opens or creates a database file. */
export async function openSqlite(options: SqliteOptions): Promise<Database> {
  mkdirSync(dirname(options.path), { recursive: true, mode: 0o700 });
  const reservePath = `${options.path}-reserve`;
  const writer = await connectOnFullDisk(options.path, reservePath);
  const reader = connect(options.path, true);
  const walPath = `${options.path}-wal`;
  const walFile = await promisify(open)(walPath, "r+");
  // The entries of the files, and that of the directory itself, which may be just as new.
  syncDirectory(dirname(options.path));
  syncParent(dirname(resolve(options.path)));
  let syncFailure: Error | undefined;
  let damage: RegistryError | undefined;
  /** Translates an error, and remembers one after which nothing more may be written: a change to a damaged page is damaged too. */
  function note(error: unknown): unknown {
    const translated = translateSqliteError(error);
    if (translated instanceof RegistryError && translated.code === "DATABASE_DAMAGED" && damage === undefined) {
      damage = translated;
      options.onBackgroundError(
        new Error("the database file is damaged: nothing more is written; restore a backup", { cause: translated.cause }),
      );
    }
    return translated;
  }
  const syncWal = createGroupSync(async () => {
    // After a failed sync the kernel may consider pages clean that never reached the disk, so a later success proves nothing: every later
    // commit in the log would be lost with them. Only reopening the file, which copies the log into the database, repairs that.
    if (syncFailure !== undefined) throw syncFailure;
    const startedAt = performance.now();
    try {
      await promisify(fdatasync)(walFile);
      options.onSync?.(true, (performance.now() - startedAt) / 1000);
    } catch (error) {
      syncFailure = toError(note(error));
      options.onSync?.(false, (performance.now() - startedAt) / 1000);
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
  let snapshotNumber = 0;
  const snapshot = {
    open(): void {
      if (!reader.isTransaction) beginSnapshot.run();
    },
    end(): void {
      snapshotNumber++;
      if (reader.isTransaction) endSnapshot.run();
    },
  };
  const readExecutor = executorOf(reader, snapshot.open, note);
  const writeExecutor = executorOf(
    writer,
    (boundBytes) => {
      loggedBytes += boundBytes + STATEMENT_BYTES;
    },
    note,
  );
  const begin = writer.prepare("begin immediate");
  const commit = writer.prepare("commit");
  const rollback = writer.prepare("rollback");
  // It changes only with commits of other processes.
  const dataVersion = writer.prepare("pragma data_version");
  let seenVersion = dataVersion.get()?.["data_version"];
  const touch = writer.prepare("update berth_marker set one = 1");

  // Work that needs the writer exclusively is queued here: each waits for the one before, so that no two interleave.
  let tail: Promise<unknown> = Promise.resolve();
  let checkpoints: Checkpoints | undefined;
  let isClosed = false;
  const { reserveBytes = 0 } = options;
  const reserve =
    reserveBytes === 0
      ? NO_RESERVE
      : createDiskReserve({
          path: reservePath,
          sizeBytes: reserveBytes,
          onFull: (cause) => {
            const wanted = shownBytes(roomWantedFor(reserveBytes));
            const what = `the database's disk is full: until ${wanted} of it are free, only deletions, collection and sign-in are written`;
            options.onBackgroundError(new Error(what, { cause }));
          },
          onRoom: () => options.onRoom?.(),
        });

  function exclusively<T>(work: () => Promise<T>): Promise<T> {
    const run = tail.then(work);
    tail = run.catch(() => undefined);
    return run;
  }

  async function runTransaction<T>(work: (tx: Executor) => Promise<T>): Promise<T> {
    if (damage !== undefined) throw damage;
    try {
      // An open snapshot would keep the log from restarting.
      snapshot.end();
      begin.run();
    } catch (error) {
      throw note(error);
    }
    try {
      const result = await work(writeExecutor);
      commit.run();
      snapshot.end();
      return result;
    } catch (error) {
      if (writer.isTransaction) rollback.run();
      throw note(error);
    }
  }

  const runSoon = createTransactionBatches<Executor>({ exclusively, run: runTransaction });

  let isCheckpointOverdue = false;
  function checkpointNow(): void {
    checkpoints ??= createCheckpoints(options.path, exclusively, (failure) => {
      isCheckpointOverdue = failure !== undefined;
      if (failure !== undefined) options.onBackgroundError(failure);
    });
    if (checkpoints.running() !== undefined) return;
    loggedBytes = 0;
    checkpoints.run();
  }

  function checkpointWhenDue(): void {
    if (loggedBytes >= (isCheckpointOverdue || reserve.isReleased ? CHECKPOINT_SOON_AT_BYTES : CHECKPOINT_AT_BYTES)) checkpointNow();
  }

  /** Runs a transaction. If the disk is full, the reserve is released, and a transaction that may use it runs again. */
  async function runOnAnyDisk<T>(work: (tx: Executor) => Promise<T>, usesReserve: boolean): Promise<T> {
    if (damage !== undefined) throw damage;
    if (!usesReserve) reserve.requireRoom();
    try {
      return await runSoon(work);
    } catch (error) {
      if (!(error instanceof RegistryError) || error.code !== "STORAGE_FULL" || reserve === NO_RESERVE) throw error;
      await reserve.release(error.cause);
      // Maybe only the log has space left: once it is copied, it restarts.
      checkpointNow();
      if (!usesReserve) throw error;
      return await runSoon(work);
    }
  }

  const database: Database = {
    dialect: "sqlite",
    all: readExecutor.all,
    first: readExecutor.first,
    run: () => Promise.reject(new TypeError("writes go through transaction() or write()")),
    change: () => Promise.reject(new TypeError("writes go through transaction() or write()")),
    async transaction(work, writeOptions: WriteOptions = {}) {
      // Writers that outrun the checkpoint wait for it, so that the log stays bounded.
      if (loggedBytes > MAX_LOG_BYTES) await checkpoints?.running();
      const result = await runOnAnyDisk(work, writeOptions.usesReserve === true);
      if (writeOptions.durable !== false) await syncWal();
      checkpointWhenDue();
      return result;
    },
    write: (query, parameters, writeOptions) => database.transaction((tx) => tx.all(query, parameters), writeOptions),
    sync: syncWal,
    snapshotNumber: () => snapshotNumber,
    async probe() {
      const failure = syncFailure ?? damage;
      if (failure !== undefined) throw failure;
      reserve.requireRoom();
      // This is a write, because a disk that became read-only still answers reads.
      await database.transaction(async () => void touch.run());
    },
    isInPlace() {
      // Reads that begin after another process's commit see it; otherwise they share a snapshot until our own next commit.
      const version = dataVersion.get()?.["data_version"];
      if (version !== seenVersion && !writer.isTransaction) {
        seenVersion = version;
        snapshot.end();
      }
      return isSameFile(options.path, walFile, walPath);
    },
    script: (text) =>
      exclusively(async () => {
        try {
          writer.exec(text);
          snapshot.end();
        } catch (error) {
          if (writer.isTransaction) writer.exec("rollback");
          throw note(error);
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
      await reserve.close();
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
 * Opens an existing file for reading only, also while another process writes to it. It never delays that process; while a snapshot is open
 * the log cannot restart and grows.
 */
export function openSqliteReader(path: string): DatabaseReader {
  const connection = connect(path, true);
  return {
    live: executorOf(connection, () => undefined, translateSqliteError),
    async snapshot(read) {
      const own = connect(path, true);
      try {
        own.exec("begin");
        // A transaction sees the state at its first read.
        own.prepare("select 1 from sqlite_schema").get();
        return await read(executorOf(own, () => undefined, translateSqliteError));
      } catch (error) {
        throw translateSqliteError(error);
      } finally {
        own.close();
      }
    },
    async close() {
      connection.close();
    },
  };
}

/**
 * Runs one transaction on an existing file, also while a server uses it, which notices within a second (`isInPlace`). For operators'
 * commands: nothing is shared with the server's own transactions, which wait for it as long as it takes.
 */
export async function transactBesideServer<T>(path: string, work: (tx: Executor) => Promise<T>): Promise<T> {
  let connection: DatabaseSync | undefined;
  try {
    connection = new DatabaseSync(path, { timeout: 5000, enableForeignKeyConstraints: true });
    // It syncs by itself, because no other commits share its sync. It makes no checkpoint: that is the server's work.
    connection.exec("pragma synchronous = full; pragma wal_autocheckpoint = 0; begin immediate");
    const result = await work(executorOf(connection, () => undefined, translateSqliteError));
    connection.exec("commit");
    return result;
  } catch (error) {
    const translated = translateSqliteError(error);
    throw translated instanceof RegistryError ? sqliteOpenError(path, error) : translated;
  } finally {
    connection?.close();
  }
}

/** Connects for writing. If the disk is full, the reserve is freed first: a full disk must not make deletions impossible. */
async function connectOnFullDisk(path: string, reservePath: string): Promise<DatabaseSync> {
  try {
    return connect(path, false);
  } catch (error) {
    const cause = translateSqliteError((error as Error).cause);
    const isFull = cause instanceof RegistryError && cause.code === "STORAGE_FULL";
    if (!isFull || !(await giveUpReserve(reservePath))) throw error;
    return connect(path, false);
  }
}

/** Errors: `StartupError` if the file cannot be used. */
function connect(path: string, readOnly: boolean): DatabaseSync {
  let connection: DatabaseSync | undefined;
  try {
    if (!readOnly) makePrivateFile(path);
    connection = new DatabaseSync(path, { readOnly, timeout: 5000, enableForeignKeyConstraints: true });
    if (!readOnly) prepareForWriting(connection);
    connection.exec(`pragma cache_size = -${CACHE_KIB}`);
    connection.exec("pragma temp_store = memory");
    return connection;
  } catch (error) {
    connection?.close();
    throw sqliteOpenError(path, error);
  }
}

function prepareForWriting(connection: DatabaseSync): void {
  connection.exec("pragma journal_mode = wal");
  connection.exec("pragma synchronous = normal");
  connection.exec("pragma wal_autocheckpoint = 0");
  // This creates the -wal file, which the group sync keeps open. An empty transaction would not.
  connection.exec("create table if not exists berth_marker (one integer primary key)");
  connection.exec("insert into berth_marker values (1) on conflict do update set one = 1");
  // Commits that an earlier process left in the log become durable now, whether or not they were ever synced.
  connection.exec("pragma wal_checkpoint(truncate)");
  connection.exec("update berth_marker set one = 1");
}

/** Whether the log at its path is the open one: moving, deleting or replacing the database without its log would damage it. */
async function isSameFile(path: string, walFile: number, walPath: string): Promise<boolean> {
  try {
    const [open, log] = await Promise.all([promisify(fstat)(walFile), stat(walPath), stat(path)]);
    return open.ino === log.ino && open.dev === log.dev;
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes(String((error as NodeJS.ErrnoException).code))) return false;
    throw error;
  }
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

// A parent directory that we may not even read was not created by us: its entry is older.
function syncParent(directory: string): void {
  try {
    syncDirectory(dirname(directory));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EACCES") throw error;
  }
}
