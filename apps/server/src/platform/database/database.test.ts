// The database contract on every engine: committed data is seen, failed transactions leave nothing, lists and bytes survive, migrations go
// both ways.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { systemClock } from "../clock.ts";
import { createSqliteForTest, forEachDatabase, type TestDatabase } from "./databases.testing.ts";
import { findMigrationVersion, LATEST_MIGRATION, migrate } from "./migrate.ts";
import { migrations, RELEASED } from "./migrations/all.ts";
import { statement } from "./statement.ts";

const insert = statement<{ name: string; now: number }>()("test.insert", (db, p) =>
  db.insertInto("blob").values({ digest: p.name, size_bytes: 1, storage_key: p.name, created_at: p.now }).returning("id"),
);
const findByName = statement<{ name: string }>()("test.find", (db, p) => db.selectFrom("blob").selectAll().where("digest", "=", p.name));
const listIn = statement<{ names: string[] }>()("test.in", (db, p, tools) =>
  db
    .selectFrom("blob")
    .select("digest as name")
    .where(({ ref }) => tools.inList(ref("digest"), p.names, "text"))
    .orderBy("digest"),
);
const putInline = statement<{ id: number; bytes: Uint8Array; now: number }>()("test.bytes", (db, p) =>
  db.insertInto("signing_key").values({
    id: "k",
    algorithm: "x",
    private_key: "x",
    public_key: "x",
    created_at: p.now,
    signs_until: p.now,
    verifies_until: p.id,
  }),
);

const touch = statement<{ name: string; now: number }>()("test.touch", (db, p) =>
  db.updateTable("blob").set({ created_at: p.now }).where("digest", "=", p.name),
);

const listAll = statement<Record<never, never>>()("test.all", (db) => db.selectFrom("blob").select(["id", "digest as name"]));

const countProjects = statement<Record<never, never>>()("test.count", (db) =>
  db.selectFrom("blob").select(({ fn }) => fn.countAll<number>().as("count")),
);

forEachDatabase("database", (create, dialect) => {
  let test: TestDatabase;
  before(async () => {
    test = await create();
  });
  after(() => test.end());

  it("commits a transaction and shows it to reads", async () => {
    const id = await test.database.transaction(async (tx) => (await tx.first(insert, { name: "b", now: 5 }))!.id);
    const found = await test.database.first(findByName, { name: "b" });
    assert.deepEqual({ ...found }, { id, digest: "b", size_bytes: 1, storage_key: "b", created_at: 5, damaged_at: null });
  });

  it("leaves nothing of a transaction that threw, and shows nothing of one that is open", async () => {
    await assert.rejects(
      test.database.transaction(async (tx) => {
        await tx.run(insert, { name: "gone", now: 1 }, 1);
        assert.equal((await tx.all(findByName, { name: "gone" })).length, 1);
        assert.equal(await test.database.first(findByName, { name: "gone" }), undefined);
        throw new Error("stop");
      }),
      /stop/,
    );
    assert.equal(await test.database.first(findByName, { name: "gone" }), undefined);
  });

  it("runs transactions that arrive together, each whole", async () => {
    await Promise.all(
      Array.from({ length: 50 }, (_, i) => test.database.transaction((tx) => tx.run(insert, { name: `many-${i}`, now: i }, 1))),
    );
    const names = Array.from({ length: 60 }, (_, i) => `many-${i}`);
    assert.equal((await test.database.all(listIn, { names })).length, 50);
  });

  it("fails those that throw of transactions that arrive together, and has all of the others, each once", async () => {
    const outcomes = await Promise.allSettled(
      Array.from({ length: 40 }, (_, i) =>
        test.database.transaction(async (tx) => {
          const row = await tx.first(insert, { name: `some-${i}`, now: i });
          if (i % 7 === 3) throw new Error(`stop ${i}`);
          return row!.id;
        }),
      ),
    );
    const found = new Map<string, number>();
    for (const { id, name } of await test.database.all(listAll, {})) if (name.startsWith("some-")) found.set(name, id);
    outcomes.forEach((outcome, i) => {
      if (outcome.status === "fulfilled") assert.equal(found.get(`some-${i}`), outcome.value);
      else assert.equal((outcome.reason as Error).message, `stop ${i}`);
    });
    assert.deepEqual(
      outcomes.flatMap(({ status }, i) => (status === "rejected" ? [i] : [])),
      [3, 10, 17, 24, 31, 38],
    );
    assert.equal(found.size, 34);
  });

  it("commits nothing where a write changes another number of rows than it must", async () => {
    const wanted = { code: dialect === "postgres" ? "UNAVAILABLE" : "40001" };
    for (const [expected, name] of [
      [0, "counted"],
      [2, "counted"],
      [1, "nobody"],
    ] as const) {
      let runs = 0;
      const lost = test.database.transaction(async (tx) => {
        runs++;
        await tx.run(insert, { name: "counted", now: 1 }, 1);
        await tx.run(touch, { name, now: 2 }, expected);
      });
      await assert.rejects(lost, wanted);
      assert.ok(dialect === "sqlite" || runs > 1, "a race that was lost is run again");
      assert.equal(await test.database.first(findByName, { name: "counted" }), undefined);
    }
    await test.database.transaction(async (tx) => {
      await tx.run(insert, { name: "counted", now: 1 }, 1);
      await tx.run(touch, { name: "counted", now: 2 }, 1);
      await tx.run(touch, { name: "nobody", now: 2 }, { any: "nobody is there" });
      assert.equal(await tx.change(touch, { name: "counted", now: 3 }), 1);
      assert.equal(await tx.change(touch, { name: "nobody", now: 3 }), 0);
    });
    assert.equal((await test.database.first(findByName, { name: "counted" }))?.created_at, 3);
  });

  it("compares text by bytes", async () => {
    for (const name of ["A", "_", "a-b", "a.b", "a/b"]) await test.database.write(insert, { name, now: 1 });
    const rows = await test.database.all(listIn, { names: ["a/b", "a.b", "a-b", "_", "A"] });
    assert.deepEqual(
      rows.map((row) => row.name),
      ["A", "_", "a-b", "a.b", "a/b"],
    );
  });

  it("keeps an undurable write and refuses a missing parameter", async () => {
    await test.database.write(putInline, { id: 2 ** 52, bytes: new Uint8Array(), now: 3 }, { durable: false });
    await test.database.sync();
    await assert.rejects(test.database.all(findByName, {} as { name: string }), /parameter name is missing/);
  });

  it("migrates back to the oldest release and forward again, replicas together", async () => {
    const oldest = RELEASED[0]!.version;
    const fresh = await create({ migrated: false });
    try {
      const replicas = [fresh.database, await fresh.open(), await fresh.open()];
      if (dialect === "postgres") await Promise.all(replicas.map((replica) => migrate(replica, systemClock)));
      else await migrate(fresh.database, systemClock);
      assert.equal(await findMigrationVersion(fresh.database), LATEST_MIGRATION);
      await migrate(fresh.database, systemClock, oldest);
      assert.equal(await findMigrationVersion(fresh.database), oldest);
      assert.equal((await migrate(fresh.database, systemClock)).length, migrations.filter(({ id }) => id > oldest).length);
    } finally {
      await fresh.end();
    }
  });
});

describe("sqlite's write-ahead log", () => {
  it("is begun anew by checkpoints while writes go on, and loses nothing", async () => {
    const test = await createSqliteForTest();
    try {
      const bytes = "x".repeat(100_000);
      // 1,500 rows that hold a name of 100 KB twice, and two indexes on it, would be 600 MB of log if the log were never reused. Writers
      // wait at some 100 MB of such rows, and one or two transactions may be under way.
      for (let i = 0; i < 1500; i += 50) {
        await Promise.all(Array.from({ length: 50 }, (_, j) => test.database.write(insert, { name: `${i + j}-${bytes}`, now: i + j })));
      }
      assert.ok(test.walBytes() < 250_000_000, `the log has ${test.walBytes()} bytes`);
      assert.equal((await test.database.all(countProjects, {}))[0]!.count, 1500);
    } finally {
      await test.end();
    }
  });
});
