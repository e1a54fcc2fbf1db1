// A database and a blob store that call a hook before and after each of their steps, so that tests can hold a step, fail it, or end the
// process in the middle of it. Not here: which steps, and when (the tests).
import type { Database, Executor } from "../platform/database/database.ts";
import { unguarded } from "../platform/database/transaction-guard.testing.ts";
import type { BlobStore } from "./blobs/blob-store.ts";

/** The phase of a step. An error of the hook replaces the step's outcome; a step whose "before" throws never happens. */
export type Phase = "before" | "after";

/** A hook; `step` is a statement's id, `begin`, `commit`, or `store.` and the store's method. */
export type Hook = (step: string, phase: Phase) => Promise<void>;

async function around<T>(hook: Hook, step: string, run: () => Promise<T>): Promise<T> {
  await hook(step, "before");
  const result = await run();
  await hook(step, "after");
  return result;
}

function interceptExecutor(executor: Executor, hook: Hook): Executor {
  return {
    dialect: executor.dialect,
    all: (query, parameters) => around(hook, query.compiled(executor.dialect).id, () => executor.all(query, parameters)),
    first: (query, parameters) => around(hook, query.compiled(executor.dialect).id, () => executor.first(query, parameters)),
    run: (query, parameters, expected) =>
      around(hook, query.compiled(executor.dialect).id, () => executor.run(query, parameters, expected)),
    change: (query, parameters) => around(hook, query.compiled(executor.dialect).id, () => executor.change(query, parameters)),
  };
}

/**
 * Wraps a database, whose transactions may wait in a hook. With `inside` false a transaction's statements are left alone: they are one
 * step, as on an engine that runs one at a time.
 */
export function interceptDatabase(database: Database, hook: Hook, inside: boolean): Database {
  return {
    ...database,
    ...interceptExecutor(database, hook),
    transaction: async (work, options) => {
      await hook("begin", "before");
      const result = await unguarded(database).transaction((tx) => work(inside ? interceptExecutor(tx, hook) : tx), options);
      await hook("commit", "after");
      return result;
    },
    write: (query, parameters, options) =>
      around(hook, query.compiled(database.dialect).id, () => database.write(query, parameters, options)),
  };
}

/** Wraps a store; reads of content pass through, and so does `removeLeftovers`, which nothing waits for. */
export function interceptStore(store: BlobStore, hook: Hook): BlobStore {
  return {
    ...store,
    append: (...args) => around(hook, "store.append", () => store.append(...args)),
    finish: (...args) => around(hook, "store.finish", () => store.finish(...args)),
    abort: (...args) => around(hook, "store.abort", () => store.abort(...args)),
    stat: (...args) => around(hook, "store.stat", () => store.stat(...args)),
    delete: (...args) => around(hook, "store.delete", () => store.delete(...args)),
  };
}

/** A step that is held at its beginning until it is released. */
export interface Held {
  readonly hook: Hook;
  /** Resolves when the step is reached for the first time. */
  readonly reached: Promise<void>;
  letGo(): void;
}

/** Creates a hook that holds the first occurrence of a step, before or after it. */
export function holdAt(step: string, phase: Phase = "before"): Held {
  const reached = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  let isTaken = false;
  return {
    reached: reached.promise,
    letGo: go.resolve,
    hook: async (at, where) => {
      if (isTaken || at !== step || where !== phase) return;
      isTaken = true;
      reached.resolve();
      await go.promise;
    },
  };
}
