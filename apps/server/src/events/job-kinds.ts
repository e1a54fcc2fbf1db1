// Kinds of jobs: how one runs, is retried and repeated; and the interface of a running job. Not here: the table of jobs (job-store.ts), the
// runner (job-runner.ts), the kinds themselves (compose/jobs.ts).
import type { Executor } from "../platform/database/database.ts";

/** How a failed job is retried. */
export interface RetryPolicy {
  /** The number of attempts; after the last one the job counts as failed, and is kept to be seen. */
  readonly attempts: number;
  /** The delay before the second attempt; it doubles with each, up to a maximum, and half of it is random. */
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
  /** A random delay of up to this much, so that kinds and registries do not run in step. */
  readonly jitterMs: number;
};

/** At an interval. A failed run is retried for ever. */
interface IntervalSchedule {
  /** From the end of one run to the beginning of the next. */
  readonly everyMs: number;
}

/** At times of a calendar. If all attempts of a run fail, the next one is that of the next time. */
interface CalendarSchedule {
  /** Five fields (cron.ts). */
  readonly cron: string;
  /** The time zone, such as `Europe/Berlin`. */
  readonly timeZone: string;
}

/** One kind of job. */
export interface JobKind {
  /** Its name in the table and in metrics. */
  readonly kind: string;
  /** The most jobs of it that one process runs at once. */
  readonly concurrency: number;
  /** A run that takes longer is aborted, and counts as failed. */
  readonly timeoutMs: number;
  readonly retry: RetryPolicy;
  readonly schedule?: JobSchedule;
  /**
   * Of a repeating kind: its job also runs at once after commits that notified this topic. A notice may be lost with a process or a
   * connection, so the schedule is still needed; a failed job keeps its delays.
   */
  readonly topic?: string;
  /**
   * For work that all processes share, each with a bounded part of its time: after a run that says `more` this process takes no job of any kind
   * that names the same share for a while, and other processes may take the job at once. Without it, the job itself rests.
   */
  readonly share?: string;
  /** The heavy part of the work, which runs in a thread before `run`. */
  readonly thread?: JobThread;
  /**
   * Writes down what it means that all attempts failed, in the transaction that ends the job; also where the last one ended with its process. Not for
   * kinds that repeat.
   */
  readonly failIn?: (tx: Executor, job: Pick<RunningJob, "subject" | "payload">) => Promise<void>;
  /** Does the work, with the thread's result if there is one. An error that it throws is kept as the job's error. */
  run(job: RunningJob, fromThread?: unknown): Promise<JobOutcome | void>;
}

/**
 * Work that computes for seconds or reads large inputs. It has no database: it returns a result, and `run` stores it. A thread that dies,
 * or needs more memory, costs the job one attempt and affects nothing else.
 */
export interface JobThread {
  /** A file that exports `run`, a `ThreadWork`. */
  readonly module: URL;
  /** The limit of JavaScript's heap; buffers count separately. */
  readonly memoryMb: number;
}

/** A thread's work. Its result is copied, so it must hold no functions. */
export type ThreadWork = (job: Omit<RunningJob, "holdIn" | "endIn">) => Promise<unknown>;

/** The result of a run besides its end: `more` runs the job again soon, after other jobs. */
export type JobOutcome = "more";

/** A running job. */
export interface RunningJob {
  readonly id: number;
  readonly subject: string;
  /** 0: no project. */
  readonly projectId: number;
  readonly payload: unknown;
  /** 1 for the first. */
  readonly attempt: number;
  /** Aborted when the job is cancelled, has run too long, was given to another process, or when this process stops. */
  readonly signal: AbortSignal;
  /** Sets the progress. It is written with the next renewal of the lease, a few seconds later at most. */
  report(done: number, total: number | undefined): void;
  /** Adds a line to the job's log; the newest are kept. */
  log(line: string): void;
  /**
   * Inside a transaction of the job: throws if another process has the job by now, so that a paused run cannot overwrite its successor's
   * work.
   */
  holdIn(tx: Executor): Promise<void>;
  /**
   * Ends the job in a transaction of its work, so that the work is done exactly once, wherever the process ends; throws as `holdIn` does.
   * Not for repeating kinds.
   */
  endIn(tx: Executor): Promise<void>;
}

/** A job to be created. */
export interface NewJob {
  readonly kind: string;
  /** What it works on. While a job of the kind with this subject waits, creating another only changes when it is due. */
  readonly subject: string;
  /** The project whose share of the workers it uses; 0 for none. */
  readonly projectId?: number;
  /** Lower numbers run first, within a project. 100 if it is not given. */
  readonly priority?: number;
  /** Kept as JSON. */
  readonly payload?: unknown;
  /** The earliest time; now if it is not given. */
  readonly dueAt?: number;
}

/** The state of a job. `waiting`: until it is due. `ready`: until a process takes it. */
export type JobState = "waiting" | "ready" | "running" | "succeeded" | "failed" | "cancelled";

/** Thrown by a run that knows when it should be tried again: what it waits for said so. */
export class JobDelayedError extends Error {
  override readonly name = "JobDelayedError";
  readonly delayMs: number;
  /** Whether it was an attempt. */
  readonly isAttempt: boolean;

  constructor(message: string, delayMs: number, isAttempt: boolean) {
    super(message);
    this.delayMs = Math.ceil(delayMs);
    this.isAttempt = isAttempt;
  }
}

/** Thrown by `holdIn`: the run no longer holds the job. */
export class JobLostError extends Error {
  override readonly name = "JobLostError";
  constructor(id: number) {
    super(`job ${id} was given to another process, or cancelled`);
  }
}
