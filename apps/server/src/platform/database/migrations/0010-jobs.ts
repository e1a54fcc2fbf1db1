// Jobs: work that any process does later. Not here: kinds of jobs, and the runner (events/).
import type { Migration } from "./migration.ts";

export const jobs: Migration = {
  id: 10,
  name: "jobs",
  oldestProgram: 3,
  up: ({ id, integer, text }) => [
    `create table job (
      id ${id},
      kind ${text} not null,
      subject ${text} not null,
      project_id ${integer} not null,
      priority ${integer} not null,
      payload ${text} not null,
      state ${text} not null check (state in ('waiting', 'ready', 'running', 'succeeded', 'failed', 'cancelled')),
      due_at ${integer} not null,
      attempt ${integer} not null,
      fence ${integer} not null,
      holder ${text},
      is_cancelled ${integer} not null,
      done ${integer},
      total ${integer},
      error ${text},
      created_at ${integer} not null,
      started_at ${integer},
      ended_at ${integer}
    )`,
    // For each subject one job of a kind may wait and one may run: further requests meanwhile become the waiting one.
    `create unique index job_by_open_subject on job (kind, subject) where state in ('waiting', 'ready')`,
    `create unique index job_by_running_subject on job (kind, subject) where state = 'running'`,
    `create index job_by_ready on job (kind, project_id, priority, id) where state = 'ready'`,
    `create index job_by_due on job (state, due_at, id)`,
    `create table job_line (
      job_id ${integer} not null references job (id) on delete cascade,
      number ${integer} not null,
      at ${integer} not null,
      line ${text} not null,
      primary key (job_id, number)
    )`,
  ],
  // All jobs are upkeep, which is requested again at each start. The first kind that a person can request makes `job` content.
  loses: { what: "what is known of jobs that ended; those that wait are asked for anew", content: [] },
  down: () => [`drop table job_line`, `drop table job`],
};
