// Proves the audit log, or names what is wrong with it: from the segments and the records, with the public keys, and with checkpoints that somebody kept
// elsewhere. It changes nothing, reads a batch at a time, and may run beside the server. Where the records come from does not matter: the database, or
// files that were exported. Not here: the chain (audit-chain.ts).
import { type AuditRecord, type Checkpoint, GENESIS, hashOpening, hashRecord, hashSegment, isSignedBy } from "./audit-chain.ts";
import type { AuditPublicKey } from "./audit-keys.ts";
import type { SegmentRow } from "./audit-segments.ts";

/** Where the log is read. */
export interface AuditSource {
  /** Segments behind one, in their order; from the first one for 0. */
  segments(after: number): Promise<readonly SegmentRow[]>;
  /** Records behind one up to another, in their order; some of them, and none only where there are none. */
  records(after: number, through: number): Promise<readonly AuditRecord[]>;
}

/** What can be wrong. */
export type AuditProblemCode =
  /** The records of a segment are not those that were put on record: some were changed, moved or exchanged. */
  | "RECORDS_CHANGED"
  | "RECORD_MISSING"
  /** It belongs to no segment, or stands where another one belongs. */
  | "RECORD_ADDED"
  | "SEGMENT_MISSING"
  /** It does not follow the one before. */
  | "SEGMENT_CHANGED"
  /** Its signature is not its own. */
  | "CHECKPOINT_FORGED"
  /** It was signed with a key that is not the registry's. */
  | "KEY_UNKNOWN"
  /** The log ends before, or is another one than, a checkpoint says that was kept elsewhere. */
  | "LOG_CUT"
  /** The records of a segment were deleted, and no record says so. */
  | "DROP_UNRECORDED";

/** One thing that is wrong. */
export interface AuditProblem {
  readonly code: AuditProblemCode;
  readonly segment: number | null;
  /** Where records are concerned: the first one. */
  readonly record: number | null;
  readonly message: string;
}

/** How far it is, and at the end what it found. */
export interface AuditProgress {
  readonly segments: number;
  readonly records: number;
  readonly lastRecord: number;
  readonly isDone: boolean;
  readonly problems: readonly AuditProblem[];
  /** What was deleted because it was old enough, and is proven by its signed headers alone; null for nothing. */
  readonly removed: RemovedRecords | null;
}

/** Segments from the first one on whose records were deleted. */
export interface RemovedRecords {
  readonly segments: number;
  readonly records: number;
  /** The last record of them. */
  readonly throughRecord: number;
}

/** What says that segments were deleted. */
export const DROPPED = "audit.dropped";

/** More of them say no more. */
const MAX_PROBLEMS = 100;

/** What to verify, and by what. */
export interface AuditVerification {
  readonly source: AuditSource;
  readonly keys: readonly AuditPublicKey[];
  /** Kept elsewhere: the log must hold what they say. */
  readonly kept?: readonly Checkpoint[];
}

/** Verifies a log, and says after each segment how far it is. The last thing that it says has `isDone`. */
export async function* verifyAudit({ source, keys, kept = [] }: AuditVerification): AsyncGenerator<AuditProgress> {
  const problems: AuditProblem[] = [];
  const say = (code: AuditProblemCode, segment: number | null, record: number | null, message: string): void => {
    if (problems.length < MAX_PROBLEMS) problems.push({ code, segment, record, message });
  };
  const known = new Map(keys.filter(({ isOurs }) => isOurs !== false).map((key) => [key.id, key.publicKey]));
  function checkSignature(checkpoint: Checkpoint, what: string): void {
    const key = known.get(checkpoint.keyId);
    if (key === undefined) say("KEY_UNKNOWN", checkpoint.number, null, `${what} was signed with a key that is not the registry's`);
    else if (!isSignedBy(checkpoint, key)) say("CHECKPOINT_FORGED", checkpoint.number, null, `${what} is not what was signed`);
  }
  for (const checkpoint of kept) checkSignature(checkpoint, `the checkpoint that was kept of segment ${checkpoint.number}`);
  const awaited = Map.groupBy(kept, ({ lastId }) => lastId);

  let before: SegmentRow | undefined;
  let segments = 0;
  let records = 0;
  let droppedThrough = 0;
  const dropped: SegmentRow[] = [];

  /** Compares with what was kept of the moment when this was the last record. */
  function compareKept(number: number, lastId: number, hash: string): void {
    for (const checkpoint of awaited.get(lastId) ?? []) {
      if (checkpoint.number !== number) continue;
      if (checkpoint.hash !== hash)
        say("LOG_CUT", number, lastId, `up to record ${lastId} this is another log than the checkpoint that was kept`);
      seen.add(checkpoint);
    }
  }
  const seen = new Set<Checkpoint>();

  async function verifyRecords(segment: SegmentRow): Promise<void> {
    let hash = hashOpening(segment);
    let isWhole = true;
    let next = segment.firstId;
    compareKept(segment.number, next - 1, hash);
    while (next <= segment.lastId) {
      const some = await source.records(next - 1, segment.lastId);
      for (const record of some) {
        for (; next < record.id; next++) missing(segment, next);
        hash = hashRecord(hash, record);
        if (isWhole) compareKept(segment.number, record.id, hash);
        if (record.action === DROPPED) droppedThrough = Math.max(droppedThrough, throughOf(record.after));
        next = record.id + 1;
        records++;
      }
      if (some.length === 0) for (; next <= segment.lastId; next++) missing(segment, next);
    }
    if (isWhole && hash !== segment.hash) {
      const range = `records ${segment.firstId} to ${segment.lastId}`;
      say("RECORDS_CHANGED", segment.number, segment.firstId, `segment ${segment.number}: ${range} are not those that were put on record`);
    }
    function missing({ number }: SegmentRow, id: number): void {
      if (isWhole || problems.length < MAX_PROBLEMS) say("RECORD_MISSING", number, id, `segment ${number}: record ${id} is missing`);
      isWhole = false;
      // The hash cannot agree any more: that says nothing new.
      if (problems.length >= MAX_PROBLEMS) next = Math.max(next, segment.lastId);
    }
  }

  for (;;) {
    const some = await source.segments(before?.number ?? 0);
    for (const segment of some) {
      const { number } = segment;
      const due = (before?.number ?? 0) + 1;
      if (number !== due) say("SEGMENT_MISSING", due, null, `segment ${due}${number - 1 > due ? ` to ${number - 1}` : ""} is missing`);
      else if (before !== undefined && before.sealedAt === null) {
        say("SEGMENT_CHANGED", before.number, null, `segment ${before.number} is not sealed, though another one follows`);
      }
      checkSignature(segment, `segment ${number}`);
      if (number === due) {
        const previous = before === undefined ? GENESIS : hashSegment(before);
        const firstId = (before?.lastId ?? 0) + 1;
        if (segment.previous !== previous || segment.firstId !== firstId) {
          say("SEGMENT_CHANGED", number, null, `segment ${number} does not follow the segment before it`);
        }
      }
      if (segment.droppedAt === null) await verifyRecords(segment);
      else {
        dropped.push(segment);
        compareKept(number, segment.lastId, segment.hash);
        const [left] = await source.records(segment.firstId - 1, segment.lastId);
        if (left !== undefined)
          say("RECORD_ADDED", number, left.id, `record ${left.id} is in segment ${number}, whose records were deleted`);
      }
      before = segment;
      segments++;
      yield { segments, records, lastRecord: segment.lastId, isDone: false, problems: [], removed: null };
    }
    if (some.length > 0) continue;
    // Records may have been added meanwhile, together with their segment's header.
    const [behind] = await source.records(before?.lastId ?? 0, Number.MAX_SAFE_INTEGER);
    if (behind === undefined) break;
    const [newest] = await source.segments((before?.number ?? 1) - 1);
    const isGrown = newest !== undefined && (newest.number !== before?.number || newest.lastId > before.lastId);
    const follows = await source.segments(before?.number ?? 0);
    if (follows.length === 0 && !isGrown) say("RECORD_ADDED", null, behind.id, `record ${behind.id} is in no segment`);
    if (follows.length === 0) break;
  }
  for (const { number } of dropped) {
    if (number > droppedThrough)
      say("DROP_UNRECORDED", number, null, `the records of segment ${number} were deleted, and no record says so`);
  }
  const lastRecord = before?.lastId ?? 0;
  for (const checkpoint of kept) {
    if (seen.has(checkpoint)) continue;
    const { number, lastId } = checkpoint;
    const isDropped = dropped.some((segment) => segment.number === number && lastId <= segment.lastId && number <= droppedThrough);
    // Its state in the middle of a segment cannot be computed when the records are gone by the rules.
    if (!isDropped) say("LOG_CUT", number, lastId, `the log ends at record ${lastRecord}, and a checkpoint was kept of record ${lastId}`);
  }
  yield { segments, records, lastRecord, isDone: true, problems, removed: removedOf(dropped) };
}

function removedOf(dropped: readonly SegmentRow[]): RemovedRecords | null {
  const last = dropped.at(-1);
  if (last === undefined) return null;
  return {
    segments: dropped.length,
    records: dropped.reduce((sum, each) => sum + each.lastId - each.firstId + 1, 0),
    throughRecord: last.lastId,
  };
}

/** The last segment that an announcement of `DROPPED` names; `after`: its state after. */
export function throughOf(after: string | null): number {
  const { through } = JSON.parse(after ?? "{}") as { readonly through?: unknown };
  return Number.isSafeInteger(through) ? (through as number) : 0;
}
