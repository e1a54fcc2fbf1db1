// When a replica last used the store, in a row that all replicas share: a replica that cannot use it learns whether another would serve
// better. Not here: what readiness makes of it (http/health.ts).
import type { Clock } from "../platform/clock.ts";
import type { Database } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";

/** Replicas' reports on the store. */
export interface StoreSightings {
  /**
   * Reports that the store answered a request that was begun at `at`, and that this replica receives requests. Writes at most every few
   * seconds; never rejects.
   */
  note(at: number): Promise<void>;
  /** Whether the store recently answered another replica, for a request that was begun after `failedAt`. Errors: UNAVAILABLE. */
  wasSeenSince(failedAt: number): Promise<boolean>;
}

/** The row of `job_lease`, a table that every release has; `expires_at` holds the time. */
const ROW = "store-seen";
/** A replica that alone has lost the store gets requests for about as long. It is one write of one row, whatever the number of replicas. */
const NOTE_EVERY_MS = 2000;
/** How far the replicas' readings of the registry's time may differ (platform/database/database-clock.ts: half a second each). */
const DIFFERENCE_MS = 1000;
/** A proxy probes the other replica again within this time, or sends it nothing: cloud load balancers probe every thirty seconds. */
const HOLDS_MS = 40_000;

const find = statement<Record<never, never>>()("sighting.find", (db) =>
  db.selectFrom("job_lease").select("expires_at").where("name", "=", ROW),
);
// A time ahead of all clocks was written before the database's clock was set back.
const note = statement<{ at: number; older: number; ahead: number }>()("sighting.note", (db, p) =>
  db
    .insertInto("job_lease")
    .values({ name: ROW, holder: "", fence: 0, expires_at: p.at })
    .onConflict((conflict) =>
      conflict
        .column("name")
        .doUpdateSet({ expires_at: p.at })
        .where(({ or, eb }) => or([eb("job_lease.expires_at", "<=", p.older), eb("job_lease.expires_at", ">", p.ahead)])),
    ),
);

/** Creates the store sightings. `onError` gets the error of a report that could not be written; the next report makes up for it. */
export function createStoreSightings(database: Database, clock: Clock, onError: (error: unknown) => void): StoreSightings {
  let notedAt = Number.NEGATIVE_INFINITY;
  return {
    async note(at) {
      if (Math.abs(at - notedAt) < NOTE_EVERY_MS) return;
      notedAt = at;
      try {
        // Changes nothing if another replica's report is as recent; losing it breaks no promise.
        await database.write(note, { at, older: at - NOTE_EVERY_MS, ahead: at + DIFFERENCE_MS }, { durable: false });
      } catch (error) {
        onError(error);
      }
    },
    async wasSeenSince(failedAt) {
      const row = await database.first(find, {});
      if (row === undefined) return false;
      const seenAt = Number(row.expires_at);
      const now = clock.now();
      return seenAt > failedAt + DIFFERENCE_MS && seenAt > now - HOLDS_MS && seenAt <= now + DIFFERENCE_MS;
    },
  };
}
