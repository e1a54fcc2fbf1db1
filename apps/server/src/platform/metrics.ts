// Numbers about the running server, kept as plain numbers so that counting costs no string, and written for Prometheus when asked.
// Not here: which operations there are (the caller names them) and who may read the page.
import { loadProcessMetrics, type MetricValues, type ProcessMetrics, writeMetrics } from "./metrics-page.ts";

/** Counts one kind of operation. Get it once, at wiring time. */
export interface OperationMeter {
  /** An operation starts. Every `begin` needs one `end`. */
  begin(): void;
  /** It ended with an HTTP status after `seconds`, having received and sent that many bytes of body. */
  end(status: number, seconds: number, receivedBytes: number, sentBytes: number): void;
}

/** Counts one kind of access to the blob store or another backend. */
export interface StoreMeter {
  end(isGood: boolean, seconds: number): void;
}

/** What there is to count. */
export interface MetricsOptions {
  /** All kinds of operation, in fixed words: they become values of a label. */
  readonly operations: readonly string[];
  readonly storeOperations: readonly string[];
  /** Put on every metric as the label `tag`. */
  readonly tag?: string | undefined;
}

/** All metrics of one process. */
export interface Metrics {
  /** The meter of a kind given at creation; throws for any other. */
  operation(kind: string): OperationMeter;
  store(kind: string): StoreMeter;
  /** What collection has yet to do: blobs that wait, and the age of the oldest. */
  setCollectionBacklog(blobs: number, oldestSeconds: number): void;
  addReclaimed(blobs: number, bytes: number): void;
  /** Adds a number that is read when the page is: a cache's size, open connections. The name gets the prefix `berth_`. */
  addGauge(name: string, help: string, read: () => number): void;
  addCounter(name: string, help: string, read: () => number): void;
  /** The page in Prometheus's text format. */
  render(): Promise<{ readonly contentType: string; readonly page: string }>;
}

/** From a cached manifest (under a millisecond) to a large layer on a slow line (minutes). */
const OPERATION_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 300];
/** From a local file's lookup to a part sent to a slow S3 service. */
const STORE_BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60];

/** Statuses are counted in a flat array from 100 to 599; anything else counts as 599. */
const STATUS_MIN = 100;
const STATUS_COUNT = 500;

interface Histogram {
  /** Not cumulative; the last one holds what is above every bound. */
  readonly counts: Float64Array;
  readonly bounds: readonly number[];
  sum: number;
}

function createHistogram(bounds: readonly number[]): Histogram {
  return { counts: new Float64Array(bounds.length + 1), bounds, sum: 0 };
}

function observe(histogram: Histogram, value: number): void {
  const { bounds, counts } = histogram;
  let i = 0;
  while (i < bounds.length && value > bounds[i]!) i++;
  counts[i]!++;
  histogram.sum += value;
}

interface OperationNumbers {
  readonly meter: OperationMeter;
  readonly statuses: Float64Array;
  readonly duration: Histogram;
  inFlight: number;
  receivedBytes: number;
  sentBytes: number;
}

function createOperation(): OperationNumbers {
  const numbers: OperationNumbers = {
    statuses: new Float64Array(STATUS_COUNT),
    duration: createHistogram(OPERATION_BUCKETS),
    inFlight: 0,
    receivedBytes: 0,
    sentBytes: 0,
    meter: {
      begin: () => void numbers.inFlight++,
      end: (status, seconds, receivedBytes, sentBytes) => {
        const index = status - STATUS_MIN;
        numbers.inFlight--;
        numbers.statuses[index >= 0 && index < STATUS_COUNT ? index : STATUS_COUNT - 1]!++;
        observe(numbers.duration, seconds);
        numbers.receivedBytes += receivedBytes;
        numbers.sentBytes += sentBytes;
      },
    },
  };
  return numbers;
}

interface StoreNumbers {
  readonly meter: StoreMeter;
  readonly duration: Histogram;
  failures: number;
}

function createStore(): StoreNumbers {
  const numbers: StoreNumbers = {
    duration: createHistogram(STORE_BUCKETS),
    failures: 0,
    meter: {
      end: (isGood, seconds) => {
        if (!isGood) numbers.failures++;
        observe(numbers.duration, seconds);
      },
    },
  };
  return numbers;
}

/** Creates the metrics of one process; nothing is shared between two of them except the process's own numbers. */
export function createMetrics(options: MetricsOptions): Metrics {
  const operations = new Map(options.operations.map((kind) => [kind, createOperation()]));
  const stores = new Map(options.storeOperations.map((kind) => [kind, createStore()]));
  const readers: { readonly name: string; readonly help: string; readonly type: "gauge" | "counter"; readonly read: () => number }[] = [];
  // Not before the first scrape: a server that nobody scrapes does not pay for it.
  let processMetrics: Promise<ProcessMetrics> | undefined;
  const collection = { backlog: 0, oldestSeconds: 0, reclaimedBlobs: 0, reclaimedBytes: 0 };

  function addReader(type: "gauge" | "counter", name: string, help: string, read: () => number): void {
    if (!/^[a-z][a-z0-9_]*$/.test(name) || readers.some((other) => other.name === `berth_${name}`))
      throw new TypeError(`not a new metric: ${name}`);
    readers.push({ name: `berth_${name}`, help, type, read });
  }
  addReader("gauge", "collection_backlog_blobs", "Blobs without a reference that wait to be reclaimed.", () => collection.backlog);
  addReader("gauge", "collection_backlog_oldest_seconds", "How long the oldest of them has waited.", () => collection.oldestSeconds);
  addReader("counter", "collection_reclaimed_blobs_total", "Blobs whose bytes were reclaimed.", () => collection.reclaimedBlobs);
  addReader("counter", "collection_reclaimed_bytes_total", "Bytes that were reclaimed.", () => collection.reclaimedBytes);

  function snapshot(): MetricValues[] {
    const perOperation = (
      name: string,
      help: string,
      type: "gauge" | "counter",
      read: (numbers: OperationNumbers) => number,
    ): MetricValues => ({
      name,
      help,
      type,
      values: [...operations].map(([kind, numbers]) => ({ labels: { kind }, value: read(numbers) })),
    });
    return [
      {
        name: "berth_operations_total",
        help: "Operations that ended, by kind and HTTP status.",
        type: "counter",
        values: [...operations].flatMap(([kind, { statuses }]) =>
          [...statuses.entries()]
            .filter(([, count]) => count > 0)
            .map(([index, value]) => ({ labels: { kind, status: String(index + STATUS_MIN) }, value })),
        ),
      },
      {
        name: "berth_operation_duration_seconds",
        help: "From the request's headers to the answer's last byte.",
        type: "histogram",
        values: [...operations].flatMap(([kind, { duration }]) => histogramValues("berth_operation_duration_seconds", kind, duration)),
      },
      perOperation("berth_operations_in_flight", "Operations that run now.", "gauge", ({ inFlight }) => inFlight),
      perOperation("berth_received_bytes_total", "Bytes of request bodies.", "counter", ({ receivedBytes }) => receivedBytes),
      perOperation("berth_sent_bytes_total", "Bytes of answers' bodies.", "counter", ({ sentBytes }) => sentBytes),
      {
        name: "berth_store_duration_seconds",
        help: "Accesses to the blob store, good and failed.",
        type: "histogram",
        values: [...stores].flatMap(([kind, { duration }]) => histogramValues("berth_store_duration_seconds", kind, duration)),
      },
      {
        name: "berth_store_failures_total",
        help: "Accesses to the blob store that failed.",
        type: "counter",
        values: [...stores].map(([kind, { failures }]) => ({ labels: { kind }, value: failures })),
      },
      ...readers.map(({ name, help, type, read }): MetricValues => ({ name, help, type, values: [{ labels: {}, value: read() }] })),
    ];
  }

  return {
    operation: (kind) => meterOf(operations, kind),
    store: (kind) => meterOf(stores, kind),
    setCollectionBacklog: (blobs, oldestSeconds) => void Object.assign(collection, { backlog: blobs, oldestSeconds }),
    addReclaimed: (blobs, bytes) => {
      collection.reclaimedBlobs += blobs;
      collection.reclaimedBytes += bytes;
    },
    addGauge: (name, help, read) => addReader("gauge", name, help, read),
    addCounter: (name, help, read) => addReader("counter", name, help, read),
    render: async () => writeMetrics(await (processMetrics ??= loadProcessMetrics()), snapshot(), options.tag),
  };
}

function meterOf<M>(all: ReadonlyMap<string, { readonly meter: M }>, kind: string): M {
  const numbers = all.get(kind);
  if (numbers === undefined) throw new TypeError(`not a kind that is counted: ${kind}`);
  return numbers.meter;
}

function histogramValues(name: string, kind: string, { counts, bounds, sum }: Histogram): MetricValues["values"] {
  let total = 0;
  const buckets = [...bounds, "+Inf"].map((le, i) => {
    total += counts[i] ?? 0;
    return { labels: { kind, le }, value: total, metricName: `${name}_bucket` };
  });
  // A kind that never ran is left out: most servers never see half of them.
  if (total === 0) return [];
  return [
    ...buckets,
    { labels: { kind }, value: sum, metricName: `${name}_sum` },
    { labels: { kind }, value: total, metricName: `${name}_count` },
  ];
}
