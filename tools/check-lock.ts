// Checks that package-lock.json has the hash of every package that `npm ci` fetches, for every platform, and no address of a private
// registry. npm omits the one or writes the other if it took a package from its own cache. Not here: the choice of packages.
import { readFileSync } from "node:fs";
import { join } from "node:path";

interface Locked {
  readonly version?: string;
  readonly integrity?: string;
  readonly resolved?: string;
  readonly link?: boolean;
}

/** The problems of a lock file's text, one for each line. */
export function checkLock(text: string): readonly string[] {
  const { packages } = JSON.parse(text) as { packages: Readonly<Record<string, Locked>> };
  return Object.entries(packages).flatMap(([path, { version, integrity, resolved, link }]) => {
    // The workspaces and the links to them belong to this repository.
    if (!path.includes("node_modules/") || link === true) return [];
    const what = `${path}@${version}`;
    return [
      ...(integrity === undefined || !integrity.startsWith("sha512-")
        ? [`${what} has no sha512 hash: npm install --package-lock-only`]
        : []),
      ...(resolved !== undefined && !resolved.startsWith("https://registry.npmjs.org/") ? [`${what} comes from ${resolved}`] : []),
    ];
  });
}

/** The same for a repository's lock file. */
export function checkLockOf(root: string): readonly string[] {
  return checkLock(readFileSync(join(root, "package-lock.json"), "utf8"));
}
