// Programs of several versions on one database, of whatever engine: which may start, which refuse and say why, and that a database which 0.1.0
// made takes part. Not here: processes that are killed in the middle of a step (test/versions).
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { systemClock } from "../clock.ts";
import { StartupError } from "../startup-error.ts";
import { forEachDatabase, type TestDatabase } from "./databases.testing.ts";
import { findMigrationVersion, migrate } from "./migrate.ts";
import type { Migration } from "./migrations/migration.ts";

function step(id: number, oldestProgram: number): Migration {
  return {
    id,
    name: `step${id}`,
    oldestProgram,
    loses: { what: `made_by_${id}`, content: [] },
    up: ({ integer }) => [`create table made_by_${id} (id ${integer} primary key)`],
    down: () => [`drop table made_by_${id}`],
  };
}

// 3 and 4 only add; 5 takes away what programs of 3 use.
const steps = [step(1, 1), step(2, 2), step(3, 2), step(4, 3), step(5, 4)];
const program = (version: number): readonly Migration[] => steps.slice(0, version);

forEachDatabase("programs of several versions", (create) => {
  let test: TestDatabase;
  before(async () => {
    test = await create({ migrated: false });
  });
  after(() => test.end());

  it("lets the release before run on a database that was only added to, and no older one", async () => {
    await migrate(test.database, systemClock, undefined, program(4));
    assert.deepEqual(await migrate(test.database, systemClock, undefined, program(3)), []);
    assert.equal(await findMigrationVersion(test.database), 4);
    await assert.rejects(migrate(test.database, systemClock, undefined, program(2)), (error) => {
      assert.ok(error instanceof StartupError);
      assert.match(error.message, /is at version 4 and takes programs from version 3; this program's is 2\..*`migrate --to 2`/);
      return true;
    });
  });

  it("refuses a program whose own is taken away, until the database is back", async () => {
    assert.deepEqual(await migrate(test.database, systemClock, undefined, program(5)), ["up 5 step5"]);
    await assert.rejects(migrate(test.database, systemClock, undefined, program(3)), /takes programs from version 4/);
    assert.deepEqual(await migrate(test.database, systemClock, undefined, program(4)), []);
    assert.deepEqual(await migrate(test.database, systemClock, 4, program(5)), ["down 5 step5"]);
    assert.deepEqual(await migrate(test.database, systemClock, undefined, program(3)), []);
  });

  it("lets nobody but the program that knows a step take it back", async () => {
    await assert.rejects(migrate(test.database, systemClock, 1, program(3)), /only the program that brought it there/);
    assert.equal(await findMigrationVersion(test.database), 4);
    assert.deepEqual(await migrate(test.database, systemClock, 1, program(4)), ["down 4 step4", "down 3 step3", "down 2 step2"]);
  });

  it("goes on where 0.1.0 left the database, and steps without a word take only programs that know them", async () => {
    const fresh = await create({ migrated: false });
    try {
      // What release 0.1.0 writes.
      assert.equal(await findMigrationVersion(fresh.database), 0);
      await fresh.database.script(
        "insert into migration (id, name, applied_at) values (1, 'step1', 1), (2, 'step2', 1); create table made_by_2 (id bigint)",
      );
      await assert.rejects(migrate(fresh.database, systemClock, undefined, program(1)), /takes programs from version 2/);
      assert.deepEqual(await migrate(fresh.database, systemClock, 3, program(4)), ["up 3 step3"]);
      assert.deepEqual(await migrate(fresh.database, systemClock, 1, program(4)), ["down 3 step3", "down 2 step2"]);
    } finally {
      await fresh.end();
    }
  });

  it("leaves nothing of a step that fails, and goes on with it", async () => {
    const fresh = await create({ migrated: false });
    try {
      const broken: Migration = { ...step(2, 2), up: (types) => [...step(2, 2).up(types), "create table made_by_1 (id bigint)"] };
      await assert.rejects(migrate(fresh.database, systemClock, undefined, [step(1, 1), broken]), /already exists/);
      assert.equal(await findMigrationVersion(fresh.database), 1);
      assert.deepEqual(await migrate(fresh.database, systemClock, undefined, program(2)), ["up 2 step2"]);
    } finally {
      await fresh.end();
    }
  });
});
