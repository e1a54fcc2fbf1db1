// A copy of this tree that a test may change: the files known to git, with the installed packages. Not here: the changes.
import { execFile } from "node:child_process";
import { cp, mkdir, readdir, symlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const ROOT = join(import.meta.dirname, "../..");

/** Copies the files that git would, and links the packages of `node_modules` except our own: those must be the copy's. */
export async function copyTree(to: string): Promise<void> {
  const { stdout } = await run("git", ["ls-files", "-co", "--exclude-standard", "-z"], { cwd: ROOT, maxBuffer: 64 * 1024 * 1024 });
  for (const file of stdout.split("\0").filter((name) => name !== "")) {
    await mkdir(dirname(join(to, file)), { recursive: true });
    // A file that was deleted and not committed is still listed.
    await cp(join(ROOT, file), join(to, file)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error;
    });
  }
  const packages = join(ROOT, "node_modules");
  await mkdir(join(to, "node_modules", "@berth"), { recursive: true });
  for (const name of await readdir(packages)) if (name !== "@berth") await symlink(join(packages, name), join(to, "node_modules", name));
  for (const name of await readdir(join(packages, "@berth"))) {
    const place = name === "server" ? "apps/server" : `packages/${name}`;
    await symlink(join(to, place), join(to, "node_modules", "@berth", name));
  }
}
