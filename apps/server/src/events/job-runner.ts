// Runs jobs as long as the process lives: takes ready ones, one project after the other, and makes jobs ready again whose holder lost them.
// Any number of processes may do so on one database. Not here: a job's run (job-runs.ts), the table (job-store.ts), the kinds.
import type { Clock } from "../platform/clock.ts";
import type { JobKind } from "./job-kinds.ts";
import { createJobRuns, LEASE_MS, type JobResult } from "./job-runs.ts";
import { createJobShares } from "./job-shares.ts";
import type { JobStore, TakenJob } from "./job-store.ts";
import { createJobTimetable } from "./job-timetables.ts";

/** The parts that the runner needs. */
export interface JobRunnerParts {
  readonly store: JobStore;
  readonly kinds: readonly JobKind[];
  readonly clock: Clock;
  /** This process's name in the table. */
  readonly holder: string;
  /** No other process uses the database, so jobs of an earlier process are free at once. */
  readonly isAlone: boolean;
  /** Called for a job that failed for good, or for an error of the runner itself. */
  readonly onError: (error: unknown, job: TakenJob | undefined) => void;
  /** Called for each job that ended, for metrics, with the duration in seconds. */
  readonly onEnd?: (kind: string, result: JobResult, seconds: number) => void;
  /** The polling interval for missed notices; set by tests. */
  readonly pollMs?: number;
  /** Adds runs to traces. */
  readonly traced?: (<T>(name: string, work: () => Promise<T>) => Promise<T>) | undefined;
  /** How long an aborted run is waited for; set by tests. */
  readonly abandonMs?: number;
}

/** The runner. */
export interface JobRunner {
  /** Starts. If the database is unreachable, it tries again. */
  start(): void;
  /** Takes no more jobs, aborts the running ones, and resolves when they have ended. */
  stop(): Promise<void>;
  /** Looks for work now. Requests made in transactions are noticed without it. */
  wake(): void;
}

/** Work without a notice is found within this time. */
const POLL_MS = 1_000;
/** Jobs that are due at nearly the same time are taken together. */
const MIN_POLL_MS = 5;
/** Sorts before every project, including 0, which stands for no project. */
const FIRST = -1;
const MAX_POLL_MS = 60_000;
/** How often ended jobs are deleted and missing repeating ones created. */
const FORGET_EVERY_MS = 60_000;

/** Creates the runner; nothing runs before `start`. */
export function createJobRunner(parts: JobRunnerParts): JobRunner {
  const { store, clock, holder, onError, onEnd, traced, abandonMs, pollMs = POLL_MS } = parts;
  const kinds = new Map(parts.kinds.map((kind) => [kind.kind, kind]));
  /** The timetables of repeating kinds. */
  const timetables = new Map(
    parts.kinds.flatMap(({ kind, schedule }) => (schedule === undefined ? [] : [[kind, createJobTimetable(schedule)] as const])),
  );
  const runs = createJobRuns({ store, clock, timetableOf: (kind) => timetables.get(kind), onError, onEnd, traced, abandonMs });
  const countOf = new Map<string, number>();
  /** The project that was served last, for each kind. */
  const turns = new Map<string, number>();
  const shares = createJobShares();
  /** Kinds whose topics were notified while none of them ran here. */
  const notified = new Set<string>();
  const unsubscribe: (() => void)[] = [];
  let isStopping = false;
  let looping: Promise<void> | undefined;
  let wakeUp: (() => void) | undefined;
  let wasWoken = false;
  let forgotAt = -Infinity;

  function wake(): void {
    wasWoken = true;
    wakeUp?.();
  }

  async function rest(ms: number): Promise<void> {
    if (wasWoken || isStopping) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      wakeUp = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    wakeUp = undefined;
  }

  /** Takes jobs of a kind for its free slots: one project after the other, so that a project's long queue does not delay the others. */
  async function takeOf(kind: JobKind): Promise<void> {
    if (shares.isResting(kind)) return;
    let free = kind.concurrency - (countOf.get(kind.kind) ?? 0);
    let after = turns.get(kind.kind) ?? FIRST;
    let tookSinceStart = true;
    while (free > 0 && !isStopping) {
      const now = clock.now();
      const job = await store.take(kind.kind, after, { holder, until: now + LEASE_MS, now });
      if (job === undefined) {
        // Starts the circle of projects again as long as jobs were taken.
        if (after === FIRST || !tookSinceStart) return;
        after = FIRST;
        tookSinceStart = false;
        continue;
      }
      begin(kind, job);
      tookSinceStart = true;
      free--;
      after = job.projectId;
      turns.set(kind.kind, after);
    }
  }

  function begin(kind: JobKind, job: TakenJob): void {
    countOf.set(kind.kind, (countOf.get(kind.kind) ?? 0) + 1);
    void runs.run(kind, job).then((restMs) => {
      shares.rest(kind, restMs);
      countOf.set(kind.kind, countOf.get(kind.kind)! - 1);
      wake();
    });
  }

  /** Returns the jobs of processes that died or hang. */
  async function giveBackExpired(): Promise<void> {
    const now = clock.now();
    for (const job of await store.listExpired(now)) {
      const kind = kinds.get(job.kind);
      // A kind of another version: its own processes handle it.
      if (kind === undefined) continue;
      await runs.giveBack(kind, job, new Error("the process that had it died, hung, or was cut off"), now);
    }
  }

  /** Does the work that is ready, and returns how long there is none. If there is none, that is one look-up. */
  async function cycle(): Promise<number> {
    wasWoken = false;
    const now = clock.now();
    for (const kind of notified) {
      // Deleted before the look-up: a notice during it needs another one.
      notified.delete(kind);
      await store.awaken(kind, now).catch((error: unknown) => {
        notified.add(kind);
        throw error;
      });
    }
    if (performance.now() - forgotAt > FORGET_EVERY_MS) {
      forgotAt = performance.now();
      while ((await store.forget(now)) > 0 && !isStopping);
      // Checked again, because another process may have deleted one.
      await ensureRepeating(now);
    }
    const { readyAt, waitingUntil = Infinity, leasedUntil = Infinity } = await store.outlook();
    if (leasedUntil <= now) await giveBackExpired();
    let promoted = 0;
    if (waitingUntil <= now) {
      promoted = await store.promote(now);
      wasWoken ||= promoted > 0;
    }
    if (readyAt !== undefined || promoted > 0) for (const kind of kinds.values()) await takeOf(kind);
    const nextAt = waitingUntil > now ? waitingUntil : Infinity;
    return Math.min(Math.max(Math.min(nextAt - clock.now(), shares.untilNext()), MIN_POLL_MS), pollMs);
  }

  /** The jobs of each kind that repeats: made where they are not there, and not later than its timetable, which may have changed, has them. */
  async function ensureRepeating(now: number): Promise<void> {
    for (const [kind, { first, next, jitterMs }] of timetables) {
      for (const subject of kinds.get(kind)?.schedule?.subjects ?? [""]) {
        await store.ensureRepeating({ kind, subject, dueAt: first(now), latest: next(now) + jitterMs }, now);
      }
    }
  }

  let [isPrepared, hasEndedLeases] = [false, false];
  async function prepare(): Promise<void> {
    const now = clock.now();
    // Only once: later leases are this process's own.
    if (parts.isAlone && !hasEndedLeases) await store.endLeases(now);
    hasEndedLeases = true;
    await ensureRepeating(now);
    isPrepared = true;
  }

  async function loop(): Promise<void> {
    let failedMs = POLL_MS;
    while (!isStopping) {
      try {
        if (!isPrepared) await prepare();
        const idleMs = await cycle();
        failedMs = POLL_MS;
        await rest(idleMs);
      } catch (error) {
        onError(error, undefined);
        // The table may be created anew before the next try: a database that was migrated back and forward has lost its jobs.
        isPrepared = false;
        // A database that is unreachable for an hour must not fill the log.
        failedMs = Math.min(failedMs * 2, MAX_POLL_MS);
        wasWoken = false;
        await rest(failedMs);
      }
    }
  }

  /** A kind's topic was notified: a running job is followed by another run, and a waiting one starts. */
  function hear(kind: string): void {
    if (runs.followUp(kind)) return;
    notified.add(kind);
    wake();
  }

  return {
    wake,
    start() {
      if (looping !== undefined) return;
      unsubscribe.push(store.onAsked(wake), store.onCancelled(runs.look));
      for (const { kind, topic } of kinds.values()) if (topic !== undefined) unsubscribe.push(store.onTopic(topic, () => hear(kind)));
      runs.start();
      looping = loop();
    },
    async stop() {
      isStopping = true;
      for (const end of unsubscribe) end();
      wake();
      await looping;
      await runs.stop();
    },
  };
}
