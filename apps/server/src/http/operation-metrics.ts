// Metrics of operations, which are the kinds of request that clients make: counts by status, durations, running ones, and bytes. Not here:
// the names of the kinds (the callers declare them), the page (platform/metrics.ts).
import type { LabelledValue, Metrics } from "../platform/metrics.ts";

/** Counts one kind of operation. It is created once, when the server is composed. */
export interface OperationMeter {
  /** An operation starts. Every `begin` needs one `end`. */
  begin(): void;
  /** An operation ended with an HTTP status after `seconds`, having received and sent that many bytes of body. */
  end(status: number, seconds: number, receivedBytes: number, sentBytes: number): void;
}

/** Returns the meter of a kind; throws for an undeclared one. */
export type OperationMeters = (kind: string) => OperationMeter;

/** In seconds, from a cached manifest (under a millisecond) to a large layer on a slow line (minutes). */
const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 300];

/** Statuses are counted in a flat array from 100 to 599; anything else counts as 599. */
const STATUS_MIN = 100;
const STATUS_COUNT = 500;

interface OperationNumbers {
  readonly meter: OperationMeter;
  readonly statuses: Float64Array;
  inFlight: number;
  receivedBytes: number;
  sentBytes: number;
}

function createNumbers(observe: (seconds: number) => void): OperationNumbers {
  const numbers: OperationNumbers = {
    statuses: new Float64Array(STATUS_COUNT),
    inFlight: 0,
    receivedBytes: 0,
    sentBytes: 0,
    meter: {
      begin: () => void numbers.inFlight++,
      end: (status, seconds, receivedBytes, sentBytes) => {
        const index = status - STATUS_MIN;
        numbers.inFlight--;
        numbers.statuses[index >= 0 && index < STATUS_COUNT ? index : STATUS_COUNT - 1]!++;
        observe(seconds);
        numbers.receivedBytes += receivedBytes;
        numbers.sentBytes += sentBytes;
      },
    },
  };
  return numbers;
}

/** Declares the metrics of all kinds of operation; the kinds become the values of a label. */
export function createOperationMeters(metrics: Metrics, kinds: readonly string[]): OperationMeters {
  const durations = metrics.addHistogram({
    name: "operation_duration_seconds",
    help: "From the request's headers to the answer's last byte.",
    kinds,
    buckets: BUCKETS,
  });
  const operations = new Map(kinds.map((kind) => [kind, createNumbers(durations[kind]!)]));
  const ofKind = (read: (numbers: OperationNumbers) => number) => (): LabelledValue[] =>
    [...operations].map(([kind, numbers]) => ({ labels: { kind }, value: read(numbers) }));
  metrics.addCounters("operations_total", "Operations that ended, by kind and HTTP status.", () =>
    [...operations].flatMap(([kind, { statuses }]) =>
      [...statuses.entries()]
        .filter(([, count]) => count > 0)
        .map(([index, value]) => ({ labels: { kind, status: String(index + STATUS_MIN) }, value })),
    ),
  );
  metrics.addGauges(
    "operations_in_flight",
    "Operations that run now.",
    ofKind(({ inFlight }) => inFlight),
  );
  metrics.addCounters(
    "received_bytes_total",
    "Bytes of request bodies.",
    ofKind(({ receivedBytes }) => receivedBytes),
  );
  metrics.addCounters(
    "sent_bytes_total",
    "Bytes of answers' bodies.",
    ofKind(({ sentBytes }) => sentBytes),
  );
  return (kind) => {
    const numbers = operations.get(kind);
    if (numbers === undefined) throw new TypeError(`not a kind that is counted: ${kind}`);
    return numbers.meter;
  };
}
