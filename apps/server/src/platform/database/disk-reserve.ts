// Disk space that an embedded database reserves, and frees when the disk is full: to free space something must first be written, and a
// registry that cannot delete never recovers from a full disk. Not here: which writes may use it (the stores).
import { randomFillSync } from "node:crypto";
import { open, rm, stat, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { RegistryError } from "@berth/oci/errors";
import { shownBytes } from "../report.ts";

// Source: https://www.sqlite.org/rescode.html
const SQLITE_FULL = 13;

/** A reserve, or the state after it was released. */
export interface DiskReserve {
  /** Errors: STORAGE_FULL from the call of `release` until there is space again. */
  requireRoom(): void;
  /** Whether the reserve was released and not filled again yet. */
  readonly isReleased: boolean;
  /** Frees the reserve, because a write found no space. */
  release(cause: unknown): Promise<void>;
  /** Waits for running work and stops. */
  close(): Promise<void>;
}

/** The options of a reserve. */
export interface DiskReserveOptions {
  /** The path of its file. */
  readonly path: string;
  readonly sizeBytes: number;
  /** Called when the reserve was released, and when there is space again. */
  readonly onFull: (error: unknown) => void;
  readonly onRoom: () => void;
}

/** The size of the reserve: enough to copy a usual log into the database file; deletions cost some 50 KiB each. */
export const SQLITE_RESERVE_BYTES = 16 * 1024 * 1024;

/**
 * The free space that is required before the reserve is filled again: twice its size, so that the next write does not fill the disk at
 * once, and filling never takes the last bytes of a deletion.
 */
export function roomWantedFor(reserveBytes: number): number {
  return 2 * reserveBytes;
}

/**
 * The sentence that follows an error about a full disk on this machine, with the least free space that is needed. Empty for other errors.
 */
export function roomWanted(error: unknown): string {
  for (let each = error; each instanceof Error; each = each.cause) {
    const { code, errcode } = each as NodeJS.ErrnoException & { errcode?: number };
    // The system's codes, and SQLite's.
    if (code === "ENOSPC" || code === "EDQUOT" || (errcode !== undefined && (errcode & 0xff) === SQLITE_FULL))
      return `. At least ${shownBytes(roomWantedFor(SQLITE_RESERVE_BYTES))} of free space are needed.`;
  }
  return "";
}

/** How often a full disk is checked again: it costs one system call, and after freeing space nobody wants to wait long. */
const LOOK_AGAIN_MS = 1_000;
/** The file is written in pieces of this size, with random bytes, because some file systems store no zeros. */
const PIECE_BYTES = 1024 * 1024;

/** A reserve of size zero that never reports a full disk, for tests. */
export const NO_RESERVE: DiskReserve = {
  requireRoom: () => undefined,
  isReleased: false,
  release: async () => undefined,
  close: async () => undefined,
};

/** Frees the reserve of an earlier process. Returns false if it had none. */
export async function giveUpReserve(path: string): Promise<boolean> {
  if (((await stat(path).catch(() => undefined))?.size ?? 0) === 0) return false;
  await rm(path, { force: true });
  return true;
}

/** Starts to fill the reserve; returns at once. A disk without space at the start counts as full. */
export function createDiskReserve({ path, sizeBytes, onFull, onRoom }: DiskReserveOptions): DiskReserve {
  let full: { readonly cause: unknown } | undefined;
  let timer: NodeJS.Timeout | undefined;
  let isClosed = false;

  async function fill(): Promise<void> {
    const found = await stat(path).catch(() => undefined);
    // Blocks are compared, not only the length: a power cut may have left a file of holes.
    if (found?.size === sizeBytes && found.blocks * 512 >= sizeBytes) return;
    const { bavail, bsize } = await statfs(dirname(path));
    if (bavail * bsize < roomWantedFor(sizeBytes)) throw Object.assign(new Error(`${bavail * bsize} bytes are left`), { code: "ENOSPC" });
    const piece = randomFillSync(Buffer.allocUnsafeSlow(PIECE_BYTES));
    const file = await open(path, "w", 0o600);
    try {
      for (let at = 0; at < sizeBytes; at += PIECE_BYTES) await file.write(piece, 0, Math.min(PIECE_BYTES, sizeBytes - at), at);
    } catch (error) {
      await file.truncate(0);
      throw error;
    } finally {
      await file.close();
    }
  }

  // One at a time, so that filling never undoes a release.
  let tail: Promise<void> = Promise.resolve();
  function next(work: () => Promise<void>): Promise<void> {
    tail = tail.then(work);
    return tail;
  }

  function lookAgainLater(): void {
    if (isClosed || full === undefined) return;
    timer = setTimeout(() => void next(tryFill).then(lookAgainLater), LOOK_AGAIN_MS);
    timer.unref();
  }

  function setFull(cause: unknown): void {
    if (full !== undefined) return;
    full = { cause };
    onFull(cause);
    lookAgainLater();
  }

  async function tryFill(): Promise<void> {
    try {
      await fill();
      if (full === undefined) return;
      full = undefined;
      onRoom();
    } catch (error) {
      setFull(error);
    }
  }

  void next(tryFill);

  return {
    requireRoom() {
      if (full !== undefined) throw new RegistryError("STORAGE_FULL", { cause: full.cause });
    },
    get isReleased() {
      return full !== undefined;
    },
    release: (cause) =>
      next(async () => {
        setFull(cause);
        await rm(path, { force: true }).catch(onFull);
      }),
    async close() {
      isClosed = true;
      clearTimeout(timer);
      await tail;
    },
  };
}
