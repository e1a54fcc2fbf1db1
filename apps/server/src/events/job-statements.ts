// The statements of the table of jobs; each is bounded by a limit or a key. Not here: their use (job-store.ts).
import { type ExpressionBuilder, type OnConflictBuilder, sql } from "kysely";
import type { Schema } from "../platform/database/schema.ts";
import { statement } from "../platform/database/statement.ts";

/** The most lines of a job; older ones are deleted. */
const MAX_LINES = 200;
/** The rows of one statement of upkeep. */
const BATCH = 500;

interface PutParameters extends Record<string, string | number> {
  kind: string;
  subject: string;
  projectId: number;
  priority: number;
  payload: string;
  state: string;
  dueAt: number;
  now: number;
}

// The conflict's condition must be literally that of the index: PostgreSQL matches no index with a parameter.
const isOpen = sql<boolean>`state in ('waiting', 'ready')`;

/** Whether no other job of the kind waits for the same subject. */
function hasNoOpenLike({ not, exists, selectFrom }: ExpressionBuilder<Schema, "job">) {
  return not(
    exists(
      selectFrom("job as other")
        .select("other.id")
        .whereRef("other.kind", "=", "job.kind")
        .whereRef("other.subject", "=", "job.subject")
        .where(sql<boolean>`other.state in ('waiting', 'ready')`),
    ),
  );
}

// A waiting job absorbs a new one: it takes the earlier due time of the two, and the payload of the newer one.
function mergeIntoOpen(conflict: OnConflictBuilder<Schema, "job">) {
  return conflict
    .columns(["kind", "subject"])
    .where(isOpen)
    .doUpdateSet((eb) => ({
      payload: eb.ref("excluded.payload"),
      due_at: eb.case().when("excluded.due_at", "<", eb.ref("job.due_at")).then(eb.ref("excluded.due_at")).else(eb.ref("job.due_at")).end(),
    }));
}

export const put = statement<PutParameters>()("jobs.put", (db, p) =>
  db
    .insertInto("job")
    .values({
      kind: p.kind,
      subject: p.subject,
      project_id: p.projectId,
      priority: p.priority,
      payload: p.payload,
      state: p.state as never,
      due_at: p.dueAt,
      attempt: 0,
      fence: 0,
      is_cancelled: 0,
      created_at: p.now,
    })
    .onConflict(mergeIntoOpen),
);

/** Many at once, each as JSON with the columns' names; no two have the same kind and subject. */
export const putMany = statement<{ jobs: string[]; now: number }>()("jobs.putMany", (db, p, tools) => {
  const value = sql.raw(tools.name === "postgres" ? "asked.value::json" : "asked.value");
  const text = (name: string) => sql<string>`${value} ->> ${sql.lit(name)}`;
  const number = (name: string) => sql<number>`cast(${value} ->> ${sql.lit(name)} as bigint)`;
  return db
    .insertInto("job")
    .columns(["kind", "subject", "project_id", "priority", "payload", "state", "due_at", "attempt", "fence", "is_cancelled", "created_at"])
    .expression(
      db
        .selectFrom(tools.rows(p.jobs, "text").as("asked"))
        .select(({ cast, val }) => [
          text("kind").as("kind"),
          text("subject").as("subject"),
          number("project_id").as("project_id"),
          number("priority").as("priority"),
          text("payload").as("payload"),
          text("state").as("state") as never,
          number("due_at").as("due_at"),
          sql.lit(0).as("attempt"),
          sql.lit(0).as("fence"),
          sql.lit(0).as("is_cancelled"),
          cast<number>(val(p.now), "bigint").as("created_at"),
        ])
        // Without it SQLite takes the conflict clause for a join.
        .where(sql<boolean>`true`),
    )
    .onConflict(mergeIntoOpen);
});

export const findOpen = statement<{ kind: string; subject: string }>()("jobs.findOpen", (db, p) =>
  db.selectFrom("job").select(["id", "due_at"]).where("kind", "=", p.kind).where("subject", "=", p.subject).where(isOpen),
);

export const bringForward = statement<{ id: number; latest: number }>()("jobs.bringForward", (db, p) =>
  db
    .updateTable("job")
    .set({ due_at: p.latest })
    .where("id", "=", p.id)
    .where("state", "=", "waiting")
    .where("attempt", "=", 0)
    .where("due_at", ">", p.latest),
);

export const awaken = statement<{ kind: string; now: number }>()("jobs.awaken", (db, p) =>
  db
    .updateTable("job")
    .set({ state: "ready", due_at: p.now })
    .where("kind", "=", p.kind)
    .where("subject", "=", "")
    .where("state", "=", sql.lit("waiting"))
    .where("attempt", "=", 0)
    .returning("id"),
);

export const findRunning = statement<{ kind: string; subject: string }>()("jobs.findRunning", (db, p) =>
  db.selectFrom("job").select("id").where("kind", "=", p.kind).where("subject", "=", p.subject).where("state", "=", sql.lit("running")),
);

export const outlook = statement<Record<never, never>>()("jobs.outlook", (db) => {
  const first = (state: string) =>
    db
      .selectFrom("job")
      .select("due_at")
      .where("state", "=", sql.lit(state) as never)
      .orderBy("due_at")
      .orderBy("id")
      .limit(1);
  return db.selectNoFrom([first("ready").as("ready_at"), first("waiting").as("waiting_until"), first("running").as("leased_until")]);
});

interface TakeParameters extends Record<string, string | number> {
  kind: string;
  after: number;
  holder: string;
  leaseUntil: number;
  now: number;
}

// The next project and its job in one statement, so that thousands of small jobs cost the database only a few round trips each.
export const take = statement<TakeParameters>()("jobs.take", (db, p, tools) => {
  const ready = db
    .selectFrom("job as next")
    .select("next.id")
    .where("next.kind", "=", p.kind)
    .where("next.state", "=", sql.lit("ready"))
    .where("next.project_id", ">", p.after)
    .where(({ not, exists, selectFrom }) =>
      not(
        exists(
          selectFrom("job as other")
            .select("other.id")
            .whereRef("other.kind", "=", "next.kind")
            .whereRef("other.subject", "=", "next.subject")
            .where("other.state", "=", sql.lit("running")),
        ),
      ),
    )
    .orderBy("next.project_id")
    .orderBy("next.priority")
    .orderBy("next.id")
    .limit(1)
    .modifyEnd(tools.lock("update skip locked"));
  return (
    db
      .updateTable("job")
      .set((eb) => ({
        state: "running",
        holder: p.holder,
        fence: eb("fence", "+", eb.lit(1)),
        attempt: eb("attempt", "+", eb.lit(1)),
        due_at: p.leaseUntil,
        started_at: p.now,
        done: null,
        total: null,
      }))
      // An array, so that PostgreSQL evaluates it once: a plan that evaluated it again would skip the rows that it has locked, and take
      // more.
      .where(({ ref }) =>
        tools.name === "postgres" ? sql<boolean>`${ref("id")} = any(array(${ready}))` : sql<boolean>`${ref("id")} in (${ready})`,
      )
      .where("state", "=", "ready")
      .returning(["id", "kind", "subject", "project_id", "payload", "attempt", "fence"])
  );
});

type Held = { id: number; fence: number };

export const renew = statement<Held & { leaseUntil: number; done: number | null; total: number | null }>()("jobs.renew", (db, p) =>
  db
    .updateTable("job")
    .set({ due_at: p.leaseUntil, done: p.done, total: p.total })
    .where("id", "=", p.id)
    .where("fence", "=", p.fence)
    .where("state", "=", "running")
    .returning("is_cancelled"),
);

export const hold = statement<Held>()("jobs.hold", (db, p, tools) =>
  db
    .selectFrom("job")
    .select("id")
    .where("id", "=", p.id)
    .where("fence", "=", p.fence)
    .where("state", "=", "running")
    .modifyEnd(tools.lock("update")),
);

export const end = statement<Held & { state: string; keptUntil: number; error: string | null; now: number }>()("jobs.end", (db, p) =>
  db
    .updateTable("job")
    .set({ state: p.state as never, due_at: p.keptUntil, ended_at: p.now, error: p.error, holder: null })
    .where("id", "=", p.id)
    .where("fence", "=", p.fence)
    .where("state", "=", "running")
    .returning("id"),
);

// Changes nothing if another job of the subject already waits: that one runs next.
export const putBack = statement<Held & { dueAt: number; attempt: number; error: string | null }>()("jobs.putBack", (db, p) =>
  db
    .updateTable("job")
    .set({ state: "waiting", due_at: p.dueAt, attempt: p.attempt, error: p.error, holder: null, is_cancelled: 0 })
    .where("id", "=", p.id)
    .where("fence", "=", p.fence)
    .where("state", "=", "running")
    .where(hasNoOpenLike)
    .returning("id"),
);

export const promote = statement<{ now: number }>()("jobs.promote", (db, p, tools) =>
  db
    .updateTable("job")
    .set({ state: "ready" })
    .where("state", "=", "waiting")
    .where("id", "in", (eb) =>
      eb
        .selectFrom("job")
        .select("id")
        .where("state", "=", sql.lit("waiting"))
        .where("due_at", "<=", p.now)
        .orderBy("due_at")
        .orderBy("id")
        .limit(BATCH)
        .modifyEnd(tools.lock("update skip locked")),
    )
    .returning("id"),
);

export const countFailed = statement<{ limit: number }>()(
  "jobs.countFailed",
  (db, p) =>
    db
      .selectFrom(db.selectFrom("job").select("id").where("state", "=", sql.lit("failed")).limit(p.limit).as("failed"))
      .select(({ fn }) => fn.countAll<number>().as("count")),
  { bounded: "counts what its limit gave" },
);

export const listExpired = statement<{ now: number }>()("jobs.listExpired", (db, p) =>
  db
    .selectFrom("job")
    .select(["id", "kind", "subject", "project_id", "payload", "attempt", "fence"])
    .where("state", "=", sql.lit("running"))
    .where("due_at", "<=", p.now)
    .orderBy("due_at")
    .orderBy("id")
    .limit(BATCH),
);

export const forget = statement<{ state: string; now: number }>()("jobs.forget", (db, p) =>
  db
    .deleteFrom("job")
    .where("id", "in", (eb) =>
      eb
        .selectFrom("job")
        .select("id")
        .where("state", "=", p.state as never)
        .where("due_at", "<=", p.now)
        .orderBy("due_at")
        .limit(BATCH),
    )
    .returning("id"),
);

export const endLeases = statement<{ now: number }>()(
  "jobs.endLeases",
  (db, p) => db.updateTable("job").set({ due_at: p.now }).where("state", "=", "running"),
  { bounded: "the jobs that one process ran when it died" },
);

export const addLine = statement<{ jobId: number; at: number; line: string }>()("jobs.addLine", (db, p) =>
  db
    .insertInto("job_line")
    .columns(["job_id", "number", "at", "line"])
    .expression((eb) =>
      eb
        .selectFrom("job")
        .select((each) => [
          "job.id as job_id",
          each.fn
            .coalesce(
              each
                .selectFrom("job_line")
                .select((line) => line(line.fn.max("number"), "+", line.lit(1)).as("next"))
                .whereRef("job_line.job_id", "=", "job.id"),
              each.lit(1),
            )
            .as("number"),
          each.cast<number>(each.val(p.at), "bigint").as("at"),
          each.cast<string>(each.val(p.line), "text").as("line"),
        ])
        .where("job.id", "=", p.jobId),
    ),
);

export const dropLines = statement<{ jobId: number }>()("jobs.dropLines", (db, p) =>
  db
    .deleteFrom("job_line")
    .where("job_id", "=", p.jobId)
    .where("number", "<=", (eb) =>
      eb
        .selectFrom("job_line")
        .select((line) => line(line.fn.max("number"), "-", line.lit(MAX_LINES)).as("oldest"))
        .where("job_id", "=", p.jobId),
    ),
);

export const listLines = statement<{ jobId: number }>()("jobs.listLines", (db, p) =>
  db.selectFrom("job_line").select(["number", "at", "line"]).where("job_id", "=", p.jobId).orderBy("number").limit(MAX_LINES),
);

export const find = statement<{ id: number }>()("jobs.find", (db, p) =>
  db
    .selectFrom("job")
    .select(["id", "kind", "subject", "project_id", "state", "due_at", "attempt", "done", "total", "error"])
    .where("id", "=", p.id),
);

export const cancelOpen = statement<{ id: number; now: number; keptUntil: number }>()("jobs.cancelOpen", (db, p) =>
  db
    .updateTable("job")
    .set({ state: "cancelled", due_at: p.keptUntil, ended_at: p.now })
    .where("id", "=", p.id)
    .where("state", "in", ["waiting", "ready"])
    .returning("id"),
);

export const retry = statement<{ id: number; now: number }>()("jobs.retry", (db, p) =>
  db
    .updateTable("job")
    .set({ state: "ready", due_at: p.now, attempt: 0, ended_at: null, is_cancelled: 0, done: null, total: null })
    .where("id", "=", p.id)
    .where("state", "in", ["failed", "cancelled"])
    .where(hasNoOpenLike)
    .returning("id"),
);

export const cancelRunning = statement<{ id: number }>()("jobs.cancelRunning", (db, p) =>
  db.updateTable("job").set({ is_cancelled: 1 }).where("id", "=", p.id).where("state", "=", "running").returning("id"),
);
