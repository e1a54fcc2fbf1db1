// The directory on this machine that belongs to one running server: it is created and locked here, and holds small secret files.
// Not here: the database and blobs in it.
import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { mkdir, open, rename, rm, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { roomWanted } from "./database/disk-reserve.ts";
import { syncDirectory } from "./directory-sync.ts";
import { makePrivate, makePrivateFile } from "./private-files.ts";
import { StartupError } from "./startup-error.ts";

/** A locked data directory. */
export interface DataDirectory {
  /** Absolute path. */
  readonly path: string;
  /** The paths that other users of the machine could access when it was opened, and cannot any more. */
  readonly madePrivate: readonly string[];
  /** Writes a secret file with mode 0600. After a crash it has its old content or the new one, never a part. */
  putSecret(name: string, content: string): Promise<void>;
  /** Releases the lock. */
  close(): void;
}

/**
 * Creates the directory (mode 0700) if it is missing, locks it, and makes existing files private. The lock is the operating system's own on
 * `lock.db` and ends with the process, however that ends. Errors: `StartupError` when another process holds it or it cannot be used.
 */
export async function openDataDirectory(path: string): Promise<DataDirectory> {
  try {
    await makeDirectories(path);
  } catch (error) {
    throw new StartupError(
      `Cannot create the data directory ${path}: ${messageOf(error)}${roomWanted(error) || "."} Choose another with --data.`,
      { cause: error },
    );
  }
  const lock = lockDirectory(path);
  let madePrivate: readonly string[];
  try {
    madePrivate = await makePrivate(path);
  } catch (error) {
    lock.close();
    throw error;
  }

  const pathOf = (name: string) => {
    if (!/^[a-z][a-z0-9-]{0,63}$/.test(name)) throw new TypeError(`not a secret file's name: ${name}`);
    return join(path, name);
  };

  async function putSecret(name: string, content: string): Promise<void> {
    const target = pathOf(name);
    const temporary = `${target}.${randomBytes(6).toString("hex")}.tmp`;
    try {
      {
        await using file = await open(temporary, "wx", 0o600);
        await file.writeFile(`${content}\n`);
        await file.sync();
      }
      await rename(temporary, target);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
    await syncDirectory(path);
  }

  return {
    path,
    madePrivate,
    putSecret,
    close: () => lock.close(),
  };
}

/**
 * One directory at a time: Node.js's recursive mkdir never returns where the system says that the parent of a child is missing although it
 * exists (/proc).
 */
async function makeDirectories(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST" && (await stat(path)).isDirectory()) return;
    if (code !== "ENOENT" || dirname(path) === path) throw error;
    await makeDirectories(dirname(path));
    await mkdir(path, { mode: 0o700 });
  }
}

/**
 * Starts an exclusive transaction that never ends: SQLite locks the file in the way of each operating system, and the kernel releases it.
 */
function lockDirectory(path: string): DatabaseSync {
  const file = join(path, "lock.db");
  const ownerFile = join(path, "lock-owner");
  let lock: DatabaseSync | undefined;
  try {
    makePrivateFile(file);
    lock = new DatabaseSync(file, { timeout: 0 });
    lock.exec("begin exclusive");
    // For a second process; the lock's holder has written it.
    writeFileSync(ownerFile, `process ${process.pid} on ${hostname()}, since ${new Date().toISOString()}\n`, { mode: 0o600 });
    return lock;
  } catch (error) {
    lock?.close();
    // SQLITE_BUSY
    const isHeld = (error as { errcode?: number }).errcode === 5;
    const reason = isHeld
      ? `The data directory ${path} is in use by another running server${ownerOf(ownerFile)}. Stop that one, or choose another directory with --data.`
      : `Cannot use the data directory ${path}: ${messageOf(error)}${roomWanted(error) || "."} It must be writable, on a file system that can lock files; or choose another with --data.`;
    throw new StartupError(reason, { cause: error });
  }
}

function ownerOf(file: string): string {
  try {
    return ` (${readFileSync(file, "utf8").slice(0, 200).trim()})`;
  } catch {
    // An older program holds the lock, or it is another user's. The error says in any case that the lock is held.
    return "";
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
