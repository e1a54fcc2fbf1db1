// Runs a client's commands in a home directory of their own, so that no credentials, caches or settings leak from one test, or from the
// machine's user, to another. Not here: the arguments of each client (its test).
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { temporaryFolder } from "../tools/processes.ts";

const execute = promisify(execFile);

/** A client's commands, in one home. */
export interface Commands {
  /** The home; also the working folder. */
  readonly home: string;
  /** Runs one command and returns its standard output. An error contains everything that the command wrote. */
  run(command: string, ...args: readonly string[]): Promise<string>;
  /** Runs one command that must fail, and returns everything that it wrote. */
  fail(command: string, ...args: readonly string[]): Promise<string>;
  /** Removes the home. */
  end(): Promise<void>;
}

/** A new home. `environment` is given its path and added to every command's environment. */
export async function commandsInNewHome(name: string, environment?: (home: string) => Readonly<Record<string, string>>): Promise<Commands> {
  const home = await temporaryFolder(name);
  const runtime = join(home, "run");
  // XDG recommends 0700, and podman requires it.
  await mkdir(runtime, { mode: 0o700 });
  // podman requires that the file in this variable exists.
  await writeFile(join(home, "auth.json"), "{}");
  const options = {
    cwd: home,
    // A pull's progress lines are far below this; Node's default of 1 MiB is not.
    maxBuffer: 64 * 1024 * 1024,
    env: {
      PATH: process.env["PATH"] ?? "",
      TMPDIR: process.env["TMPDIR"] ?? "/tmp",
      HOME: home,
      DOCKER_CONFIG: join(home, "docker"),
      REGISTRY_AUTH_FILE: join(home, "auth.json"),
      XDG_CONFIG_HOME: join(home, "config"),
      XDG_CACHE_HOME: join(home, "cache"),
      XDG_DATA_HOME: join(home, "share"),
      XDG_RUNTIME_DIR: runtime,
      ...environment?.(home),
    },
  };
  return {
    home,
    async run(command, ...args) {
      const { stdout } = await execute(command, args, options).catch((error: Error & { stdout?: string; stderr?: string }) => {
        throw new Error(`${command} ${args.join(" ")}:\n${error.stdout ?? ""}${error.stderr ?? error.message}`, { cause: error });
      });
      return stdout;
    },
    end: () => rm(home, { recursive: true, force: true }),
    async fail(command, ...args) {
      const failure = await execute(command, args, options).then(
        ({ stdout }) => assert.fail(`${command} ${args.join(" ")} should have failed, but wrote:\n${stdout}`),
        (error: Error & { stdout?: string; stderr?: string; code?: unknown }) => error,
      );
      // A command that could not be started, or died of a signal, was not refused by the registry.
      assert.equal(typeof failure.code, "number", String(failure));
      return `${failure.stdout ?? ""}${failure.stderr ?? ""}`;
    },
  };
}
