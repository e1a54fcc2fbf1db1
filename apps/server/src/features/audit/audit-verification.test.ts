// The audit log that somebody tampered with in the database, on every engine: whatever was changed, deleted, exchanged, added or cut off is named, with
// the segment in which it is. Not here: how records come about (audit-sealing.test.ts).
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { after, afterEach, before, beforeEach, it } from "node:test";
import { createTestClock, TEST_MASTER_KEY } from "../../access/access.testing.ts";
import type { Database } from "../../platform/database/database.ts";
import { forEachDatabase, type TestDatabase } from "../../platform/database/databases.testing.ts";
import { type Checkpoint, signSegment } from "./audit-chain.ts";
import { listAuditKeys, readAuditKey } from "./audit-keys.ts";
import { databaseSource } from "./audit-source.ts";
import { putRecords, sealerOf } from "./audit.testing.ts";
import { listSegments } from "./audit-segments.ts";
import { type AuditProgress, verifyAudit } from "./audit-verification.ts";

forEachDatabase("verification of the audit log", (create) => {
  let test: TestDatabase;
  let database: Database;
  let checkpoint: Checkpoint;
  before(async () => {
    test = await create();
    ({ database } = test);
  });
  after(() => test.end());

  // Three segments: records 1 to 10, 11 to 20, and 21 to 25, which is open.
  beforeEach(async () => {
    const sealer = sealerOf(database, { fullRecords: 10 });
    await putRecords(database, 10, sealer);
    await putRecords(database, 10, sealer);
    await putRecords(database, 5, sealer);
    checkpoint = (await sealer.findCheckpoint())!;
    assert.deepEqual([checkpoint.number, checkpoint.firstId, checkpoint.lastId], [3, 21, 25]);
  });
  afterEach(() => database.script("delete from audit_pending; delete from audit_record; delete from audit_segment; delete from audit_key"));

  async function verify(kept: readonly Checkpoint[] = [], masterKey: Uint8Array | undefined = TEST_MASTER_KEY): Promise<AuditProgress> {
    let last: AuditProgress | undefined;
    const keys = await listAuditKeys(database, masterKey);
    for await (const progress of verifyAudit({ source: databaseSource(database), keys, kept })) last = progress;
    assert.equal(last?.isDone, true);
    return last;
  }
  async function problems(kept?: readonly Checkpoint[]): Promise<string[]> {
    return (await verify(kept)).problems.map(({ code, segment, record }) => [code, segment, record].join(" "));
  }

  it("finds nothing wrong with a whole one, also by a checkpoint that was kept, by another secret key only that the key is strange", async () => {
    assert.deepEqual(await verify([checkpoint]), { segments: 3, records: 25, lastRecord: 25, isDone: true, problems: [], removed: null });
    await putRecords(database, 20, sealerOf(database, { fullRecords: 10 }));
    assert.deepEqual(await problems([checkpoint]), []);
    const strange = await verify([], Buffer.alloc(32, 99));
    assert.deepEqual([...new Set(strange.problems.map(({ code }) => code))], ["KEY_UNKNOWN"]);
  });

  const tampered: Readonly<Record<string, { readonly sql: string; readonly found: readonly string[]; readonly isKept?: true }>> = {
    "a changed record": { sql: "update audit_record set actor = 'bob' where id = 14", found: ["RECORDS_CHANGED 2 11"] },
    "a changed time": { sql: "update audit_record set at = at + 1 where id = 25", found: ["RECORDS_CHANGED 3 21"] },
    "a value that became null": { sql: "update audit_record set address = null where id = 1", found: ["RECORDS_CHANGED 1 1"] },
    "a deleted record": { sql: "delete from audit_record where id = 14", found: ["RECORD_MISSING 2 14"] },
    "the last record deleted": { sql: "delete from audit_record where id = 25", found: ["RECORD_MISSING 3 25"] },
    "exchanged records": {
      sql: "update audit_record set id = -1 where id = 3; update audit_record set id = 3 where id = 4; update audit_record set id = 4 where id = -1",
      found: ["RECORDS_CHANGED 1 1"],
    },
    "an added record at the end": {
      sql: `insert into audit_record (id, at, action, outcome, actor_kind, actor, times) values (26, 1, 'tag.moved', 'done', 'user', 'eve', 1)`,
      found: ["RECORD_ADDED  26"],
    },
    "all records deleted": {
      sql: "delete from audit_record where id > 20",
      found: [21, 22, 23, 24, 25].map((id) => `RECORD_MISSING 3 ${id}`),
    },
    "a deleted segment in the middle": {
      sql: "delete from audit_segment where number = 2; delete from audit_record where id between 11 and 20",
      found: ["SEGMENT_MISSING 2 "],
    },
    "a segment whose end was moved": {
      sql: "update audit_segment set last_record = 24 where number = 3; delete from audit_record where id = 25",
      found: ["CHECKPOINT_FORGED 3 ", "RECORDS_CHANGED 3 21"],
    },
    "a hash that was made to fit": {
      sql: "update audit_segment set hash = previous where number = 1",
      found: ["CHECKPOINT_FORGED 1 ", "RECORDS_CHANGED 1 1", "SEGMENT_CHANGED 2 "],
    },
    "a signature of another segment": {
      sql: "update audit_segment set signature = (select signature from audit_segment where number = 1) where number = 2",
      found: ["CHECKPOINT_FORGED 2 "],
    },
    "exchanged segments": {
      sql: "update audit_segment set number = -1 where number = 1; update audit_segment set number = 1 where number = 2; update audit_segment set number = 2 where number = -1",
      found: [
        "CHECKPOINT_FORGED 1 ",
        "SEGMENT_CHANGED 1 ",
        "RECORDS_CHANGED 1 11",
        "CHECKPOINT_FORGED 2 ",
        "SEGMENT_CHANGED 2 ",
        "RECORDS_CHANGED 2 1",
        "SEGMENT_CHANGED 3 ",
      ],
    },
    "records deleted as if by retention": {
      sql: "update audit_segment set dropped_at = 5 where number = 1; delete from audit_record where id <= 10",
      found: ["DROP_UNRECORDED 1 "],
    },
    "a key taken away": { sql: "delete from audit_key", found: ["KEY_UNKNOWN 1 ", "KEY_UNKNOWN 2 ", "KEY_UNKNOWN 3 "] },
    "the end cut off": {
      sql: "delete from audit_segment where number = 3; delete from audit_record where id > 20",
      found: ["LOG_CUT 3 25"],
      isKept: true,
    },
    "all cut off": { sql: "delete from audit_segment; delete from audit_record", found: ["LOG_CUT 3 25"], isKept: true },
  };
  for (const [what, { sql, found, isKept }] of Object.entries(tampered)) {
    it(`names ${what}`, async () => {
      await database.script(sql);
      assert.deepEqual(await problems(isKept === true ? [checkpoint] : []), found);
    });
  }

  it("names a log that was made anew with a key that the secret key did not seal", async () => {
    const { privateKey, publicKey } = generateKeyPairSync("ed25519");
    const { id } = readAuditKey(publicKey.export({ type: "spki", format: "pem" }));
    const [first] = await listSegments(database, 0, 1);
    const forged = signSegment(first!, { id, privateKey });
    await database.script(
      `insert into audit_key (id, private_key, public_key, created_at) values ('${id}', 'v1.none', '${publicKey.export({ type: "spki", format: "pem" })}', 1);
       update audit_segment set signed_by = '${id}', signature = '${forged.signature}' where number = 1`,
    );
    assert.deepEqual(await problems(), ["KEY_UNKNOWN 1 "]);
  });

  it("names an older state that was put back, by a checkpoint that was kept", async () => {
    const newer = sealerOf(database, { fullRecords: 10, clock: createTestClock() });
    const rows = await database.session((run) => run("select * from audit_segment where number = 3"));
    await putRecords(database, 2, newer);
    const later = (await newer.findCheckpoint())!;
    const { last_record, hash, signature, signed_at } = rows[0]!;
    await database.script(
      `delete from audit_record where id > 25; update audit_segment set last_record = ${String(last_record)}, hash = '${String(hash)}', signature = '${String(signature)}', signed_at = ${String(signed_at)} where number = 3`,
    );
    assert.deepEqual(await problems(), [], "without it nobody can tell");
    assert.deepEqual(await problems([later]), ["LOG_CUT 3 27"]);
  });
});
