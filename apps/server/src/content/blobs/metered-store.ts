// A store that counts: how often each operation runs, how long, and how often it fails; and shows them as spans where traces are on.
// Not here: what is done with the numbers.
import { RegistryError } from "@berth/oci/errors";
import type { Metrics } from "../../platform/metrics.ts";
import type { Tracing } from "../../platform/tracing.ts";
import type { BlobStore } from "./blob-store.ts";

/** The operations that are counted. */
export const STORE_OPERATIONS = [
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

/** Wraps a store. A client that breaks off its own upload or download is not a failure of the store. */
export function meterStore(store: BlobStore, metrics: Metrics, tracing?: Tracing): BlobStore {
  const attributes = { "berth.store.kind": store.kind };
  async function count<T>(operation: Operation, run: () => Promise<T>): Promise<T> {
    const startedAt = performance.now();
    let isGood = true;
    try {
      if (tracing === undefined) return await run();
      return await tracing.span(`store ${operation}`, "client", attributes, run);
    } catch (error) {
      isGood = !isStoreFailure(error);
      throw error;
    } finally {
      metrics.store(operation).end(isGood, (performance.now() - startedAt) / 1000);
    }
  }

  return {
    kind: store.kind,
    begin: (uploadId) => store.begin(uploadId),
    append: (...rest) => count("append", () => store.append(...rest)),
    finish: (...rest) => count("finish", () => store.finish(...rest)),
    undoAppend: (...rest) => count("undoAppend", () => store.undoAppend(...rest)),
    removeLeftovers: (...rest) => count("removeLeftovers", () => store.removeLeftovers(...rest)),
    isAlone: (...rest) => store.isAlone(...rest),
    abort: (...rest) => count("abort", () => store.abort(...rest)),
    stat: (key) => count("stat", () => store.stat(key)),
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
        metrics.store("read").end(isGood, (performance.now() - startedAt) / 1000);
      }
    },
    signedUrl: (...rest) => count("sign", () => store.signedUrl(...rest)),
    delete: (keys) => count("delete", () => store.delete(keys)),
    sweep: (olderThan) => count("sweep", () => store.sweep(olderThan)),
    readMark: () => store.readMark(),
    putMark: (...rest) => store.putMark(...rest),
    probe: () => count("probe", () => store.probe()),
    close: () => store.close(),
  };
}

// Errors of the client's own are thrown through the store: a body that broke off, a blob over the limit.
function isStoreFailure(error: unknown): boolean {
  return error instanceof RegistryError && error.status >= 500;
}
