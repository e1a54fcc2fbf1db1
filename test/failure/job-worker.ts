// A process that asks for jobs and runs them, to be killed at any moment: `job-worker.ts NAME DATABASE`, a file or a PostgreSQL url. It says
// which jobs were asked for once they are committed, and `idle` as long as none is left. Not here: who kills it (jobs-killed.test.ts).
import { setTimeout as sleep } from "node:timers/promises";
import type { JobKind, RunningJob } from "../../apps/server/src/events/job-kinds.ts";
import { createJobRunner } from "../../apps/server/src/events/job-runner.ts";
import { createJobStore, putJob } from "../../apps/server/src/events/job-store.ts";
import { systemClock } from "../../apps/server/src/platform/clock.ts";
import type { Database } from "../../apps/server/src/platform/database/database.ts";
import { migrate } from "../../apps/server/src/platform/database/migrate.ts";
import { openPostgres } from "../../apps/server/src/platform/database/postgres.ts";
import { openSqlite } from "../../apps/server/src/platform/database/sqlite.ts";
import { statement } from "../../apps/server/src/platform/database/statement.ts";
import { withTopics } from "../../apps/server/src/platform/database/topics.ts";

const [name = "", address = ""] = process.argv.slice(2);
const isPostgres = address.startsWith("postgres");
const JOBS = 20;

const onBackgroundError = (error: unknown): void => console.error(error);
const plain: Database = isPostgres
  ? openPostgres({ url: address, maxConnections: 4, acquireTimeoutMs: 10_000, onBackgroundError })
  : await openSqlite({ path: address, onBackgroundError });
const database = withTopics(plain, onBackgroundError);
await migrate(database, systemClock);
const store = createJobStore(database);

/** What a job leaves behind: a row of any table whose name can be there once. */
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

const runner = createJobRunner({
  store,
  kinds: [kind],
  clock: systemClock,
  holder: `${name} ${process.pid}`,
  isAlone: !isPostgres,
  onError: onBackgroundError,
});
runner.start();

const subjects = Array.from({ length: JOBS }, (_, i) => `${name}-${i}`);
for (const subject of subjects) {
  await database.transaction((tx) => putJob(tx, { kind: "leave", subject }, systemClock.now()));
  console.log(`asked ${subject}`);
}
for (;;) {
  const { readyAt, waitingUntil, leasedUntil } = await store.outlook();
  if (readyAt === undefined && waitingUntil === undefined && leasedUntil === undefined) console.log("idle");
  await sleep(50);
}
