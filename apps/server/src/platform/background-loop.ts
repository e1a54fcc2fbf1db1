// A loop of background work that runs as long as the process: rounds with pauses between them, which can be stopped and awaited. Not here:
// the work itself.

/** A loop. Other work may use its pauses too. */
export interface BackgroundLoop {
  /** Starts the loop; a second call does nothing. */
  start(): void;
  /** Stops after the present round; a pause ends at once. */
  stop(): Promise<void>;
  /** Whether `stop` was called. Long rounds check it between their parts. */
  readonly isStopping: boolean;
  /** Pauses in proportion to the time that the work before took. */
  pause(tookMs: number): Promise<void>;
}

/** The shortest pause between two batches, so that other work gets the database and the processor. */
const MIN_PAUSE_MS = 5;
/** The pause as a multiple of the batch's time: a loop uses at most a quarter of any resource, whatever is slow. */
const PAUSE_FACTOR = 3;

/**
 * Creates a loop. `round` does one round and returns what follows: a pause of `restMs`, or one in proportion to `tookMs`. It handles its
 * own errors. Pauses keep the process alive, as the work does.
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
