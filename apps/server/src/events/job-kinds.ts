// What a kind of job is: how it is run, retried and repeated; and what a running job may ask for. Not here: the table of jobs (job-store.ts),
// who runs them and when (job-runner.ts), the kinds themselves (compose/jobs.ts).
import type { Executor } from "../platform/database/database.ts";

/** How a failed job is tried again. */
export interface RetryPolicy {
  /** Attempts in all; after the last one the job counts as failed, and stays to be seen. */
  readonly attempts: number;
  /** The delay before the second attempt; it doubles with each, up to the most, and half of it is chance. */
  readonly firstDelayMs: number;
  readonly maxDelayMs: number;
}

/**
 * When a kind repeats by itself: one job of it is always there, for the whole registry, or one for each of its subjects. What was missed while
 * nobody ran is made up once.
 */
export type JobSchedule = (IntervalSchedule | CalendarSchedule) & {
  /** So many jobs of the same work may run at once, in as many processes. One job with an empty subject where it is not given. */
  readonly subjects?: readonly string[];
  /** Up to so much later, by chance, so that kinds and registries do not run in step. */
  readonly jitterMs: number;
};

/** Again and again. A run that fails is tried again for ever. */
interface IntervalSchedule {
  /** From the end of one run to the beginning of the next. */
  readonly everyMs: number;
}

/** At times of the calendar. A run whose attempts all fail is followed by the next time's. */
interface CalendarSchedule {
  /** Five fields (cron.ts). */
  readonly cron: string;
  /** By whose clocks, as `Europe/Berlin`. */
  readonly timeZone: string;
}

/** One kind of job. */
export interface JobKind {
  /** Its name in the table and in metrics. */
  readonly kind: string;
  /** Jobs of it that one process runs at once. */
  readonly concurrency: number;
  /** A run that takes longer is told to end, and counts as failed. */
  readonly timeoutMs: number;
  readonly retry: RetryPolicy;
  readonly schedule?: JobSchedule;
  /**
   * Of a kind that repeats: its job runs at once after commits that notified this topic, beside its schedule. A message may get lost with a
   * process or a connection, so that the schedule is still needed; a job that failed keeps to its delays.
   */
  readonly topic?: string;
  /**
   * For work that all processes share, each with a bounded part of its time: after a run that says `more` this process takes no job of any kind
   * that names the same share for a while, and other processes may take the job at once. Without it, the job itself rests.
   */
  readonly share?: string;
  /** The heavy part of the work, in a thread of its own, before `run`. */
  readonly thread?: JobThread;
  /** Does the work, with what the thread gave where there is one. What it throws is kept as the job's error. */
  run(job: RunningJob, fromThread?: unknown): Promise<JobOutcome | void>;
}

/**
 * Work that computes for seconds or reads large inputs. It has no database: it gives a result, and `run` writes it down. A thread that dies, or
 * wants more memory, costs the job one attempt and nobody else anything.
 */
export interface JobThread {
  /** A file that exports `run`, a `ThreadWork`. */
  readonly module: URL;
  /** Of JavaScript's heap; buffers count apart. */
  readonly memoryMb: number;
}

/** A thread's work. What it gives is copied, so that it holds no functions. */
export type ThreadWork = (job: Omit<RunningJob, "holdIn" | "endIn">) => Promise<unknown>;

/** What a run may say besides that it ended: `more` runs the job again soon, after other jobs ran. */
export type JobOutcome = "more";

/** A job that runs. */
export interface RunningJob {
  readonly id: number;
  readonly subject: string;
  /** 0: no project's. */
  readonly projectId: number;
  readonly payload: unknown;
  /** 1 for the first. */
  readonly attempt: number;
  /** Aborted when the job is cancelled, has run too long, was given to another process, or when this process stops. */
  readonly signal: AbortSignal;
  /** How far it is. Written with the next renewal of the lease, a few seconds later at most. */
  report(done: number, total: number | undefined): void;
  /** A line for whoever looks at the job; the newest are kept. */
  log(line: string): void;
  /**
   * Inside a transaction of the job: throws where another process has the job by now, so that a run that was held still cannot write over
   * its successor's work.
   */
  holdIn(tx: Executor): Promise<void>;
  /**
   * Ends the job in a transaction of its work, so that the work is done exactly once, wherever the process ends; throws as `holdIn` does. Not for
   * kinds that repeat.
   */
  endIn(tx: Executor): Promise<void>;
}

/** A job to be done. */
export interface NewJob {
  readonly kind: string;
  /** What it is about. While one of the kind with this subject waits, asking for another changes nothing but when it is due. */
  readonly subject: string;
  /** The project whose share of the workers it uses; 0 for none. */
  readonly projectId?: number;
  /** Lower ones first, within a project. 100 where it is not given. */
  readonly priority?: number;
  /** Kept as JSON. */
  readonly payload?: unknown;
  /** Not before then; now where it is not given. */
  readonly dueAt?: number;
}

/** The state of a job. `waiting`: until it is due. `ready`: until a process takes it. */
export type JobState = "waiting" | "ready" | "running" | "succeeded" | "failed" | "cancelled";

/** Thrown by `holdIn`: the run is no longer the job's. */
export class JobLostError extends Error {
  override readonly name = "JobLostError";
  constructor(id: number) {
    super(`job ${id} was given to another process, or cancelled`);
  }
}
