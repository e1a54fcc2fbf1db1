// How what waits becomes the audit log: in batches, each one transaction that gives records their numbers, binds them into the chain, signs the segment
// and takes them away where they waited. One process works at a time, since all lock the newest segment; so numbers have no gap and rise in the
// order in which records can be seen. A transaction that commits late has its changes in a later batch: none is passed over.
//
// To read all records in order and miss none, as an event stream does: ask for `id > last` in the order of `id` (`listRecordsAfter` of
// audit-list-store.ts); `id` of the last one read is where to go on, also in another process and after a restart. They are there
// a quarter of a second after the commit that made them. Old ones are deleted by segments, from the beginning.
// Not here: the chain itself (audit-chain.ts), who verifies (audit-verification.ts).
import type { Actor } from "../../access/actor.ts";
import type { Change } from "../../access/changes.ts";
import type { Clock } from "../../platform/clock.ts";
import { type Database, type Executor, ON_FULL_DISK } from "../../platform/database/database.ts";
import { statement } from "../../platform/database/statement.ts";
import { type AuditRecord, type Checkpoint, GENESIS, hashOpening, hashRecord, hashSegment, signSegment, valuesOf } from "./audit-chain.ts";
import { type AuditEntry, entryOfChange, entryOfNote } from "./audit-entries.ts";
import type { AuditSigner } from "./audit-keys.ts";
import { RECORD_COLUMNS, rowsOfJson } from "./audit-rows.ts";
import { checkpointOf, findNewestSegment, insertSegment, lockNewestSegment, type SegmentRow, writeSegment } from "./audit-segments.ts";

/** What waits in one transaction's batch: it takes milliseconds, in which no other transaction runs on SQLite. */
const BATCH = 100;
/** Records of one statement. */
const INSERTED = 500;

/** When a segment is full: small enough to be deleted and verified by itself, large enough that headers are few. */
const FULL_RECORDS = 10_000;
/** And when it is closed though it is not full, so that what is old can be deleted to the hour. */
const FULL_MS = 3_600_000;

const listPending = statement<{ limit: number }>()("audit.listPending", (db, p) =>
  db.selectFrom("audit_pending").select(["id", "at", "actor", "changes"]).where("id", ">", 0).orderBy("id").limit(p.limit),
);
const removePending = statement<{ ids: number[] }>()("audit.removePending", (db, p, tools) =>
  db.deleteFrom("audit_pending").where(({ ref }) => tools.inList(ref("id"), p.ids, "bigint")),
);
const insertRecords = statement<{ rows: string }>()("audit.insertRecords", (db, p, tools) =>
  db
    .insertInto("audit_record")
    .columns([...RECORD_COLUMNS])
    .expression(rowsOfJson(tools.name, p.rows)),
);

interface Pending {
  readonly id: number;
  readonly at: number;
  readonly actor: string | null;
  readonly changes: string;
}

const findOldest = statement<Record<never, never>>()("audit.findOldestPending", (db) =>
  db.selectFrom("audit_pending").select("at").where("id", ">", 0).orderBy("id").limit(1),
);

/** When what waits the longest happened; undefined where nothing waits. */
export async function findOldestPending(executor: Executor): Promise<number | undefined> {
  return (await executor.first(findOldest, {}))?.at;
}

/** What seals. */
export interface AuditSealer {
  /** Puts a batch of what waits on record; true where there may be more. */
  seal(): Promise<boolean>;
  /** The state of the newest segment; undefined before the first record. */
  findCheckpoint(): Promise<Checkpoint | undefined>;
}

/** What it is made of. */
export interface SealerParts {
  readonly database: Database;
  readonly clock: Clock;
  readonly signer: () => Promise<AuditSigner>;
  /** A segment was closed. */
  readonly onSealed?: (checkpoint: Checkpoint) => void;
  /** Smaller in tests. */
  readonly fullRecords?: number;
}

/** Makes what seals. */
export function createAuditSealer({ database, clock, signer, onSealed, fullRecords = FULL_RECORDS }: SealerParts): AuditSealer {
  /** The segment that records go into, which is locked until the transaction ends. */
  async function openSegment(tx: Executor, key: AuditSigner, now: number): Promise<{ open: SegmentRow; closed: Checkpoint | undefined }> {
    const newest = await lockNewestSegment(tx);
    if (newest === undefined) {
      await insertSegment(tx, newSegment(undefined, key, now), { any: "another process may have made it" });
      return openSegment(tx, key, now);
    }
    // Another process closed it while it was waited for: there is one behind it.
    if (newest.sealedAt !== null) return openSegment(tx, key, now);
    const count = newest.lastId - newest.firstId + 1;
    if (count < fullRecords && (count === 0 || now - newest.openedAt < FULL_MS)) return { open: newest, closed: undefined };
    const closed = signSegment({ ...checkpointOf(newest), sealedAt: now, signedAt: now }, key);
    await writeSegment(tx, { ...newest, ...closed });
    const next = newSegment(closed, key, now);
    await insertSegment(tx, next, 1);
    return { open: next, closed };
  }

  return {
    async seal() {
      // Most often nothing waits, and nobody is to be locked out for it.
      if ((await database.first(listPending, { limit: 1 })) === undefined) return false;
      const key = await signer();
      const { isFull, closed } = await database.transaction(async (tx) => {
        const now = clock.now();
        const { open, closed: sealed } = await openSegment(tx, key, now);
        const pending = await tx.all(listPending, { limit: BATCH });
        if (pending.length === 0) return { isFull: false, closed: sealed };
        let { lastId, hash, minAt, maxAt } = open;
        const records: AuditRecord[] = [];
        for (const entry of pending.flatMap(entriesOf)) {
          const record = { id: ++lastId, ...entry };
          hash = hashRecord(hash, record);
          minAt = Math.min(minAt ?? entry.at, entry.at);
          maxAt = Math.max(maxAt ?? entry.at, entry.at);
          records.push(record);
        }
        for (let from = 0; from < records.length; from += INSERTED) {
          const some = records.slice(from, from + INSERTED);
          await tx.run(insertRecords, { rows: JSON.stringify(some.map(valuesOf)) }, some.length);
        }
        await tx.run(removePending, { ids: pending.map(({ id }) => id) }, pending.length);
        const signed = signSegment({ ...checkpointOf(open), lastId, hash, signedAt: now }, key);
        await writeSegment(tx, { ...open, ...signed, minAt, maxAt });
        return { isFull: pending.length === BATCH, closed: sealed };
      }, ON_FULL_DISK);
      if (closed !== undefined) onSealed?.(closed);
      return isFull;
    },
    async findCheckpoint() {
      const newest = await findNewestSegment(database);
      return newest === undefined ? undefined : checkpointOf(newest);
    },
  };
}

/** The segment that follows one, or the first. */
function newSegment(before: Checkpoint | undefined, key: AuditSigner, now: number): SegmentRow {
  const number = (before?.number ?? 0) + 1;
  const firstId = (before?.lastId ?? 0) + 1;
  const previous = before === undefined ? GENESIS : hashSegment(before);
  const hash = hashOpening({ number, firstId, previous });
  const header = { number, firstId, lastId: firstId - 1, previous, hash, openedAt: now, sealedAt: null, signedAt: now };
  return { ...signSegment(header, key), minAt: null, maxAt: null, droppedAt: null };
}

/** What a row that waits says. One that cannot be read holds up no other: that is on record instead. */
function entriesOf({ id, at, actor, changes }: Pending): AuditEntry[] {
  try {
    if (actor === null) return JSON.parse(changes) as AuditEntry[];
    const who = JSON.parse(actor) as Actor;
    return (JSON.parse(changes) as Change[]).map((change) => entryOfChange(at, who, change));
  } catch (error) {
    const after = { pending: id, error: (error as Error).message, begins: changes.slice(0, 1000) };
    return [entryOfNote({ at, action: "audit.unreadable", outcome: "failed", actorKind: "system", actor: "audit", after })];
  }
}
