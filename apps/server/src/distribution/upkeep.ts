// Small work that never ends and that nobody should have to wait a round of the collector for: folding usage, taking away what deleted
// repositories held. Start it, stop it and await it. Not here: the work itself (content/usage.ts, content/repository-removal.ts).

import { createBackgroundLoop, type BackgroundLoop } from "../platform/background-loop.ts";

/** A batch of some work: whether there is more to do at once. Safe on any number of replicas at a time. */
export type UpkeepStep = () => Promise<boolean>;

/** A thousand pushes a second leave a few thousand changes of usage meanwhile, which a read sums in milliseconds. */
const INTERVAL_MS = 1000;
/** What fails is tried again after twice the time, up to this: a database that is away for an hour fills no log. */
const MAX_INTERVAL_MS = 60_000;

/** Makes the loop; `onError` hears of batches that failed, which are tried again. */
export function createUpkeep(steps: readonly UpkeepStep[], onError: (error: unknown) => void): BackgroundLoop {
  let intervalMs = INTERVAL_MS;

  /** One batch of each. */
  const loop = createBackgroundLoop(async () => {
    const startedAt = performance.now();
    let hasMore = false;
    let hasFailed = false;
    for (const step of steps) {
      if (loop.isStopping) break;
      try {
        if (await step()) hasMore = true;
      } catch (error) {
        // One that fails must not keep the others from their work.
        hasFailed = true;
        onError(error);
      }
    }
    intervalMs = hasFailed ? Math.min(2 * intervalMs, MAX_INTERVAL_MS) : INTERVAL_MS;
    return hasMore && !hasFailed ? { tookMs: performance.now() - startedAt } : { restMs: intervalMs };
  });
  return loop;
}
