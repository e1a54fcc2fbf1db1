// Sends the audit log to others as it grows: in its order, from where a target's row says, which moves on when the target has taken what was sent. So a
// process that ends in between is followed by another that sends the same again: at least once, and none is passed over. Not here: how each kind of
// target is sent to (audit-targets.ts), when (compose/audit-jobs.ts).
import type { Clock } from "../../platform/clock.ts";
import { type Database, ON_FULL_DISK } from "../../platform/database/database.ts";
import type { AuditRecord } from "./audit-chain.ts";
import { findForwarded, moveForwarded } from "./audit-forward-store.ts";
import { listRecordsAfter } from "./audit-list-store.ts";
import { findNewestSegment } from "./audit-segments.ts";

/** Records that are sent together: some hundred kilobytes. */
const BATCH = 500;

/** Where the log is sent. */
export interface AuditTarget {
  /** One of each kind: the name of its row. */
  readonly name: "syslog" | "file" | "http";
  /** Sends records; resolves when the target has them. */
  send(records: readonly AuditRecord[], signal: AbortSignal): Promise<void>;
}

/** Sends the next records to a target; true where there may be more. Errors: the target's, the database's. */
export async function forwardSome(
  { database, clock }: { readonly database: Database; readonly clock: Clock },
  target: AuditTarget,
  signal: AbortSignal,
): Promise<boolean> {
  const records = await listRecordsAfter(database, await findForwarded(database, target.name), BATCH);
  const last = records.at(-1);
  if (last === undefined) return false;
  await target.send(records, signal);
  await database.transaction((tx) => moveForwarded(tx, target.name, last.id, clock.now()), ON_FULL_DISK);
  return records.length === BATCH;
}

/** How far a target is behind. */
export interface ForwardLag {
  readonly records: number;
  /** Since the oldest record that it does not have was made. */
  readonly seconds: number;
}

/** How far a target is behind now. */
export async function findLag(database: Database, clock: Clock, target: string): Promise<ForwardLag> {
  const sent = await findForwarded(database, target);
  const newest = await findNewestSegment(database);
  const [next] = await listRecordsAfter(database, sent, 1);
  if (newest === undefined || next === undefined) return { records: 0, seconds: 0 };
  return { records: newest.lastId - next.id + 1, seconds: Math.max(0, clock.now() - next.at) / 1000 };
}
