// How much runs at once, how much may wait for it, and how long a body may pause. Not here: the numbers (config.ts).
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

/**
 * The same chunks, but waiting longer than `timeoutMs` for one of them fails. The time that the reader takes between chunks does not
 * count. Errors: REQUEST_TIMEOUT; the connection must be closed after it, since the rest of the body may still come.
 */
export async function* withIdleTimeout<T>(body: AsyncIterable<T>, timeoutMs: number): AsyncGenerator<T, void, undefined> {
  const iterator = body[Symbol.asyncIterator]();
  let onExpiry: (() => void) | undefined;
  // One timer for the whole body: a timer for each chunk would cost more than the chunk.
  const timer = setTimeout(() => onExpiry?.(), timeoutMs);
  let isDone = false;
  let isExpired = false;
  try {
    for (;;) {
      timer.refresh();
      // Not Promise.race with one lasting promise: each race would leave a reaction on it until the body ends.
      const result = await new Promise<IteratorResult<T, unknown>>((resolve, reject) => {
        onExpiry = () => {
          isExpired = true;
          reject(new RegistryError("REQUEST_TIMEOUT", { headers: { connection: "close" } }));
        };
        iterator.next().then(resolve, (error: unknown) => {
          isDone = true;
          reject(error instanceof Error ? error : new Error("the body failed", { cause: error }));
        });
      });
      onExpiry = undefined;
      if (result.done === true) {
        isDone = true;
        return;
      }
      yield result.value;
    }
  } finally {
    clearTimeout(timer);
    // After expiry a read is still pending and closing would wait for it: the connection's end closes both.
    if (!isDone && !isExpired) await iterator.return?.();
  }
}
