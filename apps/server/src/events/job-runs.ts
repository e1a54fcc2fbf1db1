// The jobs that this process runs: each with its timeout, its lease renewed, its progress stored, and its result recorded. Not here: which
// jobs are taken and when (job-runner.ts), the table (job-store.ts), running one in a thread (job-thread.ts).
import type { Clock } from "../platform/clock.ts";
import { JobDelayedError, JobLostError, type JobKind, type RetryPolicy, type RunningJob } from "./job-kinds.ts";
import type { JobStore, TakenJob } from "./job-store.ts";
import { runInThread } from "./job-thread.ts";
import type { JobTimetable } from "./job-timetables.ts";

/** The results of a run. `retried`: it is tried again. `lost`: another process has the job. */
export const JOB_RESULTS = ["succeeded", "failed", "retried", "cancelled", "lost"] as const;
export type JobResult = (typeof JOB_RESULTS)[number];

/** A holder that does not renew for this long loses its jobs. */
export const LEASE_MS = 30_000;
const RENEW_EVERY_MS = 10_000;
/** A job that says that there is more rests this many times as long as it took; or the process does, from all of its share. */
const REST_FACTOR = 3;
/** The pause before a run that its topic requested during the last one: frequent notices are handled together. */
const TOPIC_REST_MS = 100;
/** An aborted run that continues for this long is abandoned: the job, and its slot in this process, go on without it. */
const ABANDON_MS = 10_000;

const STOPPED = "the process stops";
const LOST = "given to another process";
const CANCELLED = "cancelled";

/** The parts that runs need. */
export interface JobRunsParts {
  readonly store: JobStore;
  readonly clock: Clock;
  readonly timetableOf: (kind: string) => JobTimetable | undefined;
  /** Called for a job that failed for good, or for an error of the runs themselves. */
  readonly onError: (error: unknown, job: TakenJob | undefined) => void;
  /** Called for each job that ended, for metrics, with the duration in seconds. */
  readonly onEnd?: ((kind: string, result: JobResult, seconds: number) => void) | undefined;
  /** Adds runs to traces. */
  readonly traced?: (<T>(name: string, work: () => Promise<T>) => Promise<T>) | undefined;
  /** Set by tests. */
  readonly abandonMs?: number | undefined;
}

/** The runs of this process. */
export interface JobRuns {
  /** Runs a job; it resolves, and never rejects, when what became of it is written, with how many ms this process is to take no more of the kind's share. */
  run(kind: JobKind, job: TakenJob): Promise<number>;
  /** Whether a run of the kind is in progress that began before this call: another one follows soon. */
  followUp(kind: string): boolean;
  /** Starts to renew leases. */
  start(): void;
  /** Checks at once which jobs were cancelled. */
  look(): void;
  /** Aborts running jobs, and resolves when they have ended. */
  stop(): Promise<void>;
  /** Records that an attempt failed: another one follows, or it was the last. */
  giveBack(kind: JobKind, job: TakenJob, error: unknown, now: number): Promise<"failed" | "retried" | "lost">;
}

interface Run {
  readonly job: TakenJob;
  readonly abort: AbortController;
  progress: { done?: number; total?: number };
  /** The job's end is part of a transaction of its work. */
  hasEnded: boolean;
  /** Its topic was notified after it began. */
  hasMore: boolean;
}

interface Ending {
  readonly outcome: "more" | undefined;
  readonly failure: unknown;
  readonly tookMs: number;
}

/** Creates the job runs; nothing is renewed before `start`. */
export function createJobRuns(parts: JobRunsParts): JobRuns {
  const { store, clock, timetableOf, onError, onEnd, traced, abandonMs = ABANDON_MS } = parts;
  const running = new Map<number, Run>();
  const ends = new Set<Promise<unknown>>();
  let renewing: NodeJS.Timeout | undefined;
  let looking: Promise<void> | undefined;

  function viewOf(run: Run, lines: Promise<void>[]): RunningJob {
    const { job, abort } = run;
    return {
      id: job.id,
      subject: job.subject,
      projectId: job.projectId,
      payload: JSON.parse(job.payload) as unknown,
      attempt: job.attempt,
      signal: abort.signal,
      report(done, total) {
        run.progress = total === undefined ? { done } : { done, total };
      },
      log(line) {
        lines.push(store.addLine(job, line, clock.now()).catch((error: unknown) => onError(error, job)));
      },
      async holdIn(tx) {
        if (!(await store.holds(tx, job))) throw new JobLostError(job.id);
      },
      async endIn(tx) {
        if (!(await store.endIn(tx, job, clock.now()))) throw new JobLostError(job.id);
        run.hasEnded = true;
      },
    };
  }

  async function work(kind: JobKind, view: RunningJob): Promise<"more" | undefined> {
    const fromThread = kind.thread === undefined ? undefined : await runInThread(kind.thread, view);
    return (await kind.run(view, fromThread)) ?? undefined;
  }

  async function runOne(kind: JobKind, job: TakenJob): Promise<number> {
    const abort = new AbortController();
    const run: Run = { job, abort, progress: {}, hasEnded: false, hasMore: false };
    running.set(job.id, run);
    const startedAt = performance.now();
    const timer = setTimeout(() => abort.abort(new Error(`it took longer than ${kind.timeoutMs} ms`)), kind.timeoutMs);
    const limit = abandoned(abort.signal, abandonMs);
    const lines: Promise<void>[] = [];
    let outcome: "more" | undefined;
    let failure: unknown;
    try {
      const view = viewOf(run, lines);
      const begin = (): Promise<"more" | undefined> => work(kind, view);
      const whole = traced === undefined ? begin() : traced(`job ${kind.kind}`, begin);
      outcome = await Promise.race([whole, limit.promise]);
    } catch (error) {
      failure = error ?? new Error("it failed without an error");
    } finally {
      clearTimeout(timer);
      limit.clear();
      await Promise.all(lines);
    }
    const tookMs = performance.now() - startedAt;
    const result = await recordResult(kind, run, { outcome, failure, tookMs });
    onEnd?.(kind.kind, result, tookMs / 1000);
    return kind.share !== undefined && outcome === "more" ? tookMs * REST_FACTOR : 0;
  }

  /** Records the result of a run. */
  async function recordResult(kind: JobKind, run: Run, { outcome, failure, tookMs }: Ending): Promise<JobResult> {
    const { job, abort } = run;
    const { signal } = abort;
    const now = clock.now();
    if (run.hasEnded && failure === undefined) return "succeeded";
    if (signal.reason === LOST || failure instanceof JobLostError) return "lost";
    if (signal.reason === CANCELLED && kind.schedule === undefined) {
      return (await store.end(job, "cancelled", undefined, now)) ? "cancelled" : "lost";
    }
    const isCutShort = failure !== undefined && signal.aborted && (signal.reason === STOPPED || signal.reason === CANCELLED);
    if (failure === undefined || isCutShort) {
      // A run that was cut short by the end of the process starts again without delay, and counts as no attempt; a cancelled repeating job
      // runs at its next time.
      const isBegunAgain = isCutShort && signal.reason === STOPPED;
      const next = isBegunAgain ? now : nextOf(kind, run, outcome, now, tookMs);
      if (next !== undefined && (await store.putBack(job, next, isBegunAgain ? job.attempt - 1 : 0, undefined))) {
        return isBegunAgain ? "retried" : isCutShort ? "cancelled" : "succeeded";
      }
      return (await store.end(job, "succeeded", undefined, now)) ? "succeeded" : "lost";
    }
    const error = signal.aborted && signal.reason instanceof Error ? signal.reason : failure;
    return giveBack(kind, job, error, now);
  }

  /** When the job runs next, if it does. */
  function nextOf(kind: JobKind, run: Run, outcome: "more" | undefined, now: number, tookMs: number): number | undefined {
    if (run.hasMore) return now + TOPIC_REST_MS;
    // A job that always reports more uses at most a quarter of any resource, whatever is slow.
    if (outcome === "more") return kind.share === undefined ? now + Math.ceil(tookMs * REST_FACTOR) : now;
    return timetableOf(kind.kind)?.next(now);
  }

  async function giveBack(kind: JobKind, job: TakenJob, error: unknown, now: number): Promise<"failed" | "retried" | "lost"> {
    const text = error instanceof Error ? error.message : String(error);
    const { schedule, retry } = kind;
    if (error instanceof JobDelayedError && !error.isAttempt)
      return (await store.putBack(job, now + error.delayMs, job.attempt - 1, text)) ? "retried" : "lost";
    const isLast = job.attempt >= retry.attempts;
    // A repeating job never ends: it is retried for ever, or runs at its next time.
    if (isLast && schedule !== undefined && "cron" in schedule) {
      if (!(await store.putBack(job, timetableOf(kind.kind)!.next(now), 0, text))) return "lost";
      onError(error, job);
      return "failed";
    }
    if (!isLast || schedule !== undefined) {
      if (schedule !== undefined) onError(error, job);
      if (await store.putBack(job, now + delayOf(retry, job.attempt, error), job.attempt, text)) return "retried";
    }
    if (!(await endFailed(store, kind, job, { error: text, now }))) return "lost";
    onError(error, job);
    return "failed";
  }

  async function renewAll(): Promise<void> {
    for (const { job, abort, progress } of running.values()) {
      try {
        const state = await store.renew(job, clock.now() + LEASE_MS, progress);
        if (state === "lost") abort.abort(LOST);
        else if (state === "cancelled") abort.abort(CANCELLED);
      } catch (error) {
        onError(error, job);
      }
    }
  }

  function scheduleRenewal(): void {
    renewing = setTimeout(() => {
      void renewAll().finally(() => {
        if (renewing !== undefined) scheduleRenewal();
      });
    }, RENEW_EVERY_MS);
  }

  return {
    giveBack,
    run(kind, job) {
      const end = runOne(kind, job)
        .catch((error: unknown) => {
          onError(error, job);
          return 0;
        })
        .finally(() => {
          ends.delete(end);
          running.delete(job.id);
        });
      ends.add(end);
      return end;
    },
    followUp(kind) {
      let isRunning = false;
      for (const run of running.values()) {
        if (run.job.kind !== kind) continue;
        run.hasMore = true;
        isRunning = true;
      }
      return isRunning;
    },
    start: scheduleRenewal,
    look() {
      // One check covers any number of cancelled jobs; a job that is cancelled during a check needs another.
      if (running.size > 0) looking = (looking ?? Promise.resolve()).then(renewAll);
    },
    async stop() {
      for (const { abort } of running.values()) abort.abort(STOPPED);
      await Promise.all([...ends, looking]);
      clearTimeout(renewing);
      renewing = undefined;
    },
  };
}

/** Twice as long each time, half of it by chance; not less than what the error asks for. */
function delayOf({ firstDelayMs, maxDelayMs }: RetryPolicy, attempt: number, error: unknown): number {
  const most = Math.min(maxDelayMs, firstDelayMs * 2 ** Math.min(attempt - 1, 30));
  const askedMs = error instanceof JobDelayedError ? error.delayMs : 0;
  return Math.ceil(Math.max(most / 2 + Math.random() * (most / 2), askedMs));
}

/** Rejects when a run was aborted long ago and has not ended: nobody can end it, but the job can go on without it. */
function abandoned(signal: AbortSignal, abandonMs: number): { readonly promise: Promise<never>; readonly clear: () => void } {
  const { promise, reject } = Promise.withResolvers<never>();
  // It is raced against the run, which may end first.
  promise.catch(() => undefined);
  let timer: NodeJS.Timeout | undefined;
  signal.addEventListener("abort", () => {
    timer = setTimeout(() => reject(new Error("it did not end when it was told to")), abandonMs);
  });
  return { promise, clear: () => clearTimeout(timer) };
}

/** Ends a job of which no attempt is left, with what its kind writes about that. */
function endFailed(
  store: JobStore,
  { failIn }: JobKind,
  job: TakenJob,
  { error, now }: { readonly error: string; readonly now: number },
): Promise<boolean> {
  if (failIn === undefined) return store.end(job, "failed", error, now);
  const { subject, payload } = job;
  return store.failWith(job, error, now, (tx) => failIn(tx, { subject, payload: JSON.parse(payload) as unknown }));
}
