// Gauges of every process, also one that serves no clients: running work, the backends' state, database connections, spans. They are read
// when the page is. Not here: those of a server (server-metrics.ts), counters (platform/metrics.ts).
import type { Config } from "../config.ts";
import type { Database } from "../platform/database/database.ts";
import type { Metrics } from "../platform/metrics.ts";
import type { Tracing } from "../platform/tracing.ts";
import type { Health, Readiness } from "./health.ts";

/** The parts whose numbers are shown. */
export interface ProcessMetricsParts {
  readonly config: Config;
  readonly database: Database;
  readonly health: Health;
  readonly tracing: Tracing | undefined;
  readonly version: string;
}

/** Adds the process metrics to the page. */
export function addProcessMetrics(metrics: Metrics, parts: ProcessMetricsParts): void {
  const { config, database, health, tracing } = parts;
  const one = (labels: Readonly<Record<string, string>>, value: number) => [{ labels, value }];
  const build = { version: parts.version, node: process.version, database: database.dialect, store: config.storage.kind };
  metrics.addGauges("build_info", "Always 1; what runs is in the labels.", () => one(build, 1));

  let seen: Readiness = { isReady: false, isDegraded: false, checks: {} };
  metrics.addRefresh(async () => {
    seen = await health.state();
  });
  metrics.addGauge(
    "ready",
    "1 when /readyz says 200: the database can be used, and so can the store or no other replica can use it, and the server does not stop.",
    () => (seen.isReady ? 1 : 0),
  );
  metrics.addGauge("degraded", "1 when /readyz says 200 without the store, which no other replica can use either.", () =>
    seen.isDegraded ? 1 : 0,
  );
  const perBackend = (holds: (state: string) => boolean) => () =>
    Object.entries(seen.checks).map(([backend, state]) => ({ labels: { backend }, value: holds(state) ? 1 : 0 }));
  metrics.addGauges(
    "backend_up",
    "1 when the database, or the store, can be used, full or not.",
    perBackend((state) => state === "ok" || state === "STORAGE_FULL"),
  );
  metrics.addGauges(
    "backend_full",
    "1 when the database, or the store, has no room for what is pushed.",
    perBackend((state) => state === "STORAGE_FULL"),
  );

  if (database.connections !== undefined) {
    const pool = (): ReturnType<NonNullable<Database["connections"]>> => database.connections!();
    metrics.addGauges("database_connections", "Connections to PostgreSQL.", () => {
      const { open, idle } = pool();
      return [
        { labels: { state: "used" }, value: open - idle },
        { labels: { state: "idle" }, value: idle },
      ];
    });
    metrics.addGauge("database_connections_limit", "Most connections (database.maxConnections).", () => config.database.maxConnections);
    metrics.addGauge("database_connections_waiting", "Callers that wait for a connection.", () => pool().waiting);
  }
  if (tracing !== undefined) {
    metrics.addCounters(
      "tracing_spans_total",
      "Spans to be sent (kept), that the collector took (sent), that it did not take (failed).",
      () => Object.entries(tracing.counts()).map(([result, value]) => ({ labels: { result }, value })),
    );
  }
}
