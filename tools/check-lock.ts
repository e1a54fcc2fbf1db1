// Every package that `npm ci` fetches has its hash in package-lock.json, for every platform, and no address of a registry that others do not
// have. npm leaves out both where it took a package from its own cache. Not here: which packages there are.
import { readFileSync } from "node:fs";
import { join } from "node:path";

interface Locked {
  readonly version?: string;
  readonly integrity?: string;
  readonly resolved?: string;
  readonly link?: boolean;
}

/** What is wrong with a lock file's text: a line each. */
export function checkLock(text: string): readonly string[] {
  const { packages } = JSON.parse(text) as { packages: Readonly<Record<string, Locked>> };
  return Object.entries(packages).flatMap(([path, { version, integrity, resolved, link }]) => {
    // The workspaces and the links to them are of this repository.
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

/** The same of a repository's. */
export function checkLockOf(root: string): readonly string[] {
  return checkLock(readFileSync(join(root, "package-lock.json"), "utf8"));
}
