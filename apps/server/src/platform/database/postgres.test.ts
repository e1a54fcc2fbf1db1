// What only a shared database must do: the transaction of a paused process loses its locks, and cannot commit when the process resumes. Not
// here: what every engine does (database.test.ts).
import assert from "node:assert/strict";
import { it } from "node:test";
import { forEachDatabase } from "./databases.testing.ts";
import { statement } from "./statement.ts";
import { unguarded } from "./transaction-guard.testing.ts";

const insert = statement<{ name: string; now: number }>()("test.held.insert", (db, p) =>
  db.insertInto("project").values({ name: p.name, sort_key: p.name, is_public: 0, created_at: p.now }).returning("id"),
);
const rename = statement<{ name: string; to: string }>()("test.held.rename", (db, p) =>
  db.updateTable("project").set({ sort_key: p.to }).where("name", "=", p.name),
);
const find = statement<{ name: string }>()("test.held.find", (db, p) =>
  db.selectFrom("project").select("sort_key").where("name", "=", p.name),
);

forEachDatabase("a transaction that rests", (create, dialect) => {
  // SQLite has only one process.
  if (dialect === "sqlite") return;
  it("loses its locks to others and is refused its next step", async () => {
    const test = await create();
    try {
      const other = await test.open();
      await test.database.write(insert, { name: "row", now: 1 });
      const isLocked = Promise.withResolvers<void>();
      const othersHaveWritten = Promise.withResolvers<void>();
      const held = unguarded(test.database).transaction(async (tx) => {
        await tx.run(rename, { name: "row", to: "held" }, 1);
        isLocked.resolve();
        await othersHaveWritten.promise;
        await tx.run(rename, { name: "row", to: "late" }, 1);
      });
      held.catch(() => undefined);
      await isLocked.promise;
      // It waits until the server ends the idle transaction.
      await other.transaction((tx) => tx.run(rename, { name: "row", to: "other" }, 1));
      othersHaveWritten.resolve();
      await assert.rejects(held, { code: "UNAVAILABLE" });
      assert.equal((await other.first(find, { name: "row" }))?.sort_key, "other");
    } finally {
      await test.end();
    }
  });
});
