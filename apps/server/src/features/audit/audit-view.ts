// A record as the API shows it, and as it is sent to others. Pure. Not here: rules (audit.ts), lines (audit-lines.ts).
import type { AuditRecordView } from "@berth/api/audit";
import type { AuditRecord } from "./audit-chain.ts";

/** A record as others see it. */
export function viewRecord(record: AuditRecord): AuditRecordView {
  const { id, at, action, outcome, actorKind, actorId, actor, via, before, after } = record;
  const { address, requestId, project, projectId, repository, reference, digest, account, times } = record;
  return {
    id: String(id),
    at: new Date(at).toISOString(),
    action,
    outcome,
    actor: { kind: actorKind, id: actorId, name: actor, via },
    address,
    requestId,
    project,
    projectId,
    repository,
    reference,
    digest,
    account,
    times,
    before: stateOf(before),
    after: stateOf(after),
  };
}

/** A state as it was recorded; what somebody made of it in the database is shown as that. */
function stateOf(json: string | null): Record<string, unknown> | null {
  if (json === null) return null;
  try {
    const state: unknown = JSON.parse(json);
    if (typeof state === "object" && state !== null && !Array.isArray(state)) return state as Record<string, unknown>;
  } catch {
    // It is no JSON: verification says so.
  }
  return { unreadable: json };
}
