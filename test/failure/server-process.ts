// Berth as a real child process that tests kill and start again on the same files. Not here: its load (registry-load.ts).
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { atOurEnd } from "../tools/processes.ts";

/** The administrator's password of these servers. */
export const PASSWORD = "failure-test-password";

const launcher = join(import.meta.dirname, "../../apps/server/bin/berth-server.mjs");
// An idle machine needs half a second; a busy one has been seen to take forty times that. Only a hanging server waits for this long.
const READY_WITHIN_MS = 300_000;

/** How a server is started. */
export interface ServerOptions {
  /** Settings by name, such as `gc.leaseSeconds`. */
  readonly settings: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
  /** A command in front of the server's, such as `prlimit --nofile=64`, which becomes the server itself. */
  readonly under?: readonly string[];
}

/** A server that runs. */
export interface ServerProcess {
  /** `http://127.0.0.1:PORT` */
  readonly origin: string;
  readonly pid: number;
  /** The newest lines that it wrote, at most 5000. */
  readonly log: readonly string[];
  /** SIGTERM, and waits for the end. */
  stop(): Promise<void>;
  /** SIGKILL, and waits for the end. */
  kill(): Promise<void>;
}

// The server refuses unknown variables, and tests have such.
function outerEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("BERTH_") && name !== "NODE_TEST_CONTEXT"));
}

function flagsOf(settings: Readonly<Record<string, string>>): string[] {
  return Object.entries(settings).map(([name, value]) => `--${name}=${value}`);
}

/** Runs a command of the server program to its end, such as `doctor --deep`, with the same settings as `serve`. */
export function runRole(
  role: readonly string[],
  settings: Readonly<Record<string, string>>,
): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [launcher, ...role, ...flagsOf(settings)], { env: outerEnvironment() }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr });
    });
  });
}

/** Spawns a server without waiting for it. */
export function spawnServer({ settings, env = {}, under = [] }: ServerOptions): { readonly child: ChildProcess; kill(): Promise<void> } {
  const all = { "http.listen": "127.0.0.1:0", "auth.adminPassword": PASSWORD, "log.format": "json", ...settings };
  const [command = "", ...args] = [...under, process.execPath, launcher, "serve", ...flagsOf(all)];
  const child = spawn(command, args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...outerEnvironment(), ...env },
  });
  const callOff = atOurEnd(() => child.kill("SIGKILL"));
  const ended = once(child, "exit").finally(callOff);
  return {
    child,
    async kill() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

/** Starts a server and waits until it answers. An error contains what it wrote. */
export async function startServer(options: ServerOptions): Promise<ServerProcess> {
  const { child, kill } = spawnServer(options);
  const written: string[] = [];
  const address = Promise.withResolvers<string>();
  for (const stream of [child.stdout!, child.stderr!]) {
    createInterface({ input: stream }).on("line", (line) => {
      if (written.push(line) > 5000) written.shift();
      const found = /"address":"(http[^"]+)"/.exec(line)?.[1];
      if (found !== undefined) address.resolve(found);
    });
  }
  const fail = (why: string): void => address.reject(new Error(`the server ${why}:\n${written.slice(-200).join("\n")}`));
  const exited = new Promise<void>((resolve) => {
    child.once("exit", (code, signal) => {
      fail(`ended with ${code ?? signal}`);
      resolve();
    });
  });
  const timer = setTimeout(() => fail("did not come up"), READY_WITHIN_MS);
  try {
    const origin = await address.promise;
    const stop = (): Promise<void> => {
      child.kill("SIGTERM");
      return exited;
    };
    return { origin, pid: child.pid!, log: written, stop, kill };
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
