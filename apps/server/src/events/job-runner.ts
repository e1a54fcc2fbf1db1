// Runs jobs for as long as the process lives: takes what is ready, a project after the other, renews the leases of what runs, and gives work
// back that others have let go. Any number of processes may do so on one database. Not here: the table (job-store.ts), the kinds.
import type { Clock } from "../platform/clock.ts";
import { parseCron } from "./cron.ts";
import { JobLostError, type JobKind, type JobSchedule, type RunningJob } from "./job-kinds.ts";
import type { JobStore, TakenJob } from "./job-store.ts";

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
}

/** What became of a run. `retried`: it is tried again. `lost`: another process has the job. */
export const JOB_RESULTS = ["succeeded", "failed", "retried", "cancelled", "lost"] as const;
export type JobResult = (typeof JOB_RESULTS)[number];

/** The runner. */
export interface JobRunner {
  /** Begins. A database that is away is tried again. */
  start(): void;
  /** Takes nothing more, tells what runs to end, and resolves when it has. */
  stop(): Promise<void>;
  /** There may be something to do. What transactions ask for it hears of by itself. */
  wake(): void;
}

/** A holder that says nothing for so long has lost its jobs. */
export const LEASE_MS = 30_000;
const RENEW_EVERY_MS = 10_000;
/** What nobody told of is found within this time. */
const POLL_MS = 1_000;
/** What is due at nearly the same time is taken at once. */
const MIN_POLL_MS = 5;
const MAX_POLL_MS = 60_000;
/** Ended jobs are forgotten, and those that repeat are looked for, this often. */
const FORGET_EVERY_MS = 60_000;
/** A job that says that there is more rests this many times as long as it took. */
const REST_FACTOR = 3;
/** What stops with the process is begun again without delay. */
const STOPPED = "the process stops";

/** Makes the runner; nothing runs before `start`. */
export function createJobRunner(parts: JobRunnerParts): JobRunner {
  const { store, clock, holder, onError, onEnd, traced, pollMs = POLL_MS } = parts;
  const kinds = new Map(parts.kinds.map((kind) => [kind.kind, kind]));
  /** Of kinds that repeat. */
  const timetables = new Map(
    parts.kinds.flatMap(({ kind, schedule }) => (schedule === undefined ? [] : [[kind, createTimetable(schedule)] as const])),
  );
  const running = new Map<
    number,
    { readonly job: TakenJob; readonly abort: AbortController; progress: { done?: number; total?: number } }
  >();
  const runs = new Set<Promise<void>>();
  const countOf = new Map<string, number>();
  /** The project that was served last, for each kind. */
  const turns = new Map<string, number>();
  let isStopping = false;
  let looping: Promise<void> | undefined;
  let renewing: NodeJS.Timeout | undefined;
  let wakeUp: (() => void) | undefined;
  let wasWoken = false;
  let forgotAt = -Infinity;
  let stopHearing: (() => void) | undefined;

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
    let free = kind.concurrency - (countOf.get(kind.kind) ?? 0);
    let after = turns.get(kind.kind) ?? -1;
    let hasWrapped = false;
    let tookSinceWrap = true;
    while (free > 0 && !isStopping) {
      const projectId = await store.nextProject(kind.kind, after);
      if (projectId === undefined) {
        // Round the circle again as long as it gives something.
        if (after === -1 || (hasWrapped && !tookSinceWrap)) return;
        after = -1;
        hasWrapped = true;
        tookSinceWrap = false;
        continue;
      }
      const now = clock.now();
      const taken = await store.take(kind.kind, projectId, 1, { holder, until: now + LEASE_MS, now });
      for (const job of taken) begin(kind, job);
      if (taken.length > 0) tookSinceWrap = true;
      free -= taken.length;
      after = projectId;
      turns.set(kind.kind, after);
    }
  }

  function begin(kind: JobKind, job: TakenJob): void {
    countOf.set(kind.kind, (countOf.get(kind.kind) ?? 0) + 1);
    const run = runOne(kind, job)
      .catch((error: unknown) => onError(error, job))
      .finally(() => {
        runs.delete(run);
        running.delete(job.id);
        countOf.set(kind.kind, countOf.get(kind.kind)! - 1);
        wake();
      });
    runs.add(run);
  }

  async function runOne(kind: JobKind, job: TakenJob): Promise<void> {
    const abort = new AbortController();
    const entry = { job, abort, progress: {} as { done?: number; total?: number } };
    running.set(job.id, entry);
    const startedAt = performance.now();
    const timer = setTimeout(() => abort.abort(new Error(`it took longer than ${kind.timeoutMs} ms`)), kind.timeoutMs);
    const lines: Promise<void>[] = [];
    const view: RunningJob = {
      id: job.id,
      subject: job.subject,
      projectId: job.projectId,
      payload: JSON.parse(job.payload) as unknown,
      attempt: job.attempt,
      signal: abort.signal,
      report(done, total) {
        entry.progress = total === undefined ? { done } : { done, total };
      },
      log(line) {
        lines.push(store.addLine(job, line, clock.now()).catch((error: unknown) => onError(error, job)));
      },
      async holdIn(tx) {
        if (!(await store.holds(tx, job))) throw new JobLostError(job.id);
      },
    };
    let outcome: "more" | undefined;
    let failure: unknown;
    try {
      const run = (): Promise<"more" | undefined> => kind.run(view).then((result) => result ?? undefined);
      outcome = await (traced === undefined ? run() : traced(`job ${kind.kind}`, run));
    } catch (error) {
      failure = error ?? new Error("it failed without an error");
    } finally {
      clearTimeout(timer);
      await Promise.all(lines);
    }
    const tookMs = performance.now() - startedAt;
    const result = await recordResult(kind, job, abort.signal, { outcome, failure, tookMs });
    onEnd?.(kind.kind, result, tookMs / 1000);
  }

  /** Writes down what became of a run. */
  async function recordResult(
    kind: JobKind,
    job: TakenJob,
    signal: AbortSignal,
    { outcome, failure, tookMs }: { readonly outcome: "more" | undefined; readonly failure: unknown; readonly tookMs: number },
  ): Promise<JobResult> {
    const now = clock.now();
    if (signal.reason === LOST || failure instanceof JobLostError) return "lost";
    if (signal.reason === CANCELLED && kind.schedule === undefined) {
      return (await store.end(job, "cancelled", undefined, now)) ? "cancelled" : "lost";
    }
    if (failure === undefined || (signal.aborted && signal.reason === STOPPED)) {
      const next = failure !== undefined ? now : nextOf(kind, outcome, now, tookMs);
      // An attempt that the process's end cut short is none.
      const attempt = failure !== undefined ? job.attempt - 1 : 0;
      if (next !== undefined && (await store.putBack(job, next, attempt, undefined))) {
        return failure === undefined ? "succeeded" : "retried";
      }
      return (await store.end(job, "succeeded", undefined, now)) ? "succeeded" : "lost";
    }
    const error = signal.aborted && signal.reason instanceof Error ? signal.reason : failure;
    return giveBack(kind, job, error, now);
  }

  /** When it runs next, where it does. */
  function nextOf(kind: JobKind, outcome: "more" | undefined, now: number, tookMs: number): number | undefined {
    // So that a job that goes on and on has a quarter of anything at most, whatever is slow here.
    if (outcome === "more") return now + Math.ceil(tookMs * REST_FACTOR);
    return timetables.get(kind.kind)?.next(now);
  }

  async function giveBack(kind: JobKind, job: TakenJob, error: unknown, now: number): Promise<"failed" | "retried" | "lost"> {
    const { attempts, firstDelayMs, maxDelayMs } = kind.retry;
    const text = error instanceof Error ? error.message : String(error);
    const { schedule } = kind;
    const isLast = job.attempt >= attempts;
    // What repeats never ends: it is tried again for ever, or at its next time.
    if (isLast && schedule !== undefined && "cron" in schedule) {
      if (!(await store.putBack(job, timetables.get(kind.kind)!.next(now), 0, text))) return "lost";
      onError(error, job);
      return "failed";
    }
    if (!isLast || schedule !== undefined) {
      const most = Math.min(maxDelayMs, firstDelayMs * 2 ** Math.min(job.attempt - 1, 30));
      const delayMs = most / 2 + Math.random() * (most / 2);
      if (schedule !== undefined) onError(error, job);
      if (await store.putBack(job, now + Math.ceil(delayMs), job.attempt, text)) return "retried";
    }
    if (!(await store.end(job, "failed", text, now))) return "lost";
    onError(error, job);
    return "failed";
  }

  /** What processes that died or hang had. */
  async function giveBackExpired(): Promise<void> {
    const now = clock.now();
    for (const job of await store.listExpired(now)) {
      const kind = kinds.get(job.kind);
      // A kind of another version: its own processes look after it.
      if (kind === undefined) continue;
      await giveBack(kind, job, new Error("the process that had it died, hung, or was cut off"), now);
    }
  }

  /** Does what there is to do, and gives for how long there is nothing. Where there is nothing, that is one look-up. */
  async function cycle(): Promise<number> {
    wasWoken = false;
    const now = clock.now();
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
    return Math.min(Math.max(nextAt - clock.now(), MIN_POLL_MS), pollMs);
  }

  async function renewAll(): Promise<void> {
    for (const entry of running.values()) {
      try {
        const state = await store.renew(entry.job, clock.now() + LEASE_MS, entry.progress);
        if (state === "lost") entry.abort.abort(LOST);
        else if (state === "cancelled") entry.abort.abort(CANCELLED);
      } catch (error) {
        onError(error, entry.job);
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

  /** One job of each kind that repeats: made where it is not there, and not later than its timetable, which may have changed, has it. */
  async function ensureRepeating(now: number): Promise<void> {
    for (const [kind, { first, next, jitterMs }] of timetables) await store.ensureRepeating(kind, first(now), next(now) + jitterMs, now);
  }

  let isPrepared = false;
  let hasEndedLeases = false;
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

  return {
    wake,
    start() {
      if (looping !== undefined) return;
      stopHearing = store.onAsked(wake);
      scheduleRenewal();
      looping = loop();
    },
    async stop() {
      isStopping = true;
      stopHearing?.();
      wake();
      await looping;
      for (const { abort } of running.values()) abort.abort(STOPPED);
      await Promise.all(runs);
      clearTimeout(renewing);
      renewing = undefined;
    },
  };
}

interface Timetable {
  /** When the first job is due where there was none. */
  first(now: number): number;
  next(now: number): number;
  readonly jitterMs: number;
}

/** Errors: `RangeError` for times that are none. */
function createTimetable(schedule: JobSchedule): Timetable {
  const { jitterMs } = schedule;
  const late = (): number => Math.floor(Math.random() * jitterMs);
  if ("everyMs" in schedule) return { first: (now) => now, next: (now) => now + schedule.everyMs + late(), jitterMs };
  const cron = parseCron(schedule.cron, schedule.timeZone);
  const next = (now: number): number => cron.next(now) + late();
  return { first: next, next, jitterMs };
}

const LOST = "given to another process";
const CANCELLED = "cancelled";
