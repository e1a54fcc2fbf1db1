// The time that all replicas of a registry share: their database's. Each replica measures the offset of its own steady clock every few
// seconds, so that reading the time needs no query. Not here: what is decided by it; SQLite, which has one process.
import { sql } from "kysely";
import type { Clock } from "../clock.ts";
import type { Database } from "./database.ts";
import { statement } from "./statement.ts";

/** The database's time. */
export interface DatabaseClock extends Clock {
  stop(): void;
}

/** In this time steady clocks drift by some 50 ms at worst (500 parts in a million), and a clock that was set is noticed. */
const MEASURE_EVERY_MS = 10_000;
/** A slower answer does not say exactly enough when the time was read: replicas may differ by half of this. */
const MAX_ANSWER_MS = 1000;
/** A machine whose clock is off by more has no working time service. */
const WARN_MS = 5000;

const readTime = statement<Record<never, never>>()<{ now: number }>("clock.read", (db) => ({
  compile: () => sql<{ now: number }>`select (extract(epoch from clock_timestamp()) * 1000)::bigint as now`.compile(db),
}));

/**
 * Reads PostgreSQL's time and continues from there with the process's own steady clock, also while the database is unreachable.
 * `onDifference` gets the number of milliseconds by which the machine's clock is ahead when that is much, and again only after it has
 * changed by as much.
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
    // The next measurement corrects it; callers that need the database itself see that it is unreachable.
    measure(false).catch(() => undefined);
  }, MEASURE_EVERY_MS);
  timer.unref();
  return {
    now: () => Math.round(offsetMs + performance.now()),
    stop: () => clearInterval(timer),
  };
}
