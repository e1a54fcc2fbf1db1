// Starting and stopping programs for tests: free ports, temporary folders, logs, readiness, and the guarantee that no program outlives the
// test. The programs and their settings are in servers.ts and daemons.ts.
import { type ChildProcess, spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { closeSync, openSync, readFileSync, rmSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** What to start, and how to see that it answers. */
export interface ProgramOptions {
  readonly command: string;
  readonly args: readonly string[];
  /** Everything the program writes goes to `program.log` in here; `stop` removes the folder. */
  readonly folder: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly uid?: number;
  readonly gid?: number;
  /** Resolves to true once the program answers; it is called every 50 ms and may throw for "not yet". */
  readonly ready: () => Promise<boolean>;
  /** The signal that asks for an orderly end; SIGTERM when not given. */
  readonly stopSignal?: NodeJS.Signals;
  /** The signal used at our own exit, when nobody can wait; SIGKILL when not given. */
  readonly exitSignal?: NodeJS.Signals;
}

/** A started program. */
export interface Program {
  readonly pid: number;
  readonly logFile: string;
  /** Sends the signal and waits for the program's end. */
  end(signal: NodeJS.Signals): Promise<void>;
  /** Orderly end, by force after 30 s; removes the folder. Does nothing the second time. */
  stop(): Promise<void>;
}

// Servers here answer within 3 s on an idle machine; a busy one with two cores has been seen to take ten times that. Only a hanging server
// waits for this long.
const readyWithinMs = 300_000;
const stopWithinMs = 30_000;

/** A new folder under the system's temporary one, its name opening with `berth-test-NAME-`. */
export function temporaryFolder(name: string): Promise<string> {
  return mkdtemp(join(tmpdir(), `berth-test-${name}-`));
}

/**
 * The range in which free ports are looked for first: below the ports that Linux assigns by itself, so that no other process is given one
 * before it is used.
 */
const OWN_PORTS = { from: 20_000, to: 32_000 } as const;
const PORT_TRIES = 50;

/** A TCP port of 127.0.0.1 that was free a moment ago. */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < PORT_TRIES; tries++) {
    const port = await listenOnce(randomInt(OWN_PORTS.from, OWN_PORTS.to)).catch(() => undefined);
    if (port !== undefined) return port;
  }
  return listenOnce(0);
}

/** Listens on a port, or on one that the kernel chooses, for a moment; gives which one. */
async function listenOnce(port: number): Promise<number> {
  const server = createServer();
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no TCP address");
  return address.port;
}

/**
 * Calls `cleanUp`, which must be synchronous, when this process ends: by itself, by an uncaught error, or by SIGINT, SIGTERM or SIGHUP.
 * Returns a function that cancels it.
 */
export function atOurEnd(cleanUp: () => void): () => void {
  // A signal's own action would skip the exit listeners. 130 and 143 are what a shell reports for these signals.
  const leave = (signal: NodeJS.Signals) => process.exit(signal === "SIGINT" ? 130 : 143);
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  process.on("exit", cleanUp);
  for (const signal of signals) process.on(signal, leave);
  return () => {
    process.off("exit", cleanUp);
    for (const signal of signals) process.off(signal, leave);
  };
}

/** Starts a program and waits until it is ready. An error carries the end of its log. */
export async function startProgram(options: ProgramOptions): Promise<Program> {
  const logFile = join(options.folder, "program.log");
  const log = openSync(logFile, "a");
  const child = spawn(options.command, options.args, {
    cwd: options.folder,
    stdio: ["ignore", log, log],
    env: { ...process.env, ...options.env },
    ...(options.uid === undefined ? {} : { uid: options.uid }),
    ...(options.gid === undefined ? {} : { gid: options.gid }),
  });
  closeSync(log);
  const ended = endOf(child);
  const callOff = atOurEnd(() => {
    child.kill(options.exitSignal ?? "SIGKILL");
    rmSync(options.folder, { recursive: true, force: true, maxRetries: 3 });
  });
  const end = async (signal: NodeJS.Signals) => {
    child.kill(signal);
    await ended;
  };
  const stop = async () => {
    child.kill(options.stopSignal ?? "SIGTERM");
    const deadline = setTimeout(() => child.kill("SIGKILL"), stopWithinMs);
    await ended;
    clearTimeout(deadline);
    callOff();
    await rm(options.folder, { recursive: true, force: true, maxRetries: 3 });
  };
  try {
    await untilReady(options.ready, child);
  } catch (error) {
    const text = readFileSync(logFile, "utf8").split("\n").slice(-20).join("\n");
    await stop();
    throw new Error(`${options.command} ${options.args.join(" ")} did not come up:\n${text}`, {
      cause: error,
    });
  }
  return { pid: child.pid ?? -1, logFile, end, stop };
}

/** Whether an HTTP server answers at all, with whatever status. */
export async function answersHttp(url: string): Promise<boolean> {
  const response = await fetch(url, { signal: AbortSignal.timeout(2_000), redirect: "manual" });
  await response.body?.cancel();
  return true;
}

/** Resolves when the child has ended, also if it could not be started. */
async function endOf(child: ChildProcess): Promise<void> {
  await new Promise<void>((resolve) => {
    child.once("exit", () => resolve());
    child.once("error", () => resolve());
  });
}

async function untilReady(ready: () => Promise<boolean>, child: ChildProcess): Promise<void> {
  let startError: Error | undefined;
  child.once("error", (error) => {
    startError = error;
  });
  const deadline = Date.now() + readyWithinMs;
  let last: unknown;
  while (Date.now() < deadline) {
    if (startError !== undefined) throw startError;
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new Error(`ended with ${child.exitCode ?? child.signalCode}`);
    }
    try {
      if (await ready()) return;
    } catch (error) {
      last = error;
    }
    await sleep(50);
  }
  throw new Error(`not ready after ${readyWithinMs / 1000} s`, { cause: last });
}
