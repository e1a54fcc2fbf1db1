// Keeps what lies in the data directory from other users of the machine, also where the directory was there before the server: an
// administrator's `mkdir`, a volume's default. Not here: files that are made anew, which have their mode from the start.
import { closeSync, existsSync, openSync } from "node:fs";
import { chmod, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { StartupError } from "./startup-error.ts";

/** What of a mode lets others than the owner in. */
const NOT_OWNER = 0o077;
const OTHERS = 0o007;
/** On a directory: what is made in it has its group, which is how Kubernetes hands a volume to a pod (`fsGroup`). The group is meant then. */
const SET_GROUP = 0o2000;
/** The database with its log and index, secrets, locks; directories in there are private by their own modes or by this one. */
const MAX_FILES = 10_000;

/**
 * Takes the rights of others off the directory and the files in it, and those of its group where the directory is no volume that is shared by
 * group. Gives what others could reach until now; in a directory that was private already, that is nothing. Errors:
 * `StartupError` for a file that others may read and that cannot be changed.
 */
export async function makePrivate(directory: string): Promise<readonly string[]> {
  // Windows has no such modes; a user's own directories are private there.
  if (process.platform === "win32") return [];
  const { mode } = await stat(directory);
  const refused = (mode & SET_GROUP) === 0 ? NOT_OWNER : OTHERS;
  const wasOpen = (mode & refused) !== 0;
  const changed: string[] = [];
  const isDirectoryOpen = !(await tighten(directory, refused, changed));
  const files = (await readdir(directory, { withFileTypes: true })).filter((entry) => entry.isFile()).slice(0, MAX_FILES);
  for (const { name } of files) {
    const file = join(directory, name);
    // What others may not reach they cannot read, whatever its own mode.
    if (!(await tighten(file, refused, changed)) && isDirectoryOpen)
      throw new StartupError(
        `Other users of this machine may read ${file}, and it belongs to another user, so that this cannot be changed. Run: chmod 600 ${file} && chmod 700 ${directory}, or give both to the user that runs the server.`,
      );
  }
  return wasOpen ? changed : [];
}

/**
 * Makes an empty file that is the owner's alone, where there is none: SQLite takes one for a new database, and gives its log and index the same
 * mode. Where that cannot be, SQLite is left to say why, which it does for all reasons alike.
 */
export function makePrivateFile(path: string): void {
  if (existsSync(path)) return;
  try {
    closeSync(openSync(path, "a", 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
  }
}

/** False where others keep rights, since the path belongs to somebody else. */
async function tighten(path: string, refused: number, changed: string[]): Promise<boolean> {
  let mode: number;
  try {
    ({ mode } = await stat(path));
  } catch (error) {
    // A temporary file of a process that ended, say.
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return true;
    throw error;
  }
  if ((mode & refused) === 0) return true;
  try {
    await chmod(path, mode & 0o7777 & ~refused);
    changed.push(path);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "EPERM" && code !== "EROFS" && code !== "ENOTSUP") throw error;
    return (mode & OTHERS) === 0;
  }
}
