// Where changes go on their way to the audit log: into a table without an index, one row for all that a call records, in the transaction that did it; so
// that nothing is changed without its record, and a push pays one small insert. Beside it the outbox gets them, as before.
// Not here: how they get their numbers and are proven (audit-sealing.ts), what an entry says (audit-entries.ts).
import type { Change, ChangeSink } from "../../access/changes.ts";
import type { Clock } from "../../platform/clock.ts";
import type { Executor } from "../../platform/database/database.ts";
import { statement } from "../../platform/database/statement.ts";
import type { AuditEntry } from "./audit-entries.ts";

const insert = statement<{ at: number; actor: string | null; changes: string }>()("audit.insertPending", (db, p) =>
  db.insertInto("audit_pending").values({ at: p.at, actor: p.actor, changes: p.changes }),
);

/**
 * A sink that puts every change on record, and hands it to `others` as well. `onRecorded`: something is to be put on record soon, if its transaction
 * commits.
 */
export function createAuditSink<C extends Change>(
  clock: Clock,
  others: ChangeSink<C>,
  onRecorded: () => void = () => undefined,
): ChangeSink<C> {
  return {
    wants: () => true,
    async record(tx, actor, changes) {
      if (changes.length === 0) return;
      await tx.run(insert, { at: clock.now(), actor: JSON.stringify(actor), changes: JSON.stringify(changes) }, 1);
      await others.record(tx, actor, changes);
      onRecorded();
    },
  };
}

/** Puts entries on record that say themselves who acted, and when. */
export async function recordEntries(tx: Executor, now: number, entries: readonly AuditEntry[]): Promise<void> {
  if (entries.length > 0) await tx.run(insert, { at: now, actor: null, changes: JSON.stringify(entries) }, 1);
}
