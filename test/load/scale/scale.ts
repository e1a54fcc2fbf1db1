// `npm run bench -- --scale`: the same requests on registries of 10^3, 10^5 and 10^6 of everything, on SQLite and PostgreSQL, and one table
// that says what grew. Sizes are measured in turn, the others stopped meanwhile. Not here: seeding (setup.ts), the requests (cases.ts).
import { rmSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ToolUnavailable } from "../../tools/install.ts";
import { atOurEnd } from "../../tools/processes.ts";
import { startPostgres } from "../../tools/servers.ts";
import type { PostgresServer } from "../../tools/servers.ts";
import { parentOf, readProcessUsage } from "../process-usage.ts";
import type { RegistryProcess } from "../registries.ts";
import { scaleCases } from "./cases.ts";
import type { Bound, ScaleCase, ScaleSample } from "./cases.ts";
import { measureCollection } from "./collection.ts";
import { measureMigrations } from "./migrations.ts";
import { startScaled } from "./setup.ts";
import type { ScaledRegistry, ScaleRun } from "./setup.ts";

/** How the run was asked for. */
export interface ScalePlan {
  readonly sizes: readonly number[];
  /** Blobs of the largest size; as many as of everything else where undefined. */
  readonly mostBlobs: number | undefined;
  readonly databases: readonly ("sqlite" | "postgres")[];
  /** Dead blobs for the collector; 0 leaves that part out. */
  readonly deadBlobs: number;
  readonly rounds: number;
  readonly seconds: number;
  readonly folder: string;
  readonly json: string;
  readonly wants: (caseName: string) => boolean;
  readonly progress: (text: string) => void;
}

interface ScaleRow {
  readonly caseName: string;
  readonly bound: Bound | undefined;
  readonly database: string;
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly rate: number;
  /** Processor time of the registry and its database for one operation, in ms, and its growth: what a busy machine blurs least. */
  readonly cpu: number;
  readonly cpuRatio: number | undefined;
  /** The bound figure's growth from the smallest size; undefined for that itself. */
  readonly ratio: number | undefined;
  readonly remark: string;
}

interface MeasuredSample extends ScaleSample {
  readonly cpu: number;
}

const defaultSizes = [1000, 100_000, 1_000_000];

/** Reads `--scale`'s value: empty for the usual sizes, `10m` for ten million blobs, or sizes such as `1k,100k`. */
export function parseSizes(text: string): { readonly sizes: readonly number[]; readonly mostBlobs: number | undefined } {
  if (text === "") return { sizes: defaultSizes, mostBlobs: undefined };
  if (text === "10m") return { sizes: defaultSizes, mostBlobs: 10_000_000 };
  const sizes = text.split(",").map((one) => {
    const [, digits, unit] = /^([1-9]\d{0,6})([km]?)$/.exec(one) ?? [];
    const size = Number(digits) * (unit === "m" ? 1_000_000 : unit === "k" ? 1000 : 1);
    // Names count up to 8 digits, and pages of 1000 want something behind them.
    if (!(size >= 1000 && size <= 10_000_000)) throw new Error(`--scale wants sizes from 1k to 10m such as 1k,100k, not ${one}`);
    return size;
  });
  return { sizes: sizes.toSorted((a, b) => a - b), mostBlobs: undefined };
}

/** Runs everything and prints the table; true when every request was answered. */
export async function runScale(plan: ScalePlan): Promise<boolean> {
  const folder = await mkdtemp(join(plan.folder, "berth-scale-"));
  const running: RegistryProcess[] = [];
  const callOff = atOurEnd(() => {
    for (const process of running) process.kill();
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  });
  const run: ScaleRun = { folder, progress: plan.progress, track: (process) => running.push(process) };
  const rows: ScaleRow[] = [];
  const remarks: string[] = [];
  let isWhole = true;
  try {
    for (const database of plan.databases) {
      let postgres: PostgresServer | undefined;
      try {
        if (database === "postgres") postgres = await startPostgres();
      } catch (error) {
        if (!(error instanceof ToolUnavailable)) throw error;
        remarks.push(`postgres is not in the table: ${error.message}`);
        continue;
      }
      try {
        isWhole = (await runDatabase(plan, run, postgres, rows, remarks)) && isWhole;
        if (plan.deadBlobs > 0) {
          const databaseUrl = await postgres?.createDatabase();
          remarks.push(...(await measureCollection(run, { databaseUrl, deadBlobs: plan.deadBlobs })));
        }
      } finally {
        await postgres?.stop();
      }
    }
  } finally {
    callOff();
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  }
  console.log([...remarks, "", ...tableOf(rows)].join("\n"));
  await mkdir(dirname(plan.json), { recursive: true });
  await writeFile(plan.json, `${JSON.stringify({ format: "berth-scale/1", at: new Date().toISOString(), rows, remarks }, undefined, 2)}\n`);
  console.log(`\nkept in ${plan.json}`);
  return isWhole;
}

async function runDatabase(
  plan: ScalePlan,
  run: ScaleRun,
  postgres: PostgresServer | undefined,
  rows: ScaleRow[],
  remarks: string[],
): Promise<boolean> {
  const scaled: ScaledRegistry[] = [];
  let isWhole = true;
  try {
    for (const count of plan.sizes) {
      const blobs = count === plan.sizes.at(-1) ? (plan.mostBlobs ?? count) : count;
      const one = await startScaled(run, { count, blobs, databaseUrl: await postgres?.createDatabase() });
      scaled.push(one);
      remarks.push(`${one.label}: seeded in ${one.seedSeconds.toFixed(0)} s`);
    }
    const [anyOne] = scaled;
    const engine = anyOne === undefined ? undefined : await findEngine(anyOne);
    for (const one of scaleCases.filter(({ name }) => plan.wants(name))) {
      const measured = await runCase(one, scaled, plan, engine);
      rows.push(...measured);
      // A run takes an hour, and what it knows must not end with it.
      plan.progress(`\n${tableOf(measured).join("\n")}`);
      isWhole &&= measured.every(({ remark }) => remark === "");
    }
    if (plan.wants("start")) rows.push(...(await measureStarts(scaled)));
    const largest = scaled.at(-1);
    if (largest !== undefined && plan.wants("migrations")) {
      for (const one of scaled) await one.process.stop();
      remarks.push(...(await measureMigrations(largest.label, largest.openDatabase, plan.progress)));
    }
    return isWhole;
  } finally {
    for (const one of scaled) await one.process.stop();
  }
}

/** Of the registry and of PostgreSQL, whose other databases rest. */
function cpuSecondsOf({ process }: ScaledRegistry, engine: number | undefined): number {
  return (process.usage()?.cpuSeconds ?? 0) + (engine === undefined ? 0 : (readProcessUsage(engine)?.cpuSeconds ?? 0));
}

/** The process that all of PostgreSQL's come from; undefined for SQLite. */
async function findEngine({ dialect, openDatabase }: ScaledRegistry): Promise<number | undefined> {
  if (dialect === "sqlite") return undefined;
  const database = await openDatabase();
  try {
    const [row] = await database.session((run) => run("select pg_backend_pid() as pid"));
    return parentOf(Number(row?.["pid"]));
  } finally {
    await database.close();
  }
}

async function runCase(
  one: ScaleCase,
  scaled: readonly ScaledRegistry[],
  plan: ScalePlan,
  engine: number | undefined,
): Promise<ScaleRow[]> {
  const samples = new Map<ScaledRegistry, MeasuredSample[]>(scaled.map((registry) => [registry, []]));
  const failures = new Map<ScaledRegistry, string>();
  for (let round = 0; round < plan.rounds; round++) {
    for (const [registry, taken] of samples) {
      if (failures.has(registry)) continue;
      plan.progress(`${one.name}: ${registry.label}, round ${round + 1}`);
      registry.process.resume();
      try {
        // What an earlier round left in the log is not this one's.
        await sleep(100);
        const before = cpuSecondsOf(registry, engine);
        const sample = await one.run(registry, plan.seconds);
        // On a machine that others keep busy a short round may see no answer at all.
        if (sample.operations > 0) taken.push({ ...sample, cpu: ((cpuSecondsOf(registry, engine) - before) * 1000) / sample.operations });
      } catch (error) {
        failures.set(registry, error instanceof Error ? error.message : String(error));
      } finally {
        registry.process.pause();
      }
    }
  }
  let first: number | undefined;
  let firstCpu: number | undefined;
  return scaled.map((registry): ScaleRow => {
    const taken = samples.get(registry) ?? [];
    const figures = { p50: best(taken, "p50"), p99: best(taken, "p99"), rate: -best(taken, "rate", -1), cpu: best(taken, "cpu") };
    const figure = figures[one.bound.figure];
    const ratio = first === undefined ? undefined : figure / first;
    const cpuRatio = firstCpu === undefined ? undefined : figures.cpu / firstCpu;
    first ??= figure;
    firstCpu ??= figures.cpu;
    const errors = taken.reduce((sum, sample) => sum + sample.errors, 0);
    const firstError = taken.find((sample) => sample.errors > 0)?.firstError ?? "";
    const remark = failures.get(registry) ?? (errors > 0 ? `${errors} errors: ${firstError}` : "");
    return { caseName: one.name, bound: one.bound, database: registry.dialect, count: registry.count, ...figures, ratio, cpuRatio, remark };
  });
}

/** The best round: what disturbs a round from outside only ever makes it slower. */
function best(samples: readonly MeasuredSample[], figure: "p50" | "p99" | "rate" | "cpu", sign = 1): number {
  return Math.min(...samples.map((sample) => sign * sample[figure]));
}

/** Start to ready, and memory at rest after it and at its peak since. */
async function measureStarts(scaled: readonly ScaledRegistry[]): Promise<ScaleRow[]> {
  const rows: ScaleRow[] = [];
  for (const { process, dialect, count } of scaled) {
    process.resume();
    const peak = process.usage()?.peakBytes ?? 0;
    const times: number[] = [];
    const cpuTimes: number[] = [];
    for (let start = 0; start < 5; start++) {
      times.push(await process.restart());
      cpuTimes.push((process.usage()?.cpuSeconds ?? 0) * 1000);
    }
    times.sort((a, b) => a - b);
    // Start-up work is over by then.
    await sleep(3000);
    const rest = process.usage()?.residentBytes ?? 0;
    process.pause();
    const [best = 0] = times;
    const common = { bound: undefined, database: dialect, count, rate: 0, cpu: 0, cpuRatio: undefined, ratio: undefined, remark: "" };
    rows.push({
      ...common,
      caseName: "start to the first answer, ms (p99: slowest of 5)",
      p50: best,
      p99: times.at(-1) ?? 0,
      cpu: Math.min(...cpuTimes),
    });
    rows.push({ ...common, caseName: "MB resident at rest (p99: peak under all cases)", p50: rest / 1e6, p99: peak / 1e6 });
  }
  return rows.toSorted((a, b) => (a.caseName < b.caseName ? 1 : -1));
}

const headings = ["case", "database", "size", "p50 ms", "p99 ms", "rate/s", "ratio", "bound", "CPU ms", "ratio", ""];

function tableOf(rows: readonly ScaleRow[]): string[] {
  const lines = [headings, ...rows.map(cellsOf)];
  const widths = headings.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  return lines.map((line) =>
    line
      .map((cell, column) => (column < 2 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join("  ")
      .trimEnd(),
  );
}

function cellsOf(row: ScaleRow): string[] {
  const { bound, ratio } = row;
  const isMet = bound === undefined || ratio === undefined || (bound.figure === "p99" ? ratio <= bound.factor : ratio >= bound.factor);
  return [
    row.caseName,
    row.database,
    row.count.toExponential(0).replace("e+", "e"),
    row.p50.toFixed(2),
    row.p99.toFixed(2),
    row.rate === 0 ? "" : row.rate.toFixed(0),
    ratio === undefined ? "" : `${ratio.toFixed(2)}x`,
    bound === undefined ? "" : `${bound.figure} ${bound.figure === "p99" ? "<=" : ">="} ${bound.factor}x`,
    row.cpu === 0 ? "" : row.cpu.toFixed(3),
    row.cpuRatio === undefined ? "" : `${row.cpuRatio.toFixed(2)}x`,
    `${isMet ? "" : "SHORT "}${row.remark}`.trim(),
  ];
}
