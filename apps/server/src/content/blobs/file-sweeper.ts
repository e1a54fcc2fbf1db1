// Removes uploads: one that is over, or all that were not written to for long.
// Not here: finished blobs; the database alone decides which of those are deleted.
import { join } from "node:path";
import type { StorageKey } from "./blob-store.ts";
import { failureCode, type FileStat, type FileSystemPort } from "./file-system-port.ts";
import { keyOfMarker, uploadDirectory, uploadsDirectory } from "./paths.ts";

/** Removes files under `uploads/`. */
export interface FileSweeper {
  /** Removes an upload's directory; a missing one is fine. */
  removeUpload(uploadId: string): Promise<void>;
  /** The keys under which an upload was finished, or was about to be. */
  finishedKeys(uploadId: string): Promise<StorageKey[]>;
  /** Removes uploads last written before a time; returns their number. */
  sweep(olderThan: Date): Promise<number>;
}

// A writer that lost the upload may add one more segment between our look and the removal; it then stops too.
const REMOVAL_TRIES = 3;

// NFS clients keep a file that is deleted while it is open under such a name, and remove it when it is closed.
const isNfsRemnant = (name: string): boolean => name.startsWith(".nfs");

/** Creates a sweeper. */
export function createFileSweeper(fs: FileSystemPort, root: string): FileSweeper {
  async function unless<T>(codes: readonly string[], run: () => Promise<T>): Promise<T | undefined> {
    try {
      return await run();
    } catch (error) {
      if (codes.includes(failureCode(error) ?? "")) return undefined;
      throw error;
    }
  }

  const list = (path: string): Promise<string[] | undefined> => unless(["ENOENT"], () => fs.readdir(path));
  const stat = (path: string): Promise<FileStat | undefined> => unless(["ENOENT"], () => fs.stat(path));

  async function removeDirectory(path: string, found: readonly string[]): Promise<void> {
    let names: readonly string[] | undefined = found;
    for (let tries = 0; tries < REMOVAL_TRIES && names !== undefined; tries++) {
      for (const name of names) {
        if (!isNfsRemnant(name)) await unless(["ENOENT"], () => fs.unlink(join(path, name)));
      }
      const isRemoved = await unless(["ENOTEMPTY", "EEXIST"], async () => {
        await unless(["ENOENT"], () => fs.rmdir(path));
        return true;
      });
      if (isRemoved === true) return;
      names = await list(path);
    }
  }

  /** Removes one entry of `uploads/` if all of it is old enough. */
  async function sweepEntry(path: string, beforeMs: number): Promise<boolean> {
    const entry = await stat(path);
    if (entry === undefined || entry.mtimeMs >= beforeMs) return false;
    const names = await unless(["ENOENT", "ENOTDIR"], () => fs.readdir(path));
    if (names === undefined) {
      await unless(["ENOENT"], () => fs.unlink(path));
      return true;
    }
    // A directory's own time does not change while a segment in it grows.
    for (const name of names) {
      if (((await stat(join(path, name)))?.mtimeMs ?? 0) >= beforeMs) return false;
    }
    await removeDirectory(path, names);
    return true;
  }

  return {
    removeUpload: async (uploadId) => {
      const directory = uploadDirectory(root, uploadId);
      const names = await list(directory);
      if (names !== undefined) await removeDirectory(directory, names);
    },
    finishedKeys: async (uploadId) => {
      const names = (await list(uploadDirectory(root, uploadId))) ?? [];
      return names.map((name) => keyOfMarker(uploadId, name)).filter((key) => key !== undefined);
    },
    sweep: async (olderThan) => {
      const uploads = uploadsDirectory(root);
      let removed = 0;
      for (const name of (await list(uploads)) ?? []) {
        if (!isNfsRemnant(name) && (await sweepEntry(join(uploads, name), olderThan.getTime()))) removed += 1;
      }
      return removed;
    },
  };
}
