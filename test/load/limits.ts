// The machine's own limits, measured in the same run and with the same clients as the registries: bare node:http, a
// loopback pipe, SHA-256, write+fsync, and hashing while writing. How they are compared is in targets.ts.
import { fork } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { open, rm } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import type { Measure, Plan, Sample, Unit } from "./case.ts";
import { gigabytesOf, sampleOf } from "./case.ts";
import { percentile, prepareLoad } from "./load.ts";
import { readProcessUsage, resetPeakMemory } from "./process-usage.ts";
import { runReads } from "./wrk.ts";

/** The limits by the names the table shows. */
export type LimitName =
  | "bare node:http GET"
  | "bare node:http HEAD"
  | "loopback pipe"
  | "sha256"
  | "write+fsync 4 KiB"
  | "write+fsync 100 MiB"
  | "hash-while-write+fsync 100 MiB";

/** How a limit is measured: `folder` is on the file system that the registries write to. */
export interface Limit {
  readonly name: LimitName;
  readonly unit: Unit;
  arrange(plan: Plan, folder: string): Promise<Measure>;
}

const mebibyte = 1024 * 1024;
const blobBytes = 100 * mebibyte;
/** One write of 100 MiB is over in a tenth of a second; three in a row smooth what the disk does. */
const writeTurns = 3;

/** All limits, each measured at the start of a run, some again beside the cases that they bound. */
export const limits: readonly Limit[] = [
  { name: "bare node:http GET", unit: "req", arrange: (plan) => arrangeHttp(plan, "GET") },
  { name: "bare node:http HEAD", unit: "req", arrange: (plan) => arrangeHttp(plan, "HEAD") },
  { name: "loopback pipe", unit: "GB", arrange: arrangePipe },
  { name: "sha256", unit: "GB", arrange: async () => measureHash },
  {
    name: "write+fsync 4 KiB",
    unit: "op",
    arrange: async (plan, folder) => () => measureCommits(folder, plan),
  },
  {
    name: "write+fsync 100 MiB",
    unit: "GB",
    arrange: async (_plan, folder) => () => measureWrite(folder, false),
  },
  {
    name: "hash-while-write+fsync 100 MiB",
    unit: "GB",
    arrange: async (_plan, folder) => () => measureWrite(folder, true),
  },
];

interface LimitServer {
  readonly port: number;
  /** Runs `body` and adds to its sample what the server's process used. */
  measure(body: () => Promise<Sample>): Promise<Sample>;
}

async function startLimitServer(kind: "http" | "pipe"): Promise<LimitServer> {
  const child = fork(join(import.meta.dirname, "limit-server.ts"), [kind]);
  const port = await new Promise<number>((resolve, reject) => {
    child.once("message", (message) => resolve(Number(message)));
    child.once("exit", (code) => reject(new Error(`the limit server ended with ${code}`)));
  });
  const pid = child.pid ?? -1;
  return {
    port,
    measure: async (body) => {
      try {
        resetPeakMemory(pid);
        const before = readProcessUsage(pid);
        const sample = await body();
        const after = readProcessUsage(pid);
        return before && after ? { ...sample, cpuSeconds: after.cpuSeconds - before.cpuSeconds } : sample;
      } finally {
        child.kill();
      }
    },
  };
}

async function arrangeHttp(plan: Plan, method: "GET" | "HEAD"): Promise<Measure> {
  const server = await startLimitServer("http");
  const origin = `http://127.0.0.1:${server.port}`;
  const load = {
    origin,
    path: "/v2/library/bench/manifests/latest",
    connections: 16,
    seconds: plan.seconds,
  };
  if (method === "GET") {
    return () => server.measure(async () => sampleOf(await runReads(plan.wrk, { ...load, authorization: undefined })));
  }
  const generator = await prepareLoad({
    ...load,
    kind: "raw",
    method,
    paths: [load.path],
    once: false,
    headers: {},
  });
  return () => server.measure(async () => sampleOf(await generator.go()));
}

async function arrangePipe(plan: Plan): Promise<Measure> {
  const server = await startLimitServer("pipe");
  return () =>
    server.measure(async () => {
      const before = process.cpuUsage();
      const startedAt = performance.now();
      const counts = await Promise.all(Array.from({ length: 4 }, () => drain(server.port, plan.seconds)));
      const seconds = (performance.now() - startedAt) / 1000;
      const used = process.cpuUsage(before);
      const bytes = counts.reduce((sum, count) => sum + count, 0);
      const clientCpuSeconds = (used.user + used.system) / 1_000_000;
      const rest = { operations: 0, p50: 0, p99: 0, errors: 0, firstError: undefined, pushed: [] };
      return gigabytesOf({ ...rest, bytes, seconds, clientCpuSeconds });
    });
}

/** Reads from a port for so many seconds; the number of bytes that came. */
function drain(port: number, seconds: number): Promise<number> {
  return new Promise((resolve, reject) => {
    let bytes = 0;
    const socket = connect({
      host: "127.0.0.1",
      port,
      onread: {
        buffer: Buffer.allocUnsafe(512 * 1024),
        callback: (length) => {
          bytes += length;
          return true;
        },
      },
    });
    socket.once("error", reject);
    setTimeout(() => {
      socket.destroy();
      resolve(bytes);
    }, seconds * 1000);
  });
}

async function measureHash(): Promise<Sample> {
  const slice = randomBytes(mebibyte);
  const before = process.cpuUsage();
  const startedAt = performance.now();
  const hash = createHash("sha256");
  // About half a second of work on one core.
  const slices = 600;
  for (let index = 0; index < slices; index++) hash.update(slice);
  hash.digest();
  const used = process.cpuUsage(before);
  const seconds = (performance.now() - startedAt) / 1000;
  const cpuSeconds = (used.user + used.system) / 1_000_000;
  return { units: (slices * mebibyte) / 1e9, seconds, p50: 0, p99: 0, errors: 0, cpuSeconds };
}

/** Appends 4 KiB and waits for the disk, one after the other: what a registry that commits one by one cannot exceed. */
async function measureCommits(folder: string, plan: Plan): Promise<Sample> {
  const path = join(folder, "limit-commits");
  const file = await open(path, "w");
  const page = randomBytes(4096);
  const latencies: number[] = [];
  const before = process.cpuUsage();
  const startedAt = performance.now();
  while (performance.now() - startedAt < (plan.seconds * 1000) / 2) {
    const beganAt = performance.now();
    await file.write(page);
    await file.datasync();
    latencies.push(performance.now() - beganAt);
  }
  const seconds = (performance.now() - startedAt) / 1000;
  const used = process.cpuUsage(before);
  await file.close();
  await rm(path);
  latencies.sort((a, b) => a - b);
  const cpuSeconds = (used.user + used.system) / 1_000_000;
  const [p50, p99] = [percentile(latencies, 0.5), percentile(latencies, 0.99)];
  return { units: latencies.length, seconds, p50, p99, errors: 0, cpuSeconds };
}

/** Writes 100 MiB in slices, hashing each while the one before is written when asked to, then waits for the disk. */
async function measureWrite(folder: string, hashing: boolean): Promise<Sample> {
  const path = join(folder, "limit-write");
  const slice = randomBytes(mebibyte);
  const hash = createHash("sha256");
  const before = process.cpuUsage();
  const startedAt = performance.now();
  for (let turn = 0; turn < writeTurns; turn++) {
    const file = await open(path, "w");
    for (let written = 0; written < blobBytes; written += slice.length) {
      const write = file.write(slice, 0, slice.length, written);
      if (hashing) hash.update(slice);
      await write;
    }
    await file.datasync();
    await file.close();
    await rm(path);
  }
  const seconds = (performance.now() - startedAt) / 1000;
  const used = process.cpuUsage(before);
  const cpuSeconds = (used.user + used.system) / 1_000_000;
  return { units: (writeTurns * blobBytes) / 1e9, seconds, p50: 0, p99: 0, errors: 0, cpuSeconds };
}
