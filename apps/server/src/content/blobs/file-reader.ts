// Reads files that another host may have just moved or created: NFS clients answer from stale caches, once.
// Not here: writing, and the layout (paths.ts).
import { constants } from "node:fs";
import { dirname } from "node:path";
import { RegistryError } from "@berth/oci/errors";
import type { BufferPool } from "./buffer-pool.ts";
import { readAt, readPieces, type ReadAt } from "./file-pieces.ts";
import { failureCode, outermostError, type FileStat, type FileSystemPort } from "./file-system-port.ts";

/** Reads files of one store. */
export interface FileReader {
  /**
   * Yields `start` to `end` inclusive. Errors: BLOB_DAMAGED if the file is missing, too short or not a regular file; before the first piece
   * if its size differs from the given one.
   */
  read(path: string, start: number, end: number, sizeBytes?: number): AsyncGenerator<Buffer, void, void>;
  /** The same from an open file, which stays open. Ends early if the file does. */
  readOpen(fd: number, start: number, end: number): AsyncGenerator<Buffer, void, void>;
  /** The state of a file; undefined if it is missing or not a regular file. */
  stat(path: string): Promise<FileStat | undefined>;
  /** Errors: UNAVAILABLE if the whole tree is missing, so that nothing is known about any file. */
  requireTree(): Promise<void>;
}

/** Creates a reader of files below `tree`, a directory that exists as long as the store does. */
export function createFileReader(fs: FileSystemPort, pool: BufferPool, tree: string): FileReader {
  /** Distinguishes a missing file from a missing mount: the first is damage to heal, the second an outage to wait for. */
  async function requireTree(): Promise<void> {
    try {
      await fs.stat(tree);
    } catch (error) {
      throw outermostError(error);
    }
  }

  /** Runs a look-up by name; after a stale answer it refreshes the directory and tries once more. */
  async function lookUp<T>(path: string, run: () => Promise<T>): Promise<T> {
    try {
      return await run();
    } catch (error) {
      const code = failureCode(error);
      if (code !== "ENOENT" && code !== "ESTALE") throw error;
      // Opening a directory makes an NFS client ask the server for its attributes, which drops a cached "not found".
      // A missing directory proves that the file is missing too.
      try {
        await fs.close(await fs.open(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY));
      } catch (second) {
        if (failureCode(second) === "ENOENT") throw error;
        if (failureCode(second) !== "ESTALE") throw second;
      }
      return await run();
    }
  }

  async function* read(path: string, start: number, end: number, sizeBytes?: number): AsyncGenerator<Buffer, void, void> {
    if (end < start) return;
    const open = (): Promise<number> => lookUp(path, () => fs.open(path, constants.O_RDONLY));
    let fd: number | undefined;
    let reopened = false;
    const fromFile = readAt(fs, () => fd as number);
    const fromFileOrAgain: ReadAt = async (buffer, length, position) => {
      try {
        return await fromFile(buffer, length, position);
      } catch (error) {
        if (failureCode(error) !== "ESTALE" || reopened) throw error;
        reopened = true;
        const stale = fd as number;
        fd = undefined;
        // The descriptor is useless now, whatever closing it reports.
        await fs.close(stale).catch(() => undefined);
        fd = await open();
        return await fromFile(buffer, length, position);
      }
    };
    let position = start;
    try {
      fd = await open();
      if (sizeBytes !== undefined) {
        const { size } = await fs.fstat(fd);
        if (size !== sizeBytes) {
          throw new RegistryError("BLOB_DAMAGED", { cause: new Error(`${path} has ${size} bytes instead of ${sizeBytes}`) });
        }
      }
      for await (const piece of readPieces(fromFileOrAgain, pool, start, end)) {
        position += piece.length;
        yield piece;
      }
    } catch (error) {
      const code = failureCode(error);
      if (code !== "ENOENT" && code !== "EISDIR") throw outermostError(error);
      await requireTree();
      throw new RegistryError("BLOB_DAMAGED", { cause: error });
    } finally {
      if (fd !== undefined) await fs.close(fd);
    }
    if (position <= end) {
      throw new RegistryError("BLOB_DAMAGED", { cause: new Error(`${path} ends at ${position}, not after ${end}`) });
    }
  }

  return {
    read,
    readOpen: (fd, start, end) =>
      readPieces(
        readAt(fs, () => fd),
        pool,
        start,
        end,
      ),
    stat: async (path) => {
      try {
        const found = await lookUp(path, () => fs.stat(path));
        return found.isFile() ? found : undefined;
      } catch (error) {
        if (failureCode(error) !== "ENOENT") throw error;
        await requireTree();
        return undefined;
      }
    },
    requireTree,
  };
}
