// The table of jobs: they are requested, taken under a lease, renewed, ended, and deleted after a while.
// Not here: the statements (job-statements.ts), running them (job-runner.ts).
import { type Executor, ON_FULL_DISK, type Database } from "../platform/database/database.ts";
import type { JobState, NewJob } from "./job-kinds.ts";
import {
  addLine,
  awaken,
  bringForward,
  cancelOpen,
  cancelRunning,
  countFailed,
  dropLines,
  end,
  endLeases,
  find,
  findOpen,
  findRunning,
  forget,
  hold,
  listExpired,
  listLines,
  outlook,
  promote,
  put,
  putBack,
  putMany,
  renew,
  retry,
  take,
} from "./job-statements.ts";

const USUAL_PRIORITY = 100;
/** Errors and lines longer than this are cut: they are for people. */
const MAX_TEXT = 2000;
/** How long an ended job is kept to be seen. */
const KEPT_MS: Readonly<Record<"succeeded" | "failed" | "cancelled", number>> = {
  succeeded: 24 * 3_600_000,
  failed: 30 * 24 * 3_600_000,
  cancelled: 7 * 24 * 3_600_000,
};

/** A job that was taken: its holder knows its fence. */
export interface TakenJob {
  readonly id: number;
  readonly kind: string;
  readonly subject: string;
  readonly projectId: number;
  readonly payload: string;
  readonly attempt: number;
  readonly fence: number;
}

/** A job as people see it. */
export interface JobView {
  readonly id: number;
  readonly kind: string;
  readonly subject: string;
  readonly projectId: number;
  readonly state: JobState;
  readonly dueAt: number;
  readonly attempt: number;
  readonly done: number | null;
  readonly total: number | null;
  readonly error: string | null;
}

/** Requests a job, inside the transaction that makes it necessary. */
export async function putJob(tx: Executor, job: NewJob, now: number): Promise<void> {
  const dueAt = job.dueAt ?? now;
  await tx.run(
    put,
    {
      kind: job.kind,
      subject: job.subject,
      projectId: job.projectId ?? 0,
      priority: job.priority ?? USUAL_PRIORITY,
      payload: JSON.stringify(job.payload ?? null),
      state: dueAt <= now ? "ready" : "waiting",
      dueAt,
      now,
    },
    1,
  );
  tx.notify?.(TOPIC);
}

/** Requests many jobs in one round trip; the same as `putJob` for each in turn. */
export async function putJobs(tx: Executor, jobs: readonly NewJob[], now: number): Promise<void> {
  if (jobs.length === 0) return;
  const merged = new Map<string, NewJob>();
  for (const job of jobs) {
    const key = JSON.stringify([job.kind, job.subject]);
    const before = merged.get(key);
    // As the table would merge them: the first request, with the payload of the later one, due at the earlier of the two times.
    const dueAt = Math.min(before?.dueAt ?? (before === undefined ? Infinity : now), job.dueAt ?? now);
    merged.set(key, before === undefined ? job : { ...before, payload: job.payload, dueAt });
  }
  const rows = [...merged.values()].map((job) => {
    const dueAt = job.dueAt ?? now;
    return JSON.stringify({
      kind: job.kind,
      subject: job.subject,
      project_id: job.projectId ?? 0,
      priority: job.priority ?? USUAL_PRIORITY,
      payload: JSON.stringify(job.payload ?? null),
      state: dueAt <= now ? "ready" : "waiting",
      due_at: dueAt,
    });
  });
  await tx.run(putMany, { jobs: rows, now }, rows.length);
  tx.notify?.(TOPIC);
}

/** When a runner of jobs has work; undefined if there is none of that sort. */
export interface JobOutlook {
  /** Since when jobs are ready. */
  readonly readyAt: number | undefined;
  /** When the first waiting job is due. */
  readonly waitingUntil: number | undefined;
  /** When the first lease ends unless it is renewed. */
  readonly leasedUntil: number | undefined;
}

/** The runner's operations on the table. Times are milliseconds since 1970. */
export interface JobStore {
  /**
   * Makes the job that repeats of a kind and a subject, where it is not there yet; brings it forward where it waits for later than `latest`, and
   * not after a failure.
   */
  ensureRepeating(job: { kind: string; subject: string; dueAt: number; latest: number }, now: number): Promise<void>;
  /** Calls back after commits that requested jobs, in any process; returns a function that unsubscribes. Notices may be lost. */
  onAsked(wake: () => void): () => void;
  /** The same after commits that cancelled running jobs. */
  onCancelled(look: () => void): () => void;
  /** The same after commits that notified a topic. */
  onTopic(topic: string, wake: () => void): () => void;
  /** Makes the job of a kind that repeats, and has no subjects, ready where it waits, and not after a failure. */
  awaken(kind: string, now: number): Promise<void>;
  outlook(): Promise<JobOutlook>;
  /** Takes a job of the kind of the first project after a given one that has a ready job, in the order of ids; undefined if none has. */
  take(kind: string, after: number, lease: { holder: string; until: number; now: number }): Promise<TakenJob | undefined>;
  /** `lost` if another process has it, or it was ended. */
  renew(job: TakenJob, leaseUntil: number, progress: { done?: number; total?: number }): Promise<"held" | "cancelled" | "lost">;
  /** Whether the job is still held; called in a transaction of its work, which keeps it held until its end. */
  holds(tx: Executor, job: TakenJob): Promise<boolean>;
  /** False if it is no longer held. */
  end(job: TakenJob, state: "succeeded" | "failed" | "cancelled", error: string | undefined, now: number): Promise<boolean>;
  /** The same as `end` with failure, with `work` in its transaction. */
  failWith(job: TakenJob, error: string, now: number, work: (tx: Executor) => Promise<void>): Promise<boolean>;
  /** The same as `end` with success, in a transaction of its work. */
  endIn(tx: Executor, job: TakenJob, now: number): Promise<boolean>;
  /** Makes it wait until a time. False if it is no longer held, or another one of its subject waits. */
  putBack(job: TakenJob, dueAt: number, attempt: number, error: string | undefined): Promise<boolean>;
  /** Makes due jobs ready; returns their number. There may be more. */
  promote(now: number): Promise<number>;
  /** Counts jobs that failed for good, up to a limit. */
  countFailed(limit: number): Promise<number>;
  /** Jobs whose holder has not renewed its lease. */
  listExpired(now: number): Promise<TakenJob[]>;
  /** Deletes jobs that ended long ago; returns their number. */
  forget(now: number): Promise<number>;
  /** Ends all leases: for a database that only this process uses. */
  endLeases(now: number): Promise<void>;
  addLine(job: TakenJob, line: string, now: number): Promise<void>;
  find(id: number): Promise<JobView | undefined>;
}

/** Cancels a waiting job at once, and aborts a running one; `by` is recorded in its lines. False if it has ended, or does not exist. */
export async function cancelJob(tx: Executor, id: number, by: string, now: number): Promise<boolean> {
  if ((await tx.first(cancelOpen, { id, now, keptUntil: now + KEPT_MS.cancelled })) === undefined) {
    if ((await tx.first(cancelRunning, { id })) === undefined) return false;
    tx.notify?.(CANCELLED_TOPIC);
  }
  await writeLine(tx, id, `cancelled by ${by}`, now);
  return true;
}

/**
 * Makes a failed or cancelled job ready for its first attempt again; `by` is recorded in its lines. False if it is neither, or another job
 * of its kind waits for the same subject.
 */
export async function retryJob(tx: Executor, id: number, by: string, now: number): Promise<boolean> {
  if ((await tx.first(retry, { id, now })) === undefined) return false;
  await writeLine(tx, id, `asked for again by ${by}`, now);
  tx.notify?.(TOPIC);
  return true;
}

/** The lines of a job, oldest first. */
export function listJobLines(executor: Executor, jobId: number): Promise<{ number: number; at: number; line: string }[]> {
  return executor.all(listLines, { jobId });
}

async function writeLine(tx: Executor, jobId: number, line: string, now: number): Promise<void> {
  await tx.run(addLine, { jobId, at: now, line: line.slice(0, MAX_TEXT) }, { any: "none where the job is gone" });
  await tx.run(dropLines, { jobId }, { any: "none as long as there are few" });
}

/** Notified by transactions that requested jobs. */
const TOPIC = "jobs";
/** Notified by transactions that cancelled running jobs. */
const CANCELLED_TOPIC = "jobs.cancelled";

/** If a power cut undoes these writes, the jobs are taken again: their leases need no sync. */
const LOSABLE = { durable: false } as const;

/** Opens the table. */
export function createJobStore(database: Database): JobStore {
  return {
    onAsked: (wake) => database.subscribe?.(TOPIC, wake) ?? (() => undefined),
    onCancelled: (look) => database.subscribe?.(CANCELLED_TOPIC, look) ?? (() => undefined),
    onTopic: (topic, wake) => database.subscribe?.(topic, wake) ?? (() => undefined),
    async awaken(kind, now) {
      // No row changes if it runs, is ready, or waits after a failure.
      await database.write(awaken, { kind, now }, { ...LOSABLE, ...ON_FULL_DISK });
    },
    async outlook() {
      const row = await database.first(outlook, {});
      return {
        readyAt: row?.ready_at ?? undefined,
        waitingUntil: row?.waiting_until ?? undefined,
        leasedUntil: row?.leased_until ?? undefined,
      };
    },
    ensureRepeating: ({ kind, subject, dueAt, latest }, now) =>
      database.transaction(async (tx) => {
        const open = await tx.first(findOpen, { kind, subject });
        if (open === undefined) {
          if ((await tx.first(findRunning, { kind, subject })) === undefined) await putJob(tx, { kind, subject, dueAt }, now);
        } else if (open.due_at > latest) {
          await tx.run(bringForward, { id: open.id, latest }, { any: "none where it was taken or brought forward meanwhile" });
        }
      }, ON_FULL_DISK),
    async take(kind, after, { holder, until, now }) {
      const [row] = await database.write(take, { kind, after, holder, leaseUntil: until, now }, { ...LOSABLE, ...ON_FULL_DISK });
      return row === undefined ? undefined : takenOf(row);
    },
    async renew({ id, fence }, leaseUntil, { done, total }) {
      const rows = await database.write(
        renew,
        { id, fence, leaseUntil, done: done ?? null, total: total ?? null },
        { ...LOSABLE, ...ON_FULL_DISK },
      );
      return rows[0] === undefined ? "lost" : rows[0].is_cancelled === 1 ? "cancelled" : "held";
    },
    holds: async (tx, { id, fence }) => (await tx.first(hold, { id, fence })) !== undefined,
    async end({ id, fence }, state, error, now) {
      const rows = await database.write(
        end,
        { id, fence, state, keptUntil: now + KEPT_MS[state], error: textOf(error), now },
        { ...(state === "succeeded" ? LOSABLE : {}), ...ON_FULL_DISK },
      );
      return rows.length > 0;
    },
    failWith: ({ id, fence }, error, now, work) =>
      database.transaction(async (tx) => {
        const ended = { id, fence, state: "failed", keptUntil: now + KEPT_MS.failed, error: textOf(error), now };
        const isHeld = (await tx.all(end, ended)).length > 0;
        if (isHeld) await work(tx);
        return isHeld;
      }, ON_FULL_DISK),
    endIn: async (tx, { id, fence }, now) =>
      (await tx.all(end, { id, fence, state: "succeeded", keptUntil: now + KEPT_MS.succeeded, error: null, now })).length > 0,
    async putBack({ id, fence }, dueAt, attempt, error) {
      const rows = await database.write(putBack, { id, fence, dueAt, attempt, error: textOf(error) }, { ...LOSABLE, ...ON_FULL_DISK });
      return rows.length > 0;
    },
    promote: async (now) => (await database.write(promote, { now }, { ...LOSABLE, ...ON_FULL_DISK })).length,
    countFailed: async (limit) => (await database.first(countFailed, { limit }))!.count,
    listExpired: async (now) => (await database.all(listExpired, { now })).map(takenOf),
    async forget(now) {
      let count = 0;
      for (const state of ["succeeded", "failed", "cancelled"]) {
        count += (await database.write(forget, { state, now }, { ...LOSABLE, ...ON_FULL_DISK })).length;
      }
      return count;
    },
    async endLeases(now) {
      // Any number of rows may change.
      await database.write(endLeases, { now }, ON_FULL_DISK);
    },
    addLine: ({ id }, line, now) => database.transaction((tx) => writeLine(tx, id, line, now), { ...LOSABLE, ...ON_FULL_DISK }),
    find: async (id) => {
      const row = await database.first(find, { id });
      return row === undefined ? undefined : { ...row, projectId: row.project_id, dueAt: row.due_at };
    },
  };
}

function takenOf(row: {
  id: number;
  kind: string;
  subject: string;
  project_id: number;
  payload: string;
  attempt: number;
  fence: number;
}): TakenJob {
  const { id, kind, subject, payload, attempt, fence } = row;
  return { id, kind, subject, projectId: row.project_id, payload, attempt, fence };
}

function textOf(error: string | undefined): string | null {
  return error === undefined ? null : error.slice(0, MAX_TEXT);
}
