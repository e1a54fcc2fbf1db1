// Runs the program's commands as an operator does: in another process, with its exit code and output. Not here: a running registry
// (registry.testing.ts).
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";

/** The program's file. */
export const PROGRAM = join(import.meta.dirname, "../../apps/server/bin/berth-server.mjs");

/** How a command ended. */
export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the program to its end. `env` is its whole environment. */
export function runProgram(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(process.execPath, [PROGRAM, ...args], { env, maxBuffer: 1 << 24 }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr }),
    );
  });
}

/** The same, and fails unless it ends with that code. */
export async function expectCode(code: number, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ended> {
  const ended = await runProgram(args, env);
  assert.equal(ended.code, code, `${args[0]}: ${ended.stdout}${ended.stderr}`);
  return ended;
}
