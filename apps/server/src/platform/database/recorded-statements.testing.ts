// Replaces statement.ts where a test redirects its importers here: it does the same, and records every defined statement. Not here: the
// checks (plans.test.ts).
import { statement as original, type Effort, type Statement } from "./statement.ts";

export * from "./statement.ts";

/** Every statement that was defined since this module was loaded, by id. */
export const recorded = new Map<string, Statement<never, unknown>>();

/** Defines a statement as statement.ts does, and records it. */
export const statement = (() => {
  const define = original<never>();
  return (id: string, build: Parameters<typeof define>[1], effort?: Effort) => {
    if (recorded.has(id)) throw new Error(`two statements are named ${id}`);
    const made = define(id, build, effort);
    recorded.set(id, made);
    return made;
  };
}) as unknown as typeof original;
