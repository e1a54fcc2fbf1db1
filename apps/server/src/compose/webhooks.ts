// Webhooks at work: the jobs that send and that trim the history, with their numbers. Not here: how it is done (features/webhooks).
import { createSeal } from "../access/seal.ts";
import { showListenAddress } from "../config-kinds.ts";
import type { JobKind } from "../events/job-kinds.ts";
import { countWebhooks, DELIVERY_OUTCOMES, deliveryKind, trimHistory } from "../features/webhooks/webhooks.ts";
import { SECOND_MS } from "../platform/clock.ts";
import type { Foundation, RoleContext } from "./foundation.ts";

const TRIMMING = { cron: "41 * * * *", timeZone: "UTC", jitterMs: 600 * SECOND_MS };
const TRIMMING_RETRY = { attempts: 3, firstDelayMs: 10 * SECOND_MS, maxDelayMs: 60 * SECOND_MS };

/** The key under which webhooks' secrets are sealed. */
export function webhookSeal({ masterKey }: Pick<RoleContext, "masterKey">) {
  return createSeal(masterKey, "webhooks");
}

/** The kinds of jobs of webhooks. */
export function webhookKinds(roleContext: RoleContext, { database, clock, metrics, outbound }: Foundation): JobKind[] {
  const { http } = roleContext.config;
  const totals = DELIVERY_OUTCOMES.map((outcome) => ({ labels: { outcome }, value: 0 }));
  metrics.addCounters("webhook_deliveries_total", "Attempts to deliver to webhooks from here, by what became of them.", () => totals);
  let present = { open: 0, waiting: 0, oldestAt: undefined as number | undefined };
  metrics.addRefresh(async () => {
    present = await countWebhooks(database);
  });
  metrics.addGauge(
    "webhook_breakers_open",
    "Webhooks of all replicas to which nothing is sent for now, since so many deliveries in a row failed.",
    () => present.open,
  );
  metrics.addGauge("webhook_deliveries_waiting", "Deliveries of all replicas that wait, up to 1000.", () => present.waiting);
  metrics.addGauge("webhook_oldest_waiting_seconds", "How long the oldest of them has waited.", () =>
    present.oldestAt === undefined ? 0 : Math.max(0, clock.now() - present.oldestAt) / SECOND_MS,
  );
  const scheme = http.tls.certificateFile === undefined ? "http" : "https";
  const origin = http.publicUrl ?? `${scheme}://${showListenAddress(http.listen)}`;
  return [
    deliveryKind({
      database,
      clock,
      seal: webhookSeal(roleContext),
      fetch: outbound.for("webhook"),
      origin,
      onAttempt: (outcome) => totals.find(({ labels }) => labels.outcome === outcome)!.value++,
    }),
    {
      kind: "webhook-history",
      concurrency: 1,
      timeoutMs: 600 * SECOND_MS,
      retry: TRIMMING_RETRY,
      schedule: TRIMMING,
      run: () => trimHistory(database, clock.now()),
    },
  ];
}
