// Protects the files of the data directory from other users of the machine, also if the directory existed before the server: an
// administrator's `mkdir`, a volume's default. Not here: newly created files, which have their mode from the start.
import { closeSync, existsSync, openSync } from "node:fs";
import { chmod, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { StartupError } from "./startup-error.ts";

/** The bits of a mode that give access to others than the owner. */
const NOT_OWNER = 0o077;
const OTHERS = 0o007;
/**
 * On a directory it passes the group on to new files; Kubernetes hands a volume to a pod in this way (`fsGroup`). The group's access is
 * intended then.
 */
const SET_GROUP = 0o2000;
/** The database with its log and index, secrets, locks, and leftovers of a secret that was being written. */
const OUR_FILE =
  /^(?:(?:berth|lock)\.db(?:-[a-z]+)?|secret-key|admin-password|lock-owner|(?:secret-key|admin-password)\.[0-9a-f]{12}\.tmp)$/;
/** Our directories, which are private by their own modes, and directories that a file system creates. */
const OUR_DIRECTORY = /^(?:content|lost\+found)$/;

/**
 * Removes other users' rights from the server's files in the directory, and from the directory itself if nothing else is in it, so that a
 * mistyped path (`/etc`, a home) changes nothing for its owners. The group's rights are removed too, unless the directory is a volume that
 * is shared by group. Returns the changed paths that others could reach until now. Errors: `StartupError` for a file that others may read
 * and that cannot be changed.
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
    // A file in a closed directory cannot be read by others, whatever its own mode.
    if (!(await tighten(file, refused, changed)) && isDirectoryOpen)
      throw new StartupError(
        `Other users of this machine may read ${file}, and it belongs to another user, so that this cannot be changed. Run: chmod 600 ${file} && chmod 700 ${directory}, or give both to the user that runs the server.`,
      );
  }
  // Nobody else could enter a closed directory, so there is nothing to report.
  return wasOpen ? changed : [];
}

/**
 * Creates an empty private file if there is none: SQLite takes it for a new database, and gives its log and index the same mode. If that
 * fails, SQLite reports the reason, as for all other failures.
 */
export function makePrivateFile(path: string): void {
  if (existsSync(path)) return;
  try {
    closeSync(openSync(path, "a", 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
  }
}

/** Returns false if others keep rights because the path belongs to somebody else. */
async function tighten(path: string, refused: number, changed: string[]): Promise<boolean> {
  let mode: number;
  try {
    ({ mode } = await stat(path));
  } catch (error) {
    // For example a temporary file of a process that ended.
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
