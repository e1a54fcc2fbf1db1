// Power cuts for servers whose disk is simulated: synced.c records what was synced, and after a SIGKILL the files are rebuilt from that and
// nothing more, or with a random part of what was not synced. Not here: servers and their load.
import { execFile } from "node:child_process";
import { randomInt } from "node:crypto";
import { mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { findInPath, ToolUnavailable } from "../tools/install.ts";

const run = promisify(execFile);
/** The unit in which a disk keeps or loses. */
const BLOCK_BYTES = 4096;

/** Compiles the library into a folder; returns its path. Errors: ToolUnavailable without gcc. */
export async function buildSyncedLibrary(folder: string): Promise<string> {
  const gcc = findInPath("gcc");
  if (gcc === undefined) throw new ToolUnavailable("gcc", "gcc is absent", true);
  const library = join(folder, "synced.so");
  await run(gcc, ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, join(import.meta.dirname, "synced.c"), "-ldl"]);
  return library;
}

/** What a server needs in its environment. `ignore`: syncs of paths of this form, a shell's pattern, do nothing. */
export function syncedEnvironment(options: { library: string; root: string; shadow: string; ignore?: string }): Record<string, string> {
  const { library, root, shadow, ignore = "" } = options;
  // With io_uring, a sync would bypass the library.
  return { LD_PRELOAD: library, SYNCED_ROOT: root, SYNCED_SHADOW: shadow, SYNCED_IGNORE: ignore, UV_USE_IO_URING: "0" };
}

interface Entry {
  readonly isDirectory: boolean;
  /** Its name in the shadow folder. */
  readonly id: string;
  /** Its present place, if it still exists. */
  readonly current: string | undefined;
}

/**
 * Rebuilds below `target` the content of `root` after a power cut. `least`: only what was synced. `some`: each file's blocks and each
 * directory's entries are randomly what was synced or what was there at the end.
 */
export async function rebuild(paths: { root: string; shadow: string; target: string }, kind: "least" | "some"): Promise<void> {
  const { root, shadow, target } = paths;
  const isNew = (): boolean => kind === "some" && randomInt(2) === 0;

  async function idOf(path: string): Promise<string> {
    const { ino, birthtimeNs } = await stat(path, { bigint: true });
    return `${ino}-${birthtimeNs / 1_000_000_000n}-${birthtimeNs % 1_000_000_000n}`;
  }

  async function currentEntries(path: string | undefined): Promise<Map<string, Entry>> {
    const entries = new Map<string, Entry>();
    if (path === undefined) return entries;
    for (const each of await readdir(path, { withFileTypes: true })) {
      const current = join(path, each.name);
      entries.set(each.name, { isDirectory: each.isDirectory(), id: await idOf(current), current });
    }
    return entries;
  }

  async function directory(id: string, current: string | undefined, to: string): Promise<void> {
    await mkdir(to, { recursive: true });
    const now = await currentEntries(current);
    const text = await readFile(join(shadow, id), "utf8").catch(ignoreMissing);
    const before = new Map<string, Entry>();
    for (const line of text?.split("\n").slice(0, -1) ?? []) {
      const [, type, entryId, name] = /^([df]) (\S+) (.*)$/.exec(line)!;
      const same = [...now.values()].find((entry) => entry.id === entryId);
      before.set(name!, { isDirectory: type === "d", id: entryId!, current: same?.current });
    }
    for (const name of new Set([...before.keys(), ...now.keys()])) {
      const entry = isNew() ? now.get(name) : before.get(name);
      if (entry === undefined) continue;
      await (entry.isDirectory ? directory : file)(entry.id, entry.current, join(to, name));
    }
  }

  async function file(id: string, current: string | undefined, to: string): Promise<void> {
    const before = (await readFile(join(shadow, id)).catch(ignoreMissing)) ?? Buffer.alloc(0);
    const now = kind === "least" || current === undefined ? before : await readFile(current);
    const bytes = Buffer.alloc(isNew() ? now.length : before.length);
    for (let at = 0; at < bytes.length; at += BLOCK_BYTES) {
      const from = isNew() ? now : before;
      // A block that one of the two does not have is zeros.
      if (at < from.length) from.copy(bytes, at, at, Math.min(at + BLOCK_BYTES, bytes.length));
    }
    await writeFile(to, bytes);
  }

  await directory(await idOf(root), root, target);
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}
