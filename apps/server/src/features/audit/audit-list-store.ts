// Reading records: all of them in their order, and those that are asked for. Not here: rules.
import type { Executor } from "../../platform/database/database.ts";
import { statement } from "../../platform/database/statement.ts";
import type { AuditRecord } from "./audit-chain.ts";
import { RECORD_COLUMNS, recordOf } from "./audit-rows.ts";

const listAfter = statement<{ after: number; through: number; limit: number }>()("audit.listAfter", (db, p) =>
  db.selectFrom("audit_record").select(RECORD_COLUMNS).where("id", ">", p.after).where("id", "<=", p.through).orderBy("id").limit(p.limit),
);

/** Records behind one, in their order and without a gap; from the first one that is kept for 0. At most `limit`, none behind `through`. */
export async function listRecordsAfter(
  executor: Executor,
  after: number,
  limit: number,
  through = Number.MAX_SAFE_INTEGER,
): Promise<AuditRecord[]> {
  return (await executor.all(listAfter, { after, through, limit })).map(recordOf);
}
