// A loop of background work that runs as long as the process: rounds with rests between them, which can be stopped and awaited. Not here:
// the work itself.

/** A loop. */
export interface BackgroundLoop {
  /** Starts the loop; a second call does nothing. */
  start(): void;
  /** Stops after the present round; a rest ends at once. */
  stop(): Promise<void>;
}

/** When rounds come. */
export interface LoopTimes {
  /** From the end of a round to the next one. */
  readonly everyMs: number;
  /** The longest rest after failures, each of which doubles it: a database that is unreachable for an hour must not fill the log. */
  readonly maxRestMs: number;
}

/** Creates a loop of rounds. `onError` takes what a round throws; another one follows. Rests keep the process alive, as the work does. */
export function createBackgroundLoop(
  round: () => Promise<void>,
  { everyMs, maxRestMs }: LoopTimes,
  onError: (error: unknown) => void,
): BackgroundLoop {
  let isStopping = false;
  let running: Promise<void> | undefined;
  let endRest: (() => void) | undefined;

  async function rest(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      endRest = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    endRest = undefined;
  }

  async function loop(): Promise<void> {
    let restMs = everyMs;
    while (!isStopping) {
      try {
        await round();
        restMs = everyMs;
      } catch (error) {
        onError(error);
        restMs = Math.min(restMs * 2, maxRestMs);
      }
      if (isStopping) return;
      await rest(restMs);
    }
  }

  return {
    start() {
      running ??= loop();
    },
    async stop() {
      isStopping = true;
      endRest?.();
      await running;
    },
  };
}
