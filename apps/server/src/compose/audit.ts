// The audit log of a process: what puts on record, and its numbers. Not here: the rules (features/audit), where changes are recorded (content.ts).
import { hostname } from "node:os";
import { isReported } from "@berth/oci/errors";
import { type AuditNotes, createAuditNotes } from "../features/audit/audit-notes.ts";
import { createAuditSigner } from "../features/audit/audit-keys.ts";
import { type AuditLoop, createAuditLoop } from "../features/audit/audit-loop.ts";
import { type AuditSealer, createAuditSealer, findOldestPending } from "../features/audit/audit-sealing.ts";
import { SECOND_MS } from "../platform/clock.ts";
import type { Foundation, RoleContext } from "./foundation.ts";

/** What puts on record. */
export interface Audit {
  readonly sealer: AuditSealer;
  readonly loop: AuditLoop;
  /** Of what requests do without a transaction. Started where requests are answered. */
  readonly notes: AuditNotes;
}

/** Composes it; nothing runs before its loop starts. */
export function composeAudit({ masterKey, logger }: RoleContext, { database, clock, metrics }: Foundation): Audit {
  const sealer = createAuditSealer({
    database,
    clock,
    signer: createAuditSigner(database, clock, masterKey),
    // Outside the database, so that who cuts its end off contradicts what others have kept.
    onSealed: (checkpoint) => logger.info({ checkpoint }, "a segment of the audit log was sealed"),
  });
  let failures = 0;
  metrics.addCounter("audit_failures_total", "Tries to put what happened on record that failed; they are made again.", () => failures);
  let oldestAt: number | undefined;
  metrics.addRefresh(async () => {
    oldestAt = await findOldestPending(database);
  });
  metrics.addGauge("audit_pending_seconds", "How long what happened has waited to be put on record, the oldest of it.", () =>
    oldestAt === undefined ? 0 : Math.max(0, clock.now() - oldestAt) / SECOND_MS,
  );
  const loop = createAuditLoop(sealer, (error) => {
    failures++;
    if (!isReported(error)) logger.error({ err: error }, "what happened could not be put on record; it is tried again");
  });
  const notes = createAuditNotes({
    database,
    clock,
    host: hostname(),
    isAlone: database.dialect === "sqlite",
    onRecorded: loop.wake,
    onError: (error) => {
      failures++;
      if (!isReported(error)) logger.error({ err: error }, "pulls and refusals could not be put on record; it is tried again");
    },
  });
  return { sealer, loop, notes };
}
