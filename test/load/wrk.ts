// Reads at full speed with wrk, one thread, and what to do without it. wrk looks at statuses, not at bytes: whoever
// calls it verifies one answer first.
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { runLoad } from "./load.ts";
import type { LoadResult } from "./load.ts";

const run = promisify(execFile);

/** GET requests for one path, as fast as the answers come. */
export interface ReadLoad {
  readonly origin: string;
  readonly path: string;
  readonly authorization: string | undefined;
  readonly accept?: string;
  /** Asks for random pieces of this length out of `total` bytes. */
  readonly range?: { readonly length: number; readonly total: number };
  readonly connections: number;
  readonly seconds: number;
}

/** Runs wrk at that path, or the raw client in a process of its own where there is no wrk. */
export async function runReads(wrk: string | undefined, load: ReadLoad): Promise<LoadResult> {
  if (wrk !== undefined) return runWrk(wrk, load);
  const range = load.range && { range: `bytes=0-${load.range.length - 1}` };
  const headers = {
    ...(load.authorization !== undefined && { authorization: load.authorization }),
    ...(load.accept !== undefined && { accept: load.accept }),
    ...range,
  };
  const { origin, connections, seconds } = load;
  const job = { kind: "raw", method: "GET", paths: [load.path], once: false } as const;
  return runLoad({ ...job, origin, connections, seconds, headers });
}

interface WrkLine {
  readonly requests: number;
  readonly bytes: number;
  readonly microseconds: number;
  readonly p50: number;
  readonly p99: number;
  readonly cpuSeconds: number;
  readonly errors: number;
}

async function runWrk(wrk: string, load: ReadLoad): Promise<LoadResult> {
  const script = join(import.meta.dirname, "wrk-report.lua");
  const options = ["-t1", `-c${load.connections}`, `-d${load.seconds}s`, "--timeout", "60s", "-s", script];
  // Headers go through the environment: a command line is seen by every user of the machine.
  const env = {
    PATH: process.env["PATH"] ?? "",
    BENCH_ACCEPT: load.accept ?? "*/*",
    ...(load.authorization !== undefined && { BENCH_AUTHORIZATION: load.authorization }),
    ...(load.range && {
      BENCH_RANGE_LENGTH: String(load.range.length),
      BENCH_RANGE_TOTAL: String(load.range.total),
    }),
  };
  const { stdout } = await run(wrk, [...options, `${load.origin}${load.path}`], { env });
  const line = /^BENCH (.*)$/m.exec(stdout)?.[1];
  if (line === undefined) throw new Error(`wrk printed no result:\n${stdout}`);
  const result = JSON.parse(line) as WrkLine;
  return {
    operations: result.requests,
    bytes: result.bytes,
    seconds: result.microseconds / 1_000_000,
    p50: result.p50 / 1000,
    p99: result.p99 / 1000,
    errors: result.errors,
    firstError: result.errors > 0 ? `wrk counted ${result.errors} errors` : undefined,
    clientCpuSeconds: result.cpuSeconds,
    pushed: [],
  };
}
