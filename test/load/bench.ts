// `npm run bench`: starts the registries, gives each the same cases in turn, prints one table and keeps JSON.
// Here: the command line, the order of cases and rounds. What is measured is in cases/ and limits.ts.
import { execFile } from "node:child_process";
import { rmSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { loadavg, tmpdir } from "node:os";
import { join, matchesGlob } from "node:path";
import { parseArgs, promisify } from "node:util";
import { ToolUnavailable, ensureTool } from "../tools/install.ts";
import { atOurEnd } from "../tools/processes.ts";
import { Unsupported } from "./case.ts";
import type { Case, Measure, Plan } from "./case.ts";
import { blobReadCases } from "./cases/blob-read.ts";
import { deletionCases } from "./cases/deletion.ts";
import { listingCases } from "./cases/listing.ts";
import { manifestReadCases } from "./cases/manifest-read.ts";
import { pushCases } from "./cases/push.ts";
import { firstStartCases, lastStartCases } from "./cases/start.ts";
import { limits } from "./limits.ts";
import type { Limit } from "./limits.ts";
import { programs, registryAtUrl, startRegistry } from "./registries.ts";
import type { Registry } from "./registries.ts";
import { renderTable, writeJson } from "./report.ts";
import { limitSubject } from "./results.ts";
import type { MeasuredSample, Row } from "./results.ts";
import { measureJobs } from "./jobs/jobs.ts";
import { parseSizes, runScale } from "./scale/scale.ts";
import type { ScalePlan } from "./scale/scale.ts";
import { judge } from "./targets.ts";

const run = promisify(execFile);

const usage = `usage: npm run bench -- [options]
  --quick             one round of 2 s, the cases that have a target and a few more: about two minutes
  --cases GLOB        only cases whose name matches, such as 'manifest/**' or '{blob,push}/**'; may be repeated
  --only NAME         only this registry: berth, distribution, docker-registry, or one of --url; may be repeated
  --url NAME=URL      one more registry that runs already; BENCH_AUTH_NAME=user:password when it wants one
  --rounds N          rounds of each case (3); medians are shown
  --duration SECONDS  of one round (5)
  --seed-seconds N    how long one case may seed one registry (420)
  --data DIR          where the registries write (the system's temporary folder)
  --scale[=SIZES]     the same requests at 10^3, 10^5 and 10^6 tags, repositories, referrers and blobs, on SQLite and PostgreSQL, and the
                      collector among many dead blobs; SIZES such as 1k,100k, or 10m for ten million blobs. With it:
                      --databases sqlite,postgres, --dead N (as many as the largest size; 0: none), --cases, --rounds, --duration, --data
  --jobs[=DATABASE]   jobs and changes a second, how long a job waits behind 10^5 of another project, and what an idle server costs, on both
                      databases or on one; one figure a line
  --json FILE         where the figures are kept (results/bench-DATE.json)
  --list              names the cases`;

const allCases: readonly Case[] = [
  ...firstStartCases,
  ...manifestReadCases,
  ...blobReadCases,
  ...pushCases,
  ...listingCases,
  ...deletionCases,
  ...lastStartCases,
];

/** The case name under which limits stand that bound no case in particular. */
const limitsCase = "machine";

async function main(): Promise<number> {
  const options = await readOptions();
  if (options === undefined) return 2;
  // Slow results fail nothing here either.
  if (options.jobs !== undefined) {
    await measureJobs(options.jobs);
    return 0;
  }
  if (options.scale !== undefined) return (await runScale(options.scale)) ? 0 : 1;
  const { plan } = options;
  const startedAt = new Date();
  const folder = await mkdtemp(join(options.data, "berth-bench-"));
  const started: Registry[] = [];
  const callOff = atOurEnd(() => {
    for (const registry of started) registry.process?.kill();
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  });
  const remarks: string[] = [];
  try {
    for (const program of programs.filter((one) => options.only(one.name))) {
      try {
        started.push(await startRegistry(program, folder));
      } catch (error) {
        remarks.push(`${program.name} is not in the table: ${messageOf(error)}`);
      }
    }
    const registries = [...started, ...options.urls.filter((one) => options.only(one.name))];
    const busy = loadavg()[0] ?? 0;
    if (busy > 0.5) remarks.push(`The machine was busy before the run: load average ${busy.toFixed(1)}.`);
    if (plan.wrk === undefined) remarks.push("Without wrk: reads by our own client, which may be the limit.");
    for (const registry of registries) registry.process?.pause();

    const rows: Row[] = [];
    for (const limit of limits) {
      progress(`${limitsCase}: ${limit.name}`);
      rows.push(await runLimit(limit, plan, folder));
    }
    for (const one of options.cases) rows.push(...(await runCase(one, registries, plan, folder)));

    const report = { startedAt, plan, registries, rows, verdicts: judge(rows), remarks };
    await writeJson(options.json, report);
    console.log(`${renderTable(report)}\n\nkept in ${options.json}`);
    // Slow results fail nothing; being unable to do the work does.
    return registries.length === 0 || rows.some((row) => row.failure !== undefined) ? 1 : 0;
  } finally {
    for (const registry of started) await registry.process?.stop();
    callOff();
    await rm(folder, { recursive: true, force: true });
  }
}

async function runLimit(limit: Limit, plan: Plan, folder: string): Promise<Row> {
  const samples: MeasuredSample[] = [];
  for (let round = 0; round < plan.rounds; round++) samples.push(await (await limit.arrange(plan, folder))());
  return { caseName: limitsCase, unit: limit.unit, subject: limitSubject(limit.name), samples };
}

/** A row that is being filled. */
interface OpenRow {
  readonly subject: string;
  readonly samples: MeasuredSample[];
  unsupported?: string;
  failure?: string;
}

/** Runs a case on every registry in turn, round by round, together with its limit. */
async function runCase(one: Case, registries: readonly Registry[], plan: Plan, folder: string): Promise<readonly Row[]> {
  const limit = limits.find((candidate) => candidate.name === one.limit);
  const limitRow: OpenRow | undefined = limit && { subject: limitSubject(limit.name), samples: [] };
  const open = registries.map((registry): OpenRow => ({ subject: registry.name, samples: [] }));
  for (let round = 0; round < plan.rounds; round++) {
    for (const [index, registry] of registries.entries()) {
      const row = open[index];
      if (row === undefined || row.unsupported !== undefined || row.failure !== undefined) continue;
      progress(`${one.name}: ${registry.name}, round ${round + 1}`);
      try {
        row.samples.push(await runRound(one, registry, plan));
      } catch (error) {
        if (error instanceof Unsupported) row.unsupported = error.message;
        else row.failure = messageOf(error);
      }
    }
    if (limit && limitRow) limitRow.samples.push(await (await limit.arrange(plan, folder))());
  }
  const all = limitRow === undefined ? open : [...open, limitRow];
  return all.map((row) => ({ ...row, caseName: one.name, unit: one.unit }));
}

async function runRound(one: Case, registry: Registry, plan: Plan): Promise<MeasuredSample> {
  registry.process?.resume();
  try {
    const measure = await one.arrange(registry, plan);
    // Data that other registries have written and the kernel has not must not burden this one.
    await run("sync");
    return await measured(registry, measure);
  } finally {
    registry.process?.pause();
  }
}

/** Runs the measured part and adds what the registry's process used. */
async function measured(registry: Registry, measure: Measure): Promise<MeasuredSample> {
  registry.process?.resetPeak();
  const before = registry.process?.usage();
  const sample = await measure();
  const after = registry.process?.usage();
  if (before === undefined || after === undefined) return sample;
  const { peakBytes } = after;
  return { cpuSeconds: after.cpuSeconds - before.cpuSeconds, peakBytes, ...sample };
}

interface Options {
  readonly plan: Plan;
  readonly cases: readonly Case[];
  readonly urls: readonly Registry[];
  readonly only: (name: string) => boolean;
  readonly data: string;
  readonly json: string;
  /** Set when `--scale` asks for another run than the usual one. */
  readonly scale: ScalePlan | undefined;
  /** Set when `--jobs` asks for them: one database, or both where it is empty. */
  readonly jobs: string | undefined;
}

/** The command line; undefined after it was explained or the cases were named. */
async function readOptions(): Promise<Options | undefined> {
  const { values } = parseArgs({
    // An option with a value that may be left out.
    args: process.argv.slice(2).map((word) => (word === "--scale" || word === "--jobs" ? `${word}=` : word)),
    options: {
      scale: { type: "string" },
      jobs: { type: "string" },
      databases: { type: "string", default: "sqlite,postgres" },
      dead: { type: "string" },
      quick: { type: "boolean", default: false },
      cases: { type: "string", multiple: true, default: [] },
      only: { type: "string", multiple: true, default: [] },
      url: { type: "string", multiple: true, default: [] },
      rounds: { type: "string" },
      duration: { type: "string" },
      "seed-seconds": { type: "string" },
      data: { type: "string", default: tmpdir() },
      json: { type: "string" },
      list: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  const asked = values.cases;
  const cases = allCases.filter((one) =>
    asked.length === 0 ? !values.quick || one.quick : asked.some((glob) => matchesGlob(one.name, glob)),
  );
  if (values.help || values.list || (cases.length === 0 && values.scale === undefined)) {
    console.log(values.list ? allCases.map((one) => one.name).join("\n") : usage);
    return undefined;
  }
  const date = new Date().toISOString().slice(0, 19).replaceAll(/[T:]/g, "-");
  const json = values.json ?? join("results", `${values.scale === undefined ? "bench" : "scale"}-${date}.json`);
  return {
    jobs: values.jobs,
    scale:
      values.scale === undefined
        ? undefined
        : scalePlanOf({ ...values, scale: values.scale, dead: values.dead, rounds: values.rounds, duration: values.duration, json }),
    plan: {
      quick: values.quick,
      rounds: wholeNumber("rounds", values.rounds, values.quick ? 1 : 3),
      seconds: wholeNumber("duration", values.duration, values.quick ? 2 : 5),
      seedSeconds: wholeNumber("seed-seconds", values["seed-seconds"], 420),
      wrk: await findWrk(),
      dropsPageCache: await mayDropPageCache(),
    },
    cases,
    urls: values.url.map(registryAtUrl),
    only: (name) => values.only.length === 0 || values.only.includes(name),
    data: values.data,
    json,
  };
}

function scalePlanOf(values: {
  readonly scale: string;
  readonly databases: string;
  readonly dead: string | undefined;
  readonly cases: readonly string[];
  readonly rounds: string | undefined;
  readonly duration: string | undefined;
  readonly data: string;
  readonly json: string;
}): ScalePlan {
  const { sizes, mostBlobs } = parseSizes(values.scale);
  const databases = values.databases.split(",");
  if (!databases.every((one) => one === "sqlite" || one === "postgres")) throw new Error("--databases wants sqlite, postgres or both");
  return {
    sizes,
    mostBlobs,
    databases,
    deadBlobs: values.dead === "0" ? 0 : wholeNumber("dead", values.dead, sizes.at(-1) ?? 0),
    rounds: wholeNumber("rounds", values.rounds, 3),
    seconds: wholeNumber("duration", values.duration, 5),
    folder: values.data,
    json: values.json,
    wants: (name) => values.cases.length === 0 || values.cases.some((glob) => matchesGlob(name, glob)),
    progress,
  };
}

function wholeNumber(option: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  if (!/^[1-9]\d{0,7}$/.test(text)) throw new Error(`--${option} wants a whole number above 0, not ${text}`);
  return Number(text);
}

async function findWrk(): Promise<string | undefined> {
  try {
    return await ensureTool("wrk");
  } catch (error) {
    if (error instanceof ToolUnavailable) return undefined;
    throw error;
  }
}

async function mayDropPageCache(): Promise<boolean> {
  // Only root may; elsewhere than on Linux there is no such file.
  return writeFile("/proc/sys/vm/drop_caches", "1").then(
    () => true,
    () => false,
  );
}

function progress(text: string): void {
  process.stderr.write(`${new Date().toISOString().slice(11, 19)} ${text}\n`);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

process.exitCode = await main();
