// Deletion of the rows that refer to a row, as the tables declare it: rows that are deleted with those that refer to them, rows that are
// cleared, and rows that prevent it. The tables belong to no feature. Not here: repositories, projects and accounts themselves
// (distribution/repository-deletion.test.ts, http/api).
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { forEachDatabase, type TestDatabase } from "./databases.testing.ts";
import { createStatements } from "./declared-tables.testing.ts";
import { createDeletion } from "./deletion.ts";
import { id, integer, names, nullable, refersTo, type Tables } from "./table.ts";

const BATCH = 500;
const tables: Tables = {
  house: { columns: { id: id() }, key: ["id"], backup: "kept" },
  room: {
    columns: { id: id(), house_id: refersTo("house", "deleted") },
    key: ["id"],
    indexes: { room_by_house: "(house_id)" },
    backup: "kept",
  },
  // It refers to a room and to its house, so it is deleted first.
  chair: {
    columns: { house_id: refersTo("house", "deleted"), number: integer(), room_id: refersTo("room", "deleted") },
    key: ["house_id", "number"],
    indexes: { chair_by_room: "(room_id)" },
    backup: "kept",
  },
  shelf: {
    columns: { id: id(), room_id: refersTo("room", "deleted") },
    key: ["id"],
    indexes: { shelf_by_room: "(room_id)" },
    backup: "kept",
  },
  book: { columns: { shelf_id: refersTo("shelf", "deleted"), number: integer() }, key: ["shelf_id", "number"], backup: "kept" },
  guest: {
    columns: { id: id(), house_id: nullable(refersTo("house", "cleared")) },
    key: ["id"],
    indexes: { guest_by_house: "(house_id)" },
    backup: "kept",
  },
  tenant: {
    columns: { id: id(), house_id: refersTo("house", "refuses") },
    key: ["id"],
    indexes: { tenant_by_house: "(house_id)" },
    backup: "kept",
  },
  fire: {
    columns: { id: id(), house_id: refersTo("house", "waits") },
    key: ["id"],
    indexes: { fire_by_house: "(house_id)" },
    backup: "kept",
  },
  photo: { columns: { id: id(), house_id: names("house", "stays") }, key: ["id"], backup: "kept" },
};

forEachDatabase("deletion", (create, dialect) => {
  let test: TestDatabase;
  const house = createDeletion(tables, "house");
  before(async () => {
    test = await create({ migrated: false });
    for (const sql of createStatements(tables, dialect)) await test.database.script(sql);
    const many = `with recursive n (i) as (select 1 union all select i + 1 from n where i < ${BATCH + 100})`;
    for (const sql of [
      "insert into house (id) values (1), (2)",
      `insert into room (id, house_id) ${many} select i, 1 + i % 2 from n`,
      "insert into chair (house_id, number, room_id) select house_id, id, id from room",
      "insert into shelf (id, room_id) select id, id from room",
      "insert into book (shelf_id, number) select id, 1 from shelf union all select id, 2 from shelf",
      `insert into guest (house_id) ${many} select 1 from n`,
      "insert into guest (house_id) values (2)",
      "insert into photo (house_id) values (1), (2)",
    ])
      await test.database.script(sql);
  });
  after(() => test.end());

  const count = (table: string, where: string): Promise<number> =>
    test.database.session(async (run) => Number((await run(`select count(*) as n from ${table} where ${where}`))[0]?.["n"]));

  it("names what is in the way, and takes nothing of it", async () => {
    assert.equal(await house.findObstacle(test.database, 1), undefined);
    for (const [table, place] of [
      ["tenant", "tenant.house_id"],
      ["fire", "fire.house_id"],
    ]) {
      await test.database.script(`insert into ${table} (house_id) values (1)`);
      assert.equal(await house.findObstacle(test.database, 1), place);
      assert.equal(await house.findObstacle(test.database, 2), undefined);
      await test.database.script(`delete from ${table}`);
    }
  });

  it("takes a batch at a time, first what refers to other rows that go", async () => {
    assert.equal(await test.database.transaction((tx) => house.takeSome(tx, 1)), true);
    assert.equal(await count("chair", "house_id = 1"), 0);
    assert.equal(await count("room", "house_id = 1"), (BATCH + 100) / 2);
    // One of its tables has more than a batch.
    const before = await count("guest", "house_id = 1");
    while ((await count("guest", "house_id = 1")) === before)
      assert.equal(await test.database.transaction((tx) => house.takeSome(tx, 1)), true);
    assert.equal(await count("guest", "house_id = 1"), before - BATCH);
  });

  it("takes all of one row's and nothing of another's, and frees or leaves what says so", async () => {
    const guests = await count("guest", "1 = 1");
    await test.database.transaction(async (tx) => {
      await house.takeAll(tx, 1);
      assert.equal(await house.takeSome(tx, 1), false);
    });
    await test.database.script("delete from house where id = 1");
    assert.equal(await count("guest", "1 = 1"), guests);
    assert.equal(await count("guest", "house_id = 2"), 1);
    assert.equal(await count("photo", "1 = 1"), 2);
    const half = (BATCH + 100) / 2;
    assert.equal(await count("room", "house_id = 2"), half);
    assert.equal(await count("room", "1 = 1"), half);
    assert.equal(await count("chair", "1 = 1"), half);
    assert.equal(await count("shelf", "1 = 1"), half);
    assert.equal(await count("book", "1 = 1"), 2 * half);
  });
});

it("deletion: refuses tables whose rows cannot be taken in batches, and such as refer to each other in a ring", () => {
  const wide: Tables = {
    house: tables["house"]!,
    dot: {
      columns: { x: integer(), y: integer(), house_id: refersTo("house", "deleted") },
      key: ["x", "y"],
      backup: "kept",
    },
  };
  assert.throws(() => createDeletion(wide, "house"), /the rows of dot cannot be taken in batches by house_id/);
  const ring: Tables = {
    house: tables["house"]!,
    hen: { columns: { id: id(), house_id: refersTo("house", "deleted"), egg_id: refersTo("egg", "deleted") }, key: ["id"], backup: "kept" },
    egg: { columns: { id: id(), house_id: refersTo("house", "deleted"), hen_id: refersTo("hen", "deleted") }, key: ["id"], backup: "kept" },
  };
  assert.throws(() => createDeletion(ring, "house"), /in a ring: hen, egg/);
});
