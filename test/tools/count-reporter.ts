// A node:test reporter for programs: one line of JSON with the run's counts and every skipped test's reason.
// People read the spec reporter beside it; tools/run-tests.ts reads this. node requires the default export.
import type { TestEvent } from "node:test/reporters";

/** The result of one run of `node --test`. */
export interface TestCounts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** One entry for each skipped test or describe; the reason is empty if it gave none. */
  readonly skips: readonly { readonly name: string; readonly reason: string }[];
}

/** Writes one `TestCounts` as JSON when the run is over; nothing when the runner dies before. */
export default async function* countReporter(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const skips: { name: string; reason: string }[] = [];
  for await (const event of source) {
    // A `todo` is a test that nobody relies on yet: it counts as skipped, whatever its result.
    if (event.type === "test:pass" || event.type === "test:fail") {
      const { name, skip, todo } = event.data;
      const reason = skip ?? (todo === undefined ? undefined : `todo ${todo === true ? "" : todo}`);
      if (reason !== undefined) skips.push({ name, reason: typeof reason === "string" ? reason : "" });
    }
    // Each file has a summary of its own; that of the whole run names no file.
    if (event.type === "test:summary" && event.data.file === undefined) {
      const { tests, passed, skipped, todo } = event.data.counts;
      // Everything that neither passed nor was skipped failed, including cancelled tests. A failed hook fails the run without a test.
      const failed = Math.max(tests - passed - skipped - todo, event.data.success ? 0 : 1);
      // Node does not count a skipped describe; we do, so that it cannot vanish.
      const result: TestCounts = { passed, failed, skipped: skips.length, skips };
      yield `${JSON.stringify(result)}\n`;
    }
  }
}
