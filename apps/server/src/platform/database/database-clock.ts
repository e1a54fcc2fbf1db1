// The time by which all replicas of a registry agree: their database's. Each measures how far it is from the process's own steady time, and
// again every few seconds, so that asking for the time asks nobody. Not here: what is judged by it; SQLite, which has one process.
import { sql } from "kysely";
import type { Clock } from "../clock.ts";
import type { Database } from "./database.ts";
import { statement } from "./statement.ts";

/** The database's time. */
export interface DatabaseClock extends Clock {
  stop(): void;
}

/** Steady time runs off by some 50 ms in this time at the very worst (500 parts in a million), and a clock that was set is noticed in it. */
const MEASURE_EVERY_MS = 10_000;
/** A slower answer says too little of when the time was read: half of this is how far replicas may differ. */
const MAX_ANSWER_MS = 1000;
/** A machine whose own clock is further off has no working time service. */
const WARN_MS = 5000;

const readTime = statement<Record<never, never>>()<{ now: number }>("clock.read", (db) => ({
  compile: () => sql<{ now: number }>`select (extract(epoch from clock_timestamp()) * 1000)::bigint as now`.compile(db),
}));

/**
 * Reads PostgreSQL's time, and goes on from there by the process's own steady time; while the database is away, too. `onDifference` is told
 * how many milliseconds the machine's clock is ahead, where that is much, and again only when it has changed as much.
 */
export async function startDatabaseClock(database: Database, onDifference: (aheadMs: number) => void): Promise<DatabaseClock> {
  let offsetMs = Date.now() - performance.now();
  let toldMs = 0;

  async function measure(isFirst: boolean): Promise<void> {
    const askedAt = performance.now();
    const row = await database.first(readTime, {});
    const answeredAt = performance.now();
    if (row === undefined || (answeredAt - askedAt > MAX_ANSWER_MS && !isFirst)) return;
    offsetMs = Number(row.now) - (askedAt + answeredAt) / 2;
    const aheadMs = Date.now() - (offsetMs + performance.now());
    if (Math.abs(aheadMs - toldMs) < WARN_MS) return;
    toldMs = aheadMs;
    onDifference(aheadMs);
  }

  await measure(true);
  const timer = setInterval(() => {
    // The next measurement does it; whoever needs the database itself is told that it is away.
    measure(false).catch(() => undefined);
  }, MEASURE_EVERY_MS);
  timer.unref();
  return {
    now: () => Math.round(offsetMs + performance.now()),
    stop: () => clearInterval(timer),
  };
}
