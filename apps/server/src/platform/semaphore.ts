// A counting semaphore: first come, first served, with a bound on the number of waiters and their time. Not here: places of requests, which
// are shared fairly between addresses (http/limits.ts).

/** The permits, and the refusal of callers that get none. */
export interface SemaphoreOptions {
  /** At least the largest number that anybody takes at once. */
  readonly permits: number;
  /** The most callers that wait. Unlimited if it is not given. */
  readonly maxWaiting?: number;
  /** The longest wait. Unlimited if it is not given. */
  readonly waitMs?: number;
  /** The error of a refused caller: the queue is full, or the wait was too long. */
  readonly refusal: () => Error;
}

/** Counts permits. Everything taken must be returned. */
export interface Semaphore {
  /** Takes that many if they are free and nobody waits. */
  tryTake(permits: number): boolean;
  /** Takes that many, in order. Errors: the refusal. */
  take(permits: number): Promise<void>;
  give(permits: number): void;
  /** Does the work with one permit. Errors: the refusal; the work's. */
  run<T>(work: () => Promise<T>): Promise<T>;
  /** The number of permits that are taken now. */
  readonly taken: number;
}

interface Waiter {
  readonly permits: number;
  admit(): void;
}

/** Creates a semaphore with all permits free. */
export function createSemaphore({ permits: total, maxWaiting = Infinity, waitMs, refusal }: SemaphoreOptions): Semaphore {
  const queue = new Set<Waiter>();
  let taken = 0;

  function tryTake(permits: number): boolean {
    if (queue.size > 0 || taken + permits > total) return false;
    taken += permits;
    return true;
  }

  function wait(permits: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        permits,
        admit() {
          clearTimeout(timer);
          queue.delete(waiter);
          taken += permits;
          resolve();
        },
      };
      const timer =
        waitMs === undefined
          ? undefined
          : setTimeout(() => {
              queue.delete(waiter);
              reject(refusal());
              // The next waiter may need fewer than this one did.
              admitWaiting();
            }, waitMs);
      queue.add(waiter);
    });
  }

  function admitWaiting(): void {
    for (const waiter of queue) {
      if (taken + waiter.permits > total) return;
      waiter.admit();
    }
  }

  async function take(permits: number): Promise<void> {
    if (permits > total) throw new Error(`asked for ${permits} of ${total}`);
    if (tryTake(permits)) return;
    if (queue.size >= maxWaiting) throw refusal();
    await wait(permits);
  }

  function give(permits: number): void {
    taken -= permits;
    if (taken < 0) throw new Error("more was given back than taken");
    admitWaiting();
  }

  return {
    tryTake,
    take,
    give,
    async run(work) {
      await take(1);
      try {
        return await work();
      } finally {
        give(1);
      }
    },
    get taken() {
      return taken;
    },
  };
}
