// What the collector has yet to do, for its metrics: counted now and then, and lessened by what was done since, so that much garbage costs a
// small share of the machine to know. Not here: the counting itself (content/backlog.ts), the loop (collector.ts).
import type { Backlog } from "../content/backlog.ts";
import type { ByteBatch, LinkBatch } from "../content/garbage.ts";
import type { Clock } from "../platform/clock.ts";

/** The backlog as far as it is known. */
export interface BacklogCount {
  /** Counts anew where it is time. */
  refresh(): Promise<void>;
  /** A batch was done; `isLast`: nothing more of its kind is due. */
  noteLinks(batch: LinkBatch, isLast: boolean): void;
  noteKeys(batch: ByteBatch, isLast: boolean): void;
  latest(): Backlog;
}

/** A count is good for this long at least. */
const GOOD_FOR_MS = 30_000;
/** And for so many times the time that it took: counting is a fiftieth of what goes on at the most. */
const SHARE = 50;

/** Begins with nothing known. */
export function createBacklogCount(clock: Clock, count: () => Promise<Backlog>): BacklogCount {
  let known: Backlog = { links: 0, linkBytes: 0, keys: 0, keyBytes: 0, oldestDueAt: undefined };
  let goodUntil = 0;

  function lessen(change: Partial<Backlog>): void {
    // More was done than was known of: it came due since.
    if ((change.links ?? 0) < 0 || (change.keys ?? 0) < 0) goodUntil = 0;
    const least = Object.fromEntries(Object.entries(change).map(([name, value]) => [name, Math.max(0, Number(value))]));
    const next = { ...known, ...least };
    known = next.links + next.keys === 0 ? { ...next, oldestDueAt: undefined } : next;
  }

  return {
    async refresh() {
      const startedAt = clock.now();
      // A clock that was put back must not stop it for long.
      if (startedAt < goodUntil && goodUntil - startedAt <= GOOD_FOR_MS * SHARE) return;
      known = await count();
      const tookMs = clock.now() - startedAt;
      goodUntil = clock.now() + Math.min(GOOD_FOR_MS * SHARE, Math.max(GOOD_FOR_MS, tookMs * SHARE));
    },
    noteLinks(batch, isLast) {
      if (isLast) lessen({ links: 0, linkBytes: 0 });
      else lessen({ links: known.links - batch.examined, linkBytes: known.linkBytes - batch.bytes });
    },
    noteKeys(batch, isLast) {
      if (isLast) lessen({ keys: 0, keyBytes: 0 });
      else lessen({ keys: known.keys - batch.examined, keyBytes: known.keyBytes - batch.bytes });
    },
    latest: () => known,
  };
}
