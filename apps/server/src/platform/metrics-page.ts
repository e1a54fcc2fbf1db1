// Writes the metrics page with prom-client, which adds the process's own metrics: memory, CPU, event loop lag, V8's garbage collections.
// Not here: what is counted (metrics.ts).
import type { Registry } from "prom-client";

/** One metric with its present values. */
export interface MetricValues {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly values: readonly {
    readonly labels: Readonly<Record<string, string | number>>;
    readonly value: number;
    readonly metricName?: string;
  }[];
}

/** The process's own metrics; they are observed from the first call on. */
export interface ProcessMetrics {
  readonly registry: Registry;
  readonly createRegistry: () => Registry;
}

/** Loads prom-client and starts to observe the process. */
export async function loadProcessMetrics(): Promise<ProcessMetrics> {
  const { default: prom } = await import("prom-client");
  const registry = new prom.Registry();
  // 20 ms: finer sampling of the event loop would wake an idle process more often and show nothing useful.
  prom.collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 20 });
  return { registry, createRegistry: () => new prom.Registry() };
}

/** The page: the given metrics first, then the process's. */
export async function writeMetrics(
  processMetrics: ProcessMetrics,
  metrics: readonly MetricValues[],
  tag: string | undefined,
): Promise<{ readonly contentType: string; readonly page: string }> {
  const registry = processMetrics.createRegistry();
  if (tag !== undefined) registry.setDefaultLabels({ tag });
  for (const metric of metrics) register(registry, metric);
  for (const metric of await processMetrics.registry.getMetricsAsJSON()) register(registry, metric as unknown as MetricValues);
  return { contentType: registry.contentType, page: await registry.metrics() };
}

/** A registry calls only `name` and `get` of its metrics; its type requires the classes, which would build strings while counting. */
function register(registry: Registry, metric: MetricValues): void {
  const readable = { name: metric.name, get: async () => metric };
  registry.registerMetric(readable as unknown as Parameters<Registry["registerMetric"]>[0]);
}
