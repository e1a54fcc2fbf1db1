// What is counted in memory, on every engine: alike with alike, bounded whoever tries, kept while the database is away, and a gap where a process
// ended without a word. Not here: which requests are noted (test/flows/audit.test.ts).
import assert from "node:assert/strict";
import { after, afterEach, before, it } from "node:test";
import { createTestClock } from "../../access/access.testing.ts";
import type { Database } from "../../platform/database/database.ts";
import { forEachDatabase, type TestDatabase } from "../../platform/database/databases.testing.ts";
import { listRecordsAfter } from "./audit-list-store.ts";
import { createAuditNotes } from "./audit-notes.ts";
import { sealerOf } from "./audit.testing.ts";

const onError = (error: unknown): never => {
  throw error;
};

forEachDatabase("notes for the audit log", (create) => {
  let test: TestDatabase;
  let database: Database;
  before(async () => {
    test = await create();
    ({ database } = test);
  });
  after(() => test.end());
  afterEach(() =>
    database.script(
      "delete from audit_pending; delete from audit_record; delete from audit_segment; delete from audit_key; delete from audit_writer",
    ),
  );
  const notesOf = (clock = createTestClock(), isAlone = false) => createAuditNotes({ database, clock, host: "here", isAlone, onError });
  async function recorded() {
    while (await sealerOf(database).seal());
    return listRecordsAfter(database, 0, 10_000);
  }

  it("counts alike pulls of a second as one record", async () => {
    const notes = notesOf();
    for (let pull = 0; pull < 100; pull++)
      notes.note({ action: "manifest.pulled", actor: "alice", repository: "a/b", reference: "one" }, false);
    notes.note({ action: "manifest.pulled", actor: "bob", repository: "a/b", reference: "one" }, false);
    await notes.flush();
    await notes.flush();
    assert.deepEqual(
      (await recorded()).map(({ actor, times }) => [actor, times]),
      [
        ["alice", 100],
        ["bob", 1],
      ],
    );
  });

  it("puts a refusal on record at once, and what is alike in the minute after it once more", async () => {
    const clock = createTestClock();
    const notes = notesOf(clock);
    for (let at = 0; at < 30; at++) {
      notes.note({ action: "login.refused", address: "192.0.2.9", after: { code: "UNAUTHORIZED" } }, true);
      await notes.flush();
      clock.advance(1000);
    }
    clock.advance(60_000);
    await notes.flush();
    assert.deepEqual(
      (await recorded()).map(({ times }) => times),
      [1, 29],
    );
  });

  it("tells so many apart and sums up the rest, whoever tries", async () => {
    const notes = notesOf();
    for (let at = 0; at < 5000; at++) notes.note({ action: "login.refused", address: `2001:db8::${at}` }, true);
    await notes.stop();
    const records = await recorded();
    assert.equal(records.length, 201);
    assert.equal(
      records.reduce((sum, { times }) => sum + times, 0),
      5000,
    );
  });

  it("says of a stranger's name nothing that steers who reads it", async () => {
    const notes = notesOf();
    const account = "a\u001b[31m\u009b\r\n\0\u202e\u2028z\ud800é";
    notes.note({ action: "login.refused", account }, true);
    await notes.stop();
    const [record] = await recorded();
    assert.equal(record?.account, "a\ufffd[31m\ufffd\ufffd\ufffd\ufffd\ufffd\ufffdz\ufffdé");
  });

  it("tells who was let in however many are refused", async () => {
    const notes = notesOf();
    for (let at = 0; at < 1000; at++) notes.note({ action: "login.refused", address: `2001:db8::${at}` }, true);
    notes.note({ action: "login.accepted", actor: "alice", address: "192.0.2.9" }, true);
    await notes.stop();
    const accepted = (await recorded()).filter(({ action }) => action === "login.accepted");
    assert.deepEqual(
      accepted.map(({ actor, address }) => [actor, address]),
      [["alice", "192.0.2.9"]],
    );
  });

  it("has a gap on record where a process ended without a word, and none where it was stopped", async () => {
    const clock = createTestClock();
    const killed = notesOf(clock);
    killed.note({ action: "manifest.pulled" }, false);
    await killed.flush();
    const stopped = notesOf(clock);
    stopped.note({ action: "manifest.pulled" }, false);
    await stopped.stop();
    const later = notesOf(clock);
    await later.flush();
    assert.deepEqual(
      (await recorded()).filter(({ action }) => action === "audit.gap"),
      [],
    );
    clock.advance(130_000);
    await later.flush();
    const gaps = (await recorded()).filter(({ action }) => action === "audit.gap");
    assert.equal(gaps.length, 1);
    assert.match(gaps[0]!.after!, /"host":"here".*"batches":1/);
  });

  it("takes every process before it for gone where it is alone", async () => {
    await notesOf().flush();
    await notesOf(createTestClock(), true).flush();
    assert.equal((await recorded()).filter(({ action }) => action === "audit.gap").length, 1);
  });
});
