// How fast a client gives a body or takes an answer, and how it is broken off. Not here: when that is done (preemption.ts), how long it may pause
// (request-body.ts, v2/blob-response.ts).

/** Why a client is broken off: it is too slow, or others wait and its address holds more than its share. */
export type BreakReason = "slow" | "share";

/** How one client comes along. */
export interface Transfer {
  readonly kind: "download" | "upload";
  /** Since when the client is waited for; undefined while it is not, since what takes time then is not its fault. */
  readonly waitsSince: number | undefined;
  /** The client is waited for from now on. `breakOff` ends that. */
  wait(now: number, breakOff: (reason: BreakReason) => void): void;
  /** It gave or took so many bytes, and is not waited for any more. */
  moved(now: number, sizeBytes: number): void;
  /** Whether it has been slower than the least rate. */
  isTooSlow(now: number): boolean;
  /** Bytes a second of waiting, lately. */
  rate(now: number): number;
  /** Ends the wait; nothing where it is not waited for. */
  breakOff(reason: BreakReason): void;
}

/** What a client is held to while others wait. */
export interface TransferOptions {
  readonly kind: Transfer["kind"];
  /** 0: it may be as slow as it likes. */
  readonly bytesPerSecond: number;
  /** Over how long of waiting for a client its rate is taken. Nobody is too slow before. */
  readonly windowMs: number;
}

/** Makes a transfer. */
export function createTransfer({ kind, bytesPerSecond, windowMs }: TransferOptions): Transfer {
  // Drains at the least rate while the client is waited for, and is filled by what it moves, to what a window needs: bytes that moved at once
  // at the beginning are no credit for a pause of hours.
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
