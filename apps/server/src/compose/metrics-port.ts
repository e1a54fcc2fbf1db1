// The port for monitoring inside the network, of every long-running role: metrics, liveness, and readiness. Not here: the pages
// (http/health.ts), the server of clients (server.ts).
import type { Config } from "../config.ts";
import { createHealth, type Health } from "../http/health.ts";
import { type MetricsServer, startMetricsServer } from "../http/metrics-server.ts";
import { addProcessMetrics } from "../http/process-metrics.ts";
import type { Logger } from "../platform/log.ts";
import { VERSION } from "../platform/version.ts";
import type { Foundation, RoleContext } from "./foundation.ts";

/** Opens the metrics port. */
export function openMetricsPort(
  address: NonNullable<Config["metrics"]["listen"]>,
  logger: Logger,
  { openMetrics, live, ready }: Health,
): Promise<MetricsServer> {
  const pages = new Map([
    ["/metrics", openMetrics],
    ["/healthz", live],
    ["/readyz", ready],
  ]);
  return startMetricsServer(address, pages, (error) => logger.error({ err: error }, "the metrics page failed"));
}

/** The same for a process that serves no clients, with its own numbers, if `metrics.listen` is set; returns a function that closes it. */
export async function openWorkersMetrics(roleContext: RoleContext, foundation: Foundation): Promise<() => Promise<void>> {
  const { config, logger, tracing } = roleContext;
  const { database, store, metrics, clock } = foundation;
  // Others need not know that this process reaches the store: no client could be sent to it.
  const health = createHealth({ database, store, sightings: undefined, clock, metrics, logger });
  addProcessMetrics(metrics, { config, database, health, tracing, version: VERSION });
  const { listen } = config.metrics;
  const server = listen === undefined ? undefined : await openMetricsPort(listen, logger, health);
  return async () => {
    health.drain();
    await server?.stop();
  };
}
