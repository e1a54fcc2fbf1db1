// Finds jobs for as long as the process lives: takes what is ready, a project after the other, and gives work back that others have let go. Any
// number of processes may do so on one database. Not here: a job's run (job-runs.ts), the table (job-store.ts), the kinds.
import type { Clock } from "../platform/clock.ts";
import type { JobKind } from "./job-kinds.ts";
import { createJobRuns, LEASE_MS, type JobResult } from "./job-runs.ts";
import { createJobShares } from "./job-shares.ts";
import type { JobStore, TakenJob } from "./job-store.ts";
import { createJobTimetable } from "./job-timetables.ts";

/** What the runner needs. */
export interface JobRunnerParts {
  readonly store: JobStore;
  readonly kinds: readonly JobKind[];
  readonly clock: Clock;
  /** This process's name in the table. */
  readonly holder: string;
  /** Nobody else works on the database: what a process before this one had is free at once. */
  readonly isAlone: boolean;
  /** A job that failed for good, or something of the runner's own. */
  readonly onError: (error: unknown, job: TakenJob | undefined) => void;
  /** A job that ended, for metrics; seconds that the run took. */
  readonly onEnd?: (kind: string, result: JobResult, seconds: number) => void;
  /** How often what nobody told of is looked for; for tests. */
  readonly pollMs?: number;
  /** Shows runs in traces. */
  readonly traced?: (<T>(name: string, work: () => Promise<T>) => Promise<T>) | undefined;
  /** How long a run that was told to end is waited for; for tests. */
  readonly abandonMs?: number;
}

/** The runner. */
export interface JobRunner {
  /** Begins. A database that is away is tried again. */
  start(): void;
  /** Takes nothing more, has what runs end, and resolves when it has. */
  stop(): Promise<void>;
  /** There may be something to do. What transactions ask for it hears of by itself. */
  wake(): void;
}

/** What nobody told of is found within this time. */
const POLL_MS = 1_000;
/** What is due at nearly the same time is taken at once. */
const MIN_POLL_MS = 5;
/** Before every project, nobody's jobs, which have the number 0, among them. */
const FIRST = -1;
const MAX_POLL_MS = 60_000;
/** Ended jobs are forgotten, and those that repeat are looked for, this often. */
const FORGET_EVERY_MS = 60_000;

/** Makes the runner; nothing runs before `start`. */
export function createJobRunner(parts: JobRunnerParts): JobRunner {
  const { store, clock, holder, onError, onEnd, traced, abandonMs, pollMs = POLL_MS } = parts;
  const kinds = new Map(parts.kinds.map((kind) => [kind.kind, kind]));
  /** Of kinds that repeat. */
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

  /** Takes jobs of a kind for its free places: one project after the other, so that a long queue of one holds up nobody else's. */
  async function takeOf(kind: JobKind): Promise<void> {
    if (shares.isResting(kind)) return;
    let free = kind.concurrency - (countOf.get(kind.kind) ?? 0);
    let after = turns.get(kind.kind) ?? FIRST;
    let tookSinceStart = true;
    while (free > 0 && !isStopping) {
      const now = clock.now();
      const job = await store.take(kind.kind, after, { holder, until: now + LEASE_MS, now });
      if (job === undefined) {
        // Round the circle again as long as it gives something.
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

  /** What processes that died or hang had. */
  async function giveBackExpired(): Promise<void> {
    const now = clock.now();
    for (const job of await store.listExpired(now)) {
      const kind = kinds.get(job.kind);
      // A kind of another version: its own processes look after it.
      if (kind === undefined) continue;
      await runs.giveBack(kind, job, new Error("the process that had it died, hung, or was cut off"), now);
    }
  }

  /** Does what there is to do, and gives for how long there is nothing. Where there is nothing, that is one look-up. */
  async function cycle(): Promise<number> {
    wasWoken = false;
    const now = clock.now();
    for (const kind of notified) {
      // Before the look: what is notified meanwhile needs another one.
      notified.delete(kind);
      await store.awaken(kind, now).catch((error: unknown) => {
        notified.add(kind);
        throw error;
      });
    }
    if (performance.now() - forgotAt > FORGET_EVERY_MS) {
      forgotAt = performance.now();
      while ((await store.forget(now)) > 0 && !isStopping);
      // Again: somebody may have taken one away.
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
    // Once: later they are this process's own.
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
        // The table may be made anew before the next try: a database that was taken back and comes up again has lost its jobs.
        isPrepared = false;
        // A database that is away for an hour fills no log.
        failedMs = Math.min(failedMs * 2, MAX_POLL_MS);
        wasWoken = false;
        await rest(failedMs);
      }
    }
  }

  /** A kind's topic was notified: a run that is under way is followed by another one, and one that waits begins. */
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
