// Makes the entries of a directory durable: creations, renames and removals in it. Not here: sharing a sync between many
// (content/blobs/directory-syncs.ts), the content of files.
import { open } from "node:fs/promises";

/** The errors of network and FUSE file systems that cannot sync a directory: there a rename is as durable as their server makes it. */
export const DIRECTORY_SYNC_UNSUPPORTED: ReadonlySet<string> = new Set(["EINVAL", "ENOTSUP", "EOPNOTSUPP", "EISDIR"]);

/** Resolves when all changes of the directory before the call are durable, as far as its file system supports that. */
export async function syncDirectory(path: string): Promise<void> {
  // Windows cannot open a directory; its renames are in the journal already.
  if (process.platform === "win32") return;
  await using directory = await open(path, "r");
  try {
    await directory.sync();
  } catch (error) {
    if (!DIRECTORY_SYNC_UNSUPPORTED.has((error as NodeJS.ErrnoException).code ?? "")) throw error;
  }
}
