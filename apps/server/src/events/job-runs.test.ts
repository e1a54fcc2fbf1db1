// Runs of jobs on every engine: cancelled from another process, abandoned when they do not end, ended together with their work, started by
// a topic. Not here: which jobs are taken, when and in which order (jobs.test.ts), threads (job-thread.test.ts).
import assert from "node:assert/strict";
import { it } from "node:test";
import { createTestClock } from "../access/access.testing.ts";
import type { Database } from "../platform/database/database.ts";
import { forEachDatabase } from "../platform/database/databases.testing.ts";
import { JobLostError, type RunningJob } from "./job-kinds.ts";
import { LEASE_MS } from "./job-runs.ts";
import { cancelJob, createJobStore, putJob, retryJob } from "./job-store.ts";
import { kindOf, runnerOf, until, withTopicsForTest } from "./jobs.testing.ts";

/** Polling finds nothing in time: only notices start jobs. */
const NEVER = { pollMs: 3_600_000 };
const HOUR = 3_600_000;

forEachDatabase("runs of jobs", (create) => {
  /** Two processes of one database. */
  async function withTwo(
    work: (site: { here: Database; there: Database; clock: ReturnType<typeof createTestClock>; errors: unknown[] }) => Promise<void>,
  ): Promise<void> {
    const test = await create();
    const errors: unknown[] = [];
    const here = withTopicsForTest(test.database, (error) => errors.push(error));
    const other = await test.open();
    const there = other === test.database ? here : withTopicsForTest(other, (error) => errors.push(error));
    try {
      await work({ here, there, clock: createTestClock(), errors });
      assert.deepEqual(errors, []);
    } finally {
      await here.close();
      await there.close();
      await test.end();
    }
  }
  const ask = (database: Database, kind: string, subject: string, now: number): Promise<void> =>
    database.transaction((tx) => putJob(tx, { kind, subject }, now));

  it("end when another process cancels them, and can be tried again from their first attempt", () =>
    withTwo(async ({ here, there, clock }) => {
      const attempts: number[] = [];
      let id = 0;
      const kind = kindOf("scan", async (job: RunningJob) => {
        id = job.id;
        attempts.push(job.attempt);
        if (attempts.length > 1) return;
        await new Promise<void>((_, reject) => job.signal.addEventListener("abort", () => reject(new Error("ended early"))));
      });
      const { runner, ends } = runnerOf(here, clock, [kind], NEVER);
      runner.start();
      await ask(here, "scan", "image", clock.now());
      await until(() => id > 0);
      assert.equal(await there.transaction((tx) => cancelJob(tx, id, "admin", clock.now())), true);
      await until(() => ends.length === 1);
      assert.deepEqual(ends, ["scan cancelled"]);
      const store = createJobStore(there);
      assert.equal((await store.find(id))?.state, "cancelled");
      assert.equal(await there.transaction((tx) => retryJob(tx, id, "admin", clock.now())), true);
      // It waits already, or runs.
      assert.equal(await there.transaction((tx) => retryJob(tx, id, "admin", clock.now())), false);
      await until(() => ends.length === 2);
      await runner.stop();
      assert.deepEqual([attempts, ends[1]], [[1, 1], "scan succeeded"]);
    }));

  it("that repeat and are cancelled come again at their next time", () =>
    withTwo(async ({ here, there, clock }) => {
      let id = 0;
      const run = async (job: RunningJob): Promise<void> => {
        id = job.id;
        await new Promise<void>((_, reject) => job.signal.addEventListener("abort", () => reject(new Error("ended early"))));
      };
      const { runner, ends } = runnerOf(here, clock, [kindOf("sweep", run, { schedule: { everyMs: HOUR, jitterMs: 0 } })], NEVER);
      runner.start();
      await until(() => id > 0);
      await there.transaction((tx) => cancelJob(tx, id, "admin", clock.now()));
      await until(() => ends.length === 1);
      await runner.stop();
      assert.deepEqual(ends, ["sweep cancelled"]);
      const job = await createJobStore(there).find(id);
      assert.deepEqual([job?.state, job?.dueAt, job?.attempt], ["waiting", clock.now() + HOUR, 0]);
    }));

  it("that do not end when they are told to are given up: their place and their job go on, and they write nothing more", () =>
    withTwo(async ({ here, clock }) => {
      const lost: unknown[] = [];
      let release: (() => void) | undefined;
      const kind = kindOf(
        "hang",
        async (job: RunningJob) => {
          if (job.attempt > 1) return;
          await new Promise<void>((resolve) => (release = resolve));
          await here.transaction((tx) => job.holdIn(tx)).catch((error: unknown) => lost.push(error));
        },
        { concurrency: 1, timeoutMs: 20, retry: { attempts: 2, firstDelayMs: 0, maxDelayMs: 0 } },
      );
      const { runner, ends } = runnerOf(here, clock, [kind], { pollMs: 10, abandonMs: 20 });
      runner.start();
      await ask(here, "hang", "one", clock.now());
      await until(() => ends.length === 2);
      assert.deepEqual(ends, ["hang retried", "hang succeeded"]);
      release!();
      await until(() => lost.length === 1);
      assert.ok(lost[0] instanceof JobLostError);
      await runner.stop();
    }));

  it("that were taken over while they ran touch nothing of their successor's run, whatever they try", () =>
    withTwo(async ({ here, clock }) => {
      const store = createJobStore(here);
      await ask(here, "scan", "image", clock.now());
      const lease = { holder: "first", until: clock.now() + 1, now: clock.now() };
      const first = await store.take("scan", -1, lease);
      assert.ok(await store.putBack(first!, clock.now(), 1, "the process that had it died"));
      await store.promote(clock.now());
      const second = await store.take("scan", -1, { ...lease, holder: "second" });
      assert.deepEqual([second?.id, second?.attempt], [first!.id, 2]);
      assert.equal(await here.transaction((tx) => store.holds(tx, first!)), false);
      assert.equal(await here.transaction((tx) => store.endIn(tx, first!, clock.now())), false);
      assert.equal(await store.end(first!, "succeeded", undefined, clock.now()), false);
      assert.equal(await store.putBack(first!, clock.now(), 0, undefined), false);
      assert.equal(await store.renew(first!, clock.now(), {}), "lost");
      assert.equal(await store.renew(second!, clock.now() + 9, {}), "held");
      assert.equal((await store.find(first!.id))?.state, "running");
    }));

  it("whose attempts all failed are written down by their kind with their end, also where the last one ended with its process", () =>
    withTwo(async ({ here, there, clock }) => {
      const told: unknown[] = [];
      const store = createJobStore(here);
      const kind = kindOf(
        "send",
        async () => {
          throw new Error("not now");
        },
        { retry: { attempts: 2, firstDelayMs: 1000, maxDelayMs: 1000 }, failIn: async (_tx, job) => void told.push(job) },
      );
      const payload = { to: "somebody" };
      await here.transaction((tx) => putJob(tx, { kind: "send", subject: "mail", payload }, clock.now()));
      const { runner, ends } = runnerOf(there, clock, [kind], { pollMs: 5 });
      runner.start();
      await until(() => ends.length === 1);
      assert.deepEqual(told, []);
      await runner.stop();
      // The second attempt is that of a process that dies.
      clock.advance(1000);
      assert.equal(await store.promote(clock.now()), 1);
      const dying = await store.take("send", -1, { holder: "dying", until: clock.now() + LEASE_MS, now: clock.now() });
      assert.equal(dying?.attempt, 2);
      clock.advance(LEASE_MS + 1);
      const other = runnerOf(there, clock, [kind], { pollMs: 5 });
      other.runner.start();
      await until(async () => (await store.find(dying.id))?.state === "failed");
      await other.runner.stop();
      assert.deepEqual(told, [{ subject: "mail", payload }]);
    }));

  it("that end in a transaction of their work have ended if and only if it is committed", () =>
    withTwo(async ({ here, clock }) => {
      const store = createJobStore(here);
      const seen: (string | undefined)[] = [];
      const kind = kindOf(
        "send",
        async (job: RunningJob) => {
          const work = here.transaction(async (tx) => {
            await job.endIn(tx);
            await putJob(tx, { kind: "effect", subject: String(job.attempt) }, clock.now());
            if (job.attempt === 1) throw new Error("taken back");
          });
          if (job.attempt === 1) await work;
          await work;
          seen.push((await store.find(job.id))?.state);
          // Only now can another process take it.
          await assert.rejects(
            here.transaction((tx) => job.endIn(tx)),
            JobLostError,
          );
        },
        { retry: { attempts: 2, firstDelayMs: 0, maxDelayMs: 0 } },
      );
      const { runner, ends } = runnerOf(here, clock, [kind], { pollMs: 10 });
      runner.start();
      await ask(here, "send", "one", clock.now());
      await until(() => ends.length === 2);
      await runner.stop();
      assert.deepEqual([ends, seen], [["send retried", "send succeeded"], ["succeeded"]]);
      assert.equal((await store.take("effect", -1, { holder: "x", until: clock.now(), now: clock.now() }))?.subject, "2");
      assert.equal(await store.take("effect", -1, { holder: "x", until: clock.now(), now: clock.now() }), undefined);
    }));

  it("of a kind with a topic begin when it is notified, here or elsewhere, and again for what was notified while they ran", () =>
    withTwo(async ({ here, there, clock }) => {
      let runs = 0;
      let release: (() => void) | undefined;
      const run = async (): Promise<void> => {
        if (++runs === 2) await new Promise<void>((resolve) => (release = resolve));
      };
      const kind = kindOf("dispatch", run, { concurrency: 1, schedule: { everyMs: HOUR, jitterMs: 0 }, topic: "changes" });
      const { runner, ends } = runnerOf(here, clock, [kind], NEVER);
      runner.start();
      const notify = (database: Database): Promise<void> => database.transaction(async (tx) => tx.notify?.("changes"));
      await until(() => ends.length === 1);
      await notify(there);
      await until(() => release !== undefined);
      await notify(here);
      release!();
      await until(() => ends.length === 2);
      // After a short pause, in which further notices may arrive.
      clock.advance(1000);
      runner.wake();
      await until(() => ends.length === 3);
      // A failed job keeps its delays.
      await runner.stop();
      assert.equal(runs, 3);
    }));
});
