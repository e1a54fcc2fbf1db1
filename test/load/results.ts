// The figures of a run: samples, their medians, and how two of them compare. Shared by the table and the targets.
import type { Sample, Unit } from "./case.ts";

/** One sample with what the registry's process used meanwhile; memory in bytes. */
export interface MeasuredSample extends Sample {
  readonly peakBytes?: number;
}

/** One line of the table: a case and who did it (a registry's name, or `machine: LIMIT`). */
export interface Row {
  readonly caseName: string;
  readonly unit: Unit;
  readonly subject: string;
  readonly samples: readonly MeasuredSample[];
  /** Why there are no samples: it cannot do this, or was skipped. */
  readonly unsupported?: string;
  /** Why there are no samples although there should be. */
  readonly failure?: string;
}

/** Medians over the rounds; undefined where it was not measured. Times in ms, CPU in seconds per unit. */
export interface Figures {
  readonly rate: number;
  readonly p50: number;
  readonly p99: number;
  readonly cpuPerUnit: number | undefined;
  readonly peakBytes: number | undefined;
  readonly idleBytes: number | undefined;
  readonly clientCpu: number | undefined;
  readonly errors: number;
}

/** The subject of a limit's row. */
export function limitSubject(name: string): string {
  return `machine: ${name}`;
}

/** The medians of a row, or undefined when it has no samples. */
export function figuresOf(row: Row | undefined): Figures | undefined {
  if (row === undefined || row.samples.length === 0) return undefined;
  const { samples } = row;
  return {
    rate: medianOf(samples, (sample) => sample.units / sample.seconds) ?? 0,
    p50: medianOf(samples, (sample) => sample.p50) ?? 0,
    p99: medianOf(samples, (sample) => sample.p99) ?? 0,
    cpuPerUnit: medianOf(samples, (sample) =>
      sample.cpuSeconds === undefined || sample.units === 0 ? undefined : sample.cpuSeconds / sample.units,
    ),
    // A peak is a peak: the largest of all rounds.
    peakBytes: largest(samples.map((sample) => sample.peakBytes)),
    idleBytes: medianOf(samples, (sample) => sample.idleBytes),
    clientCpu: medianOf(samples, (sample) => sample.clientCpu),
    errors: samples.reduce((sum, sample) => sum + sample.errors, 0),
  };
}

/** The row of that case and subject. */
export function findRow(rows: readonly Row[], caseName: string, subject: string): Row | undefined {
  return rows.find((row) => row.caseName === caseName && row.subject === subject);
}

/** The largest of what was measured. */
export function largest(values: readonly (number | undefined)[]): number | undefined {
  const measured = values.filter((value) => value !== undefined);
  return measured.length === 0 ? undefined : Math.max(...measured);
}

function medianOf(samples: readonly MeasuredSample[], pick: (sample: MeasuredSample) => number | undefined): number | undefined {
  const values = samples.map(pick).filter((value) => value !== undefined);
  values.sort((a, b) => a - b);
  const middle = values.length >> 1;
  const upper = values[middle];
  if (upper === undefined || values.length % 2 === 1) return upper;
  return (upper + (values[middle - 1] ?? upper)) / 2;
}
