// The rate at which a client sends a body or takes an answer, and how it is broken off. Not here: when that is done (preemption.ts), how
// long it may pause (request-body.ts, v2/blob-response.ts).

/** Why a client is broken off: it is too slow, or others wait and its address holds more than its share. */
export type BreakReason = "slow" | "share";

/** The rate of one client. */
export interface Transfer {
  readonly kind: "download" | "upload";
  /** Since when the server waits for the client; undefined while it does not, because that time is not the client's fault. */
  readonly waitsSince: number | undefined;
  /** Starts to wait for the client. `breakOff` ends the wait. */
  wait(now: number, breakOff: (reason: BreakReason) => void): void;
  /** The client sent or took that many bytes; the wait has ended. */
  moved(now: number, sizeBytes: number): void;
  /** Whether it has been slower than the minimum rate. */
  isTooSlow(now: number): boolean;
  /** Bytes per second of recent waiting. */
  rate(now: number): number;
  /** Ends the wait; does nothing if there is none. */
  breakOff(reason: BreakReason): void;
}

/** The minimum rate of clients while others wait. */
export interface TransferOptions {
  readonly kind: Transfer["kind"];
  /** 0: there is no minimum. */
  readonly bytesPerSecond: number;
  /** The waiting time over which the rate is measured. No client counts as too slow before it has passed. */
  readonly windowMs: number;
}

/** Creates a transfer. */
export function createTransfer({ kind, bytesPerSecond, windowMs }: TransferOptions): Transfer {
  // A token bucket: it drains at the minimum rate while the server waits for the client, moved bytes fill it, and it holds one window's
  // worth. Bytes that moved at once at the beginning therefore give no credit for a pause of hours.
  const full = (bytesPerSecond * windowMs) / 1000;
  let allowance = full;
  let recentMs = 0;
  let recentBytes = 0;
  let waitsSince: number | undefined;
  let onBreak: ((reason: BreakReason) => void) | undefined;
  return {
    kind,
    get waitsSince() {
      return waitsSince;
    },
    wait(now, breakOff) {
      waitsSince = now;
      onBreak = breakOff;
    },
    moved(now, sizeBytes) {
      const waitedMs = now - (waitsSince ?? now);
      allowance = Math.min(full, allowance - (waitedMs * bytesPerSecond) / 1000 + sizeBytes);
      recentMs += waitedMs;
      recentBytes += sizeBytes;
      if (recentMs > windowMs) {
        recentMs /= 2;
        recentBytes /= 2;
      }
      waitsSince = undefined;
      onBreak = undefined;
    },
    isTooSlow: (now) => bytesPerSecond > 0 && waitsSince !== undefined && allowance - ((now - waitsSince) * bytesPerSecond) / 1000 <= 0,
    rate: (now) => (recentBytes * 1000) / (recentMs + (now - (waitsSince ?? now)) + 1),
    breakOff(reason) {
      const end = onBreak;
      waitsSince = undefined;
      onBreak = undefined;
      end?.(reason);
    },
  };
}
