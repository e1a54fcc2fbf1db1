// The tables of what is done later: jobs with what they say, and changes that somebody is to react to.
// Not here: the statements (job-statements.ts, outbox.ts).
import { defineTables, id, integer, names, nullable, refersTo, text, word, type RowsOf } from "../platform/database/table.ts";

export const eventTables = defineTables({
  /** A piece of work that is done later, or again and again. */
  job: {
    columns: {
      id: id(),
      kind: text(),
      /** What it is about; unique among those of its kind that wait, and among those that run. */
      subject: text(),
      /** 0: no project's. One whose project is gone finds nothing to do. */
      project_id: names("project", "stays"),
      priority: integer(),
      /** JSON. */
      payload: text(),
      state: word("state", ["waiting", "ready", "running", "succeeded", "failed", "cancelled"]),
      /** Waiting: when it is due. Running: when its lease ends. Ended: when it is forgotten. */
      due_at: integer(),
      attempt: integer(),
      /** Rises each time that a process takes it. */
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
    // Who works on what now.
    backup: "left out",
  },
  /** What a job says to whoever looks at it. */
  job_line: {
    columns: { job_id: refersTo("job", "cascade"), number: integer(), at: integer(), line: text() },
    key: ["job_id", "number"],
    backup: "left out",
  },
  /** A change that somebody is to react to. */
  outbox: {
    columns: {
      id: id(),
      at: integer(),
      /** Who made it, and what it was, as JSON. */
      actor: text(),
      change: text(),
    },
    key: ["id"],
    // What was to follow from changes that are undone: who restores has the state itself.
    backup: "left out",
  },
});

declare module "../platform/database/schema.ts" {
  interface Schema extends RowsOf<typeof eventTables> {}
}
