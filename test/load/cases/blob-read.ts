// Blob GET at four sizes, hot and cold, and random ranges of a large one.
// Hot: one blob over and over. Cold: every blob once, after the process was restarted and the page cache dropped.
import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { promisify } from "node:util";
import type { Case, Measure, Plan } from "../case.ts";
import { Unsupported, gigabytesOf, sampleOf } from "../case.ts";
import { prepareLoad, runLoad } from "../load.ts";
import type { Registry } from "../registries.ts";
import { openSession, pathOf } from "../registry-session.ts";
import { runReads } from "../wrk.ts";
import { authorizationFor, blobSizes, checkedRead, readRepository, seedBlob } from "./seeds.ts";

const run = promisify(execFile);

const connections = 4;
/** Blobs of each size that a cold round reads: a second or less of a slow disk, yet more than one per connection. */
const coldCounts = { "1KiB": 500, "1MiB": 200, "10MiB": 30, "100MiB": 8 } as const;
const rangeBytes = 64 * 1024;

type Size = (typeof blobSizes)[number];

async function arrangeHot(size: Size, registry: Registry, plan: Plan): Promise<Measure> {
  const blob = await seedBlob(registry, size.bytes);
  const { path, authorization } = await checkedRead(registry, `blobs/${blob.digest}`, blob, true);
  const load = { origin: registry.endpoint.base, connections, seconds: plan.seconds };
  if (size.bytes < 1024 * 1024) {
    return async () => sampleOf(await runReads(plan.wrk, { ...load, path, authorization }));
  }
  // wrk reads 8 KiB at a time and takes three times the CPU of the raw client for a gigabyte, on cores that the
  // registry needs; the raw client reads as the loopback pipe's does.
  const headers = authorization === undefined ? {} : { authorization };
  const generator = await prepareLoad({
    ...load,
    kind: "raw",
    method: "GET",
    paths: [path],
    once: false,
    headers,
  });
  return async () => gigabytesOf(await generator.go());
}

async function arrangeCold(size: Size, registry: Registry, plan: Plan): Promise<Measure> {
  if (!plan.dropsPageCache) throw new Unsupported("skipped: dropping the page cache needs root");
  const local = ["127.0.0.1", "localhost", "[::1]"].includes(new URL(registry.endpoint.base).hostname);
  if (!local) throw new Unsupported("skipped: on another machine");
  const digests = await registry.once(`cold-${size.label}`, () => seedCold(size, registry));
  await registry.process?.restart();
  const headers = await authorizationFor(registry, readRepository);
  const generator = await prepareLoad({
    kind: "raw",
    method: "GET",
    origin: registry.endpoint.base,
    paths: digests.map((digest) => pathOf(readRepository, `blobs/${digest}`)),
    once: true,
    headers,
    connections,
    // Not a length of time but a guard: the round is over when every blob was read.
    seconds: 300,
  });
  // Code that runs is mapped and stays; file data goes. What is dirty could not be dropped: write it out first.
  await run("sync");
  await writeFile("/proc/sys/vm/drop_caches", "3");
  return async () => {
    const result = await generator.go();
    if (result.bytes !== digests.length * size.bytes) throw new Error(`cold reads brought ${result.bytes} bytes`);
    const sample = size.bytes < 1024 * 1024 ? sampleOf(result) : gigabytesOf(result);
    return registry.process ? sample : { ...sample, note: "page cache dropped, not restarted" };
  };
}

async function seedCold(size: Size, registry: Registry): Promise<readonly string[]> {
  const count = coldCounts[size.label];
  const job = {
    kind: "push-blobs",
    repository: readRepository,
    size: size.bytes,
    concurrency: 2,
  } as const;
  const result = await runLoad({ ...job, endpoint: registry.endpoint, count, seconds: 300 });
  if (result.operations < count) throw new Error(`seeding: ${result.firstError ?? "too slow"}`);
  return result.pushed.map((blob) => blob.digest);
}

async function arrangeRange(registry: Registry, plan: Plan): Promise<Measure> {
  const size = 100 * 1024 * 1024;
  const blob = await seedBlob(registry, size);
  const session = openSession(registry.endpoint, 1);
  const target = `blobs/${blob.digest}`;
  const headers = { range: `bytes=10-${10 + rangeBytes - 1}` };
  const answer = await session.request({ method: "GET", repository: readRepository, target, headers }, [206]);
  const authorization = await session.authorization(readRepository);
  session.close();
  const expected = Buffer.concat(blob.parts).subarray(10, 10 + rangeBytes);
  if (!answer.body.equals(expected)) throw new Error("a range brought other bytes than were pushed");
  return async () =>
    sampleOf(
      await runReads(plan.wrk, {
        origin: registry.endpoint.base,
        path: pathOf(readRepository, target),
        authorization,
        range: { length: rangeBytes, total: size },
        connections: 16,
        seconds: plan.seconds,
      }),
    );
}

/** Four sizes hot and cold, and ranges. */
export const blobReadCases: readonly Case[] = [
  ...blobSizes.map((size): Case => ({
    name: `blob/get-${size.label}/hot`,
    unit: size.bytes < 1024 * 1024 ? "req" : "GB",
    quick: size.label === "100MiB",
    ...(size.label === "100MiB" && { limit: "loopback pipe" }),
    arrange: (registry, plan) => arrangeHot(size, registry, plan),
  })),
  ...blobSizes.map((size): Case => ({
    name: `blob/get-${size.label}/cold`,
    unit: size.bytes < 1024 * 1024 ? "req" : "GB",
    quick: size.label === "100MiB",
    arrange: (registry, plan) => arrangeCold(size, registry, plan),
  })),
  { name: "blob/range-64KiB-of-100MiB", unit: "req", quick: false, arrange: arrangeRange },
];
