// A counting semaphore: so much of something at a time, first come, first served, with a bound on who waits and for how long.
// Not here: places of requests, which are shared fairly between addresses (http/limits.ts).

/** How much there is, and what who cannot have it gets. */
export interface SemaphoreOptions {
  /** At least as much as anybody asks for at once. */
  readonly permits: number;
  /** Callers that may wait. Unlimited where it is not given. */
  readonly maxWaiting?: number;
  /** How long one waits. Without end where it is not given. */
  readonly waitMs?: number;
  /** The error for whom there is none: the queue is full, or the wait was too long. */
  readonly refusal: () => Error;
}

/** Counts permits. Everything taken must be given back. */
export interface Semaphore {
  /** Takes so many if they are free and nobody waits. */
  tryTake(permits: number): boolean;
  /** Takes so many, in order. Errors: the refusal. */
  take(permits: number): Promise<void>;
  give(permits: number): void;
  /** Does the work with one permit. Errors: the refusal; the work's. */
  run<T>(work: () => Promise<T>): Promise<T>;
  /** How many are taken now. */
  readonly taken: number;
}

interface Waiter {
  readonly permits: number;
  admit(): void;
}

/** Makes a semaphore of which nothing is taken. */
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
              // The next may want less than this one did.
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
