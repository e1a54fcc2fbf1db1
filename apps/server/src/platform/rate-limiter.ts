// Limits the rate of work, so that a long scan leaves disk and network to others. Not here: what is read.
import { setTimeout as sleep } from "node:timers/promises";

/** Waits until that many bytes may be read without exceeding the rate; all users of one limiter are counted together. */
export type RateLimiter = (bytes: number) => Promise<void>;

/** The time that can be saved up: bursts up to this length are not delayed. */
const BURST_MS = 250;

/** Creates a rate limiter for bytes per second; 0 is no limit. */
export function createRateLimiter(bytesPerSecond: number): RateLimiter {
  if (bytesPerSecond === 0) return async () => undefined;
  /** When the rate has caught up with everything taken so far. */
  let paidAt = performance.now();
  return async (bytes) => {
    const now = performance.now();
    paidAt = Math.max(paidAt, now - BURST_MS) + (bytes / bytesPerSecond) * 1000;
    if (paidAt > now) await sleep(paidAt - now);
  };
}
