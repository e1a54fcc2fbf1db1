// The steps of garbage collection: the batch of each, and all of them once for a command. Not here: what may be deleted
// (content/garbage.ts), when batches run (compose/collection.ts).
import { setTimeout as sleep } from "node:timers/promises";
import type { BlobStore } from "../content/blobs/blob-store.ts";
import type { Garbage } from "../content/garbage.ts";
import type { Clock } from "../platform/clock.ts";
import type { UploadSessions } from "./upload-session.ts";

/** The result of one round. */
export interface CollectorRound {
  readonly expiredUploads: number;
  readonly unlinked: number;
  readonly blobs: number;
  readonly deletedKeys: number;
  readonly deletedBytes: number;
}

/** The steps. Each batch returns whether there may be more work now. */
export interface Collector {
  /** Ends uploads that nobody continues. */
  expireUploads(): Promise<boolean>;
  /** Removes blobs from repositories in which nothing holds them. */
  collectLinks(): Promise<boolean>;
  /** Deletes bytes that are due. */
  reclaimBytes(): Promise<boolean>;
  /** Removes temporary files without a session, the rare leftovers of crashes. */
  sweep(): Promise<void>;
  /** Runs all batches of all steps at once. Every step is tried; then the first failure is thrown, or all of them in one error. */
  runOnce(): Promise<CollectorRound>;
}

/** What it needs. */
export interface CollectorParts {
  readonly garbage: Garbage;
  readonly uploads: UploadSessions;
  readonly store: BlobStore;
  readonly clock: Clock;
  readonly batchSize: number;
  /** How long temporary files without a session are left alone. */
  readonly sweepAgeMs: number;
  /** Called after each batch with its result, if it did something. */
  readonly onBatch: (done: Partial<CollectorRound> & { readonly unlinkedBytes?: number; readonly examined: number }) => Promise<void>;
}

/** After a batch of a command, other work gets the database for this many times the batch's duration. */
const REST_FACTOR = 3;

/** Creates the collector. */
export function createCollector(parts: CollectorParts): Collector {
  const { garbage, uploads, store, clock, batchSize, sweepAgeMs, onBatch } = parts;

  const steps = {
    async expireUploads() {
      const expiredUploads = await uploads.expire(batchSize);
      return { examined: expiredUploads, expiredUploads };
    },
    async collectLinks() {
      const { examined, unlinked, blobs, bytes: unlinkedBytes } = await garbage.collectLinks(batchSize);
      return { examined, unlinked, blobs, unlinkedBytes };
    },
    async reclaimBytes() {
      const { examined, deleted: deletedKeys, bytes: deletedBytes } = await garbage.reclaimBytes(batchSize);
      return { examined, deletedKeys, deletedBytes };
    },
  };

  /** One batch, and whether it was full. */
  async function run(step: keyof typeof steps): Promise<{ readonly more: boolean; readonly done: Partial<CollectorRound> }> {
    const done = await steps[step]();
    if (done.examined > 0) await onBatch(done);
    return { more: done.examined >= batchSize, done };
  }

  return {
    expireUploads: async () => (await run("expireUploads")).more,
    collectLinks: async () => (await run("collectLinks")).more,
    reclaimBytes: async () => (await run("reclaimBytes")).more,
    async sweep() {
      await store.sweep(new Date(clock.now() - sweepAgeMs));
    },
    async runOnce() {
      const round = { expiredUploads: 0, unlinked: 0, blobs: 0, deletedKeys: 0, deletedBytes: 0 };
      const failures: unknown[] = [];
      // A step that fails, for example on one upload that cannot be removed, must not stop the others.
      for (const step of ["expireUploads", "collectLinks", "reclaimBytes"] as const) {
        try {
          for (;;) {
            const startedAt = performance.now();
            const { more, done } = await run(step);
            for (const name of Object.keys(round) as (keyof CollectorRound)[]) round[name] += done[name] ?? 0;
            if (!more) break;
            await sleep((performance.now() - startedAt) * REST_FACTOR);
          }
        } catch (error) {
          failures.push(error);
        }
      }
      if (failures.length > 0) throw failures.length === 1 ? failures[0] : new AggregateError(failures, "steps of collection failed");
      return round;
    },
  };
}
