// A process with a registry that is killed with SIGKILL, for tests. Not here: the programs (upstream-worker.ts, webhook-worker.ts), the server as it is
// shipped (server-process.ts).
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type Settings, flagsOf } from "../flows/engines.testing.ts";
import { ADMIN_PASSWORD } from "../flows/registry.testing.ts";
import { atOurEnd } from "../tools/processes.ts";

const authorization = `Basic ${Buffer.from(`admin:${ADMIN_PASSWORD}`).toString("base64")}`;

/** A registry in a process of its own. */
export interface RegistryWorker {
  /** Asks as the administrator. */
  ask(method: string, path: string, body?: string, contentType?: string): Promise<Response>;
  kill(): Promise<void>;
}

/** Starts a program of this folder with arguments and settings (`NAME=VALUE`), and waits until it says `ready` and its address. */
export async function startRegistryWorker(program: string, args: readonly string[], settings: Settings): Promise<RegistryWorker> {
  const flags = flagsOf(settings).map((flag) => flag.replace(/^--/, ""));
  const child = spawn(process.execPath, [join(import.meta.dirname, program), ...args, ...flags], { stdio: ["ignore", "pipe", "inherit"] });
  const callOff = atOurEnd(() => child.kill("SIGKILL"));
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const { value: line } = await lines.next();
  const address = /^ready (.*)$/.exec(String(line))?.[1];
  assert.ok(address, `the worker said: ${line}`);
  return {
    ask: (method, path, body, contentType = "application/json") =>
      fetch(new URL(path, address), {
        method,
        headers: { authorization, ...(body === undefined ? {} : { "content-type": contentType }) },
        ...(body === undefined ? {} : { body }),
      }),
    async kill() {
      child.kill("SIGKILL");
      await ended;
      callOff();
    },
  };
}
