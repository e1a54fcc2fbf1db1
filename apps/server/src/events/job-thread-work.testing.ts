// The threads' work in tests, by their payload. Not here: the tests (job-thread.test.ts).
import type { ThreadWork } from "./job-kinds.ts";

export const run: ThreadWork = async ({ subject, attempt, payload, signal, report, log }) => {
  const { what, to = 0 } = payload as { readonly what: string; readonly to?: number };
  switch (what) {
    case "count":
      for (let counted = 1; counted <= to; counted++) report(counted, to);
      log(`counted to ${to}`);
      return { subject, attempt, counted: to, secrets: Object.keys(process.env).length };
    case "throw":
      throw new Error("no such layer");
    case "die":
      return process.exit(3);
    case "grow": {
      const kept: string[][] = [];
      for (;;) kept.push(Array.from({ length: 100_000 }, (_, i) => `${i} ${kept.length}`));
    }
    case "listen":
      return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));
    default:
      for (;;);
  }
};
