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

/** Counts what the database does. */
export interface DatabaseMeter {
  /** An operation of one of the kinds given at creation ended. */
  end(kind: string, isGood: boolean, seconds: number): void;
  /** The count of one statement, by its id: get it once. Ids come from the program's own text, so they are bounded. */
  statement(id: string): (seconds: number) => void;
}

/** One value among several of a metric, told apart by labels of few and fixed values. */
export interface LabelledValue {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** What there is to count. */
export interface MetricsOptions {
  /** All kinds of operation, in fixed words: they become values of a label. */
  readonly operations: readonly string[];
  readonly storeOperations: readonly string[];
  readonly databaseOperations: readonly string[];
  /** Put on every metric as the label `tag`. */
  readonly tag?: string | undefined;
}

/** All metrics of one process. */
export interface Metrics {
  /** The meter of a kind given at creation; throws for any other. */
  operation(kind: string): OperationMeter;
  store(kind: string): StoreMeter;
  readonly database: DatabaseMeter;
  /** What collection has yet to do: blobs that wait, and the age of the oldest. */
  setCollectionBacklog(blobs: number, oldestSeconds: number): void;
  addReclaimed(blobs: number, bytes: number): void;
  /** Adds a number that is read when the page is: a cache's size, open connections. The name gets the prefix `berth_`. */
  addGauge(name: string, help: string, read: () => number): void;
  addCounter(name: string, help: string, read: () => number): void;
  /** The same for several values with labels. */
  addGauges(name: string, help: string, read: () => readonly LabelledValue[]): void;
  addCounters(name: string, help: string, read: () => readonly LabelledValue[]): void;
  /** Called before each page, which waits for it: for numbers that must be asked for. What it throws counts for nothing. */
  addRefresh(refresh: () => Promise<void>): void;
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
  const databases = new Map(options.databaseOperations.map((kind) => [kind, createStore()]));
  const statements = new Map<string, { runs: number; seconds: number }>();
  const readers: {
    readonly name: string;
    readonly help: string;
    readonly type: "gauge" | "counter";
    readonly read: () => number | readonly LabelledValue[];
  }[] = [];
  const refreshes: (() => Promise<void>)[] = [];
  // Not before the first scrape: a server that nobody scrapes does not pay for it.
  let processMetrics: Promise<ProcessMetrics> | undefined;
  const collection = { backlog: 0, oldestSeconds: 0, reclaimedBlobs: 0, reclaimedBytes: 0 };

  function addReader(type: "gauge" | "counter", name: string, help: string, read: () => number | readonly LabelledValue[]): void {
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
      ...backendValues("berth_store", stores, "Accesses to the blob store, good and failed.", "Accesses to the blob store that failed."),
      ...backendValues(
        "berth_database",
        databases,
        "Reads, transactions with their wait for the disk, and waits for the disk alone; good and failed.",
        "Those of them that failed, rules that said no left aside.",
      ),
      {
        name: "berth_database_statements_total",
        help: "Statements that were run, by name.",
        type: "counter",
        values: [...statements].map(([name, { runs }]) => ({ labels: { statement: name }, value: runs })),
      },
      {
        name: "berth_database_statement_seconds_total",
        help: "Time that statements took, by name.",
        type: "counter",
        values: [...statements].map(([name, { seconds }]) => ({ labels: { statement: name }, value: seconds })),
      },
      ...readers.map(({ name, help, type, read }): MetricValues => {
        const value = read();
        return { name, help, type, values: typeof value === "number" ? [{ labels: {}, value }] : value };
      }),
    ];
  }

  return {
    operation: (kind) => meterOf(operations, kind),
    store: (kind) => meterOf(stores, kind),
    database: {
      end: (kind, isGood, seconds) => meterOf(databases, kind).end(isGood, seconds),
      statement(id) {
        let found = statements.get(id);
        if (found === undefined) statements.set(id, (found = { runs: 0, seconds: 0 }));
        const numbers = found;
        return (seconds) => {
          numbers.runs++;
          numbers.seconds += seconds;
        };
      },
    },
    setCollectionBacklog: (blobs, oldestSeconds) => void Object.assign(collection, { backlog: blobs, oldestSeconds }),
    addReclaimed: (blobs, bytes) => {
      collection.reclaimedBlobs += blobs;
      collection.reclaimedBytes += bytes;
    },
    addGauge: (name, help, read) => addReader("gauge", name, help, read),
    addCounter: (name, help, read) => addReader("counter", name, help, read),
    addGauges: (name, help, read) => addReader("gauge", name, help, read),
    addCounters: (name, help, read) => addReader("counter", name, help, read),
    addRefresh: (refresh) => void refreshes.push(refresh),
    async render() {
      // One that fails leaves its last numbers: the page must come most of all when things go wrong.
      await Promise.allSettled(refreshes.map((refresh) => refresh()));
      return writeMetrics(await (processMetrics ??= loadProcessMetrics()), snapshot(), options.tag);
    },
  };
}

function meterOf<M>(all: ReadonlyMap<string, { readonly meter: M }>, kind: string): M {
  const numbers = all.get(kind);
  if (numbers === undefined) throw new TypeError(`not a kind that is counted: ${kind}`);
  return numbers.meter;
}

function backendValues(name: string, all: ReadonlyMap<string, StoreNumbers>, help: string, failures: string): MetricValues[] {
  return [
    {
      name: `${name}_duration_seconds`,
      help,
      type: "histogram",
      values: [...all].flatMap(([kind, { duration }]) => histogramValues(`${name}_duration_seconds`, kind, duration)),
    },
    {
      name: `${name}_failures_total`,
      help: failures,
      type: "counter",
      values: [...all].map(([kind, numbers]) => ({ labels: { kind }, value: numbers.failures })),
    },
  ];
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
