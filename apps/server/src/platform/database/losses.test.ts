// What migrating back loses: every step describes it, and existing content is detected. Not here: the confirmation
// (test/flows/dangerous-commands.test.ts).
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { it } from "node:test";
import { systemClock } from "../clock.ts";
import { forEachDatabase } from "./databases.testing.ts";
import { findLosses } from "./losses.ts";
import { LATEST_MIGRATION, migrate } from "./migrate.ts";
import { migrations, RELEASED } from "./migrations/all.ts";
import type { ColumnTypes } from "./migrations/migration.ts";

const TYPES: ColumnTypes = { dialect: "sqlite", id: "integer", integer: "integer", text: "text", bytes: "blob", clustered: "" };

it("every step whose way back drops a table or a column names what is lost with it, or says that it is made anew", () => {
  for (const { name, loses, down } of migrations) {
    const drops = down(TYPES).filter((text) => /drop (?:table|column)/i.test(text));
    if (drops.length > 0)
      assert.ok(loses.content.length > 0 || /anew/.test(loses.what), `${name} drops and does not say so: ${drops.join("; ")}`);
    assert.doesNotMatch(loses.what, /\n|\.$/, name);
  }
});

it("losses: knows the version of every release", () => {
  const changelog = readFileSync(join(import.meta.dirname, "../../../../../CHANGELOG.md"), "utf8");
  const releases = [...changelog.matchAll(/^## \[(\d+\.\d+\.\d+)\]/gm)].map((match) => match[1]);
  assert.deepEqual(
    RELEASED.map(({ release }) => release),
    releases.toReversed(),
  );
});

forEachDatabase("losses", (create) => {
  it("names the tables and columns that hold something", async () => {
    const test = await create();
    try {
      const steps = migrations.slice(0, 2);
      const withColumn = { ...steps[1]!, loses: { what: "a column", content: ["blob.damaged_at"] } };
      const all = [steps[0]!, withColumn];
      assert.deepEqual(
        (await findLosses(test.database, 2, 0, all)).map(({ id, destroyed }) => [id, destroyed]),
        [
          [2, []],
          [1, []],
        ],
      );
      await test.database.script("insert into blob (digest, size_bytes, created_at) values ('sha256:1', 1, 1)");
      assert.deepEqual(
        (await findLosses(test.database, 2, 0, all)).map(({ destroyed }) => destroyed),
        [[], ["blob"]],
      );
      await test.database.script("update blob set damaged_at = 1");
      assert.deepEqual(
        (await findLosses(test.database, 2, 1, all)).map(({ destroyed }) => destroyed),
        [["blob.damaged_at"]],
      );
      // Nothing has traits yet, so that of the released steps only the first loses anything.
      await test.database.script(
        "insert into job (kind, subject, project_id, priority, payload, state, due_at, attempt, fence, is_cancelled, created_at) " +
          "values ('usage-folding', '', 0, 0, '', 'waiting', 1, 0, 0, 0, 1)",
      );
      const real = await findLosses(test.database, LATEST_MIGRATION, 0);
      assert.deepEqual(
        real.flatMap(({ id, destroyed }) => (id > 1 ? destroyed : [])),
        [],
      );
      assert.ok(real.at(-1)!.destroyed.includes("blob"));
      await migrate(test.database, systemClock);
    } finally {
      await test.end();
    }
  });
});
