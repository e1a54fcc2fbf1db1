// The thread of a job: loads the module of its kind, runs it, and reports the result. Not here: the side that starts and ends it
// (job-thread.ts).
import { parentPort, workerData } from "node:worker_threads";
import type { ThreadWork } from "./job-kinds.ts";
import type { ThreadEnd, ThreadInput, ThreadMessage } from "./job-thread.ts";

const port = parentPort!;
const { module, ...job } = workerData as ThreadInput;
const abort = new AbortController();
const say = (message: ThreadMessage): void => port.postMessage(message);
port.on("message", ({ end }: ThreadEnd) => abort.abort(new Error(end)));

try {
  const { run } = (await import(module)) as { readonly run: ThreadWork };
  say({
    result: await run({
      ...job,
      signal: abort.signal,
      report: (done, total) => say({ report: [done, total] }),
      log: (line) => say({ log: line }),
    }),
  });
} catch (error) {
  say({ error: error instanceof Error ? error.message : String(error) });
}
