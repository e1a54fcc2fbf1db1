// Collection as kinds of jobs, with its metrics. Not here: its steps (distribution/collector.ts), what may be taken (content/garbage.ts), how jobs
// run (events/).
import { findBacklog, noteCollected, refreshBacklog } from "../content/backlog-count.ts";
import { type Collector, createCollector } from "../distribution/collector.ts";
import type { UploadSessions } from "../distribution/upload-session.ts";
import type { JobKind, RunningJob } from "../events/job-kinds.ts";
import { HOUR_MS, SECOND_MS } from "../platform/clock.ts";
import type { Foundation, RoleContext } from "./foundation.ts";

/** Links are locked as they are taken, so that so many processes share a large deletion. */
const LINK_SUBJECTS = ["1", "2", "3", "4"];
/** All steps of one process have a quarter of its time together. */
const SHARE = "collection";
/** A batch takes milliseconds, and on a store that is overloaded a minute. */
const BATCH_TIMEOUT_MS = 600 * SECOND_MS;
/** Looks at each temporary file, or counts to its bound. */
const LONG_TIMEOUT_MS = 6 * HOUR_MS;
/** A database or store that is away for an hour fills no log. */
const RETRY = { attempts: 1, firstDelayMs: SECOND_MS, maxDelayMs: 60 * SECOND_MS };
/** How long a count of the backlog pauses after a page, as a multiple of what the page took. */
const PAUSE_FACTOR = 3;

/** Builds the steps and the kinds that run them. */
export function composeCollection(
  { config }: RoleContext,
  { database, store, garbage, metrics, clock, steadyClock }: Foundation,
  sessions: UploadSessions,
): { readonly collector: Collector; readonly kinds: readonly JobKind[] } {
  const counted = { failures: 0, unlinked: 0, reclaimed: 0, reclaimedBytes: 0 };
  metrics.addCounter("collection_failed_rounds_total", "Runs of collection that ended with an error.", () => counted.failures);
  metrics.addCounter("collection_unlinked_total", "Blobs taken out of a repository in which nothing held them.", () => counted.unlinked);
  metrics.addCounter("collection_reclaimed_blobs_total", "Blobs whose bytes were reclaimed.", () => counted.reclaimed);
  metrics.addCounter("collection_reclaimed_bytes_total", "Bytes that were reclaimed.", () => counted.reclaimedBytes);
  addBacklogMetrics({ database, metrics, clock });

  const collector = createCollector({
    garbage,
    uploads: sessions,
    store,
    clock: steadyClock,
    batchSize: config.gc.batchSize,
    sweepAgeMs: config.limits.uploadAgeSeconds * SECOND_MS + HOUR_MS,
    async onBatch({ examined, unlinked, unlinkedBytes = 0, deletedKeys, deletedBytes = 0 }) {
      counted.unlinked += unlinked ?? 0;
      counted.reclaimed += deletedKeys ?? 0;
      counted.reclaimedBytes += deletedBytes;
      if (unlinked !== undefined) await noteCollected(database, { links: examined, linkBytes: unlinkedBytes });
      if (deletedKeys !== undefined) await noteCollected(database, { keys: examined, keyBytes: deletedBytes });
    },
  });

  const everyMs = config.gc.intervalSeconds * SECOND_MS;
  const schedule = { everyMs, jitterMs: everyMs / 10 };
  /** `work` says whether there is more. */
  function kindOf(kind: string, work: (job: RunningJob) => Promise<boolean | void>, more: Partial<JobKind> = {}): JobKind {
    return {
      kind: `collection-${kind}`,
      concurrency: 1,
      timeoutMs: BATCH_TIMEOUT_MS,
      retry: RETRY,
      schedule,
      share: SHARE,
      async run(job) {
        try {
          return (await work(job)) === true ? "more" : undefined;
        } catch (error) {
          counted.failures++;
          throw error;
        }
      },
      ...more,
    };
  }
  const kinds = [
    kindOf("uploads", () => collector.expireUploads()),
    kindOf("links", () => collector.collectLinks(), { schedule: { ...schedule, subjects: LINK_SUBJECTS } }),
    kindOf("bytes", () => collector.reclaimBytes()),
    kindOf("leftovers", () => collector.sweep(), {
      schedule: { everyMs: HOUR_MS, jitterMs: HOUR_MS / 10 },
      timeoutMs: LONG_TIMEOUT_MS,
    }),
    kindOf("backlog", (job) => refreshBacklog(database, clock, pauseFor(job)), { timeoutMs: LONG_TIMEOUT_MS }),
  ];
  return { collector, kinds };
}

/** All processes show the same numbers: they lie in the database. */
function addBacklogMetrics({ database, metrics, clock }: Pick<Foundation, "database" | "metrics" | "clock">): void {
  let [waiting, bytes, oldestSeconds] = [0, 0, 0];
  metrics.addRefresh(async () => {
    const backlog = await findBacklog(database);
    waiting = backlog === undefined ? 0 : backlog.links + backlog.keys;
    bytes = backlog === undefined ? 0 : backlog.linkBytes + backlog.keyBytes;
    oldestSeconds = backlog?.oldestDueAt === undefined ? 0 : (clock.now() - backlog.oldestDueAt) / SECOND_MS;
  });
  metrics.addGauge("collection_backlog_blobs", "Blobs without a reference that wait to be reclaimed.", () => waiting);
  metrics.addGauge("collection_backlog_oldest_seconds", "How long the oldest of them has waited.", () => oldestSeconds);
  metrics.addGauge("collection_backlog_bytes", "Bytes that become free when what waits now is reclaimed.", () => bytes);
}

/** Pauses between two pages of a count; false where the job is to end. */
function pauseFor({ signal }: RunningJob): () => Promise<boolean> {
  let startedAt = performance.now();
  return async () => {
    await new Promise((resolve) => setTimeout(resolve, (performance.now() - startedAt) * PAUSE_FACTOR));
    startedAt = performance.now();
    return !signal.aborted;
  };
}
