// Runners of jobs for tests. Not here: the tests (jobs.test.ts, job-runs.test.ts, job-thread.test.ts).
import { setTimeout as sleep } from "node:timers/promises";
import type { Clock } from "../platform/clock.ts";
import type { Database } from "../platform/database/database.ts";
import { withTopics } from "../platform/database/topics.ts";
import type { JobKind } from "./job-kinds.ts";
import { createJobRunner, type JobRunner } from "./job-runner.ts";
import { createJobStore } from "./job-store.ts";

/** Three attempts, at most one and two seconds apart. */
export const RETRY = { attempts: 3, firstDelayMs: 1000, maxDelayMs: 60_000 };

/** A kind with two jobs at once and three attempts. */
export function kindOf(kind: string, run: JobKind["run"], more: Partial<JobKind> = {}): JobKind {
  return { kind, concurrency: 2, timeoutMs: 60_000, retry: RETRY, run, ...more };
}

/** A runner with the errors and results that it reported. */
export interface Site {
  readonly runner: JobRunner;
  readonly ends: string[];
  readonly errors: string[];
}

/** Creates a runner on a database. */
export function runnerOf(
  database: Database,
  clock: Clock,
  kinds: readonly JobKind[],
  options: { holder?: string; isAlone?: boolean; pollMs?: number; abandonMs?: number } = {},
): Site {
  const ends: string[] = [];
  const errors: string[] = [];
  const runner = createJobRunner({
    store: createJobStore(database),
    kinds,
    clock,
    holder: options.holder ?? "one",
    isAlone: options.isAlone ?? false,
    ...(options.pollMs === undefined ? {} : { pollMs: options.pollMs }),
    ...(options.abandonMs === undefined ? {} : { abandonMs: options.abandonMs }),
    onError: (error) => errors.push((error as Error).message),
    onEnd: (kind, result) => ends.push(`${kind} ${result}`),
  });
  return { runner, ends, errors };
}

/** Waits until a condition holds: jobs take their own time. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await sleep(5);
}

/** A test's database with topics. Its `close` ends the connection that listens, and leaves the database to the test. */
export function withTopicsForTest(database: Database, onError: (error: unknown) => void): Database {
  return withTopics({ ...database, close: async () => undefined }, onError);
}
