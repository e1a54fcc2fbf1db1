// Deletion of old records: by whole segments from the beginning, whose signed headers stay, so that the rest is still proven by them. It is announced on
// record first (`audit.dropped`) and done when the announcement is part of the chain, so that at no moment records are gone and nothing says why; a
// process that ends in between is followed by another that goes on. A segment that is not what was signed stays: it is evidence.
// Not here: who verifies (audit-verification.ts), when it runs (compose/audit-jobs.ts).
import { type Clock, DAY_MS } from "../../platform/clock.ts";
import { type Database, ON_FULL_DISK } from "../../platform/database/database.ts";
import { statement } from "../../platform/database/statement.ts";
import { hashOpening, hashRecord } from "./audit-chain.ts";
import { entryOfNote } from "./audit-entries.ts";
import { listRecordsAfter } from "./audit-list-store.ts";
import { lockNewestSegment, markDropped, listKeptSegments, type SegmentRow } from "./audit-segments.ts";
import { recordEntries } from "./audit-sink.ts";
import { DROPPED, throughOf } from "./audit-verification.ts";

const findAnnounced = statement<Record<never, never>>()("audit.findDropped", (db) =>
  db.selectFrom("audit_record").select("state_after").where("action", "=", DROPPED).orderBy("id", "desc").limit(1),
);
const removeRecords = statement<{ first: number; last: number }>()("audit.removeRecords", (db, p) =>
  db.deleteFrom("audit_record").where("id", ">=", p.first).where("id", "<=", p.last),
);

/** Segments that one look takes: months of a quiet registry. */
const LOOKED_AT = 1000;
/** Records that are read at a time to see whether a segment is what was signed. */
const READ = 1000;

/** What deletes old records. */
export interface AuditRetention {
  /** Deletes a segment, or announces that some will be; true where there may be more. Errors: `ChangedSegmentError`, the database's. */
  step(): Promise<boolean>;
}

/** A segment that is old enough is not what was signed. */
export class ChangedSegmentError extends Error {
  constructor(number: number) {
    super(`segment ${number} of the audit log is not what was signed, so that it is not deleted: see berth audit verify`);
    this.name = "ChangedSegmentError";
  }
}

/** What it is made of. */
export interface AuditRetentionParts {
  readonly database: Database;
  readonly clock: Clock;
  /** How long records are kept. */
  readonly keptMs: number;
  /** The last record that may go, where those behind it are still to be sent. */
  readonly findSent?: (() => Promise<number>) | undefined;
}

/** Makes it. */
export function createAuditRetention({ database, clock, keptMs, findSent }: AuditRetentionParts): AuditRetention {
  /** The segments that may go, from the first that is kept on. */
  async function findOld(): Promise<SegmentRow[]> {
    const before = clock.now() - keptMs;
    const sent = (await findSent?.()) ?? Number.MAX_SAFE_INTEGER;
    const kept = await listKeptSegments(database, LOOKED_AT);
    const end = kept.findIndex(
      ({ sealedAt, maxAt, lastId }) => sealedAt === null || Math.max(sealedAt, maxAt ?? 0) >= before || lastId > sent,
    );
    return end === -1 ? kept : kept.slice(0, end);
  }

  async function isAsSigned(segment: SegmentRow): Promise<boolean> {
    let hash = hashOpening(segment);
    for (let next = segment.firstId; next <= segment.lastId;) {
      const some = await listRecordsAfter(database, next - 1, READ, segment.lastId);
      if (some.length === 0) return false;
      for (const record of some) hash = hashRecord(hash, record);
      next = some.at(-1)!.id + 1;
    }
    return hash === segment.hash;
  }

  async function drop({ number, firstId, lastId }: SegmentRow): Promise<void> {
    await database.transaction(async (tx) => {
      // As everybody who changes the log does, one at a time.
      await lockNewestSegment(tx);
      if (!(await markDropped(tx, number, clock.now()))) return;
      await tx.run(removeRecords, { first: firstId, last: lastId }, lastId - firstId + 1);
    }, ON_FULL_DISK);
  }

  return {
    async step() {
      const old = await findOld();
      const [first] = old;
      if (first === undefined) return false;
      const announced = throughOf((await database.first(findAnnounced, {}))?.state_after ?? null);
      if (first.number <= announced) {
        if (!(await isAsSigned(first))) throw new ChangedSegmentError(first.number);
        await drop(first);
        return old.length > 1;
      }
      const last = old.at(-1)!;
      const after = {
        from: first.number,
        through: last.number,
        firstRecord: first.firstId,
        lastRecord: last.lastId,
        keptDays: keptMs / DAY_MS,
      };
      const entry = entryOfNote({ at: clock.now(), action: DROPPED, actorKind: "system", actor: "audit-retention", after });
      await database.transaction((tx) => recordEntries(tx, clock.now(), [entry]), ON_FULL_DISK);
      return false;
    },
  };
}
