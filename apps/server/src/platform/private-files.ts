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
/** The database with its log and index, secrets, locks, and what was left of a secret that was being written. */
const OUR_FILE =
  /^(?:(?:berth|lock)\.db(?:-[a-z]+)?|secret-key|admin-password|lock-owner|(?:secret-key|admin-password)\.[0-9a-f]{12}\.tmp)$/;
/** Directories of ours, which are private by their own modes, and what a file system of its own has in it. */
const OUR_DIRECTORY = /^(?:content|lost\+found)$/;

/**
 * Takes the rights of others off the server's files in the directory, and off the directory where nothing else lies in it: a mistyped path
 * (`/etc`, a home) takes nothing from its owners. Also the rights of the group, where the directory is no volume that is shared by group. Gives
 * what was changed, where others could reach it until now. Errors: `StartupError` for a file that others may read and that cannot be changed.
 */
export async function makePrivate(directory: string): Promise<readonly string[]> {
  // Windows has no such modes; a user's own directories are private there.
  if (process.platform === "win32") return [];
  const { mode } = await stat(directory);
  const refused = (mode & SET_GROUP) === 0 ? NOT_OWNER : OTHERS;
  const wasOpen = (mode & refused) !== 0;
  const changed: string[] = [];
  const entries = await readdir(directory, { withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile() && OUR_FILE.test(entry.name));
  const isOurs = entries.every((entry) => files.includes(entry) || OUR_DIRECTORY.test(entry.name));
  const isDirectoryOpen = isOurs ? !(await tighten(directory, refused, changed)) : (mode & OTHERS) !== 0;
  for (const { name } of files) {
    const file = join(directory, name);
    // What others may not reach they cannot read, whatever its own mode.
    if (!(await tighten(file, refused, changed)) && isDirectoryOpen)
      throw new StartupError(
        `Other users of this machine may read ${file}, and it belongs to another user, so that this cannot be changed. Run: chmod 600 ${file} && chmod 700 ${directory}, or give both to the user that runs the server.`,
      );
  }
  // Nobody else came through a closed directory: there is nothing to tell.
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
