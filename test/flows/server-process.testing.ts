// Starts the server in its own process, as an operator does, and reads its log. Not here: registries inside the test (registry.testing.ts).
import { spawn } from "node:child_process";
import { join } from "node:path";
import { atOurEnd } from "../tools/processes.ts";
import { ADMIN_PASSWORD, temporaryFolder } from "./registry.testing.ts";

/** A line of the server's log. */
export type LogLine = Readonly<Record<string, unknown>> & { readonly level: string; readonly msg: string };

/** How a process ended. */
export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A running server. */
export interface ServerProcess {
  readonly pid: number;
  readonly origin: string;
  readonly log: readonly LogLine[];
  /** Resolves with the first matching line, also an earlier one; fails if the process ends without it. */
  logged(fits: (line: LogLine) => boolean): Promise<LogLine>;
  kill(signal: NodeJS.Signals): void;
  readonly ended: Promise<Ending>;
  /** Ends it by force if it still runs, and removes its data. */
  clean(): Promise<void>;
}

const PROGRAM = join(import.meta.dirname, "../../apps/server/bin/berth-server.mjs");

/** Starts `serve` on a free port with a new data directory; resolves when it is ready. */
export async function startServerProcess(settings: Readonly<Record<string, string>> = {}): Promise<ServerProcess> {
  const folder = await temporaryFolder();
  const all = { data: folder.path, "http.listen": "127.0.0.1:0", "auth.adminPassword": ADMIN_PASSWORD, "log.format": "json", ...settings };
  const flags = Object.entries(all).map(([name, value]) => `--${name}=${value}`);
  const child = spawn(process.execPath, [PROGRAM, "serve", ...flags], { stdio: ["ignore", "pipe", "pipe"], env: {} });
  const callOff = atOurEnd(() => child.kill("SIGKILL"));
  const ended = new Promise<Ending>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => resolve({ code, signal }));
  });
  const log: LogLine[] = [];
  let errors = "";
  let text = "";
  let isOver = false;
  const waiting = new Set<() => void>();
  const wakeAll = (): void => waiting.forEach((wake) => wake());
  child.stderr.on("data", (piece: Buffer) => (errors += piece.toString("utf8")));
  child.stdout.on("data", (piece: Buffer) => {
    text += piece.toString("utf8");
    const lines = text.split("\n");
    text = lines.pop()!;
    for (const line of lines) if (line.startsWith("{")) log.push(JSON.parse(line) as LogLine);
    wakeAll();
  });
  void ended.then(() => {
    isOver = true;
    wakeAll();
  });
  async function logged(fits: (line: LogLine) => boolean): Promise<LogLine> {
    for (;;) {
      const found = log.find(fits);
      if (found !== undefined) return found;
      if (isOver) throw new Error(`the server ended: ${errors}\n${log.map((line) => JSON.stringify(line)).join("\n")}`);
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          waiting.delete(wake);
          resolve();
        };
        waiting.add(wake);
      });
    }
  }
  async function clean(): Promise<void> {
    child.kill("SIGKILL");
    await ended;
    callOff();
    await folder.end();
  }
  try {
    const ready = await logged((line) => line.msg === "ready");
    return { pid: child.pid!, origin: String(ready["address"]), log, logged, kill: (signal) => void child.kill(signal), ended, clean };
  } catch (error) {
    await clean();
    throw error;
  }
}
