// Small work that never ends and that nobody should have to wait a round of the collector for: folding usage, taking away what deleted
// repositories held. Start it, stop it and await it. Not here: the work itself (content/usage.ts, content/repository-removal.ts).

/** The loop. */
export interface Upkeep {
  start(): void;
  /** Ends after the batch that runs now. */
  stop(): Promise<void>;
}

/** A batch of some work: whether there is more to do at once. Safe on any number of replicas at a time. */
export type UpkeepStep = () => Promise<boolean>;

/** A thousand pushes a second leave a few thousand changes of usage meanwhile, which a read sums in milliseconds. */
const INTERVAL_MS = 1000;
/** The least pause between two batches, and as a multiple of what the batch took: other work has three quarters of the database. */
const BREATH_MS = 5;
const BREATH_FACTOR = 3;
/** What fails is tried again after twice the time, up to this: a database that is away for an hour fills no log. */
const MAX_INTERVAL_MS = 60_000;

/** Makes the loop; `onError` hears of batches that failed, which are tried again. */
export function createUpkeep(steps: readonly UpkeepStep[], onError: (error: unknown) => void): Upkeep {
  let isStopping = false;
  let wake: (() => void) | undefined;
  let running: Promise<void> | undefined;
  let intervalMs = INTERVAL_MS;

  function rest(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      timer.unref();
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** One batch of each; whether any has more to do. */
  async function round(): Promise<boolean> {
    let hasMore = false;
    let hasFailed = false;
    for (const step of steps) {
      if (isStopping) return false;
      try {
        if (await step()) hasMore = true;
      } catch (error) {
        // One that fails must not keep the others from their work.
        hasFailed = true;
        onError(error);
      }
    }
    intervalMs = hasFailed ? Math.min(2 * intervalMs, MAX_INTERVAL_MS) : INTERVAL_MS;
    return hasMore && !hasFailed;
  }

  async function loop(): Promise<void> {
    while (!isStopping) {
      const startedAt = performance.now();
      const hasMore = await round();
      const tookMs = performance.now() - startedAt;
      if (!isStopping) await rest(hasMore ? Math.max(BREATH_MS, tookMs * BREATH_FACTOR) : intervalMs);
    }
  }

  return {
    start() {
      running ??= loop();
    },
    async stop() {
      isStopping = true;
      wake?.();
      await running;
    },
  };
}
