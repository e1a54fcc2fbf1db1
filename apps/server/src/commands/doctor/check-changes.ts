// Reports changes whose reactions failed in every attempt: some part of the registry has not been informed. Not here: the attempts
// (events/outbox.ts), jobs that failed for other reasons (the API's list of jobs).
import { REACTION } from "../../events/outbox.ts";
import { statement } from "../../platform/database/statement.ts";
import type { DoctorParts } from "./doctor.ts";

/** More than this many would say no more. */
const SHOWN = 100;

const list = statement<{ kind: string }>()("doctor.changes", (db, p) =>
  db
    .selectFrom("job")
    .select(["id", "subject", "error"])
    .where("state", "=", "failed")
    .where("kind", "=", p.kind)
    .orderBy("due_at")
    .limit(SHOWN),
);

/** Reports each of them. */
export async function checkChanges({ executor, onProblem }: DoctorParts): Promise<void> {
  for (const { id, subject, error } of await executor.all(list, { kind: REACTION })) {
    const detail = `job ${id} failed: ${error ?? "nobody says why"}; POST /api/v1/jobs/${id}/retry tries again`;
    onProblem({ kind: "change-set-aside", subject, detail, repositories: [], isRepaired: false });
  }
}
