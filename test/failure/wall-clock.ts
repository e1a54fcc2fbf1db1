// Wall clocks of servers that a test sets while they run, by a library that is loaded before all others (shifted.c). Not here: what is then
// expected.
import { execFile } from "node:child_process";
import { open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { findInPath, ToolUnavailable } from "../tools/install.ts";

const run = promisify(execFile);

/** Compiles the library into a folder; gives its path. Errors: ToolUnavailable without gcc. */
export async function buildClockLibrary(folder: string): Promise<string> {
  const gcc = findInPath("gcc");
  if (gcc === undefined) throw new ToolUnavailable("gcc", "gcc is absent", true);
  const library = join(folder, "shifted.so");
  await run(gcc, ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, join(import.meta.dirname, "shifted.c"), "-ldl"]);
  return library;
}

/** A wall clock. */
export interface WallClock {
  /** What a server needs in its environment to go by it. */
  readonly env: Readonly<Record<string, string>>;
  /** Sets it so many seconds off the machine's. */
  set(seconds: number): Promise<void>;
}

/** Makes a wall clock that goes right so far. */
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
