// How far the log was sent to each target: rows that only move on. Not here: sending (audit-forwarding.ts).
import type { Executor } from "../../platform/database/database.ts";
import { statement } from "../../platform/database/statement.ts";

const find = statement<{ target: string }>()("audit.findForwarded", (db, p) =>
  db.selectFrom("audit_forward").select("last_record").where("target", "=", p.target),
);
const move = statement<{ target: string; to: number; now: number }>()("audit.moveForwarded", (db, p) =>
  db
    .insertInto("audit_forward")
    .values({ target: p.target, last_record: p.to, moved_at: p.now })
    // A run that was taken for dead and is not sends twice, and must not go back.
    .onConflict((conflict) =>
      conflict.column("target").doUpdateSet({ last_record: p.to, moved_at: p.now }).where("audit_forward.last_record", "<", p.to),
    ),
);

/** The last record that a target has; 0 for none. */
export async function findForwarded(executor: Executor, target: string): Promise<number> {
  return (await executor.first(find, { target }))?.last_record ?? 0;
}

/** Says that a target has everything up to a record. */
export async function moveForwarded(tx: Executor, target: string, to: number, now: number): Promise<void> {
  await tx.run(move, { target, to, now }, { any: "another run may be further" });
}
