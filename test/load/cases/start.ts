// Start-up time and resident memory at rest: first on an almost empty registry, at the end with all that a run left.
import { setTimeout as sleep } from "node:timers/promises";
import type { Case, Measure } from "../case.ts";
import { Unsupported } from "../case.ts";
import type { Registry } from "../registries.ts";

/** Start-up work is over by then, in every registry here. */
const settleMs = 3000;

async function arrangeStart(registry: Registry): Promise<Measure> {
  const started = registry.process;
  if (started === undefined) throw new Unsupported("given by URL");
  return async () => {
    const milliseconds = await started.restart();
    const used = started.usage();
    await sleep(settleMs);
    const idle = started.usage();
    const figures = {
      units: 1,
      seconds: milliseconds / 1000,
      p50: milliseconds,
      p99: milliseconds,
      errors: 0,
    };
    if (used === undefined || idle === undefined) return figures;
    const megabytes = Math.round(idle.residentBytes / 1e6);
    return {
      ...figures,
      cpuSeconds: used.cpuSeconds,
      idleBytes: idle.residentBytes,
      note: `RSS at rest ${megabytes} MB`,
    };
  };
}

const start = { unit: "start", arrange: arrangeStart } as const;

/** Measured before anything else. */
export const firstStartCases: readonly Case[] = [{ ...start, name: "start/empty", quick: true }];

/** Measured after everything else. */
export const lastStartCases: readonly Case[] = [{ ...start, name: "start/loaded", quick: true }];
