// Programs of several versions on one database, on both engines: which may start, which refuse and why; a database that 0.1.0 created is
// covered too; ids cannot collide. Not here: processes that are killed in the middle of a step (test/versions).
import assert from "node:assert/strict";
import { globSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { systemClock } from "../clock.ts";
import { StartupError } from "../startup-error.ts";
import { forEachDatabase, type TestDatabase } from "./databases.testing.ts";
import { findMigrationVersion, listAppliedSteps, migrate } from "./migrate.ts";
import { migrations } from "./migrations/all.ts";
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

// 3 and 4 only add; 5 removes what programs of 3 use.
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

  it("runs a step that was merged late, beside those that another program has had, and takes back what it knows alone", async () => {
    const fresh = await create({ migrated: false });
    try {
      const [one, two] = [step(20260102030405, 2), step(20260203040506, 2)];
      const late = { ...step(20260101000000, 2), name: "quota/late" };
      await migrate(fresh.database, systemClock, undefined, [...program(2), two]);
      // The order of the list does not matter.
      const both = [one, ...program(2), late];
      assert.deepEqual(await migrate(fresh.database, systemClock, undefined, both), [
        "up 20260101000000 quota/late",
        "up 20260102030405 step20260102030405",
      ]);
      assert.deepEqual(await migrate(fresh.database, systemClock, undefined, both), []);
      // Nothing is taken back unless all of it can be.
      await assert.rejects(migrate(fresh.database, systemClock, 2, both), /only the program that brought it there/);
      assert.deepEqual(await listAppliedSteps(fresh.database), [1, 2, late.id, one.id, two.id]);
      assert.equal((await migrate(fresh.database, systemClock, 2, [...both, two])).length, 3);
      // A program older than these ids reads the largest id, and the oldest program that any unknown step allows.
      await migrate(fresh.database, systemClock, undefined, [...both, two]);
      const [row] = await fresh.database.session((run) =>
        run("select max(coalesce(oldest_program, id)) as oldest from migration where id > 2"),
      );
      assert.equal(Number(row?.["oldest"]), 2);
    } finally {
      await fresh.end();
    }
  });

  it("refuses a database on which the same id is another step", async () => {
    const fresh = await create({ migrated: false });
    try {
      await migrate(fresh.database, systemClock, undefined, [step(1, 1), step(20260102030405, 1)]);
      const other = { ...step(20260102030405, 1), name: "other" };
      await assert.rejects(migrate(fresh.database, systemClock, undefined, [step(1, 1), other]), (error) => {
        assert.ok(error instanceof StartupError);
        assert.match(error.message, /Step 20260102030405 of the database is step20260102030405, and this program's is other/);
        return true;
      });
    } finally {
      await fresh.end();
    }
  });

  it("goes on where 0.1.0 left the database, and steps without a word take only programs that know them", async () => {
    const fresh = await create({ migrated: false });
    try {
      // The statement of release 0.1.0.
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

describe("the list of steps", () => {
  it("has an id once only: counted up to 15, since then the moment at which the step was begun, with its owner", () => {
    const ids = migrations.map(({ id }) => id);
    assert.equal(new Set(ids).size, ids.length);
    for (const { id, name } of migrations.filter((each) => each.id > 15)) {
      const [, year, month, day, hour, minute, second] = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)$/.exec(String(id)) ?? [];
      const at = new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
      assert.ok(at.getTime() > Date.UTC(2026, 0), `${id} is no moment`);
      assert.match(name, /^[a-z]+\/[a-z-]+$/, `${id} does not say whose it is`);
    }
  });

  it("has every file of the folder, named like its step", () => {
    const files = globSync("[0-9]*.ts", { cwd: join(import.meta.dirname, "migrations") });
    const names = migrations.map(({ id, name }) => `${String(id).padStart(4, "0")}-${name.replace("/", "-")}.ts`);
    assert.deepEqual(files.toSorted(), names.toSorted());
  });
});
