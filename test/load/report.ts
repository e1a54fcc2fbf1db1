// The table that a run prints, and the JSON that it keeps. The figures are made in results.ts, the targets judged in
// targets.ts.
import { mkdir, writeFile } from "node:fs/promises";
import { arch, cpus, release, totalmem } from "node:os";
import { dirname } from "node:path";
import type { Plan } from "./case.ts";
import type { Registry } from "./registries.ts";
import { figuresOf } from "./results.ts";
import type { Figures, Row } from "./results.ts";
import type { Verdict } from "./targets.ts";

/** A whole run, as it is printed and kept. */
export interface Report {
  readonly startedAt: Date;
  readonly plan: Plan;
  readonly registries: readonly Pick<Registry, "name" | "label" | "endpoint">[];
  readonly rows: readonly Row[];
  readonly verdicts: readonly Verdict[];
  readonly remarks: readonly string[];
}

const headings = ["case", "who", "rate", "p50", "p99", "CPU/unit", "peak RSS", "Berth's rate", "Berth's CPU", "remarks"];
/** Above this share of a core the load generator may have been what was measured. */
const busyClient = 0.9;
/** Rounds further apart than this make a median of few rounds doubtful. */
const wideSpread = 1.5;

/** The run as one table of plain text, with a legend above it. */
export function renderTable(report: Report): string {
  const lines: string[][] = [headings];
  const caseNames = [...new Set(report.rows.map((row) => row.caseName))];
  for (const caseName of caseNames) {
    const rows = report.rows.filter((row) => row.caseName === caseName);
    const berth = figuresOf(rows.find((row) => row.subject === "berth"));
    rows.forEach((row, index) => lines.push([index === 0 ? caseName : "", ...cellsOf(row, berth)]));
    for (const verdict of report.verdicts.filter((one) => one.caseName === caseName)) {
      const standing = verdict.met === undefined ? "not measured" : verdict.met ? "pass" : "short";
      lines.push(["", `target: ${verdict.text}: ${verdict.measured} ${standing}`]);
    }
  }
  return [...legend(report), "", ...align(lines)].join("\n");
}

function legend(report: Report): string[] {
  const { plan } = report;
  const machine = machineOf();
  return [
    `${machine.cores} cores (${machine.processor}), ${Math.round(machine.memoryBytes / 1e9)} GB, ${machine.system}, Node ${machine.node}`,
    ...report.registries.map((registry) => `${registry.name}: ${registry.label}`),
    `Medians of ${plan.rounds} rounds of ${plan.seconds} s, the registries in turn, the others stopped meanwhile; peak RSS is the largest.`,
    "CPU/unit: CPU time of the registry's processes for one unit of the rate. Berth's rate, Berth's CPU: its figure divided by that row's.",
    ...report.remarks,
  ];
}

function cellsOf(row: Row, berth: Figures | undefined): string[] {
  const figures = figuresOf(row);
  if (figures === undefined) {
    const why = row.failure === undefined ? (row.unsupported ?? "-") : `FAILED: ${row.failure}`;
    return [row.subject, "-", "-", "-", "-", "-", "-", "-", why];
  }
  const compared = row.subject !== "berth" && berth !== undefined;
  const single = row.unit === "start";
  return [
    row.subject,
    single ? "-" : `${showNumber(figures.rate)} ${row.unit}/s`,
    figures.p50 === 0 ? "-" : showSeconds(figures.p50 / 1000),
    figures.p99 === 0 ? "-" : showSeconds(figures.p99 / 1000),
    figures.cpuPerUnit === undefined ? "-" : `${showSeconds(figures.cpuPerUnit)}/${row.unit}`,
    figures.peakBytes === undefined ? "-" : `${Math.round(figures.peakBytes / 1e6)} MB`,
    compared ? showRatio(berth.rate, figures.rate) : "",
    compared ? showRatio(berth.cpuPerUnit, figures.cpuPerUnit) : "",
    remarksOf(row, figures),
  ];
}

function remarksOf(row: Row, figures: Figures): string {
  const firstError = row.samples.find((sample) => sample.firstError !== undefined)?.firstError;
  const notes = new Set(row.samples.map((sample) => sample.note).filter((note) => note !== undefined));
  // Notes of several rounds differ in their figures only: the last one stands for all.
  const note = [...notes].at(-1);
  return [
    ...(figures.errors > 0 ? [`${figures.errors} ERRORS, first: ${firstError ?? "unknown"}`] : []),
    ...((figures.clientCpu ?? 0) > busyClient && row.unit !== "GB" ? ["load generator at its limit"] : []),
    ...(spreadOf(row) > wideSpread ? [`rounds differ by ${spreadOf(row).toFixed(1)}x`] : []),
    ...(note === undefined ? [] : [note]),
  ].join("; ");
}

/** The fastest round's rate over the slowest's. */
function spreadOf(row: Row): number {
  const rates = row.samples.map((sample) => sample.units / sample.seconds);
  return Math.max(...rates) / Math.min(...rates);
}

function showRatio(ours: number | undefined, theirs: number | undefined): string {
  return ours === undefined || theirs === undefined || theirs === 0 ? "-" : `${(ours / theirs).toFixed(2)}x`;
}

/** Three significant digits, thousands grouped. */
function showNumber(value: number): string {
  return Number(value.toPrecision(3)).toLocaleString("en-US", { maximumFractionDigits: 3 });
}

function showSeconds(seconds: number): string {
  if (seconds >= 1) return `${seconds.toPrecision(3)} s`;
  if (seconds >= 1e-3) return `${Number((seconds * 1e3).toPrecision(3))} ms`;
  return `${Number((seconds * 1e6).toPrecision(3))} µs`;
}

/** Pads columns; a line of two cells is a remark over the whole width. */
function align(lines: readonly string[][]): string[] {
  const widths = headings.map((_, column) => Math.max(...lines.filter((line) => line.length > 2).map((line) => line[column]?.length ?? 0)));
  return lines.map((line) => {
    if (line.length === 2) return `${"".padEnd(widths[0] ?? 0)}  ${line[1]}`;
    const cells = line.map((cell, column) => {
      const width = widths[column] ?? 0;
      // Names to the left, figures to the right.
      return column < 2 || column === headings.length - 1 ? cell.padEnd(width) : cell.padStart(width);
    });
    return cells.join("  ").trimEnd();
  });
}

/** What the machine is, for whoever reads the figures later. */
function machineOf() {
  const processors = cpus();
  return {
    cores: processors.length,
    processor: processors[0]?.model.trim() ?? "unknown",
    memoryBytes: totalmem(),
    system: `${process.platform} ${release()} ${arch()}`,
    node: process.versions.node,
  };
}

/** Keeps the whole run, every round included; passwords are not part of it. */
export async function writeJson(path: string, report: Report): Promise<void> {
  const kept = {
    format: "berth-bench/1",
    startedAt: report.startedAt.toISOString(),
    machine: machineOf(),
    plan: report.plan,
    registries: report.registries.map(({ name, label, endpoint }) => ({
      name,
      label,
      base: endpoint.base,
    })),
    results: report.rows.map((row) => ({ ...row, figures: figuresOf(row) })),
    targets: report.verdicts,
    remarks: report.remarks,
  };
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, `${JSON.stringify(kept, undefined, 2)}\n`);
}
