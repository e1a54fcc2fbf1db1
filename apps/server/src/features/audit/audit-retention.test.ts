// Deletion of old records on every engine: by whole segments, announced first, and the rest stays proven; what is not what was signed stays.
// Not here: processes that are killed in between (test/failure/audit-killed.test.ts).
import assert from "node:assert/strict";
import { after, afterEach, before, it } from "node:test";
import { createTestClock, TEST_MASTER_KEY } from "../../access/access.testing.ts";
import { DAY_MS } from "../../platform/clock.ts";
import type { Database } from "../../platform/database/database.ts";
import { forEachDatabase, type TestDatabase } from "../../platform/database/databases.testing.ts";
import { listAuditKeys } from "./audit-keys.ts";
import { listRecordsAfter } from "./audit-list-store.ts";
import { type AuditRetentionParts, ChangedSegmentError, createAuditRetention } from "./audit-retention.ts";
import { databaseSource } from "./audit-source.ts";
import { type AuditProgress, verifyAudit } from "./audit-verification.ts";
import { putRecords, sealerOf } from "./audit.testing.ts";

forEachDatabase("retention of the audit log", (create) => {
  let test: TestDatabase;
  let database: Database;
  before(async () => {
    test = await create();
    ({ database } = test);
  });
  after(() => test.end());
  afterEach(() => database.script("delete from audit_pending; delete from audit_record; delete from audit_segment; delete from audit_key"));

  /** Segments 1 and 2 of ten records are forty days old, 3 is new, and 4 is open. */
  async function fill(parts: Partial<AuditRetentionParts> = {}) {
    const clock = createTestClock();
    const sealer = sealerOf(database, { fullRecords: 10, clock });
    await putRecords(database, 10, sealer);
    await putRecords(database, 10, sealer);
    clock.advance(1);
    await putRecords(database, 1, sealer);
    clock.advance(40 * DAY_MS);
    await putRecords(database, 9, sealer);
    await putRecords(database, 5, sealer);
    const retention = createAuditRetention({ database, clock, keptMs: 30 * DAY_MS, ...parts });
    return { clock, sealer, retention };
  }
  async function verify(): Promise<AuditProgress> {
    let last: AuditProgress | undefined;
    const keys = await listAuditKeys(database, TEST_MASTER_KEY);
    for await (const progress of verifyAudit({ source: databaseSource(database), keys })) last = progress;
    return last!;
  }
  const problemsOf = ({ problems }: AuditProgress): string[] => problems.map(({ code }) => code);
  const firstId = async (): Promise<number | undefined> => (await listRecordsAfter(database, 0, 1))[0]?.id;

  it("is announced on record, takes whole segments that are old enough, and leaves the rest proven", async () => {
    const { sealer, retention } = await fill();
    assert.equal(await retention.step(), false);
    assert.equal(await firstId(), 1, "nothing is gone before it is on record");
    while (await sealer.seal());
    assert.deepEqual(problemsOf(await verify()), []);
    assert.equal(await retention.step(), true);
    assert.equal(await firstId(), 11);
    assert.deepEqual(problemsOf(await verify()), []);
    while (await retention.step());
    assert.equal(await firstId(), 21, "the third segment has a record that is too young");
    const done = await verify();
    assert.deepEqual([problemsOf(done), done.removed], [[], { segments: 2, records: 20, throughRecord: 20 }]);
    assert.equal(await retention.step(), false);
    while (await sealer.seal());
    const announced = (await listRecordsAfter(database, 0, 1000)).filter(({ action }) => action === "audit.dropped");
    assert.deepEqual(
      announced.map(({ after: state }) => JSON.parse(state!) as unknown),
      [{ from: 1, through: 2, firstRecord: 1, lastRecord: 20, keptDays: 30 }],
    );
  });

  it("keeps what is still to be sent", async () => {
    const { sealer, retention } = await fill({ findSent: async () => 15 });
    await retention.step();
    while (await sealer.seal());
    while (await retention.step());
    assert.equal(await firstId(), 11);
  });

  it("keeps a segment that somebody changed, and says so", async () => {
    const { sealer, retention } = await fill();
    await retention.step();
    while (await sealer.seal());
    await database.script("update audit_record set actor = 'mallory' where id = 4");
    await assert.rejects(retention.step(), ChangedSegmentError);
    assert.equal(await firstId(), 1);
    await database.script("delete from audit_record where id = 4");
    await assert.rejects(retention.step(), ChangedSegmentError);
  });

  it("does not hide that somebody deleted records and says that they were old", async () => {
    await fill();
    await database.script("update audit_segment set dropped_at = 1 where number = 1; delete from audit_record where id <= 10");
    assert.deepEqual(problemsOf(await verify()), ["DROP_UNRECORDED"]);
  });
});
