// Batched look-ups: look-ups that arrive together share a query, none is answered from a query that was sent before it was asked, and a
// failure reaches all that waited for it and no others. Not here: the stores' own statements (content/).
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createBatch, createLookUp } from "./batch.ts";
import { forEachDatabase } from "./databases.testing.ts";
import { statement } from "./statement.ts";

/** A loader whose queries the test answers one by one. */
function heldLoad(): {
  readonly sent: { readonly keys: readonly string[]; readonly answer: PromiseWithResolvers<ReadonlyMap<string, string>> }[];
  load(keys: readonly string[]): Promise<ReadonlyMap<string, string>>;
} {
  const sent: { keys: readonly string[]; answer: PromiseWithResolvers<ReadonlyMap<string, string>> }[] = [];
  return {
    sent,
    load(keys) {
      const answer = Promise.withResolvers<ReadonlyMap<string, string>>();
      sent.push({ keys, answer });
      return answer.promise;
    },
  };
}

const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(() => setImmediate(resolve)));

describe("a batch", () => {
  it("sends the keys of one turn as one query, each once, and spreads the answers", async () => {
    const { sent, load } = heldLoad();
    const lookUp = createBatch({ idOf: (key: string) => key, load });
    const answers = Promise.all([lookUp("a"), lookUp("b"), lookUp("a"), lookUp("none")]);
    await turn();
    assert.deepEqual(
      sent.map((each) => each.keys),
      [["a", "b", "none"]],
    );
    sent[0]!.answer.resolve(
      new Map([
        ["a", "1"],
        ["b", "2"],
      ]),
    );
    assert.deepEqual(await answers, ["1", "2", "1", undefined]);
  });

  it("never answers a key from a query that was sent before the key came", async () => {
    const { sent, load } = heldLoad();
    const lookUp = createBatch({ idOf: (key: string) => key, load });
    const first = lookUp("tag");
    await turn();
    const second = lookUp("tag");
    await turn();
    const third = lookUp("tag");
    await turn();
    // Two queries may run; the third key waits for one of them to end, and still gets a query of its own.
    assert.equal(sent.length, 2);
    sent[0]!.answer.resolve(new Map([["tag", "old"]]));
    assert.equal(await first, "old");
    await turn();
    assert.equal(sent.length, 3);
    sent[2]!.answer.resolve(new Map([["tag", "newest"]]));
    sent[1]!.answer.resolve(new Map([["tag", "new"]]));
    assert.deepEqual([await second, await third], ["new", "newest"]);
  });

  it("fails those that waited for the failed query, and nobody after them", async () => {
    const { sent, load } = heldLoad();
    const lookUp = createBatch({ idOf: (key: string) => key, load });
    const failing = Promise.allSettled([lookUp("a"), lookUp("b")]);
    await turn();
    const later = lookUp("a");
    await turn();
    sent[0]!.answer.reject(new Error("lost"));
    assert.deepEqual(
      (await failing).map((each) => each.status),
      ["rejected", "rejected"],
    );
    sent[1]!.answer.resolve(new Map([["a", "1"]]));
    assert.equal(await later, "1");
    const again = lookUp("b");
    await turn();
    sent[2]!.answer.resolve(new Map());
    assert.equal(await again, undefined);
  });

  it("splits what is too much for one query, and answers all of it", async () => {
    const sizes: number[] = [];
    const lookUp = createBatch({
      idOf: (key: number) => String(key),
      load: async (keys) => {
        sizes.push(keys.length);
        return new Map(keys.map((key) => [String(key), key * 2]));
      },
    });
    const keys = Array.from({ length: 1000 }, (_, index) => index);
    assert.deepEqual(
      await Promise.all(keys.map(lookUp)),
      keys.map((key) => key * 2),
    );
    assert.deepEqual(sizes, [256, 256, 256, 232]);
  });
});

const insert = statement<{ name: string; now: number }>()("test.batch.insert", (db, p) =>
  db.insertInto("project").values({ name: p.name, sort_key: p.name, is_public: 0, created_at: p.now }).returning("id"),
);
const rename = statement<{ id: number; name: string }>()("test.batch.rename", (db, p) =>
  db.updateTable("project").set({ sort_key: p.name }).where("id", "=", p.id).returning("id"),
);
const find = statement<{ name: string }>()("test.batch.find", (db, p) =>
  db.selectFrom("project").select(["id", "name", "sort_key"]).where("name", "=", p.name),
);
const findMany = statement<{ names: string[] }>()("test.batch.findMany", (db, p, tools) =>
  db
    .selectFrom("project")
    .select(["id", "name", "sort_key"])
    .where(({ ref }) => tools.inList(ref("name"), p.names, "text")),
);

forEachDatabase("look-ups", (create) => {
  it("find what is committed, one or many, and see each write that was acknowledged before they began", async () => {
    const test = await create();
    try {
      const parts = {
        one: find,
        many: findMany,
        manyOf: (keys: readonly { name: string }[]) => ({ names: keys.map((key) => key.name) }),
        idOfKey: (key: { name: string }) => key.name,
        idOfRow: (row: { name: string }) => row.name,
        toValue: (row: { id: number; sort_key: string; name: string }) => row,
      };
      const lookUp = createLookUp(await test.open(), parts);
      const [{ id }] = (await test.database.write(insert, { name: "one", now: 1 })) as [{ id: number }];
      await test.database.write(insert, { name: "two", now: 1 });
      assert.equal((await lookUp({ name: "one" }))?.id, id);
      const together = await Promise.all(["one", "none", "two", "one"].map(async (name) => lookUp({ name })));
      assert.deepEqual(
        together.map((row) => row?.name),
        ["one", undefined, "two", "one"],
      );
      let isOver = false;
      // Other callers constantly run queries for the same key.
      const noise = (async () => {
        while (!isOver) {
          await Promise.all([lookUp({ name: "one" }), lookUp({ name: "two" })]);
          // SQLite answers within the same turn of the event loop, and would never end it.
          await turn();
        }
      })();
      try {
        for (let turns = 0; turns < 200; turns++) {
          await test.database.write(rename, { id, name: `name-${turns}` });
          assert.equal((await lookUp({ name: "one" }))?.sort_key, `name-${turns}`);
        }
      } finally {
        isOver = true;
        await noise;
      }
    } finally {
      await test.end();
    }
  });
});
