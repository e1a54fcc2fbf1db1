// A case of the bench: its name, what it counts, how it is prepared and measured. The cases are in cases/, their order and rounds in
// bench.ts.
import type { LoadResult } from "./load.ts";
import type { LimitName } from "./limits.ts";
import type { Registry } from "./registries.ts";

/** What one unit of a case is; rates are units a second. */
export type Unit = "req" | "GB" | "push" | "image" | "op" | "start";

/** The options of the run. */
export interface Plan {
  readonly quick: boolean;
  readonly rounds: number;
  /** Of one measured round. */
  readonly seconds: number;
  /** How long one case may seed one registry before it settles for less. */
  readonly seedSeconds: number;
  /** wrk's path; undefined where it cannot be had. */
  readonly wrk: string | undefined;
  /** False if the page cache cannot be dropped (not root): cold cases are skipped then. */
  readonly dropsPageCache: boolean;
}

/** One round's figures; what the registry's process used is added by bench.ts unless it is here. */
export interface Sample {
  readonly units: number;
  readonly seconds: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
  readonly errors: number;
  readonly firstError?: string | undefined;
  /** Of the load generator, as a share of one core; near 1 the generator itself was the bottleneck. */
  readonly clientCpu?: number;
  readonly cpuSeconds?: number;
  readonly idleBytes?: number;
  readonly note?: string;
}

/** Runs the measured part; everything before it is preparation and not measured. */
export type Measure = () => Promise<Sample>;

/** One line of work that every registry gets. */
export interface Case {
  /** Like `manifest/get-tag/token`; what --cases matches. */
  readonly name: string;
  readonly unit: Unit;
  readonly quick: boolean;
  /** The machine's limit that is measured beside it, round by round. */
  readonly limit?: LimitName;
  readonly arrange: (registry: Registry, plan: Plan) => Promise<Measure>;
}

/** A case that this registry or machine cannot run: the table says why, and it is no failure. */
export class Unsupported extends Error {
  override readonly name = "Unsupported";
}

/** A sample that counts operations. */
export function sampleOf(result: LoadResult, units: number = result.operations): Sample {
  const { seconds, p50, p99, errors, firstError } = result;
  const clientCpu = result.clientCpuSeconds / Math.max(seconds, 0.001);
  return { units, seconds, p50, p99, errors, firstError, clientCpu };
}

/** A sample that counts gigabytes (10^9 bytes). */
export function gigabytesOf(result: LoadResult): Sample {
  return sampleOf(result, result.bytes / 1e9);
}
