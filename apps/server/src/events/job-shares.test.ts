// Work that all processes share, on every engine: who did a batch rests, and others go on. Not here: how jobs are taken otherwise (jobs.test.ts).
import assert from "node:assert/strict";
import { it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createTestClock } from "../access/access.testing.ts";
import { forEachDatabase } from "../platform/database/databases.testing.ts";
import { kindOf, runnerOf, until, type Site } from "./jobs.testing.ts";

forEachDatabase("shares of jobs", (create) => {
  it("rest in the process that ran a batch, while another process takes the next one", async () => {
    const test = await create();
    try {
      const runs: { by: string; subject: string; from: number; to: number }[] = [];
      const siteOf = (by: string): Site => {
        const collect = kindOf(
          "collect",
          async ({ subject }) => {
            const from = performance.now();
            await sleep(20);
            runs.push({ by, subject, from, to: performance.now() });
            return "more";
          },
          { concurrency: 1, share: "collection", schedule: { everyMs: 3_600_000, jitterMs: 0, subjects: ["1", "2", "3"] } },
        );
        return runnerOf(test.database, createTestClock(), [collect], { holder: by });
      };
      const sites = [siteOf("one"), siteOf("two")];
      for (const { runner } of sites) runner.start();
      const ranBy = (name: string) => runs.filter(({ by }) => by === name);
      await until(() => ["one", "two"].every((by) => ranBy(by).length >= 4));
      await Promise.all(sites.map(({ runner }) => runner.stop()));
      assert.ok(new Set(runs.map(({ subject }) => subject)).size > 1);
      for (const by of ["one", "two"]) {
        const own = ranBy(by);
        for (const [index, { from, to }] of own.entries()) {
          const next = own[index + 1];
          if (next !== undefined) assert.ok(next.from - to >= (to - from) * 3, `${by}: ${next.from - to} ms after ${to - from} ms`);
        }
      }
    } finally {
      await test.end();
    }
  });
});
