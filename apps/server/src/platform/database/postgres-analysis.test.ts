// How an analytical statement runs on PostgreSQL: with an unrestricted planner and a longer timeout, also inside a transaction, whose other
// statements get neither; and on few connections at a time. Not here: which statements are analytical (plans.test.ts).
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { sql } from "kysely";
import type { Executor } from "./database.ts";
import { forEachDatabase, type TestDatabase } from "./databases.testing.ts";
import { statement, type Effort } from "./statement.ts";

type None = Record<never, never>;
interface Settings {
  readonly seqscan: string;
  readonly hashjoin: string;
  readonly mergejoin: string;
  readonly timeout: string;
}
const settings = (id: string, effort?: Effort) =>
  statement<None>()<Settings>(
    id,
    (db) => ({
      compile: () =>
        sql<Settings>`select current_setting('enable_seqscan') as seqscan, current_setting('enable_hashjoin') as hashjoin,
          current_setting('enable_mergejoin') as mergejoin, current_setting('statement_timeout') as timeout`.compile(db),
    }),
    effort,
  );
const usual = settings("test.analysis.usual");
const whole = settings("test.analysis.whole", { analytical: "a test" });
const BOUND: Settings = { seqscan: "off", hashjoin: "off", mergejoin: "off", timeout: "1min" };
const FREE: Settings = { seqscan: "on", hashjoin: "on", mergejoin: "on", timeout: "15min" };

// Counts the statements like it, itself included, that run at the same moment.
const together = statement<None>()<{ count: number }>(
  "test.analysis.together",
  (db) => ({
    compile: () =>
      sql<{
        count: number;
      }>`select (select count(*) from pg_stat_activity where state = 'active' and query like '%berth_together%') as count,
        pg_sleep(0.1) as berth_together`.compile(db),
  }),
  { analytical: "a test" },
);

forEachDatabase("an analytical statement", (create, dialect) => {
  if (dialect === "sqlite") return;
  let test: TestDatabase;
  before(async () => {
    test = await create();
  });
  after(() => test.end());

  const expectAlone = async (executor: Executor): Promise<void> => {
    assert.deepEqual(await executor.first(usual, {}), BOUND);
    assert.deepEqual(await executor.first(whole, {}), FREE);
    assert.deepEqual(await executor.all(usual, {}), [BOUND]);
    assert.deepEqual(await executor.all(whole, {}), [FREE]);
    assert.deepEqual(await executor.first(usual, {}), BOUND);
  };

  it("is planned freely, and no other is", async () => {
    await expectAlone(test.database);
    await test.database.transaction((tx) => expectAlone(tx));
    const reader = await test.openReader();
    try {
      await reader.snapshot((executor) => expectAlone(executor));
    } finally {
      await reader.close();
    }
    // The connections' settings are restored.
    await Promise.all(Array.from({ length: 16 }, async () => assert.deepEqual(await test.database.first(usual, {}), BOUND)));
  });

  it("has a quarter of the connections at the most, and the others wait", async () => {
    const counts = await Promise.all(Array.from({ length: 8 }, async () => Number((await test.database.first(together, {}))?.count)));
    assert.equal(counts.length, 8);
    assert.ok(Math.max(...counts) <= 2, counts.join());
  });

  it("is refused where more wait than anybody asks for", async () => {
    const ended = await Promise.allSettled(Array.from({ length: 40 }, () => test.database.first(together, {})));
    const refused = ended.filter((each) => each.status === "rejected").map(({ reason }) => (reason as { code?: string }).code);
    assert.deepEqual([...new Set(refused)], ["UNAVAILABLE"]);
    assert.equal(refused.length, 40 - 2 - 16);
  });
});
