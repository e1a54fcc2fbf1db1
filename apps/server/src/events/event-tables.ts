// The tables of later work: jobs with their lines, and changes that await a reaction.
// Not here: the statements (job-statements.ts, outbox.ts).
import { defineTables, id, integer, names, nullable, refersTo, text, word, type RowsOf } from "../platform/database/table.ts";

export const eventTables = defineTables({
  /** A piece of work that is done later, or repeatedly. */
  job: {
    columns: {
      id: id(),
      kind: text(),
      /** What it works on; unique among the waiting jobs of its kind, and among the running ones. */
      subject: text(),
      /** 0: no project. A job whose project was deleted finds nothing to do. */
      project_id: names("project", "stays"),
      priority: integer(),
      /** JSON. */
      payload: text(),
      state: word("state", ["waiting", "ready", "running", "succeeded", "failed", "cancelled"]),
      /** Waiting: when it is due. Running: when its lease ends. Ended: when it is deleted. */
      due_at: integer(),
      attempt: integer(),
      /** It rises each time that a process takes the job. */
      fence: integer(),
      holder: nullable(text()),
      is_cancelled: integer(),
      done: nullable(integer()),
      total: nullable(integer()),
      error: nullable(text()),
      created_at: integer(),
      started_at: nullable(integer()),
      ended_at: nullable(integer()),
    },
    key: ["id"],
    indexes: {
      job_by_ready: "(kind, project_id, priority, id) where state = 'ready'",
      job_by_due: "(state, due_at, id)",
    },
    uniqueIndexes: {
      job_by_open_subject: "(kind, subject) where state in ('waiting', 'ready')",
      job_by_running_subject: "(kind, subject) where state = 'running'",
    },
    // The work in progress of one moment.
    backup: "left out",
  },
  /** A log line of a job. */
  job_line: {
    columns: { job_id: refersTo("job", "cascade"), number: integer(), at: integer(), line: text() },
    key: ["job_id", "number"],
    backup: "left out",
  },
  /** A change that awaits a reaction. */
  outbox: {
    columns: {
      id: id(),
      at: integer(),
      /** Its actor, and the change itself, as JSON. */
      actor: text(),
      change: text(),
    },
    key: ["id"],
    // Reactions to changes that a restore undoes: the restored state is complete without them.
    backup: "left out",
  },
});

declare module "../platform/database/schema.ts" {
  interface Schema extends RowsOf<typeof eventTables> {}
}
