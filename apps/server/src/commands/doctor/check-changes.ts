// Changes from which nothing could be made to follow, however often it was tried: somebody should have learned of them and did not.
// Not here: how they are tried again (events/outbox.ts), jobs that failed for reasons of their own (the API's list of jobs).
import { REACTION } from "../../events/outbox.ts";
import { statement } from "../../platform/database/statement.ts";
import type { DoctorParts } from "./doctor.ts";

/** More than this many say no more. */
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

/** Says which. */
export async function checkChanges({ executor, onProblem }: DoctorParts): Promise<void> {
  for (const { id, subject, error } of await executor.all(list, { kind: REACTION })) {
    const detail = `job ${id} failed: ${error ?? "nobody says why"}; POST /api/v1/jobs/${id}/retry tries again`;
    onProblem({ kind: "change-set-aside", subject, detail, repositories: [], isRepaired: false });
  }
}
