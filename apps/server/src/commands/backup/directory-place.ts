// A backup in a directory, local or NFS. Only its owner can read it, because it contains password hashes. Not here: the files' content.
import { randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, readdir, rename, rm, rmdir, stat } from "node:fs/promises";
import { dirname, join, relative, resolve } from "node:path";
import { RegistryError } from "@berth/oci/errors";
import { syncDirectory } from "../../platform/directory-sync.ts";
import { StartupError } from "../../platform/startup-error.ts";
import type { BackupPlace } from "./backup-place.ts";

const FILE_MODE = 0o600;
const DIRECTORY_MODE = 0o700;
// The size of one read; larger ones cost memory and gain nothing on disks.
const READ_BYTES = 1024 * 1024;
/** Files are written here first, so that the leftovers of a crash are in one place. */
const TEMPORARY = "tmp";

/** Opens a directory, which is created by the first write. */
export function openDirectoryPlace(path: string): BackupPlace {
  const root = resolve(path);
  /** Directories with entries that are not durable yet. */
  const unsynced = new Set<string>();
  const made = new Set<string>();

  async function makeDirectory(directory: string): Promise<void> {
    if (made.has(directory)) return;
    const first = await mkdir(directory, { recursive: true, mode: DIRECTORY_MODE });
    // Each new directory is an entry in the one above it.
    for (let each = directory; first !== undefined && each.length >= first.length; each = dirname(each)) unsynced.add(dirname(each));
    made.add(directory);
  }

  /** Removes a directory and its parents as far as they are empty. */
  async function removeEmpty(directory: string): Promise<void> {
    for (let each = directory; each !== root; each = dirname(each)) {
      try {
        await rmdir(each);
      } catch (error) {
        if (["ENOTEMPTY", "EEXIST", "ENOENT"].includes(codeOf(error) ?? "")) return;
        throw translate(error);
      }
      made.delete(each);
      unsynced.add(dirname(each));
    }
  }

  async function* walk(directory: string): AsyncGenerator<string, void, void> {
    let entries;
    try {
      entries = await readdir(directory, { withFileTypes: true });
    } catch (error) {
      if (codeOf(error) === "ENOENT") return;
      throw translate(error);
    }
    for (const entry of entries) {
      const inner = join(directory, entry.name);
      if (entry.isDirectory()) yield* walk(inner);
      else yield relative(root, inner).replaceAll("\\", "/");
    }
  }

  async function write(name: string, body: AsyncIterable<Uint8Array>): Promise<number> {
    const target = join(root, name);
    const temporary = join(root, TEMPORARY, randomBytes(12).toString("hex"));
    await makeDirectory(dirname(temporary));
    await makeDirectory(dirname(target));
    const file = await open(temporary, "wx", FILE_MODE);
    try {
      let sizeBytes = 0;
      try {
        for await (const piece of body) {
          for (let at = 0; at < piece.length;) at += (await file.write(piece, at)).bytesWritten;
          sizeBytes += piece.length;
        }
        await file.datasync();
      } finally {
        await file.close();
      }
      await rename(temporary, target).catch(async (error: unknown) => {
        // Another process has just removed the empty directory.
        if (codeOf(error) !== "ENOENT") throw error;
        made.delete(dirname(target));
        await makeDirectory(dirname(target));
        await rename(temporary, target);
      });
      unsynced.add(dirname(target));
      return sizeBytes;
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }

  async function sizeOf(name: string): Promise<number | undefined> {
    try {
      return (await stat(join(root, name))).size;
    } catch (error) {
      if (codeOf(error) === "ENOENT") return undefined;
      throw translate(error);
    }
  }

  async function remove(names: readonly string[]): Promise<void> {
    for (const name of names) {
      await rm(join(root, name), { force: true });
      unsynced.add(dirname(join(root, name)));
      await removeEmpty(dirname(join(root, name)));
    }
  }

  return {
    shown: root,
    async requireThere() {
      const found = await stat(root).catch((error: unknown) => {
        if (["ENOENT", "ENOTDIR"].includes(codeOf(error) ?? "")) throw new StartupError(`There is no directory ${root}.`);
        throw translate(error);
      });
      if (!found.isDirectory()) throw new StartupError(`${root} is a file, and no directory.`);
    },
    sizeOf,
    write: (name, body) => write(name, body).catch((error: unknown) => Promise.reject(translate(error) as Error)),
    async *read(name, sizeBytes) {
      if (sizeBytes === 0) return;
      let left = sizeBytes;
      try {
        for await (const piece of createReadStream(join(root, name), { highWaterMark: READ_BYTES, end: sizeBytes - 1 })) {
          left -= (piece as Buffer).length;
          yield piece as Buffer;
        }
      } catch (error) {
        if (codeOf(error) !== "ENOENT") throw translate(error);
        throw new RegistryError("BLOB_DAMAGED", { cause: error });
      }
      if (left > 0) throw new RegistryError("BLOB_DAMAGED", { cause: new Error(`${name} lacks ${left} of ${sizeBytes} bytes`) });
    },
    list: (folder) => walk(join(root, folder)),
    async *listSized(folder) {
      for await (const name of walk(join(root, folder))) {
        const sizeBytes = await sizeOf(name);
        if (sizeBytes !== undefined) yield { name, sizeBytes };
      }
    },
    async *listUnfinished() {
      for await (const name of walk(join(root, TEMPORARY))) yield { remove: () => remove([name]) };
    },
    delete: remove,
    async sync() {
      for (const directory of unsynced) {
        unsynced.delete(directory);
        await syncIfThere(directory);
      }
    },
    close: async () => undefined,
  };
}

/** Syncs a directory of the place. One that never existed, because names were only deleted there, needs no sync. */
async function syncIfThere(path: string): Promise<void> {
  try {
    await syncDirectory(path);
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw translate(error);
  }
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "syscall" in error ? (error as NodeJS.ErrnoException).code : undefined;
}

function translate(error: unknown): unknown {
  const code = codeOf(error);
  if (code === undefined) return error;
  if (code === "ENOSPC" || code === "EDQUOT")
    return new RegistryError("STORAGE_FULL", { message: "the place of the backup is full", cause: error });
  return new RegistryError("UNAVAILABLE", { message: "the place of the backup cannot be used", cause: error });
}
