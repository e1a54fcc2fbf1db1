// A seeded scheduler: many actors wait before each of their steps, and one at a time is released, so that a seed stands for one
// interleaving. It also ends processes: from then on each of their steps fails. Not here: the actors (distribution/schedules.test.ts).
import { RegistryError } from "@berth/oci/errors";
import type { Hook } from "./intercept.testing.ts";

/** Numbers from a seed. */
export interface Random {
  /** A whole number from 0 to below the bound. */
  below(bound: number): number;
  chance(probability: number): boolean;
  pick<T>(list: readonly T[]): T;
}

/** Creates the numbers of a seed. Source: the public-domain generator mulberry32. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    below: (bound) => Math.floor(next() * bound),
    chance: (probability) => next() < probability,
    pick: (list) => list[Math.floor(next() * list.length)]!,
  };
}

/** The error of every step of a process that has ended. */
export class ProcessEnded extends Error {}

/** A process that a schedule may end. */
export interface TestProcess {
  readonly hook: Hook;
  readonly isEnded: boolean;
  end(): void;
}

/** The options of a run. */
export interface ScheduleOptions {
  readonly random: Random;
  /** The chance of each step that its process ends there, before or after the step. */
  readonly endChance: number;
  /** The chance of each step that it fails with UNAVAILABLE, before or after it happened. */
  readonly failChance: number;
  /**
   * How long a step may take before others continue; 0 if no step ever waits for another. If it is set, a run no longer depends on the seed
   * alone.
   */
  readonly blockedAfterMs: number;
  /** Called between steps. */
  readonly check: () => Promise<void>;
  readonly isFree?: boolean;
}

/** The scheduler. */
export interface Schedule {
  /** Runs actors to their ends, one step at a time. Rejects with the first error of a check or an actor. */
  run(actors: readonly (() => Promise<void>)[]): Promise<void>;
  createProcess(): TestProcess;
}

interface Waiting {
  readonly go: () => void;
}

/**
 * The same in parallel: actors run side by side, as fast as they can, and a seed decides only what they do. For engines that support it.
 */
export function createFreeRun({ random, endChance, failChance }: Pick<ScheduleOptions, "random" | "endChance" | "failChance">): Schedule {
  return createSchedule({ random, endChance, failChance, blockedAfterMs: 0, check: async () => undefined, isFree: true });
}

/** Creates a scheduler. */
export function createSchedule({ random, endChance, failChance, blockedAfterMs, check, isFree = false }: ScheduleOptions): Schedule {
  const waiting: Waiting[] = [];
  let running = 0;
  let wake: (() => void) | undefined;
  let isOn = false;

  function stopped(): void {
    running--;
    wake?.();
  }

  async function turn(): Promise<void> {
    // Outside a run, for example while a test checks the result, steps are not held.
    if (!isOn || isFree) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    waiting.push({ go: resolve });
    stopped();
    await promise;
  }

  /** Waits until the released actor is at its next step or has ended, or seems to wait for another. */
  async function reachedNextStep(): Promise<void> {
    const giveUpAt = blockedAfterMs === 0 ? Infinity : performance.now() + blockedAfterMs;
    while (running > 0) {
      const { promise, resolve } = Promise.withResolvers<void>();
      wake = resolve;
      const left = giveUpAt - performance.now();
      if (waiting.length > 0 && left <= 0) return;
      const timer = Number.isFinite(left) ? setTimeout(resolve, Math.max(1, left)) : undefined;
      await promise;
      clearTimeout(timer);
    }
  }

  function createProcess(): TestProcess {
    let isEnded = false;
    return {
      get isEnded() {
        return isEnded;
      },
      end() {
        isEnded = true;
      },
      hook: async (step, phase) => {
        if (phase === "before" && !isEnded) await turn();
        if (isEnded) throw new ProcessEnded(step);
        if (!isOn) return;
        if (random.chance(endChance)) {
          isEnded = true;
          throw new ProcessEnded(step);
        }
        if (random.chance(failChance)) throw new RegistryError("UNAVAILABLE");
      },
    };
  }

  return {
    createProcess,
    async run(actors) {
      let failure: { readonly error: unknown } | undefined;
      isOn = true;
      for (const actor of actors) {
        running++;
        actor()
          .catch((error: unknown) => {
            failure ??= { error };
          })
          .finally(stopped);
      }
      try {
        await reachedNextStep();
        while (waiting.length > 0 || running > 0) {
          if (failure !== undefined) throw failure.error;
          await check();
          const [next] = waiting.splice(random.below(waiting.length), 1);
          if (next !== undefined) {
            running++;
            next.go();
          }
          await reachedNextStep();
        }
        if (failure !== undefined) throw failure.error;
        await check();
      } finally {
        isOn = false;
        // After a failure the others run to their ends unscheduled, so that nothing is left open.
        for (const { go } of waiting.splice(0)) {
          running++;
          go();
        }
        while (running > 0) await new Promise((resolve) => setTimeout(resolve, 1));
      }
    },
  };
}
