// The time as an interface, so that tests can set it. Not here: timers.

/** A source of the time. */
export interface Clock {
  /** Now, in milliseconds since 1970. */
  now(): number;
}

/** Settings are in seconds and days, the program counts in milliseconds. */
export const SECOND_MS = 1000;
export const MINUTE_MS = 60_000;
export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;

/** The machine's clock. */
export const systemClock: Clock = { now: () => Date.now() };

/** A smaller step cannot be distinguished from an ordinary correction of the clock. */
const LEAST_STEP_MS = 1000;

/** A steady clock and the plain one below it; reading either updates both. */
export interface SteadyClock extends Clock {
  /**
   * The plain clock, with which expiry times are written. Each reading of it is seen by the steady clock that decides their end. Otherwise
   * a step back and forth between two readings of the steady clock would go unseen, and what was written in between would seem to have
   * expired long ago.
   */
  readonly shown: Clock;
}

/**
 * Creates a clock for deciding that something has expired: it accepts a step forward only after `stepDelayMs`. Machines' clocks are set by
 * hand, by their time service, or when a paused machine resumes; a lease that was written before the step still lasts as long as promised.
 * A step that is undone within the delay never counts. New expiry times are written with the plain clock.
 */
export function createSteadyClock(clock: Clock, stepDelayMs: number, elapsedMs: () => number = () => performance.now()): SteadyClock {
  let steps: { byMs: number; readonly believedAt: number }[] = [];
  let shownMs = clock.now();
  let shownAt = elapsedMs();
  /** This runs several times in each request. */
  function look(): number {
    const nowMs = clock.now();
    const elapsed = elapsedMs();
    let steppedMs = nowMs - shownMs - (elapsed - shownAt);
    shownMs = nowMs;
    shownAt = elapsed;
    if (steppedMs >= LEAST_STEP_MS) steps.push({ byMs: steppedMs, believedAt: elapsed + stepDelayMs });
    // The usual case.
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
