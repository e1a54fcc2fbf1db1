// A store with metrics: how often each operation runs, how long, and how often it fails; and with spans where tracing is on. Not here: the
// metrics page.
import { RegistryError } from "@berth/oci/errors";
import { ACCESS_BUCKETS, type Metrics } from "../../platform/metrics.ts";
import type { Tracing } from "../../platform/tracing.ts";
import type { BlobStore } from "./blob-store.ts";

/** The operations that are counted. */
const STORE_OPERATIONS = [
  "append",
  "finish",
  "undoAppend",
  "removeLeftovers",
  "abort",
  "stat",
  "read",
  "sign",
  "delete",
  "sweep",
  "probe",
] as const;

type Operation = (typeof STORE_OPERATIONS)[number];

/** Wraps a store. A client that breaks off its own upload or download does not count as a failure of the store. */
export function meterStore(store: BlobStore, metrics: Metrics, tracing?: Tracing): BlobStore {
  const attributes = { "berth.store.kind": store.kind };
  const durations = metrics.addHistogram({
    name: "store_duration_seconds",
    help: "Accesses to the blob store, good and failed.",
    kinds: STORE_OPERATIONS,
    buckets: ACCESS_BUCKETS,
  });
  const failures = Object.fromEntries(STORE_OPERATIONS.map((kind) => [kind, 0])) as Record<Operation, number>;
  metrics.addCounters("store_failures_total", "Accesses to the blob store that failed.", () =>
    STORE_OPERATIONS.map((kind) => ({ labels: { kind }, value: failures[kind] })),
  );

  function count(operation: Operation, isGood: boolean, startedAt: number): void {
    durations[operation]((performance.now() - startedAt) / 1000);
    if (!isGood) failures[operation]++;
  }

  async function metered<T>(operation: Operation, run: () => Promise<T>): Promise<T> {
    const startedAt = performance.now();
    let isGood = true;
    try {
      if (tracing === undefined) return await run();
      return await tracing.span(`store ${operation}`, "client", attributes, run);
    } catch (error) {
      isGood = !isStoreFailure(error);
      throw error;
    } finally {
      count(operation, isGood, startedAt);
    }
  }

  return {
    kind: store.kind,
    begin: (uploadId) => store.begin(uploadId),
    append: (...rest) => metered("append", () => store.append(...rest)),
    finish: (...rest) => metered("finish", () => store.finish(...rest)),
    undoAppend: (...rest) => metered("undoAppend", () => store.undoAppend(...rest)),
    removeLeftovers: (...rest) => metered("removeLeftovers", () => store.removeLeftovers(...rest)),
    isAlone: (...rest) => store.isAlone(...rest),
    abort: (...rest) => metered("abort", () => store.abort(...rest)),
    stat: (key) => metered("stat", () => store.stat(key)),
    async *read(key, start, end, sizeBytes) {
      const startedAt = performance.now();
      const endSpan = tracing?.begin("store read", "client", { ...attributes, "berth.store.bytes": end - start + 1 });
      let failure: unknown;
      let isGood = true;
      try {
        yield* store.read(key, start, end, sizeBytes);
      } catch (error) {
        failure = error;
        isGood = !isStoreFailure(error);
        throw error;
      } finally {
        endSpan?.(failure);
        count("read", isGood, startedAt);
      }
    },
    signedUrl: (...rest) => metered("sign", () => store.signedUrl(...rest)),
    delete: (keys) => metered("delete", () => store.delete(keys)),
    sweep: (olderThan) => metered("sweep", () => store.sweep(olderThan)),
    readMark: () => store.readMark(),
    putMark: (...rest) => store.putMark(...rest),
    probe: () => metered("probe", () => store.probe()),
    close: () => store.close(),
  };
}

// A client's own errors are thrown through the store: a body that broke off, a blob over the limit.
function isStoreFailure(error: unknown): boolean {
  return error instanceof RegistryError && error.status >= 500;
}
