// Lists the tree of finished blobs in order, with one directory in memory at a time. Not here: anything that a running registry needs.
import { join } from "node:path";
import type { ListedKey, StorageKey } from "./blob-store.ts";
import { failureCode, outermostError, type FileSystemPort } from "./file-system-port.ts";
import { blobsDirectory, findStorageKey } from "./paths.ts";

/** Every blob file below `root`, by key, only those after `startAfter`. A missing tree has none. */
export async function* listFiles(fs: FileSystemPort, root: string, startAfter?: StorageKey): AsyncGenerator<ListedKey, void, void> {
  async function names(directory: string): Promise<string[]> {
    try {
      return (await fs.readdir(directory)).toSorted();
    } catch (error) {
      if (["ENOENT", "ENOTDIR"].includes(failureCode(error) ?? "")) return [];
      throw outermostError(error);
    }
  }

  const isBehind = (path: string): boolean => startAfter === undefined || path >= startAfter.slice(0, path.length);

  for (const algorithm of await names(blobsDirectory(root))) {
    if (!isBehind(`blobs/${algorithm}`)) continue;
    for (const shard of await names(join(blobsDirectory(root), algorithm))) {
      const path = `blobs/${algorithm}/${shard}`;
      if (!isBehind(path)) continue;
      for (const name of await names(join(root, path))) {
        const key = findStorageKey(`${path}/${name}`);
        if (key === undefined || (startAfter !== undefined && key <= startAfter)) continue;
        try {
          const found = await fs.stat(join(root, key));
          if (found.isFile()) yield { key, sizeBytes: found.size, changedAt: new Date(found.mtimeMs) };
        } catch (error) {
          // It was deleted after the directory was read.
          if (failureCode(error) !== "ENOENT") throw outermostError(error);
        }
      }
    }
  }
}
