// Jobs as administrators list them, with the names of their projects. Not here: the rules (jobs.ts), how jobs are taken and kept (events/).
import type { JobState } from "../../events/job-kinds.ts";
import type { Executor } from "../../platform/database/database.ts";
import { statement } from "../../platform/database/statement.ts";

/** A job as the table has it. Times are milliseconds since 1970. */
export interface JobRow {
  readonly id: number;
  readonly kind: string;
  readonly subject: string;
  readonly project_id: number;
  readonly project: string | null;
  readonly state: JobState;
  readonly due_at: number;
  readonly attempt: number;
  readonly done: number | null;
  readonly total: number | null;
  readonly error: string | null;
  readonly is_cancelled: number;
  readonly created_at: number;
  readonly started_at: number | null;
  readonly ended_at: number | null;
}

/** The next page continues after the job with this number and, if the list is of one state, this time. */
export interface JobPlace {
  readonly dueAt: number;
  readonly id: number;
}

const COLUMNS = [
  "job.id",
  "job.kind",
  "job.subject",
  "job.project_id",
  "project.name as project",
  "job.state",
  "job.due_at",
  "job.attempt",
  "job.done",
  "job.total",
  "job.error",
  "job.is_cancelled",
  "job.created_at",
  "job.started_at",
  "job.ended_at",
] as const;

const find = statement<{ id: number }>()("jobs.view", (db, p) =>
  db.selectFrom("job").leftJoin("project", "project.id", "job.project_id").select(COLUMNS).where("job.id", "=", p.id),
);

const listNewest = statement<{ id: number; limit: number }>()("jobs.listNewest", (db, p) =>
  db
    .selectFrom("job")
    .leftJoin("project", "project.id", "job.project_id")
    .select(COLUMNS)
    .where("job.id", "<", p.id)
    .orderBy("job.id", "desc")
    .limit(p.limit),
);

const listOfState = statement<{ state: string; dueAt: number; id: number; limit: number }>()("jobs.listOfState", (db, p) =>
  db
    .selectFrom("job")
    .leftJoin("project", "project.id", "job.project_id")
    .select(COLUMNS)
    .where("job.state", "=", p.state as never)
    .where(({ eb, refTuple, tuple }) => eb(refTuple("job.due_at", "job.id"), "<", tuple(p.dueAt, p.id)))
    .orderBy("job.due_at", "desc")
    .orderBy("job.id", "desc")
    .limit(p.limit),
);

const findOpenLike = statement<{ id: number }>()("jobs.findOpenLike", (db, p) =>
  db
    .selectFrom("job as ended")
    .innerJoin("job as open", (join) => join.onRef("open.kind", "=", "ended.kind").onRef("open.subject", "=", "ended.subject"))
    .select("open.id")
    .where("ended.id", "=", p.id)
    .where("open.state", "in", ["waiting", "ready"]),
);

/** One job. */
export function findJobRow(executor: Executor, id: number): Promise<JobRow | undefined> {
  return executor.first(find, { id });
}

/** Jobs after a place, latest first: of all states by their numbers, of one by its time. At most `limit`. */
export function listJobRows(executor: Executor, state: JobState | undefined, { dueAt, id }: JobPlace, limit: number): Promise<JobRow[]> {
  return state === undefined ? executor.all(listNewest, { id, limit }) : executor.all(listOfState, { state, dueAt, id, limit });
}

/** The job that waits for the same subject as an ended one. */
export async function findOpenJobLike(executor: Executor, id: number): Promise<number | undefined> {
  return (await executor.first(findOpenLike, { id }))?.id;
}
