// Kinds whose work runs in a thread, on every engine: result, progress and lines; cancelled, too large, dead, blocked. Not here: the work
// of the test's threads (job-thread-work.testing.ts).
import assert from "node:assert/strict";
import { it } from "node:test";
import { createTestClock } from "../access/access.testing.ts";
import type { Database } from "../platform/database/database.ts";
import { forEachDatabase } from "../platform/database/databases.testing.ts";
import type { JobKind, RunningJob } from "./job-kinds.ts";
import { cancelJob, createJobStore, listJobLines, putJob } from "./job-store.ts";
import { kindOf, runnerOf, until, withTopicsForTest, type Site } from "./jobs.testing.ts";

const WORK = { module: new URL("./job-thread-work.testing.ts", import.meta.url), memoryMb: 32 };
const ONCE_MORE = { attempts: 2, firstDelayMs: 0, maxDelayMs: 0 };

forEachDatabase("jobs in threads", (create) => {
  async function withThread(
    payload: unknown,
    work: (
      site: Site & { database: Database; results: unknown[]; job: () => RunningJob | undefined; id: () => Promise<number> },
    ) => Promise<void>,
    more: Partial<JobKind> = {},
  ): Promise<void> {
    const test = await create();
    const clock = createTestClock();
    const results: unknown[] = [];
    const errors: unknown[] = [];
    const database = withTopicsForTest(test.database, (error) => errors.push(error));
    let job: RunningJob | undefined;
    const run = async (running: RunningJob, result: unknown): Promise<void> => {
      job = running;
      results.push(result);
    };
    const site = runnerOf(database, clock, [kindOf("scan", run, { thread: WORK, retry: ONCE_MORE, ...more })], { pollMs: 20 });
    try {
      await database.transaction((tx) => putJob(tx, { kind: "scan", subject: "image", payload }, clock.now()));
      site.runner.start();
      await work({ ...site, database, results, job: () => job, id: async () => 1 });
    } finally {
      await site.runner.stop();
      await database.close();
      await test.end();
      assert.deepEqual(errors, []);
    }
  }

  it("give their result to the kind, and their progress and lines to who looks", () =>
    withThread({ what: "count", to: 3 }, async ({ database, ends, results, errors }) => {
      await until(() => ends.length === 1);
      assert.deepEqual([ends, errors], [["scan succeeded"], []]);
      assert.deepEqual(results, [{ subject: "image", attempt: 1, counted: 3, secrets: 0 }]);
      assert.deepEqual(
        (await listJobLines(database, 1)).map(({ line }) => line),
        ["counted to 3"],
      );
    }));

  for (const [what, error] of [
    ["throw", /no such layer/],
    ["die", /its thread ended with code 3 before its work did/],
    ["grow", /memory limit/],
  ] as const) {
    it(`that ${what} cost one attempt, and nobody else anything`, () =>
      withThread({ what }, async ({ database, ends, errors }) => {
        await until(() => ends.length === 2);
        assert.deepEqual(ends, ["scan retried", "scan failed"]);
        assert.match(errors[0]!, error);
        assert.match((await createJobStore(database).find(1))?.error ?? "", error);
      }));
  }

  it("end when they are cancelled, whether they listen or compute for ever", async () => {
    for (const what of ["listen", "spin"]) {
      await withThread({ what }, async ({ database, ends, results }) => {
        await until(async () => (await createJobStore(database).find(1))?.state === "running");
        await database.transaction((tx) => cancelJob(tx, 1, "admin", 0));
        await until(() => ends.length === 1);
        assert.deepEqual([ends, results], [["scan cancelled"], []], what);
      });
    }
  });

  it("end at their limit of time, and with their process", async () => {
    await withThread(
      { what: "spin" },
      async ({ ends, errors }) => {
        await until(() => ends.length === 2);
        assert.deepEqual(ends, ["scan retried", "scan failed"]);
        assert.match(errors[0]!, /it took longer than 50 ms/);
      },
      { timeoutMs: 50 },
    );
    await withThread({ what: "spin" }, async ({ database, runner, ends }) => {
      await until(async () => (await createJobStore(database).find(1))?.state === "running");
      await runner.stop();
      assert.deepEqual(ends, ["scan retried"]);
    });
  });
});
