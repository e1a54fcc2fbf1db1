// A node:test reporter for machines: one line of JSON with the run's counts and every skipped test's reason.
// People read the spec reporter beside it; tools/run-tests.ts reads this. The default export is what node asks for.
import type { TestEvent } from "node:test/reporters";

/** What one run of `node --test` came to. */
export interface TestCounts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** One entry a skipped test or describe; the reason is empty when it gave none. */
  readonly skips: readonly { readonly name: string; readonly reason: string }[];
}

/** Writes one `TestCounts` as JSON when the run is over; nothing when the runner dies before. */
export default async function* countReporter(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const skips: { name: string; reason: string }[] = [];
  for await (const event of source) {
    // A `todo` is a test that somebody wrote and nobody relies on: it counts as skipped, whatever it does.
    if (event.type === "test:pass" || event.type === "test:fail") {
      const { name, skip, todo } = event.data;
      const reason = skip ?? (todo === undefined ? undefined : `todo ${todo === true ? "" : todo}`);
      if (reason !== undefined) skips.push({ name, reason: typeof reason === "string" ? reason : "" });
    }
    // Each file has a summary of its own; that of the whole run names no file.
    if (event.type === "test:summary" && event.data.file === undefined) {
      const { tests, passed, skipped, todo } = event.data.counts;
      // What neither passed nor was skipped failed: cancelled tests, too. A failed hook fails the run without a test.
      const failed = Math.max(tests - passed - skipped - todo, event.data.success ? 0 : 1);
      // Node counts a skipped describe as no test at all; we count it, so that it cannot vanish.
      const result: TestCounts = { passed, failed, skipped: skips.length, skips };
      yield `${JSON.stringify(result)}\n`;
    }
  }
}
