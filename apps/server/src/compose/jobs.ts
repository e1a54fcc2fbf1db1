// The background work: the collector, and the small upkeep that nobody should wait a round of it for; started and stopped as one.
// Not here: when they run (compose.ts, roles/), what they may take (content/garbage.ts), their loops (distribution/).
import { countBacklog } from "../content/backlog.ts";
import { createRepositoryRemoval } from "../content/repository-removal.ts";
import { foldUsage, USAGE_FOLD_BATCH } from "../content/usage.ts";
import { createCollector, type Collector } from "../distribution/collector.ts";
import { createUpkeep } from "../distribution/upkeep.ts";
import type { UploadSessions } from "../distribution/upload-session.ts";
import { HOUR_MS, SECOND_MS } from "../platform/clock.ts";
import { leaseTimes, type Foundation, type Surroundings } from "./foundation.ts";

/** Builds the background work; nothing runs before its `start` or `runOnce`. */
export function composeJobs(surroundings: Surroundings, foundation: Foundation, sessions: UploadSessions): Collector {
  const { config, logger } = surroundings;
  const { database, clock } = foundation;
  const collector = composeCollector(surroundings, foundation, sessions);
  const removeDeleted = createRepositoryRemoval(database, clock, leaseTimes(config));
  const upkeep = createUpkeep([async () => (await foldUsage(database, USAGE_FOLD_BATCH)) === USAGE_FOLD_BATCH, removeDeleted], (error) =>
    logger.error({ err: error }, "upkeep failed; it is tried again"),
  );
  return {
    start() {
      collector.start();
      upkeep.start();
    },
    async stop() {
      await Promise.all([collector.stop(), upkeep.stop()]);
    },
    async runOnce() {
      // First what deleted repositories held, so that the round finds what only they linked; then those that waited for an upload's end.
      while (await removeDeleted());
      const round = await collector.runOnce();
      while (await removeDeleted());
      return round;
    },
  };
}

function composeCollector(
  { config, logger, tracing }: Surroundings,
  { database, store, garbage, metrics, clock, patientClock }: Foundation,
  sessions: UploadSessions,
): Collector {
  let failedRounds = 0;
  metrics.addCounter("collection_failed_rounds_total", "Rounds of collection that ended with an error.", () => failedRounds);
  let unlinked = 0;
  metrics.addCounter("collection_unlinked_total", "Blobs taken out of a repository in which nothing held them.", () => unlinked);
  let backlogBytes = 0;
  metrics.addGauge("collection_backlog_bytes", "Bytes that become free when what waits now is reclaimed.", () => backlogBytes);
  return createCollector({
    garbage,
    countBacklog: (pause) => countBacklog(database, clock.now(), pause),
    uploads: sessions,
    store,
    clock: patientClock,
    intervalMs: config.gc.intervalSeconds * SECOND_MS,
    batchSize: config.gc.batchSize,
    sweepAgeMs: config.limits.uploadAgeSeconds * SECOND_MS + HOUR_MS,
    onUnlinked: (links) => {
      unlinked += links;
    },
    onReclaimed: (keys, bytes) => metrics.addReclaimed(keys, bytes),
    onBacklog: (backlog) => {
      backlogBytes = backlog.linkBytes + backlog.keyBytes;
      const oldest = backlog.oldestDueAt === undefined ? 0 : (clock.now() - backlog.oldestDueAt) / SECOND_MS;
      metrics.setCollectionBacklog(backlog.links + backlog.keys, oldest);
    },
    onError: (error) => {
      failedRounds++;
      logger.error({ err: error }, "a round of collection failed; the next one goes on");
    },
    traced: tracing?.job,
  });
}
