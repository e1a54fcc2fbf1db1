// A process that requests jobs and runs them, to be killed at any moment: `job-worker.ts NAME DATABASE jobs|changes`, a file or a
// PostgreSQL url. It prints which jobs were requested once they are committed, directly or by changes that lead to them, and `idle` as long
// as none is left. Not here: the killing (jobs-killed.test.ts).
import { setTimeout as sleep } from "node:timers/promises";
import type { JobKind, RunningJob } from "../../apps/server/src/events/job-kinds.ts";
import type { Change } from "../../apps/server/src/access/changes.ts";
import { createJobRunner } from "../../apps/server/src/events/job-runner.ts";
import { createJobStore, putJob } from "../../apps/server/src/events/job-store.ts";
import { CHANGES_TOPIC, createOutbox } from "../../apps/server/src/events/outbox.ts";
import { systemClock } from "../../apps/server/src/platform/clock.ts";
import type { Database } from "../../apps/server/src/platform/database/database.ts";
import { migrate } from "../../apps/server/src/platform/database/migrate.ts";
import { openPostgres } from "../../apps/server/src/platform/database/postgres.ts";
import { openSqlite } from "../../apps/server/src/platform/database/sqlite.ts";
import { statement } from "../../apps/server/src/platform/database/statement.ts";
import { withTopics } from "../../apps/server/src/platform/database/topics.ts";

const [name = "", address = "", by = "jobs"] = process.argv.slice(2);
const isPostgres = address.startsWith("postgres");
const JOBS = 20;

const onBackgroundError = (error: unknown): void => console.error(error);
const plain: Database = isPostgres
  ? openPostgres({ url: address, maxConnections: 4, acquireTimeoutMs: 10_000, onBackgroundError })
  : await openSqlite({ path: address, onBackgroundError });
const database = withTopics(plain, onBackgroundError);
await migrate(database, systemClock);
const store = createJobStore(database);

/** The trace of a job: a row of any table with a unique name. */
const leave = statement<{ name: string; now: number }>()("test.jobs.leave", (db, p) =>
  db
    .insertInto("project")
    .values({ name: p.name, sort_key: p.name, is_public: 0, created_at: p.now })
    .onConflict((conflict) => conflict.column("name").doNothing()),
);

const kind: JobKind = {
  kind: "leave",
  concurrency: 4,
  timeoutMs: 60_000,
  retry: { attempts: 1000, firstDelayMs: 10, maxDelayMs: 100 },
  async run(job: RunningJob) {
    job.report(0, 1);
    await sleep(5);
    await database.transaction(async (tx) => {
      await job.holdIn(tx);
      await tx.run(leave, { name: job.subject, now: systemClock.now() }, { any: "none where a run before did it, and was killed after" });
    });
    job.log("done");
    await sleep(5);
  },
};

interface Named extends Change {
  readonly kind: "named";
  readonly name: string;
}
const outbox = createOutbox<Named>(
  database,
  systemClock,
  { named: ({ change }) => [{ kind: "leave", subject: change.name }] },
  { onSetAside: onBackgroundError },
);
const dispatch: JobKind = {
  kind: "dispatch",
  concurrency: 1,
  timeoutMs: 60_000,
  retry: { attempts: 1, firstDelayMs: 10, maxDelayMs: 100 },
  schedule: { everyMs: 200, jitterMs: 0 },
  topic: CHANGES_TOPIC,
  async run() {
    while (await outbox.dispatch());
  },
};

/** Unfinished jobs. */
const jobsLeft = statement<Record<never, never>>()("test.jobs.left", (db) =>
  db.selectFrom("job").select("id").where("kind", "=", "leave").where("state", "in", ["waiting", "ready", "running"]).limit(1),
);
const changesLeft = statement<Record<never, never>>()("test.changes.left", (db) => db.selectFrom("outbox").select("id").limit(1));

const runner = createJobRunner({
  store,
  kinds: by === "jobs" ? [kind] : [kind, dispatch],
  clock: systemClock,
  holder: `${name} ${process.pid}`,
  isAlone: !isPostgres,
  onError: onBackgroundError,
});
runner.start();

const subjects = Array.from({ length: JOBS }, (_, i) => `${name}-${i}`);
for (const subject of subjects) {
  await database.transaction((tx) =>
    by === "jobs"
      ? putJob(tx, { kind: "leave", subject }, systemClock.now())
      : outbox.record(tx, { kind: "system", accountId: null, name, origin: undefined, via: { kind: "none" } }, [
          { kind: "named", name: subject },
        ]),
  );
  console.log(`asked ${subject}`);
}
for (;;) {
  // Changes first: those dispatched in between are jobs by then.
  const isDispatched = (await database.first(changesLeft, {})) === undefined;
  if (isDispatched && (await database.first(jobsLeft, {})) === undefined) console.log("idle");
  await sleep(50);
}
