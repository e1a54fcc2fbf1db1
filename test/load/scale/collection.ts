// Many dead blobs among as many live ones: the duration of the collection, its effect on pulls, its memory, and whether it continues after
// a kill -9. Every dead blob is a row, a link whose lease has ended, and a small file. Not here: what grows with size (cases.ts).
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Database } from "../../../apps/server/src/platform/database/database.ts";
import { createContentSource, imageOf, manifestMediaType } from "../content.ts";
import { percentile } from "../load.ts";
import { runRaw } from "../raw-client.ts";
import type { RegistryProcess, Registry } from "../registries.ts";
import { openSession, pathOf, pushImage } from "../registry-session.ts";
import { countDead, seedBlobs } from "./seeds.ts";
import { openSeeded, startBerth } from "./setup.ts";
import type { ScaleRun } from "./setup.ts";

/** How it is asked for. `databaseUrl` undefined: SQLite. */
export interface CollectionPlan {
  readonly databaseUrl: string | undefined;
  readonly deadBlobs: number;
}

/** The collector finds them dead at once: nothing has to wait for a lease or a grace here. */
const settings = { BERTH_GC_GRACE_SECONDS: "0s", BERTH_GC_INTERVAL_SECONDS: "1s" };
/** The pulls of a busy day, not the most that the machine could serve: the waiting time is measured, not who gets the processor. */
const pullsPerSecond = 300;
const pullers = 16;
const windowSeconds = 5;
/** A round reports when it ends, and each start may begin with a long one. */
const stalledMs = 1_800_000;
const imageRepository = "library/pulled";
const deadRepository = "library/dead";

interface Pulls {
  readonly p50: number;
  readonly p99: number;
  readonly errors: number;
}

/** Seeds, collects and measures; gives the lines of its report. */
export async function measureCollection(run: ScaleRun, { databaseUrl, deadBlobs }: CollectionPlan): Promise<string[]> {
  const { progress } = run;
  const folder = join(run.folder, `collection-${databaseUrl === undefined ? "sqlite" : "postgres"}`);
  const label = `collection of ${deadBlobs.toLocaleString("en-US")} dead blobs, ${databaseUrl === undefined ? "sqlite" : "postgres"}`;
  const registry = await startBerth(folder, databaseUrl, settings);
  const { process } = registry;
  if (process === undefined) throw new Error("a registry without a process");
  run.track(process);
  try {
    const image = imageOf(createContentSource(64 * 1024)(64 * 1024));
    const session = openSession(registry.endpoint, 1);
    await pushImage(session, imageRepository, "latest", image);
    await pushImage(session, deadRepository, "latest", imageOf(createContentSource(1024)(1024)));
    session.close();
    const paths = [pathOf(imageRepository, "manifests/latest"), pathOf(imageRepository, `blobs/${image.layer.digest}`)];
    await process.stop();

    const withDatabase = async <T>(work: (database: Database) => Promise<T>): Promise<T> => {
      const database = await openSeeded(folder, databaseUrl);
      try {
        return await work(database);
      } finally {
        await database.close();
      }
    };
    const seededAt = performance.now();
    progress(`${label}: seeding`);
    await withDatabase((database) =>
      seedBlobs(database, { repository: deadRepository, count: deadBlobs, name: "live", leasedUntil: null }, progress),
    );
    // Idle: the same rows, nothing due.
    await process.restart();
    progress(`${label}: pulls without it`);
    await pullFor(registry, paths, windowSeconds / 2);
    const idle = [await pullFor(registry, paths, windowSeconds), await pullFor(registry, paths, windowSeconds)];
    await process.stop();
    const store = join(folder, "berth", "data", "content");
    const onKeys = (keys: readonly string[]): Promise<void> => writeFiles(store, keys);
    await withDatabase((database) =>
      seedBlobs(database, { repository: deadRepository, count: deadBlobs, name: "dead", leasedUntil: 1, onKeys }, progress),
    );
    const seedSeconds = (performance.now() - seededAt) / 1000;

    progress(`${label}: collecting`);
    const first = await collect(registry, process, paths, progress, deadBlobs * 0.4);
    process.kill();
    await sleep(500);
    const left = await withDatabase(countDead);
    const second = await collect(registry, process, paths, progress, left);
    await process.stop();
    const remaining = await withDatabase(countDead);
    const seconds = first.seconds + second.seconds;
    const under = [...first.pulls, ...second.pulls];
    const files = await process.countFiles();
    return [
      `${label} among as many live ones (seeded in ${seedSeconds.toFixed(0)} s):`,
      `  ${seconds.toFixed(0)} s, ${(deadBlobs / seconds).toFixed(0)} blobs/s; killed with ${left} links and keys left, and went on; ${remaining} left at the end, ${files} files`,
      `  processor: ${(first.cpuSeconds + second.cpuSeconds).toFixed(0)} s of the registry's, the pulls' among it`,
      `  memory: ${megabytes(Math.max(first.peakBytes, second.peakBytes))} MB at the peak`,
      `  pulls at ${pullsPerSecond}/s: ${shown(idle)} without, ${shown(under)} with it, p99 ${(median(under, "p99") / median(idle, "p99")).toFixed(2)}x`,
    ];
  } finally {
    await process.stop();
  }
}

interface Collected {
  readonly seconds: number;
  /** Processor time of the registry, its pulls among it. */
  readonly cpuSeconds: number;
  readonly peakBytes: number;
  readonly pulls: readonly Pulls[];
}

/** Starts the registry and pulls until so many were collected by this start. Errors: nothing was collected for a minute. */
async function collect(
  registry: Registry,
  process: RegistryProcess,
  paths: readonly string[],
  progress: (text: string) => void,
  enough: number,
): Promise<Collected> {
  const startedAt = performance.now();
  await process.restart();
  const pulls: Pulls[] = [];
  let peakBytes = 0;
  let before = { reclaimed: -1, at: performance.now() };
  for (;;) {
    const { backlog, reclaimed } = await readProgress(registry);
    peakBytes = Math.max(peakBytes, process.usage()?.peakBytes ?? 0);
    progress(`  ${reclaimed} reclaimed, at least ${backlog} waiting`);
    if (reclaimed >= enough) break;
    if (reclaimed !== before.reclaimed) before = { reclaimed, at: performance.now() };
    else if (performance.now() - before.at > stalledMs) throw new Error(`the collector stands at ${reclaimed} of ${enough}`);
    pulls.push(await pullFor(registry, paths, windowSeconds));
  }
  return { seconds: (performance.now() - startedAt) / 1000, cpuSeconds: process.usage()?.cpuSeconds ?? 0, peakBytes, pulls };
}

/** What the metrics page says of the collection. */
async function readProgress(registry: Registry): Promise<{ backlog: number; reclaimed: number }> {
  const { base, credentials } = registry.endpoint;
  const authorization = `Basic ${Buffer.from(`${credentials?.user}:${credentials?.password}`).toString("base64")}`;
  const answer = await fetch(`${base}/metrics`, { headers: { authorization } });
  const text = await answer.text();
  const value = (name: string): number => Number(new RegExp(`^berth_${name}(?:\\{[^}]*\\})? (\\S+)$`, "m").exec(text)?.[1] ?? Number.NaN);
  return { backlog: value("collection_backlog_blobs"), reclaimed: value("collection_reclaimed_blobs_total") };
}

async function pullFor(registry: Registry, paths: readonly string[], seconds: number): Promise<Pulls> {
  const session = openSession(registry.endpoint, 1);
  const authorization = await session.authorization(imageRepository);
  session.close();
  const headers = { accept: manifestMediaType, ...(authorization !== undefined && { authorization }) };
  const outcome = await runRaw({
    origin: registry.endpoint.base,
    method: "GET",
    paths,
    once: false,
    headers,
    connections: pullers,
    seconds,
    perSecond: pullsPerSecond,
  });
  const sorted = outcome.latencies.toSorted((a, b) => a - b);
  return { p50: percentile(sorted, 0.5), p99: percentile(sorted, 0.99), errors: outcome.errors };
}

/** Files of a few bytes where the store would have put them, a hundred at a time. */
async function writeFiles(root: string, keys: readonly string[]): Promise<void> {
  for (const directory of new Set(keys.map((key) => dirname(key)))) await mkdir(join(root, directory), { recursive: true });
  const queue = keys.values();
  const writer = async (): Promise<void> => {
    for (const key of queue) await writeFile(join(root, key), "a dead blob");
  };
  await Promise.all(Array.from({ length: 100 }, writer));
}

function median(pulls: readonly Pulls[], figure: "p50" | "p99"): number {
  const sorted = pulls.map((one) => one[figure]).toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}

function shown(pulls: readonly Pulls[]): string {
  const errors = pulls.reduce((sum, one) => sum + one.errors, 0);
  return `p50 ${median(pulls, "p50").toFixed(2)} ms p99 ${median(pulls, "p99").toFixed(2)} ms${errors > 0 ? ` (${errors} ERRORS)` : ""}`;
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(0);
}
