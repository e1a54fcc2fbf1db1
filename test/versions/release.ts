// The program of the previous release, taken from the repository's history with what it needs to run, and this tree's own. Not here: the
// tests.
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { promisify } from "node:util";
import { ToolUnavailable } from "../tools/install.ts";
import { temporaryFolder } from "../tools/processes.ts";

const run = promisify(execFile);
const ROOT = join(import.meta.dirname, "../..");

/** A version of the server that can be started. */
export interface Version {
  /** `0.1.0`, or `this tree`. */
  readonly name: string;
  /** The file that starts it. */
  readonly launcher: string;
  /** The version to which it migrates a database. */
  readonly databaseVersion: number;
  /** Whether it starts on a newer database that allows it. 0.1.0, the first release, refuses every newer one. */
  readonly readsCompatibility: boolean;
}

/** How a command ended. */
export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command of a version to its end. */
export function runCommand(version: Pick<Version, "launcher">, args: readonly string[]): Promise<Ended> {
  return new Promise((resolve) => {
    // Ten minutes: only a hanging command takes this long.
    const options = { env: {}, maxBuffer: 1 << 24, timeout: 600_000 };
    execFile(process.execPath, [version.launcher, ...args], options, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr }),
    );
  });
}

/** This tree's program. */
export function thisTree(): Promise<Version> {
  return describe("this tree", ROOT, true);
}

async function describe(name: string, folder: string, readsCompatibility: boolean): Promise<Version> {
  const launcher = join(folder, "apps/server/bin/berth-server.mjs");
  const { stdout, stderr } = await runCommand({ launcher }, ["version"]);
  const databaseVersion = Number(/\(database version (\d+)/.exec(stdout)?.[1]);
  if (!Number.isInteger(databaseVersion)) throw new Error(`${name} does not tell its database's version: ${stdout}${stderr}`);
  return { name, launcher, databaseVersion, readsCompatibility };
}

/**
 * Checks out the newest release that the changelog names, with its commit; removed after the test.
 * Errors: ToolUnavailable if this clone lacks the commit.
 */
export async function previousRelease(t: TestContext): Promise<Version> {
  const changelog = await readFile(join(ROOT, "CHANGELOG.md"), "utf8");
  const [, version, commit] = /^## \[(\d+\.\d+\.\d+)\][^#]*?\b([0-9a-f]{40})\b/m.exec(changelog) ?? [];
  if (version === undefined || commit === undefined) throw new Error("CHANGELOG.md names no release with its commit");
  try {
    await run("git", ["cat-file", "-e", `${commit}^{commit}`], { cwd: ROOT });
  } catch (error) {
    throw new ToolUnavailable(
      `release ${version}`,
      `commit ${commit} is not in this clone (a shallow one, or no clone at all)`,
      true,
      error,
    );
  }
  const folder = await temporaryFolder("release");
  t.after(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }));
  const archive = join(folder, "release.tar");
  await run("git", ["archive", "--output", archive, commit, "apps", "packages", "package.json", "package-lock.json"], { cwd: ROOT });
  await run("tar", ["-xf", archive, "-C", folder]);
  await provideModules(folder);
  return describe(version, folder, version !== "0.1.0");
}

interface Lock {
  readonly packages: Readonly<Record<string, { readonly version?: string; readonly dev?: boolean; readonly link?: boolean }>>;
}

/** Gives the release its own packages beside the installed ones of this tree, if those match its lock file; else installs its own. */
async function provideModules(folder: string): Promise<void> {
  const readLock = async (root: string): Promise<Lock> => JSON.parse(await readFile(join(root, "package-lock.json"), "utf8")) as Lock;
  const [own, present] = await Promise.all([readLock(folder), readLock(ROOT)]);
  const wanted = Object.entries(own.packages).filter(
    ([path, { dev, link }]) => path.includes("node_modules/") && dev !== true && link !== true,
  );
  const fits = wanted.every(([path, { version }]) => path.startsWith("node_modules/") && present.packages[path]?.version === version);
  if (!fits || !existsSync(join(ROOT, "node_modules"))) {
    await run("npm", ["ci", "--omit=dev", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund"], { cwd: folder });
    return;
  }
  const modules = join(folder, "node_modules");
  await mkdir(join(modules, "@berth"), { recursive: true });
  for (const name of await readdir(join(ROOT, "node_modules"))) {
    if (name !== "@berth" && !name.startsWith(".")) await symlink(join(ROOT, "node_modules", name), join(modules, name));
  }
  for (const name of ["api", "oci"]) await symlink(join(folder, "packages", name), join(modules, "@berth", name));
}
