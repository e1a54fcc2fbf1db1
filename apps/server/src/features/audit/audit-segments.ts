// The rows of segments. Not here: what proves them (audit-chain.ts), who writes them (audit-sealing.ts).
import type { Executor } from "../../platform/database/database.ts";
import type { ExpectedRows } from "../../platform/database/row-counts.ts";
import { statement } from "../../platform/database/statement.ts";
import type { Checkpoint } from "./audit-chain.ts";

/** A segment: its checkpoint, and what need not be proven. */
export interface SegmentRow extends Checkpoint {
  /** The earliest and the latest time of a record in it; null while there is none. */
  readonly minAt: number | null;
  readonly maxAt: number | null;
  /** When its records were deleted. */
  readonly droppedAt: number | null;
}

const COLUMNS = [
  "number",
  "first_record",
  "last_record",
  "min_at",
  "max_at",
  "previous",
  "hash",
  "opened_at",
  "sealed_at",
  "signed_at",
  "signed_by",
  "signature",
  "dropped_at",
] as const;

interface Row {
  readonly number: number;
  readonly first_record: number;
  readonly last_record: number;
  readonly min_at: number | null;
  readonly max_at: number | null;
  readonly previous: string;
  readonly hash: string;
  readonly opened_at: number;
  readonly sealed_at: number | null;
  readonly signed_at: number;
  readonly signed_by: string;
  readonly signature: string;
  readonly dropped_at: number | null;
}

const lockNewest = statement<Record<never, never>>()("audit.lockNewestSegment", (db, _, tools) =>
  db.selectFrom("audit_segment").select(COLUMNS).where("number", ">", 0).orderBy("number", "desc").limit(1).modifyEnd(tools.lock("update")),
);
const findNewest = statement<Record<never, never>>()("audit.findNewestSegment", (db) =>
  db.selectFrom("audit_segment").select(COLUMNS).where("number", ">", 0).orderBy("number", "desc").limit(1),
);
const list = statement<{ after: number; limit: number }>()("audit.listSegments", (db, p) =>
  db.selectFrom("audit_segment").select(COLUMNS).where("number", ">", p.after).orderBy("number").limit(p.limit),
);

const listKept = statement<{ limit: number }>()(
  "audit.listKeptSegments",
  (db, p) =>
    db.selectFrom("audit_segment").select(COLUMNS).where("number", ">", 0).where("dropped_at", "is", null).orderBy("number").limit(p.limit),
  { bounded: "passes over the headers of deleted segments: one an hour, or each 10,000 records" },
);
const drop = statement<{ number: number; now: number }>()("audit.dropSegment", (db, p) =>
  db
    .updateTable("audit_segment")
    .set({ dropped_at: p.now })
    .where("number", "=", p.number)
    .where("dropped_at", "is", null)
    .returning("number"),
);

type Written = {
  number: number;
  firstId: number;
  lastId: number;
  minAt: number | null;
  maxAt: number | null;
  previous: string;
  hash: string;
  openedAt: number;
  sealedAt: number | null;
  signedAt: number;
  keyId: string;
  signature: string;
};

const insert = statement<Written>()("audit.insertSegment", (db, p) =>
  db
    .insertInto("audit_segment")
    .values({
      number: p.number,
      first_record: p.firstId,
      last_record: p.lastId,
      min_at: p.minAt,
      max_at: p.maxAt,
      previous: p.previous,
      hash: p.hash,
      opened_at: p.openedAt,
      sealed_at: p.sealedAt,
      signed_at: p.signedAt,
      signed_by: p.keyId,
      signature: p.signature,
      dropped_at: null,
    })
    .onConflict((conflict) => conflict.column("number").doNothing()),
);
const update = statement<Omit<Written, "firstId" | "previous" | "openedAt">>()("audit.updateSegment", (db, p) =>
  db
    .updateTable("audit_segment")
    .set({
      last_record: p.lastId,
      min_at: p.minAt,
      max_at: p.maxAt,
      hash: p.hash,
      sealed_at: p.sealedAt,
      signed_at: p.signedAt,
      signed_by: p.keyId,
      signature: p.signature,
    })
    .where("number", "=", p.number),
);

/** The newest segment, locked until the transaction ends. */
export async function lockNewestSegment(tx: Executor): Promise<SegmentRow | undefined> {
  const row = await tx.first(lockNewest, {});
  return row === undefined ? undefined : segmentOf(row);
}

/** The newest segment. */
export async function findNewestSegment(executor: Executor): Promise<SegmentRow | undefined> {
  const row = await executor.first(findNewest, {});
  return row === undefined ? undefined : segmentOf(row);
}

/** Segments behind one, in their order; from the first one for 0. */
export async function listSegments(executor: Executor, after: number, limit: number): Promise<SegmentRow[]> {
  return (await executor.all(list, { after, limit })).map(segmentOf);
}

/** Segments whose records are kept, from the first on. */
export async function listKeptSegments(executor: Executor, limit: number): Promise<SegmentRow[]> {
  return (await executor.all(listKept, { limit })).map(segmentOf);
}

/** Says of a segment that its records are deleted; false where it was said before. */
export async function markDropped(tx: Executor, number: number, now: number): Promise<boolean> {
  return (await tx.first(drop, { number, now })) !== undefined;
}

/** Adds a segment, where there is none of that number. */
export async function insertSegment(tx: Executor, { droppedAt: _, ...segment }: SegmentRow, expected: ExpectedRows): Promise<void> {
  await tx.run(insert, segment, expected);
}

/** Writes what has become of a segment that is locked. */
export async function writeSegment(tx: Executor, segment: SegmentRow): Promise<void> {
  const { number, lastId, minAt, maxAt, hash, sealedAt, signedAt, keyId, signature } = segment;
  await tx.run(update, { number, lastId, minAt, maxAt, hash, sealedAt, signedAt, keyId, signature }, 1);
}

/** What is signed of a segment, and by whom. */
export function checkpointOf({
  number,
  firstId,
  lastId,
  previous,
  hash,
  openedAt,
  sealedAt,
  signedAt,
  keyId,
  signature,
}: Checkpoint): Checkpoint {
  return { number, firstId, lastId, previous, hash, openedAt, sealedAt, signedAt, keyId, signature };
}

function segmentOf(row: Row): SegmentRow {
  return {
    number: row.number,
    firstId: row.first_record,
    lastId: row.last_record,
    minAt: row.min_at,
    maxAt: row.max_at,
    previous: row.previous,
    hash: row.hash,
    openedAt: row.opened_at,
    sealedAt: row.sealed_at,
    signedAt: row.signed_at,
    keyId: row.signed_by,
    signature: row.signature,
    droppedAt: row.dropped_at,
  };
}
