// Slowing work down to a rate, so that a long scan leaves the disk and the network to those who wait. Not here: what is read.
import { setTimeout as sleep } from "node:timers/promises";

/** Waits until so many bytes may be read without exceeding the rate; all who share it are counted together. */
export type RateLimiter = (bytes: number) => Promise<void>;

/** Time that may be saved up: bursts up to this long go unhindered. */
const BURST_MS = 250;

/** Makes a rateLimiter of so many bytes a second; 0 is no limit. */
export function createRateLimiter(bytesPerSecond: number): RateLimiter {
  if (bytesPerSecond === 0) return async () => undefined;
  /** When everything taken so far is paid for. */
  let paidAt = performance.now();
  return async (bytes) => {
    const now = performance.now();
    paidAt = Math.max(paidAt, now - BURST_MS) + (bytes / bytesPerSecond) * 1000;
    if (paidAt > now) await sleep(paidAt - now);
  };
}
