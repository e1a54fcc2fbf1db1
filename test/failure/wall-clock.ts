// Servers' wall clocks that a test sets while they run, with a preloaded library (shifted.c). Not here: the expected behaviour.
import { execFile } from "node:child_process";
import { open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { findInPath, ToolUnavailable } from "../tools/install.ts";

const run = promisify(execFile);

/** Compiles the library into a folder; returns its path. Errors: ToolUnavailable without gcc. */
export async function buildClockLibrary(folder: string): Promise<string> {
  const gcc = findInPath("gcc");
  if (gcc === undefined) throw new ToolUnavailable("gcc", "gcc is absent", true);
  const library = join(folder, "shifted.so");
  await run(gcc, ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, join(import.meta.dirname, "shifted.c"), "-ldl"]);
  return library;
}

/** A wall clock. */
export interface WallClock {
  /** The environment variables that a server needs to use it. */
  readonly env: Readonly<Record<string, string>>;
  /** Sets it that many seconds off the machine's clock. */
  set(seconds: number): Promise<void>;
}

/** Creates a wall clock that is right at first. */
export async function createWallClock(library: string, file: string): Promise<WallClock> {
  const bytes = (seconds: number): Buffer => {
    const shift = Buffer.alloc(8);
    shift.writeBigInt64LE(BigInt(seconds));
    return shift;
  };
  await writeFile(file, bytes(0));
  return {
    env: { LD_PRELOAD: library, SHIFTED_CLOCK: file },
    // In place: the servers have the file mapped.
    async set(seconds) {
      const handle = await open(file, "r+");
      try {
        await handle.write(bytes(seconds), 0, 8, 0);
      } finally {
        await handle.close();
      }
    },
  };
}
