// Jobs on every engine: requested once, run one at a time, retried, taken over from dead processes, shared fairly, repeated, cancelled,
// deleted.
import assert from "node:assert/strict";
import { it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createTestClock } from "../access/access.testing.ts";
import type { Database } from "../platform/database/database.ts";
import { forEachDatabase } from "../platform/database/databases.testing.ts";
import { withTopics } from "../platform/database/topics.ts";
import { JobLostError, type NewJob, type RunningJob } from "./job-kinds.ts";
import { LEASE_MS } from "./job-runs.ts";
import { cancelJob, createJobStore, listJobLines, putJob } from "./job-store.ts";
import { kindOf, RETRY, runnerOf, until } from "./jobs.testing.ts";

forEachDatabase("jobs", (create, dialect) => {
  async function withJobs(
    work: (site: { database: Database; clock: ReturnType<typeof createTestClock>; ask: (job: NewJob) => Promise<void> }) => Promise<void>,
  ): Promise<void> {
    const test = await create();
    const clock = createTestClock();
    try {
      const { database } = test;
      await work({ database, clock, ask: (job) => database.transaction((tx) => putJob(tx, job, clock.now())) });
    } finally {
      await test.end();
    }
  }

  it("are run once, with what was asked for last, however often one was asked for before it ran", () =>
    withJobs(async ({ database, clock, ask }) => {
      const seen: unknown[] = [];
      const { runner, ends } = runnerOf(database, clock, [kindOf("scan", async (job) => void seen.push([job.subject, job.payload]))]);
      for (const n of [1, 2, 3]) await ask({ kind: "scan", subject: "image", payload: { n } });
      await ask({ kind: "scan", subject: "other" });
      runner.start();
      await until(() => ends.length === 2);
      await runner.stop();
      assert.deepEqual(seen, [
        ["image", { n: 3 }],
        ["other", null],
      ]);
      assert.deepEqual(ends, ["scan succeeded", "scan succeeded"]);
    }));

  it("that are asked for while they run are run once more afterwards, and never twice at a time", () =>
    withJobs(async ({ database, clock, ask }) => {
      let open = 0;
      let most = 0;
      let release: (() => void) | undefined;
      const run = async (): Promise<void> => {
        most = Math.max(most, ++open);
        if (release === undefined) await new Promise<void>((resolve) => (release = resolve));
        open--;
      };
      const one = runnerOf(database, clock, [kindOf("scan", run)]);
      const two = runnerOf(database, clock, [kindOf("scan", run)], { holder: "two" });
      await ask({ kind: "scan", subject: "image" });
      one.runner.start();
      await until(() => open === 1);
      two.runner.start();
      await ask({ kind: "scan", subject: "image" });
      await ask({ kind: "scan", subject: "image" });
      two.runner.wake();
      one.runner.wake();
      await sleep(50);
      assert.equal(open, 1);
      release!();
      await until(() => one.ends.length + two.ends.length === 2);
      await Promise.all([one.runner.stop(), two.runner.stop()]);
      assert.equal(most, 1);
    }));

  it("that fail are tried again after a delay that grows, and count as failed at last, with their error", () =>
    withJobs(async ({ database, clock, ask }) => {
      const attempts: number[] = [];
      const store = createJobStore(database);
      let id = 0;
      const { runner, ends, errors } = runnerOf(database, clock, [
        kindOf("send", async (job) => {
          id = job.id;
          attempts.push(job.attempt);
          throw new Error(`no answer ${job.attempt}`);
        }),
      ]);
      await ask({ kind: "send", subject: "hook" });
      runner.start();
      for (const retried of [1, 2]) {
        await until(() => ends.length === retried);
        const job = await store.find(id);
        assert.equal(job?.state, "waiting");
        assert.equal(job.error, `no answer ${retried}`);
        const delayMs = job.dueAt - clock.now();
        assert.ok(delayMs >= (1000 * 2 ** (retried - 1)) / 2 && delayMs <= 1000 * 2 ** (retried - 1), String(delayMs));
        clock.advance(delayMs);
        runner.wake();
      }
      await until(() => ends.length === 3);
      await runner.stop();
      assert.deepEqual(attempts, [1, 2, 3]);
      assert.deepEqual(ends, ["send retried", "send retried", "send failed"]);
      assert.deepEqual(errors, ["no answer 3"]);
      assert.equal((await store.find(id))?.state, "failed");
    }));

  it("of a process that died go to another within the lease, and its own run can no longer end or write anything", () =>
    withJobs(async ({ database, clock, ask }) => {
      const store = createJobStore(database);
      await ask({ kind: "scan", subject: "image" });
      const dead = await store.take("scan", -1, { holder: "dead", until: clock.now() + LEASE_MS, now: clock.now() });
      const ran: number[] = [];
      const { runner } = runnerOf(database, clock, [kindOf("scan", async (job) => void ran.push(job.attempt))]);
      runner.start();
      await sleep(30);
      assert.deepEqual(ran, []);
      clock.advance(LEASE_MS);
      runner.wake();
      // First it waits for the delay after a failed attempt.
      await until(async () => (await store.find(dead!.id))?.state === "waiting");
      assert.equal(await database.transaction((tx) => store.holds(tx, dead!)), false);
      assert.equal(await store.renew(dead!, clock.now() + LEASE_MS, {}), "lost");
      clock.advance(1000);
      runner.wake();
      await until(() => ran.length === 1);
      await runner.stop();
      assert.deepEqual(ran, [2]);
      assert.equal(await store.end(dead!, "failed", "late", clock.now()), false);
      assert.equal((await store.find(dead!.id))?.state, "succeeded");
    }));

  it("that lost their lease while they ran end as lost, and leave their successor's work alone", () =>
    withJobs(async ({ database, clock, ask }) => {
      const store = createJobStore(database);
      let release: (() => void) | undefined;
      const { runner, ends, errors } = runnerOf(database, clock, [
        kindOf("scan", async (job: RunningJob) => {
          await new Promise<void>((resolve) => (release = resolve));
          await database.transaction((tx) => job.holdIn(tx));
        }),
      ]);
      await ask({ kind: "scan", subject: "image" });
      runner.start();
      await until(() => release !== undefined);
      clock.advance(LEASE_MS + 1);
      for (const job of await store.listExpired(clock.now())) await store.putBack(job, clock.now() + 1_000_000, job.attempt, "taken");
      release!();
      await until(() => ends.length === 1);
      await runner.stop();
      assert.deepEqual(ends, ["scan lost"]);
      assert.deepEqual(errors, []);
      assert.match(new JobLostError(1).message, /job 1/);
    }));

  it("of one project do not hold up another's", () =>
    withJobs(async ({ database, clock }) => {
      const order: number[] = [];
      const { runner, ends } = runnerOf(database, clock, [
        kindOf("scan", async (job) => void order.push(job.projectId), { concurrency: 1 }),
      ]);
      await database.transaction(async (tx) => {
        for (let i = 0; i < 200; i++) await putJob(tx, { kind: "scan", subject: `a${i}`, projectId: 1 }, clock.now());
        for (const projectId of [2, 3]) await putJob(tx, { kind: "scan", subject: `b${projectId}`, projectId }, clock.now());
      });
      runner.start();
      await until(() => ends.length >= 202);
      await runner.stop();
      assert.ok(order.indexOf(2) < 4 && order.indexOf(3) < 4, `${order.slice(0, 10).join()}`);
    }));

  it("that repeat are one for the whole registry, run again after their time, and soon where there is more", () =>
    withJobs(async ({ database, clock }) => {
      let runs = 0;
      const kind = kindOf("fold", async () => (++runs < 3 ? "more" : undefined), { schedule: { everyMs: 60_000, jitterMs: 10 } });
      const one = runnerOf(database, clock, [kind]);
      const two = runnerOf(database, clock, [kind], { holder: "two" });
      one.runner.start();
      two.runner.start();
      await until(() => {
        // It pauses for some times as long as it ran.
        if (runs < 3) clock.advance(100);
        one.runner.wake();
        return runs === 3;
      });
      await sleep(30);
      assert.equal(runs, 3);
      clock.advance(60_010);
      one.runner.wake();
      await until(() => runs === 4);
      await Promise.all([one.runner.stop(), two.runner.stop()]);
    }));

  it("of the calendar run once for each time, wherever, and once for all that were missed", () =>
    withJobs(async ({ database, clock, ask }) => {
      const DAY_MS = 86_400_000;
      const ran: number[] = [];
      let fails = false;
      const kind = kindOf(
        "rotate",
        async () => {
          ran.push(clock.now());
          if (fails) throw new Error("not now");
        },
        { schedule: { cron: "30 3 * * *", timeZone: "Asia/Kolkata", jitterMs: 600_000 }, retry: { ...RETRY, attempts: 1 } },
      );
      const begun: string[] = [];
      const sites = ["one", "two"].map((holder) => {
        const first = kindOf(`begin-${holder}`, async () => void begun.push(holder));
        return runnerOf(database, clock, [kind, first], { holder, pollMs: 5 });
      });
      const store = createJobStore(database);
      const dueAt = async (): Promise<number> => (await store.outlook()).waitingUntil ?? Number.NaN;
      for (const { runner } of sites) runner.start();
      // The clock stands still until both have looked at their timetables.
      for (const holder of ["one", "two"]) await ask({ kind: `begin-${holder}`, subject: "" });
      await until(() => begun.length === 2);
      // Starting the runner does not run the job.
      await until(async () => (await dueAt()) > 0);
      const first = await dueAt();
      assert.equal(ran.length, 0);
      assert.ok((first - 22 * 3_600_000) % DAY_MS < 600_000, new Date(first).toISOString());
      async function runAt(at: number): Promise<void> {
        const before = ran.length;
        clock.advance(at - clock.now());
        for (const { runner } of sites) runner.wake();
        await until(async () => ran.length > before && (await dueAt()) > clock.now());
        assert.equal(ran.length, before + 1);
      }
      await runAt(first);
      await runAt(await dueAt());
      const slotOf = (at: number): number => Math.floor((at - 22 * 3_600_000) / DAY_MS);
      assert.equal(slotOf(await dueAt()), slotOf(first) + 2);
      // A week without any runner.
      await runAt((await dueAt()) + 7 * DAY_MS);
      assert.equal(slotOf(await dueAt()), slotOf(clock.now()) + 1);
      // A time at which all attempts fail is not the last one.
      fails = true;
      await runAt(await dueAt());
      assert.deepEqual(
        sites.flatMap(({ errors }) => errors),
        ["not now"],
      );
      fails = false;
      await runAt(await dueAt());
      // If it is deleted, or its timetable has changed, it is created or moved.
      const next = await dueAt();
      await store.ensureRepeating({ kind: "rotate", subject: "", dueAt: clock.now(), latest: next - 1000 }, clock.now());
      assert.equal(await dueAt(), next - 1000);
      await Promise.all(sites.map(({ runner }) => runner.stop()));
    }));

  it("are cancelled at once while they wait, and told to end while they run", () =>
    withJobs(async ({ database, clock, ask }) => {
      const store = createJobStore(database);
      const cancel = (id: number): Promise<boolean> => database.transaction((tx) => cancelJob(tx, id, "admin", clock.now()));
      await ask({ kind: "scan", subject: "later", dueAt: clock.now() + 1000 });
      const job = await store.find(1);
      assert.equal(await cancel(job!.id), true);
      assert.equal((await store.find(job!.id))?.state, "cancelled");
      assert.equal(await cancel(job!.id), false);
      await ask({ kind: "scan", subject: "now" });
      const taken = await store.take("scan", -1, { holder: "one", until: clock.now() + LEASE_MS, now: clock.now() });
      assert.equal(await cancel(taken!.id), true);
      assert.equal(await store.renew(taken!, clock.now() + LEASE_MS, { done: 3, total: 9 }), "cancelled");
      assert.deepEqual([(await store.find(taken!.id))?.done, (await store.find(taken!.id))?.total], [3, 9]);
    }));

  it("that a stop cuts short are begun again without an attempt lost, also where a lease was left behind", () =>
    withJobs(async ({ database, clock, ask }) => {
      const store = createJobStore(database);
      let id = 0;
      const run = async (job: RunningJob): Promise<void> => {
        id = job.id;
        await new Promise<void>((_, reject) => job.signal.addEventListener("abort", () => reject(new Error("told to end"))));
      };
      const first = runnerOf(database, clock, [kindOf("scan", run)]);
      await ask({ kind: "scan", subject: "image" });
      first.runner.start();
      await until(() => id > 0);
      await first.runner.stop();
      assert.deepEqual([(await store.find(id))?.state, (await store.find(id))?.attempt], ["waiting", 0]);
      await store.promote(clock.now());
      await store.take("scan", -1, { holder: "crashed", until: clock.now() + LEASE_MS, now: clock.now() });
      const alone = runnerOf(database, clock, [kindOf("scan", async () => undefined, { retry: { ...RETRY, firstDelayMs: 0 } })], {
        isAlone: true,
      });
      alone.runner.start();
      await until(() => alone.ends.includes("scan succeeded"));
      await alone.runner.stop();
    }));

  it("are begun after the commit that asks for them, by whichever process hears of it, without a look of its own", async () => {
    const test = await create();
    const failures: unknown[] = [];
    const listening: (() => Promise<void>)[] = [];
    const databases = [test.database, await test.open()].map((each) => {
      const { listen } = each;
      const noted = {
        ...each,
        ...(listen === undefined
          ? {}
          : {
              listen(onNotice: (word: string | undefined) => void) {
                const stop = listen(onNotice);
                listening.push(stop);
                return stop;
              },
            }),
      };
      return withTopics(noted, (error) => failures.push(error));
    });
    const clock = createTestClock();
    const never = { pollMs: 3_600_000 };
    const ran: string[] = [];
    try {
      const [asking, other] = databases as [Database, Database];
      const kind = kindOf("scan", async (job) => void ran.push(job.subject));
      // Alone in turn: first in the process that requests jobs, then in another one on the same database.
      for (const at of dialect === "sqlite" ? [asking] : [asking, other]) {
        const { runner, ends } = runnerOf(at, clock, [kind], never);
        runner.start();
        await asking.transaction((tx) => putJob(tx, { kind: "scan", subject: "first" }, clock.now()));
        await until(() => ends.length === 1);
        await assert.rejects(
          asking.transaction(async (tx) => {
            await putJob(tx, { kind: "scan", subject: "undone" }, clock.now());
            throw new Error("the work failed");
          }),
          /the work failed/,
        );
        for (const subject of ["second", "third"]) {
          const before = ends.length;
          await asking.transaction((tx) => putJob(tx, { kind: "scan", subject }, clock.now()));
          await until(() => ends.length > before);
        }
        await runner.stop();
      }
      assert.deepEqual(new Set(ran), new Set(["first", "second", "third"]));
      assert.deepEqual(failures, []);
    } finally {
      // Only the connections that listen; the databases themselves are closed with the test.
      await Promise.all(listening.map((stop) => stop()));
      await test.end();
    }
  });

  it("keep their newest lines, and are forgotten with them after a while", () =>
    withJobs(async ({ database, clock, ask }) => {
      const store = createJobStore(database);
      let id = 0;
      const { runner, ends } = runnerOf(database, clock, [
        kindOf("scan", async (job) => {
          id = job.id;
          for (let i = 0; i < 205; i++) await store.addLine({ ...job, kind: "scan", payload: "", fence: 1 }, `line ${i}`, clock.now());
          job.log("the last");
        }),
      ]);
      await ask({ kind: "scan", subject: "image" });
      runner.start();
      await until(() => ends.length === 1);
      const lines = await listJobLines(database, id);
      assert.equal(lines.length, 200);
      assert.equal(lines.at(-1)?.line, "the last");
      await runner.stop();
      assert.equal(await store.forget(clock.now()), 0);
      clock.advance(31 * 24 * 3_600_000);
      assert.equal(await store.forget(clock.now()), 1);
      assert.deepEqual([await store.find(id), await listJobLines(database, id)], [undefined, []]);
    }));
});
