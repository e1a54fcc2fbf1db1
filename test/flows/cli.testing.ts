// Runs `berth` and its credential helper as a user does: in another process, with its exit code and output. Not here: the registry
// (registry.testing.ts).
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { Ended } from "./program.testing.ts";

const BIN = join(import.meta.dirname, "../../apps/cli/bin");

/** A user of the program, with a folder for its configuration. */
export interface CliUser {
  readonly file: string;
  run(args: readonly string[], options?: RunOptions): Promise<Ended>;
  /** Fails unless it ends with 0; gives what it printed. */
  ok(...args: string[]): Promise<string>;
  /** The same with `--output json`, read. */
  json<T = Record<string, unknown>>(...args: string[]): Promise<T>;
  /** The credential helper. */
  helper(action: string, input: string): Promise<Ended>;
}

/** How it is run. */
export interface RunOptions {
  readonly input?: string;
  /** Ctrl-C when it has printed this. */
  readonly interruptAt?: RegExp;
  readonly env?: Readonly<Record<string, string>>;
}

type Program = "berth" | "docker-credential-berth";

/** A user whose configuration is below a folder; `executables` are run in place of the sources. */
export function cliUser(folder: string, executables?: Readonly<Record<Program, string>>): CliUser {
  const surroundings = { HOME: folder, XDG_CONFIG_HOME: join(folder, "config") };
  async function start(program: Program, args: readonly string[], { input = "", env = {}, interruptAt }: RunOptions): Promise<Ended> {
    const [file, ...first] = executables === undefined ? [process.execPath, join(BIN, `${program}.mjs`)] : [executables[program]];
    const child = spawn(file, [...first, ...args], { env: { ...surroundings, ...env } });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (piece: Buffer) => {
      stdout += piece.toString("utf8");
      if (interruptAt?.test(stdout) === true) child.kill("SIGINT");
    });
    child.stderr.on("data", (piece: Buffer) => (stderr += piece.toString("utf8")));
    // It may end without having read its input.
    child.stdin.on("error", (error: NodeJS.ErrnoException) => assert.equal(error.code, "EPIPE"));
    child.stdin.end(input);
    const [code] = (await once(child, "close")) as [number | null];
    return { code: code ?? -1, stdout, stderr };
  }
  const run: CliUser["run"] = (args, options = {}) => start("berth", args, options);
  async function ok(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await run(args);
    assert.equal(code, 0, `berth ${args.join(" ")}: ${stdout}${stderr}`);
    return stdout;
  }
  return {
    file: join(surroundings.XDG_CONFIG_HOME, "berth/config.json"),
    run,
    ok,
    json: async <T>(...args: string[]) => JSON.parse(await ok(...args, "-o", "json")) as T,
    helper: (action, input) => start("docker-credential-berth", [action], { input }),
  };
}
