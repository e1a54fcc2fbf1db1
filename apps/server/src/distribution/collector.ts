// Runs the collector for as long as the process lives: a round takes batch after batch while there is work, then rests.
// Start it, stop it and await it. Not here: what may be taken (content/garbage.ts).
import type { Backlog } from "../content/backlog.ts";
import type { Garbage } from "../content/garbage.ts";
import type { BlobStore } from "../content/blobs/blob-store.ts";
import { createBackgroundLoop, type BackgroundLoop } from "../platform/background-loop.ts";
import type { Clock } from "../platform/clock.ts";
import { createBacklogCount } from "./backlog-count.ts";
import type { UploadSessions } from "./upload-session.ts";

/** What one round did. */
export interface CollectorRound {
  readonly expiredUploads: number;
  readonly unlinked: number;
  readonly blobs: number;
  readonly deletedKeys: number;
  readonly deletedBytes: number;
}

/** The collector's loop. */
export interface Collector extends Pick<BackgroundLoop, "start" | "stop"> {
  /** One round at once, for commands and tests. Every step is tried; then the first failure is thrown, or all of them in one. */
  runOnce(): Promise<CollectorRound>;
}

/** What the loop needs. */
export interface CollectorParts {
  readonly garbage: Garbage;
  /** Counts what is due; `pause` between two pieces of the work, until it gives false. */
  readonly countBacklog: (pause: () => Promise<boolean>) => Promise<Backlog>;
  readonly uploads: UploadSessions;
  readonly store: BlobStore;
  readonly clock: Clock;
  readonly intervalMs: number;
  readonly batchSize: number;
  /** How long temporary files without a session are left alone. */
  readonly sweepAgeMs: number;
  /** Called after each batch of links, with how many were taken out of their repositories. */
  readonly onUnlinked: (links: number) => void;
  /** Called after each batch of bytes. */
  readonly onReclaimed: (keys: number, bytes: number) => void;
  /** Called before and after each round of the loop, and now and then within a long one, with what is left. */
  readonly onBacklog: (backlog: Backlog) => void;
  readonly onError: (error: unknown) => void;
  /** Shows rounds and batches in traces; undefined where there are none. */
  readonly traced?: (<T>(name: string, work: () => Promise<T>) => Promise<T>) | undefined;
}

/** A round over much garbage takes minutes: it says this often how much is left. */
const REPORT_EVERY_MS = 30_000;
/** Temporary files are looked for this often: they are the rare leftovers of crashes. */
const SWEEP_EVERY_MS = 3_600_000;

/** Makes the loop. */
export function createCollector(parts: CollectorParts): Collector {
  const { garbage, countBacklog, uploads, store, clock, intervalMs, batchSize, sweepAgeMs } = parts;
  const { onUnlinked, onReclaimed, onBacklog, onError, traced } = parts;
  /** A round at once, for a command, needs no metrics. */
  let isLooping = false;
  let sweptAt = clock.now();
  let reportedAt = 0;
  const backlog = createBacklogCount(clock, async () => {
    let startedAt = performance.now();
    return countBacklog(async () => {
      await loop.pause(performance.now() - startedAt);
      startedAt = performance.now();
      return !loop.isStopping;
    });
  });

  async function report(): Promise<void> {
    await backlog.refresh();
    reportedAt = clock.now();
    onBacklog(backlog.latest());
  }

  /** Runs batches until one is not full. */
  async function drain<T extends { readonly examined: number }>(batch: () => Promise<T>, add: (done: T) => void): Promise<void> {
    for (;;) {
      const startedAt = performance.now();
      const done = await (traced === undefined ? batch() : traced("collector batch", batch));
      const tookMs = performance.now() - startedAt;
      add(done);
      if (done.examined < batchSize || loop.isStopping) return;
      if (isLooping && clock.now() - reportedAt > REPORT_EVERY_MS) await report();
      await loop.pause(tookMs);
    }
  }

  async function runOnce(): Promise<CollectorRound> {
    const round = { expiredUploads: 0, unlinked: 0, blobs: 0, deletedKeys: 0, deletedBytes: 0 };
    const failures: unknown[] = [];
    // A step that fails, say on one upload that cannot be removed, must not keep the others from their work for ever.
    async function step(work: () => Promise<void>): Promise<void> {
      try {
        await work();
      } catch (error) {
        failures.push(error);
      }
    }
    await step(() =>
      drain(
        async () => ({ examined: await uploads.expire(batchSize) }),
        (done) => {
          round.expiredUploads += done.examined;
        },
      ),
    );
    await step(() =>
      drain(
        () => garbage.collectLinks(batchSize),
        (done) => {
          round.unlinked += done.unlinked;
          round.blobs += done.blobs;
          onUnlinked(done.unlinked);
          backlog.noteLinks(done, done.examined < batchSize);
        },
      ),
    );
    await step(() =>
      drain(
        () => garbage.reclaimBytes(batchSize),
        (done) => {
          round.deletedKeys += done.deleted;
          round.deletedBytes += done.bytes;
          onReclaimed(done.deleted, done.bytes);
          backlog.noteKeys(done, done.examined < batchSize);
        },
      ),
    );
    await step(async () => {
      if (clock.now() - sweptAt <= SWEEP_EVERY_MS) return;
      sweptAt = clock.now();
      await store.sweep(new Date(clock.now() - sweepAgeMs));
    });
    if (failures.length > 0) throw failures.length === 1 ? failures[0] : new AggregateError(failures, "steps of collection failed");
    return round;
  }

  const loop = createBackgroundLoop(async () => {
    isLooping = true;
    try {
      await report();
      await (traced === undefined ? runOnce() : traced("collector round", runOnce));
      onBacklog(backlog.latest());
    } catch (error) {
      onError(error);
    }
    return { restMs: intervalMs };
  });

  return { start: loop.start, stop: loop.stop, runOnce };
}
