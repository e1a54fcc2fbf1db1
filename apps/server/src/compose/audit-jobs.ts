// The jobs of the audit log: sending it to others, and deleting what is old; with their numbers. Not here: how it is done (features/audit), what puts on
// record (audit.ts).
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { rootCertificates } from "node:tls";
import type { JobKind, JobOutcome } from "../events/job-kinds.ts";
import { findForwarded } from "../features/audit/audit-forward-store.ts";
import { type AuditTarget, findLag, forwardSome, type ForwardLag } from "../features/audit/audit-forwarding.ts";
import { ChangedSegmentError, createAuditRetention } from "../features/audit/audit-retention.ts";
import { fileTarget, httpTarget, syslogTarget } from "../features/audit/audit-targets.ts";
import { DAY_MS, SECOND_MS } from "../platform/clock.ts";
import type { Foundation, RoleContext } from "./foundation.ts";

/** As often as others want to hear, and so rarely that an idle registry costs next to nothing. */
const FORWARDING = { everyMs: 2 * SECOND_MS, jitterMs: SECOND_MS / 5 };
/** The delays of a target that takes nothing. */
const FORWARDING_RETRY = { attempts: 1, firstDelayMs: SECOND_MS, maxDelayMs: 60 * SECOND_MS };
/** The longest run, so that other jobs get their turn. */
const FORWARDING_RUN_MS = 10 * SECOND_MS;
const RETENTION = { everyMs: 10 * SECOND_MS, jitterMs: SECOND_MS };
const TIMEOUT_MS = 120 * SECOND_MS;

/** The kinds of jobs of the audit log. */
export function auditKinds(roleContext: RoleContext, foundation: Foundation): JobKind[] {
  const { config, logger } = roleContext;
  const { database, clock } = foundation;
  const targets = targetsOf(roleContext, foundation);
  const kinds: JobKind[] = [];
  if (targets.length > 0) kinds.push(forwardingKind(roleContext, foundation, targets));
  const { keepDays } = config.audit;
  if (keepDays === 0) return kinds;
  const findSent = async (): Promise<number> => Math.min(...(await Promise.all(targets.map(({ name }) => findForwarded(database, name)))));
  const retention = createAuditRetention({
    database,
    clock,
    keptMs: keepDays * DAY_MS,
    findSent: targets.length === 0 ? undefined : findSent,
  });
  kinds.push({
    kind: "audit-retention",
    concurrency: 1,
    timeoutMs: TIMEOUT_MS,
    retry: FORWARDING_RETRY,
    schedule: RETENTION,
    async run(): Promise<JobOutcome | void> {
      try {
        return (await retention.step()) ? "more" : undefined;
      } catch (error) {
        if (error instanceof ChangedSegmentError)
          logger.error({ err: error }, "old records of the audit log stay: they are not what was signed");
        throw error;
      }
    },
  });
  return kinds;
}

function targetsOf({ config }: RoleContext, { outbound }: Foundation): AuditTarget[] {
  const { syslog, file, http, httpAuthorization } = config.audit.forward;
  const { caFile } = config.outbound;
  const ca = caFile === undefined ? undefined : [...rootCertificates, readFileSync(caFile, "utf8")];
  return [
    ...(syslog === undefined ? [] : [syslogTarget(new URL(syslog), { ca, host: hostname() })]),
    ...(file === undefined ? [] : [fileTarget(file)]),
    ...(http === undefined ? [] : [httpTarget(http, { fetch: outbound.for("audit"), authorization: httpAuthorization })]),
  ];
}

function forwardingKind({ logger }: RoleContext, { database, clock, metrics }: Foundation, targets: readonly AuditTarget[]): JobKind {
  const lags = new Map<string, ForwardLag>();
  metrics.addRefresh(async () => {
    for (const { name } of targets) lags.set(name, await findLag(database, clock, name));
  });
  const values = (of: keyof ForwardLag) => [...lags].map(([target, lag]) => ({ labels: { target }, value: lag[of] }));
  metrics.addGauges("audit_forward_lag_records", "Records of the audit log that a target does not have yet.", () => values("records"));
  metrics.addGauges("audit_forward_lag_seconds", "Age of the oldest record that a target does not have yet.", () => values("seconds"));
  return {
    kind: "audit-forwarding",
    concurrency: targets.length,
    timeoutMs: TIMEOUT_MS,
    retry: FORWARDING_RETRY,
    // One that takes nothing holds up no other.
    schedule: { ...FORWARDING, subjects: targets.map(({ name }) => name) },
    async run({ subject, signal }): Promise<JobOutcome | void> {
      const target = targets.find(({ name }) => name === subject);
      // Its setting is gone: what was sent is remembered.
      if (target === undefined) return;
      const until = performance.now() + FORWARDING_RUN_MS;
      try {
        while (await forwardSome({ database, clock }, target, signal)) if (signal.aborted || performance.now() > until) return "more";
      } catch (error) {
        logger.warn({ target: subject, reason: (error as Error).message }, "the audit log could not be sent on; it is tried again");
        throw error;
      }
    },
  };
}
