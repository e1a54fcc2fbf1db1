// Durable directory entries with a shared fsync: callers that arrive while one runs share the next.
// Not here: durable file content (the file's own fdatasync comes before).
import { constants } from "node:fs";
import { DIRECTORY_SYNC_UNSUPPORTED } from "../../platform/directory-sync.ts";
import { createGroupSync, type GroupSync } from "../../platform/group-sync.ts";
import { failureCode, type FileSystemPort } from "./file-system-port.ts";

/** Resolves when all changes of the directory before the call are durable. */
export type DirectorySync = (directory: string) => Promise<void>;

/** Creates a group sync for each directory: callers that arrive while a sync runs share the next one. */
export function createDirectorySync(fs: FileSystemPort): DirectorySync {
  const groups = new Map<string, { readonly sync: GroupSync; callers: number }>();

  async function sync(directory: string): Promise<void> {
    const fd = await fs.open(directory, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      await fs.fsync(fd);
    } catch (error) {
      if (!DIRECTORY_SYNC_UNSUPPORTED.has(failureCode(error) ?? "")) throw error;
    } finally {
      await fs.close(fd);
    }
  }

  return async (directory) => {
    const group = groups.get(directory) ?? { sync: createGroupSync(() => sync(directory)), callers: 0 };
    groups.set(directory, group);
    group.callers++;
    try {
      await group.sync();
    } finally {
      // There are as many directories as blobs: only those with waiting callers are remembered.
      if (--group.callers === 0) groups.delete(directory);
    }
  };
}
