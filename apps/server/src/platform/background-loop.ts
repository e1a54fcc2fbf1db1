// Work that goes on for as long as the process lives: round after round with rests between, stopped and awaited. Not here: the work itself.

/** A loop, and its rests, which work outside the loop may take as well. */
export interface BackgroundLoop {
  /** Begins; does nothing the second time. */
  start(): void;
  /** Ends after what runs now; a rest ends at once. */
  stop(): Promise<void>;
  /** Whether it has been told to stop: work in pieces looks here between them. */
  readonly isStopping: boolean;
  /** Lets others go first after work that took so long. */
  pause(tookMs: number): Promise<void>;
}

/** The least pause between two batches: other work gets the database and the processor in between. */
const MIN_PAUSE_MS = 5;
/** And as a multiple of what the batch took, so that a loop has a quarter of anything at most, whatever is slow here. */
const PAUSE_FACTOR = 3;

/**
 * Makes a loop. `round` does one round and gives what comes after it: a rest of so many ms, or a pause for what took so long; it handles its
 * own errors. Rests keep the process alive, as the work does that they interrupt.
 */
export function createBackgroundLoop(round: () => Promise<{ readonly restMs: number } | { readonly tookMs: number }>): BackgroundLoop {
  let isStopping = false;
  let running: Promise<void> | undefined;
  const resting = new Set<() => void>();

  function rest(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(done, ms);
      function done(): void {
        clearTimeout(timer);
        resting.delete(done);
        resolve();
      }
      resting.add(done);
    });
  }

  const pause = (tookMs: number): Promise<void> => rest(Math.max(MIN_PAUSE_MS, tookMs * PAUSE_FACTOR));

  async function loop(): Promise<void> {
    while (!isStopping) {
      const next = await round();
      if (isStopping) return;
      await ("restMs" in next ? rest(next.restMs) : pause(next.tookMs));
    }
  }

  return {
    start() {
      running ??= loop();
    },
    async stop() {
      isStopping = true;
      for (const wake of resting) wake();
      await running;
    },
    get isStopping() {
      return isStopping;
    },
    pause,
  };
}
