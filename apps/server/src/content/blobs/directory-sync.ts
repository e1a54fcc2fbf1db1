// Durable directory entries at the price of one fsync for all who ask while another one runs.
// Not here: durable file content (the file's own fdatasync comes before).
import { constants } from "node:fs";
import { failureCode, type FileSystemPort } from "./file-system-port.ts";

// Some network and FUSE file systems cannot sync a directory; there a rename is as durable as its server makes it.
const NOT_SUPPORTED = new Set(["EINVAL", "ENOTSUP", "EOPNOTSUPP", "EISDIR"]);

/** Resolves when all changes of the directory that were made before the call are durable. */
export type DirectorySync = (directory: string) => Promise<void>;

/** Creates a group commit per directory: who arrives while a sync runs shares the next one. */
export function createDirectorySync(fs: FileSystemPort): DirectorySync {
  const running = new Map<string, Promise<void>>();
  const waiting = new Map<string, Promise<void>>();

  async function sync(directory: string): Promise<void> {
    const fd = await fs.open(directory, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      await fs.fsync(fd);
    } catch (error) {
      if (!NOT_SUPPORTED.has(failureCode(error) ?? "")) throw error;
    } finally {
      await fs.close(fd);
    }
  }

  function start(directory: string): Promise<void> {
    const run = sync(directory).finally(() => running.delete(directory));
    running.set(directory, run);
    return run;
  }

  return (directory) => {
    const current = running.get(directory);
    if (current === undefined) return start(directory);
    // The running sync may have begun before this caller's change: only the next one proves it.
    const planned = waiting.get(directory);
    if (planned !== undefined) return planned;
    const next = current
      .catch(() => undefined)
      .then(() => {
        waiting.delete(directory);
        return start(directory);
      });
    waiting.set(directory, next);
    return next;
  };
}
