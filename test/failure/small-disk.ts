// A small real file system that tests fill up, remove and restore. Linux, as root. Not here: what runs on it.
import { execFile } from "node:child_process";
import { closeSync, fsyncSync, mkdirSync, openSync, rmSync, writeSync } from "node:fs";
import { chmod, mkdir, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { findInPath, ToolUnavailable } from "../tools/install.ts";
import { atOurEnd, temporaryFolder } from "../tools/processes.ts";

const run = promisify(execFile);

/** A mounted file system. */
export interface SmallDisk {
  /** Where it is mounted. */
  readonly path: string;
  /** Takes all the space that is left. */
  fill(): void;
  /** Frees what `fill` took. */
  free(): void;
  /** Makes it read-only, or writable again. */
  remount(mode: "ro" | "rw"): Promise<void>;
  close(): Promise<void>;
}

/** A file system with a journal, which becomes read-only after errors. */
export interface JournalledDisk {
  readonly path: string;
  /** Makes the kernel believe that it found damage: writes stop at once, also to open files. */
  turnReadOnly(): Promise<void>;
  /** Unmounts and mounts it, as an operator does then. */
  mountAgain(): Promise<void>;
  close(): Promise<void>;
}

function requireMount(): void {
  if (process.getuid?.() !== 0) throw new ToolUnavailable("mount", "needs root", true);
  if (findInPath("mount") === undefined) throw new ToolUnavailable("mount", "not installed", true);
}

/** Mounts an ext4 of so many MiB that lies in a file. Errors: ToolUnavailable where this machine cannot. */
export async function mountExt4(mebibytes: number): Promise<JournalledDisk> {
  requireMount();
  if (findInPath("mkfs.ext4") === undefined) throw new ToolUnavailable("mkfs.ext4", "not installed", true);
  const folder = await temporaryFolder("ext4");
  const path = join(folder, "disk");
  const image = join(folder, "image");
  await mkdir(path);
  await writeFile(image, "");
  await truncate(image, mebibytes * 1024 * 1024);
  const mount = (): Promise<unknown> => run("mount", ["-o", "loop,errors=remount-ro", image, path]);
  const close = async (): Promise<void> => {
    await run("umount", ["-l", path]).catch(() => undefined);
    await rm(folder, { recursive: true, force: true });
  };
  let device: string;
  try {
    await run("mkfs.ext4", ["-q", "-F", image]);
    await mount();
    device = (await run("findmnt", ["-no", "SOURCE", path])).stdout.trim().slice("/dev/".length);
  } catch (error) {
    await close();
    throw new ToolUnavailable("mount", "this container may not mount a file", true, error);
  }
  const callOff = atOurEnd(() => void execFile("umount", ["-l", path]));
  return {
    path,
    turnReadOnly: () => writeFile(`/sys/fs/ext4/${device}/trigger_fs_error`, "1"),
    async mountAgain() {
      await run("umount", [path]);
      // Exit code 1: errors were corrected, as they should be.
      await run("e2fsck", ["-fy", image]).catch((error: { code?: unknown }) => {
        if (error.code !== 1) throw error;
      });
      await mount();
    },
    async close() {
      callOff();
      await close();
    },
  };
}

/** Mounts a tmpfs of so many MiB. Errors: ToolUnavailable where this machine cannot. */
export async function mountSmallDisk(mebibytes: number): Promise<SmallDisk> {
  requireMount();
  const folder = await temporaryFolder("disk");
  // Servers of other accounts, such as PostgreSQL, have files on it, too.
  await chmod(folder, 0o755);
  const path = join(folder, "disk");
  await mkdir(path);
  try {
    await run("mount", ["-t", "tmpfs", "-o", `size=${mebibytes}m,mode=0755`, "berth-test", path]);
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw new ToolUnavailable("mount", "this container may not mount a tmpfs", true, error);
  }
  const callOff = atOurEnd(() => {
    // No wait is possible here; a lazy unmount succeeds while files are open.
    execFile("umount", ["-l", path]);
  });
  const ballast = join(path, "ballast");
  return {
    path,
    fill() {
      mkdirSync(ballast, { recursive: true });
      const fd = openSync(join(ballast, String(Date.now())), "w");
      // Down to the last byte: large pieces first.
      for (let size = 1024 * 1024; size >= 1;) {
        try {
          if (writeSync(fd, Buffer.alloc(size)) < size) size = size >> 1;
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
          size = size >> 1;
        }
      }
      fsyncSync(fd);
      closeSync(fd);
    },
    free: () => rmSync(ballast, { recursive: true, force: true }),
    remount: async (mode) => void (await run("mount", ["-o", `remount,${mode}`, path])),
    async close() {
      callOff();
      await run("umount", ["-l", path]);
      await rm(folder, { recursive: true, force: true });
    },
  };
}
