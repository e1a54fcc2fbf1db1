// Stands in for statement.ts where a test redirects its importers here: the same, and every statement that is defined is kept.
// Not here: what is asked of them (plans.test.ts).
import { statement as original, type Effort, type Statement } from "./statement.ts";

export * from "./statement.ts";

/** Every statement that was defined since this module was loaded, by id. */
export const recorded = new Map<string, Statement<never, unknown>>();

/** Defines a statement as statement.ts does, and keeps it. */
export const statement = (() => {
  const define = original<never>();
  return (id: string, build: Parameters<typeof define>[1], effort?: Effort) => {
    if (recorded.has(id)) throw new Error(`two statements are named ${id}`);
    const made = define(id, build, effort);
    recorded.set(id, made);
    return made;
  };
}) as unknown as typeof original;
