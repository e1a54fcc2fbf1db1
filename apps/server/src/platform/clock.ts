// The time, as something that tests can hold. Not here: timers.

/** Where the time comes from. */
export interface Clock {
  /** Now, in milliseconds since 1970. */
  now(): number;
}

/** The machine's clock. */
export const systemClock: Clock = { now: () => Date.now() };
