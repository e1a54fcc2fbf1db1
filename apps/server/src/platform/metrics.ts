// Metrics of the running server, kept as plain numbers so that counting creates no string, and written for Prometheus on request. Each is
// declared beside the code that counts it. Not here: what is counted, and access to the page.
import { loadProcessMetrics, type MetricValues, type ProcessMetrics, writeMetrics } from "./metrics-page.ts";

/** One of several values of a metric, distinguished by labels with few and fixed values. */
export interface LabelledValue {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** The options of a histogram with a few kinds. */
export interface HistogramOptions<K extends string> {
  /** Without the prefix `berth_`; ends with the unit. */
  readonly name: string;
  readonly help: string;
  /** All values of the label `kind`: no others can be counted, so the page stays bounded. */
  readonly kinds: readonly K[];
  /** Upper bounds of the buckets, ascending; the unbounded one is added. */
  readonly buckets: readonly number[];
}

/** Counts one value. */
export type Observe = (value: number) => void;

/** All metrics of one process. Names get the prefix `berth_`; a duplicate or malformed name throws. */
export interface Metrics {
  /** Adds a histogram; returns the counter of each kind, which callers keep. A kind that never ran is not on the page. */
  addHistogram<K extends string>(options: HistogramOptions<K>): Readonly<Record<K, Observe>>;
  /** Adds a number that is read whenever the page is: a cache's size, open connections. */
  addGauge(name: string, help: string, read: () => number): void;
  addCounter(name: string, help: string, read: () => number): void;
  /** The same for several values with labels. */
  addGauges(name: string, help: string, read: () => readonly LabelledValue[]): void;
  addCounters(name: string, help: string, read: () => readonly LabelledValue[]): void;
  /** Adds a function that runs before each page and is awaited: for numbers that need a query. Its errors are ignored. */
  addRefresh(refresh: () => Promise<void>): void;
  /** The page in Prometheus's text format. */
  render(): Promise<{ readonly contentType: string; readonly page: string }>;
}

/** Buckets in seconds for accesses to a database or a store: from a local file's look-up to a part sent to a slow S3 service. */
export const ACCESS_BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60];

interface Histogram {
  /** Not cumulative; the last one counts values above every bound. */
  readonly counts: Float64Array;
  readonly bounds: readonly number[];
  sum: number;
}

function observe(histogram: Histogram, value: number): void {
  const { bounds, counts } = histogram;
  let i = 0;
  while (i < bounds.length && value > bounds[i]!) i++;
  counts[i]!++;
  histogram.sum += value;
}

/** Creates the metrics of one process; two of them share nothing but the process's own numbers. `tag` becomes a label of each metric. */
export function createMetrics({ tag }: { readonly tag?: string | undefined } = {}): Metrics {
  const families = new Map<string, () => MetricValues>();
  const refreshes: (() => Promise<void>)[] = [];
  // Only after the first scrape: a server that nobody scrapes does not pay for it.
  let processMetrics: Promise<ProcessMetrics> | undefined;

  function add(plainName: string, read: (name: string) => MetricValues): void {
    const name = `berth_${plainName}`;
    if (!/^[a-z][a-z0-9_]*$/.test(plainName) || families.has(name)) throw new TypeError(`not a new metric: ${plainName}`);
    families.set(name, () => read(name));
  }

  const addReader = (type: "gauge" | "counter", plainName: string, help: string, read: () => number | readonly LabelledValue[]): void =>
    add(plainName, (name) => {
      const value = read();
      return { name, help, type, values: typeof value === "number" ? [{ labels: {}, value }] : value };
    });

  return {
    addHistogram<K extends string>({ name: plainName, help, kinds, buckets }: HistogramOptions<K>) {
      const ofKind = kinds.map((kind) => [kind, { counts: new Float64Array(buckets.length + 1), bounds: buckets, sum: 0 }] as const);
      add(plainName, (name) => ({
        name,
        help,
        type: "histogram",
        values: ofKind.flatMap(([kind, histogram]) => histogramValues(name, kind, histogram)),
      }));
      return Object.fromEntries(ofKind.map(([kind, histogram]) => [kind, (value: number) => observe(histogram, value)])) as Record<
        K,
        Observe
      >;
    },
    addGauge: (name, help, read) => addReader("gauge", name, help, read),
    addCounter: (name, help, read) => addReader("counter", name, help, read),
    addGauges: (name, help, read) => addReader("gauge", name, help, read),
    addCounters: (name, help, read) => addReader("counter", name, help, read),
    addRefresh: (refresh) => void refreshes.push(refresh),
    async render() {
      // If one fails, its last numbers stay: the page matters most when things go wrong.
      await Promise.allSettled(refreshes.map((refresh) => refresh()));
      const values = [...families.values()].map((read) => read());
      return writeMetrics(await (processMetrics ??= loadProcessMetrics()), values, tag);
    },
  };
}

function histogramValues(name: string, kind: string, { counts, bounds, sum }: Histogram): MetricValues["values"] {
  let total = 0;
  const buckets = [...bounds, "+Inf"].map((le, i) => {
    total += counts[i] ?? 0;
    return { labels: { kind, le }, value: total, metricName: `${name}_bucket` };
  });
  // A kind that never ran is left out: most servers never use half of them.
  if (total === 0) return [];
  return [
    ...buckets,
    { labels: { kind }, value: sum, metricName: `${name}_sum` },
    { labels: { kind }, value: total, metricName: `${name}_count` },
  ];
}
