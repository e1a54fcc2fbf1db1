// Background jobs for administrators: lists by kind, state and project, one with its lines, cancelled, retried. Not here: rows
// (job-list-store.ts), running them (events/job-runner.ts), kinds of jobs (compose/jobs.ts).
import { setTimeout as sleep } from "node:timers/promises";
import { ApiError } from "@berth/api/errors";
import { DEFAULT_PAGE_SIZE } from "@berth/api/limits";
import type { JobDetailView, JobEventView, JobSummaryView } from "@berth/api/jobs";
import { RegistryError } from "@berth/oci/errors";
import type { AccountGrant, Authorizer } from "../../access/authorize.ts";
import type { Caller } from "../../access/caller.ts";
import { grantedTransaction } from "../../access/granted-transaction.ts";
import type { JobState } from "../../events/job-kinds.ts";
import { cancelJob, listJobLines, retryJob } from "../../events/job-store.ts";
import type { Clock } from "../../platform/clock.ts";
import { type Database, type Executor, ON_FULL_DISK } from "../../platform/database/database.ts";
import { listed, type Listed, type PageRequest } from "../paging.ts";
import { findJobRow, findOpenJobLike, listJobRows, type JobPlace, type JobRow } from "./job-list-store.ts";

/** What the rules need. */
export interface JobsParts {
  readonly database: Database;
  readonly clock: Clock;
  readonly authorizer: Authorizer;
}

/** Which jobs, and which page of them. */
export interface JobQuery extends PageRequest {
  readonly kind?: string;
  readonly state?: JobState;
  /** By its name. */
  readonly project?: string;
}

/** The rules, for callers with the proof of their permission. Their errors are those of the operations of the same name. */
export interface Jobs {
  list(caller: Caller, query: JobQuery): Promise<Listed<JobSummaryView>>;
  get(id: number): Promise<JobDetailView>;
  /** Its events from now on, or after a given event; ends with the job, and when the signal is aborted. */
  follow(grant: AccountGrant, id: number, lastEventId: string | undefined, signal: AbortSignal): AsyncIterable<JobEventView>;
  cancel(grant: AccountGrant, id: number): Promise<JobSummaryView>;
  retry(grant: AccountGrant, id: number): Promise<JobSummaryView>;
}

/** The rows that one look-up reads, if some of them are skipped. */
const LOOKED_AT = 1000;
/** The look-ups of one request: it ends within tens of milliseconds, and its page may be short and continue. */
const MAX_LOOKS = 10;
/** How often a followed job is checked: progress is written about as often. */
const FOLLOW_MS = 1000;
const ENDED: ReadonlySet<JobState> = new Set(["succeeded", "failed", "cancelled"]);
/** After every job. */
const FROM_START: JobPlace = { dueAt: Number.MAX_SAFE_INTEGER, id: Number.MAX_SAFE_INTEGER };

/** Makes the rules. */
export function createJobs({ database, clock, authorizer }: JobsParts): Jobs {
  async function getRow(executor: Executor, id: number): Promise<JobRow> {
    const row = await findJobRow(executor, id);
    if (row === undefined) throw new ApiError("JOB_UNKNOWN");
    return row;
  }

  return {
    async list(caller, { after, limit = DEFAULT_PAGE_SIZE, kind, state, project }) {
      const projectId = project === undefined ? undefined : (await authorizer.authorizeProject(caller, "project.read", project)).projectId;
      const isShown = (row: JobRow): boolean =>
        (kind === undefined || row.kind === kind) && (projectId === undefined || row.project_id === projectId);
      const isFiltered = kind !== undefined || projectId !== undefined;
      const placeOf = (row: JobRow): string => (state === undefined ? String(row.id) : `${row.due_at}.${row.id}`);
      const found: JobRow[] = [];
      let place = after === undefined ? FROM_START : parsePlace(after, state !== undefined);
      let stoppedAt: string | undefined;
      for (let looks = 0; found.length <= limit; looks++) {
        if (looks === MAX_LOOKS) return { items: found.map(toView), next: stoppedAt! };
        const size = isFiltered ? LOOKED_AT : limit + 1;
        const rows = await listJobRows(database, state, place, size);
        found.push(...rows.filter(isShown));
        const last = rows.at(-1);
        if (last === undefined || rows.length < size) break;
        place = { dueAt: last.due_at, id: last.id };
        stoppedAt = placeOf(last);
      }
      return listed(found, limit, (rows) => rows.map(toView), placeOf);
    },
    async get(id) {
      const row = await getRow(database, id);
      const lines = await listJobLines(database, id);
      return { ...toView(row), lines: lines.map(({ at, line }) => ({ at: timeOf(at), line })) };
    },
    async *follow(grant, id, lastEventId, signal) {
      let seenLine = readEventId(lastEventId);
      let seenState = "";
      let { renew } = grant;
      for (;;) {
        const row = await getRow(database, id);
        const lines = await listJobLines(database, id);
        const newest = lines.at(-1)?.number ?? 0;
        // It is probably the id of another job's event: sending all events of this one is better than none until it has as many.
        if (seenLine > newest) seenLine = 0;
        for (const { number, at, line } of lines)
          if (number > seenLine) yield { id: String(number), kind: "line", at: timeOf(at), line, job: null };
        seenLine = newest;
        const job = toView(row);
        const present = JSON.stringify(job);
        if (present !== seenState) yield { id: String(newest), kind: "state", at: timeOf(clock.now()), line: null, job };
        seenState = present;
        if (ENDED.has(row.state) || !(await pause(signal))) return;
        // A caller who may no longer see it gets no more of it.
        ({ renew } = await renew());
      }
    },
    cancel: (grant, id) =>
      grantedTransaction(
        database,
        grant,
        async (tx, { actor }) => {
          if (!(await cancelJob(tx, id, actor.name, clock.now()))) {
            const { state } = await getRow(tx, id);
            throw new ApiError("JOB_ENDED", { detail: { state } });
          }
          return toView(await getRow(tx, id));
        },
        ON_FULL_DISK,
      ),
    retry: (grant, id) =>
      grantedTransaction(
        database,
        grant,
        async (tx, { actor }) => {
          if (!(await retryJob(tx, id, actor.name, clock.now()))) {
            const { state } = await getRow(tx, id);
            if (state !== "failed" && state !== "cancelled") throw new ApiError("JOB_NOT_FAILED", { detail: { state } });
            throw new ApiError("JOB_EXISTS", { detail: { job: String(await findOpenJobLike(tx, id)) } });
          }
          return toView(await getRow(tx, id));
        },
        ON_FULL_DISK,
      ),
  };
}

/** Waits until the next check; false if nobody is interested any more. */
async function pause(signal: AbortSignal): Promise<boolean> {
  await sleep(FOLLOW_MS, undefined, { signal, ref: false }).catch((error: unknown) => {
    if (!signal.aborted) throw error;
  });
  return !signal.aborted;
}

/** The number of a line. Errors: FIELD_INVALID. */
function readEventId(id: string | undefined): number {
  if (id === undefined) return 0;
  if (!/^\d{1,15}$/.test(id))
    throw new ApiError("FIELD_INVALID", { detail: [{ field: "Last-Event-ID", reason: "is not the id of an event" }] });
  return Number(id);
}

/** Errors: PAGE_INVALID for what is no `next` of a list of that form. */
function parsePlace(after: string, isOfState: boolean): JobPlace {
  const parts = /^(?:(\d{1,16})\.)?(\d{1,16})$/.exec(after);
  if (parts === null || (parts[1] !== undefined) !== isOfState) throw new RegistryError("PAGE_INVALID");
  return { dueAt: Number(parts[1] ?? 0), id: Number(parts[2]) };
}

function toView(row: JobRow): JobSummaryView {
  const { kind, subject, project, state, attempt, done, total, error } = row;
  return {
    id: String(row.id),
    kind,
    subject,
    project,
    state,
    attempt,
    progress: done === null ? null : { done, total },
    error,
    isCancelled: row.is_cancelled === 1 || state === "cancelled",
    createdAt: timeOf(row.created_at),
    dueAt: state === "waiting" || state === "ready" ? timeOf(row.due_at) : null,
    startedAt: timeOrNull(row.started_at),
    endedAt: timeOrNull(row.ended_at),
  };
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString();
}

function timeOrNull(ms: number | null): string | null {
  return ms === null ? null : timeOf(ms);
}
