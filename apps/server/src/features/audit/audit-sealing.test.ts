// Putting on record, on every engine: all that was committed and nothing else, once, without gaps in the numbers, whoever seals and whenever somebody
// commits. Not here: proving it (audit-verification.test.ts), processes that are killed (test/failure).
import assert from "node:assert/strict";
import { after, afterEach, before, it } from "node:test";
import { setImmediate } from "node:timers/promises";
import type { Actor } from "../../access/actor.ts";
import { createTestClock } from "../../access/access.testing.ts";
import type { Database } from "../../platform/database/database.ts";
import { forEachDatabase, type TestDatabase } from "../../platform/database/databases.testing.ts";
import { hashOpening, hashRecord } from "./audit-chain.ts";
import { listRecordsAfter } from "./audit-list-store.ts";
import { ALICE, changeOf, putRecords, sealerOf, sinkOf } from "./audit.testing.ts";
import { listSegments } from "./audit-segments.ts";

forEachDatabase("putting on record", (create, dialect) => {
  let test: TestDatabase;
  let database: Database;
  before(async () => {
    test = await create();
    ({ database } = test);
  });
  after(() => test.end());
  afterEach(() => database.script("delete from audit_pending; delete from audit_record; delete from audit_segment; delete from audit_key"));

  const references = async () => (await listRecordsAfter(database, 0, 10_000)).map(({ reference }) => reference);

  it("keeps what a change says, who made it, and from where", async () => {
    const clock = createTestClock();
    const actor: Actor = { ...ALICE, via: { kind: "registry-token", by: { kind: "personal-token", id: 12, name: "ci" } } };
    await database.transaction((tx) =>
      sinkOf(clock).record(tx, actor, [
        changeOf("latest", { from: "sha256:0" }),
        { kind: "member.changed", project: "team", projectId: 3, account: "bob", accountId: 9, from: "guest", to: "owner" } as never,
        { kind: "setting.changed", setting: "log.level", value: "debug", before: { value: "info" } } as never,
      ]),
    );
    assert.equal(await sealerOf(database, { clock }).seal(), false);
    const [tag, member, setting, ...rest] = await listRecordsAfter(database, 0, 10);
    assert.deepEqual(rest, []);
    assert.deepEqual(tag, {
      id: 1,
      at: clock.now(),
      action: "tag.moved",
      outcome: "done",
      actorKind: "user",
      actorId: 7,
      actor: "alice",
      via: "registry-token by personal-token 12",
      address: "192.0.2.1",
      requestId: "r1",
      projectId: 3,
      project: "team",
      repository: "team/app",
      reference: "latest",
      digest: `sha256:${"a".repeat(64)}`,
      account: null,
      times: 1,
      before: '{"digest":"sha256:0"}',
      after: `{"digest":"sha256:${"a".repeat(64)}"}`,
    });
    assert.deepEqual([member?.id, member?.account, member?.before, member?.after], [2, "bob", '{"role":"guest"}', '{"role":"owner"}']);
    assert.deepEqual([setting?.id, setting?.before, setting?.after], [3, '{"value":"info"}', '{"setting":"log.level","value":"debug"}']);
  });

  it("puts nothing on record of what was rolled back", async () => {
    const failing = database.transaction(async (tx) => {
      await sinkOf().record(tx, ALICE, [changeOf("never")]);
      throw new Error("no");
    });
    await assert.rejects(failing, /no/);
    await putRecords(database, 1);
    assert.equal((await references()).length, 1);
  });

  it("takes any text that a client may send", async () => {
    const odd = ["nul \0", "half \ud800", "quote ' \" \\", "long ".repeat(500), "newline \n"];
    await database.transaction((tx) =>
      sinkOf().record(
        tx,
        { ...ALICE, name: odd.join() },
        odd.map((text) => changeOf(text, { text })),
      ),
    );
    await sealerOf(database).seal();
    assert.equal((await references()).length, odd.length);
  });

  it("puts in what cannot be read as just that, and goes on", async () => {
    await database.script("insert into audit_pending (at, actor, changes) values (1, null, '{broken'), (2, '{}', '[1')");
    await putRecords(database, 1);
    const records = await listRecordsAfter(database, 0, 10);
    assert.deepEqual(
      records.map(({ action, outcome }) => [action, outcome]),
      [
        ["audit.unreadable", "failed"],
        ["audit.unreadable", "failed"],
        ["tag.moved", "done"],
      ],
    );
  });

  it("numbers without a gap and chains, with several at work, over many segments", async () => {
    const others = [database, await test.open(), await test.open()];
    const sealed: number[] = [];
    const sealers = others.map((each) => sealerOf(each, { fullRecords: 7, onSealed: ({ number }) => sealed.push(number) }));
    const sink = sinkOf();
    const writing = Promise.all(
      others.map(async (each, who) => {
        for (let at = 0; at < 40; at++)
          await each.transaction((tx) => sink.record(tx, ALICE, [changeOf(`${who}.${at}`), changeOf(`${who}.${at}b`)]));
      }),
    );
    let isWriting = true;
    void writing.finally(() => (isWriting = false));
    await Promise.all(
      sealers.map(async (sealer) => {
        while (isWriting) {
          await sealer.seal();
          await setImmediate();
        }
      }),
    );
    await writing;
    while (await sealers[0]!.seal());
    const records = await listRecordsAfter(database, 0, 1000);
    assert.deepEqual(
      records.map(({ id }) => id),
      Array.from({ length: 240 }, (_, at) => at + 1),
    );
    assert.equal(new Set(records.map(({ reference }) => reference)).size, 240);
    const segments = await listSegments(database, 0, 1000);
    assert.deepEqual(
      sealed.toSorted((a, b) => a - b),
      segments.slice(0, -1).map(({ number }) => number),
    );
    let next = 1;
    for (const segment of segments) {
      assert.equal(segment.firstId, next);
      let hash = hashOpening(segment);
      for (; next <= segment.lastId; next++) hash = hashRecord(hash, records[next - 1]!);
      assert.equal(segment.hash, hash);
    }
    assert.equal(next, 241);
  });

  // SQLite has one writer at a time.
  if (dialect === "postgres") {
    it("passes over nobody who commits late", async () => {
      const sealer = sealerOf(database);
      await database.session(async (run) => {
        await run("begin");
        await run(
          `insert into audit_pending (at, actor, changes) values (1, '${JSON.stringify(ALICE)}', '[{"kind":"late.comer","tag":"late"}]')`,
        );
        await putRecords(database, 3, sealer);
        assert.equal((await references()).length, 3);
        await run("commit");
      });
      while (await sealer.seal());
      assert.equal((await references()).at(-1), "late");
    });
  }
});
