// The time, as something that tests can hold. Not here: timers.

/** Where the time comes from. */
export interface Clock {
  /** Now, in milliseconds since 1970. */
  now(): number;
}

/** The settings count in seconds and days, the program in milliseconds. */
export const SECOND_MS = 1000;
export const MINUTE_MS = 60_000;
export const HOUR_MS = 3_600_000;

/** The machine's clock. */
export const systemClock: Clock = { now: () => Date.now() };

/** A step of the clock less than this is not told from its ordinary correction. */
const LEAST_STEP_MS = 1000;

/** Two readings of one clock, kept by the same looks. */
export interface SteadyClock extends Clock {
  /**
   * The clock itself, by which promises are written: each look shows it to the steady one that judges their end. A step back and forth
   * between two of that one's own looks would go unseen, and what was written in between would have ended long ago.
   */
  readonly shown: Clock;
}

/**
 * For judging that something has ended: a clock that believes a step forward only after `stepDelayMs`. Machines' clocks are set, by hand, by
 * their time service, or when a paused machine goes on; what was promised before the step then still lasts as long as was said. Where the
 * step is taken back meanwhile it never counted. What follows from now on is written with the plain clock.
 */
export function createSteadyClock(clock: Clock, stepDelayMs: number, elapsedMs: () => number = () => performance.now()): SteadyClock {
  let steps: { byMs: number; readonly believedAt: number }[] = [];
  let shownMs = clock.now();
  let shownAt = elapsedMs();
  /** Asked several times in each request. */
  function look(): number {
    const nowMs = clock.now();
    const elapsed = elapsedMs();
    let steppedMs = nowMs - shownMs - (elapsed - shownAt);
    shownMs = nowMs;
    shownAt = elapsed;
    if (steppedMs >= LEAST_STEP_MS) steps.push({ byMs: steppedMs, believedAt: elapsed + stepDelayMs });
    // Nearly always.
    if (steps.length === 0) return nowMs;
    for (const step of steps) {
      if (steppedMs > -LEAST_STEP_MS) break;
      const undone = Math.min(step.byMs, -steppedMs);
      step.byMs -= undone;
      steppedMs += undone;
    }
    steps = steps.filter(({ byMs, believedAt }) => byMs > 0 && believedAt > elapsed);
    return nowMs;
  }

  return {
    now() {
      const nowMs = look();
      return steps.length === 0 ? nowMs : nowMs - steps.reduce((sum, { byMs }) => sum + byMs, 0);
    },
    shown: { now: look },
  };
}
