// Room on the disk of an embedded database that is held ready and given up when the rest is full: what frees space must be written down
// first, and a registry that cannot delete any more never gets out of a full disk by itself. Not here: which writes those are (the stores).
import { randomFillSync } from "node:crypto";
import { open, rm, stat, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { RegistryError } from "@berth/oci/errors";
import { shownBytes } from "../report.ts";

// Source: https://www.sqlite.org/rescode.html
const SQLITE_FULL = 13;

/** Holds room, or has given it up. */
export interface DiskReserve {
  /** Errors: STORAGE_FULL from when `release` was called until there is room again. */
  requireRoom(): void;
  /** Whether room was given up and not yet had again. */
  readonly isReleased: boolean;
  /** Gives the room up, because a write found none. */
  release(cause: unknown): Promise<void>;
  /** Lets what is under way end. */
  close(): Promise<void>;
}

/** What a reserve is made from. */
export interface DiskReserveOptions {
  /** Its file. */
  readonly path: string;
  readonly sizeBytes: number;
  /** Called when room was given up, and when it is there again. */
  readonly onFull: (error: unknown) => void;
  readonly onRoom: () => void;
}

/** The room to hold: a whole usual log can be copied into the database file with it, and deletions cost some 50 KiB each. */
export const SQLITE_RESERVE_BYTES = 16 * 1024 * 1024;

/** How much has to be free before so much is held: twice, so that the room is not gone with the next write, and trying takes no deletion's last bytes. */
export function roomWantedFor(reserveBytes: number): number {
  return 2 * reserveBytes;
}

/**
 * What follows the words of an error where a disk of this machine has no room: how much is wanted, at least. Empty for other errors.
 */
export function roomWanted(error: unknown): string {
  for (let each = error; each instanceof Error; each = each.cause) {
    const { code, errcode } = each as NodeJS.ErrnoException & { errcode?: number };
    // Of the system, and of the embedded database.
    if (code === "ENOSPC" || code === "EDQUOT" || (errcode !== undefined && (errcode & 0xff) === SQLITE_FULL))
      return `. At least ${shownBytes(roomWantedFor(SQLITE_RESERVE_BYTES))} of room are wanted.`;
  }
  return "";
}

/** How often a full disk is looked at again: a question to the kernel, and nobody wants to wait long after making room. */
const LOOK_AGAIN_MS = 1_000;
/** Written piece by piece. Not zeros, of which some file systems keep none. */
const PIECE_BYTES = 1024 * 1024;

/** A reserve that holds nothing and finds room everywhere: for databases of tests. */
export const NO_RESERVE: DiskReserve = {
  requireRoom: () => undefined,
  isReleased: false,
  release: async () => undefined,
  close: async () => undefined,
};

/** Frees the room that a process before this one held. Gives false where it held none. */
export async function giveUpReserve(path: string): Promise<boolean> {
  if (((await stat(path).catch(() => undefined))?.size ?? 0) === 0) return false;
  await rm(path, { force: true });
  return true;
}

/** Begins to hold room; returns at once. A disk that has none from the start counts as full. */
export function createDiskReserve({ path, sizeBytes, onFull, onRoom }: DiskReserveOptions): DiskReserve {
  let full: { readonly cause: unknown } | undefined;
  let timer: NodeJS.Timeout | undefined;
  let isClosed = false;

  async function fill(): Promise<void> {
    const found = await stat(path).catch(() => undefined);
    // Blocks, not only length: a power cut may have left a file of holes.
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

  // One after the other, so that a filling never undoes a release.
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
