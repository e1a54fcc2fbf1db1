// How much runs at once, how much may wait for it, and how slowly a body may come. Not here: the numbers (config.ts), bodies (request-body.ts).
import { RegistryError } from "@berth/oci/errors";

/** How a semaphore admits. */
export interface SemaphoreOptions {
  /** How many may run at a time. */
  readonly limit: number;
  /** How many may wait; further ones are refused at once. */
  readonly queueLimit: number;
  /** The longest wait. */
  readonly waitMs: number;
  /** What a refused one gets: TOOMANYREQUESTS (429) for a client's share, UNAVAILABLE (503) for the whole server's. */
  readonly code: "TOOMANYREQUESTS" | "UNAVAILABLE";
  /** What `retry-after` tells a refused client. */
  readonly retryAfterSeconds: number;
}

/** Counts what runs. Every successful `tryEnter` and `enter` needs one `leave`. */
export interface Semaphore {
  /** Enters if there is room and nobody waits. */
  tryEnter(): boolean;
  /** Enters, waiting its turn. Errors: the semaphore's code; the signal's reason when the client leaves first. */
  enter(signal?: AbortSignal): Promise<void>;
  leave(): void;
  /** How many run, how many wait, and how many were refused so far. */
  readonly active: number;
  readonly waiting: number;
  readonly refused: number;
}

interface Waiter {
  admit(): void;
}

/** A counting semaphore, first come first served. */
export function createSemaphore(options: SemaphoreOptions): Semaphore {
  const { limit, queueLimit, waitMs, code, retryAfterSeconds } = options;
  // A set keeps the order and forgets a waiter that gave up at once.
  const queue = new Set<Waiter>();
  let active = 0;
  let refused = 0;
  const refusal = (): RegistryError => {
    refused++;
    return new RegistryError(code, { headers: { "retry-after": String(retryAfterSeconds) } });
  };

  function tryEnter(): boolean {
    if (active >= limit || queue.size > 0) return false;
    active++;
    return true;
  }

  function wait(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const leaveQueue = () => {
        queue.delete(waiter);
        clearTimeout(timer);
        signal?.removeEventListener("abort", onAbort);
      };
      const onAbort = () => {
        leaveQueue();
        reject(signal?.reason instanceof Error ? signal.reason : new Error("the client left"));
      };
      const timer = setTimeout(() => {
        leaveQueue();
        reject(refusal());
      }, waitMs);
      const waiter: Waiter = {
        admit: () => {
          leaveQueue();
          resolve();
        },
      };
      queue.add(waiter);
      signal?.addEventListener("abort", onAbort);
    });
  }

  return {
    tryEnter,
    enter: async (signal) => {
      signal?.throwIfAborted();
      if (tryEnter()) return;
      if (queue.size >= queueLimit) throw refusal();
      await wait(signal);
    },
    leave: () => {
      if (active === 0) throw new Error("left more often than entered");
      const next = queue.values().next().value;
      // The place passes on, so that nobody who just came can take it first.
      if (next === undefined) active--;
      else next.admit();
    },
    get active() {
      return active;
    },
    get waiting() {
      return queue.size;
    },
    get refused() {
      return refused;
    },
  };
}

/** Watches how fast one body comes. */
export interface RateWatch {
  /** So many bytes came after so long a wait for the client. */
  note(waitedMs: number, sizeBytes: number): void;
  /** Whether the body is to end, when it has been waited for its next bytes for so long. */
  isTooSlow(waitingMs: number): boolean;
}

/** What bodies are held to. */
export interface MinimumRateOptions {
  readonly bytesPerSecond: number;
  /** Over how long of waiting for a client, at least, its rate is taken. Nobody is too slow before. */
  readonly windowMs: number;
  /** The places that the bodies hold: where nobody waits for one, a body may come as slowly as it likes. */
  readonly slots: Pick<Semaphore, "waiting">;
}

/** Two bodies do not end closer together: the place of the first may be all that was waited for. */
const BETWEEN_ENDS_MS = 100;

/** Makes the watches of the bodies that share places. */
export function createMinimumRate({ bytesPerSecond, windowMs, slots }: MinimumRateOptions): () => RateWatch {
  let lastEndAt = -Infinity;
  return () => {
    let older = { ms: 0, sizeBytes: 0 };
    let newer = { ms: 0, sizeBytes: 0 };
    return {
      note(waitedMs, sizeBytes) {
        newer = { ms: newer.ms + waitedMs, sizeBytes: newer.sizeBytes + sizeBytes };
        if (newer.ms < windowMs) return;
        older = newer;
        newer = { ms: 0, sizeBytes: 0 };
      },
      isTooSlow(waitingMs) {
        const ms = older.ms + newer.ms + waitingMs;
        if (ms < windowMs || older.sizeBytes + newer.sizeBytes >= (bytesPerSecond * ms) / 1000) return false;
        const now = performance.now();
        if (slots.waiting === 0 || now - lastEndAt < BETWEEN_ENDS_MS) return false;
        lastEndAt = now;
        return true;
      },
    };
  };
}
