// Notices of transactions arrive after their commit, here and in other processes, also after the connection that listens was cut.
import assert from "node:assert/strict";
import { it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import type { Database } from "./database.ts";
import { forEachDatabase } from "./databases.testing.ts";
import { statement } from "./statement.ts";
import { withTopics } from "./topics.ts";

const cutListeners = statement<Record<never, never>>()("test.topics.cut", (db) => ({
  compile: () =>
    sql<{ done: boolean }>`select pg_terminate_backend(pid) as done from pg_stat_activity
      where datname = current_database() and query = 'listen berth'`.compile(db),
}));

const notify = (database: Database, ...topics: string[]): Promise<void> =>
  database.transaction(async (tx) => {
    for (const topic of topics) tx.notify!(topic);
  });

forEachDatabase("topics", (create, dialect) => {
  it("are heard once a commit, by who hears them and as long as he does, and not where the transaction fails", async () => {
    const test = await create();
    try {
      // This database has no way to listen.
      const { listen: _, broadcast: __, ...alone } = test.database;
      const database = withTopics(alone, (error) => assert.fail(String(error)));
      const heard: string[] = [];
      const stop = database.subscribe!("one", () => heard.push("one"));
      database.subscribe!("two", () => heard.push("two"));
      await notify(database, "one", "one", "three");
      await assert.rejects(
        database.transaction(async (tx) => {
          tx.notify!("two");
          throw new Error("undone");
        }),
        /undone/,
      );
      assert.deepEqual(heard, ["one"]);
      stop();
      await notify(database, "one", "two");
      assert.deepEqual(heard, ["one", "two"]);
    } finally {
      await test.end();
    }
  });

  // SQLite has only one process.
  if (dialect === "sqlite") return;
  it("reach other processes, and again after their connection was cut", { timeout: 120_000 }, async () => {
    const test = await create();
    const one = withTopics(test.database, (error) => assert.fail(String(error)));
    // The cut is reported where the connections' other errors are, which would end the test here.
    const cuts: string[] = [];
    const opened = await test.open({ onBackgroundError: (error) => cuts.push((error as Error).message) });
    const other = withTopics(opened, (error) => assert.fail(String(error)));
    let count = 0;
    other.subscribe!("jobs", () => count++);
    async function untilHeard(): Promise<void> {
      const before = count;
      // The other process may not listen yet, so the notice is repeated until it arrives.
      for (let i = 0; count === before; i++) {
        if (i % 20 === 0) await notify(one, "jobs");
        await sleep(10);
      }
    }
    try {
      await untilHeard();
      for (let cut = 1; cut <= 2; cut++) {
        assert.ok((await one.all(cutListeners, {})).length > 0);
        await untilHeard();
      }
      assert.deepEqual(new Set(cuts), new Set(["no word of other processes' commits is heard for now"]));
    } finally {
      // Both are closed, so that none sends notices after its connections have ended.
      await one.close();
      await other.close();
      await test.end();
    }
  });
});
