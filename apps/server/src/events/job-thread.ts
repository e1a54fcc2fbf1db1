// Runs the heavy part of a job in a thread: its computing does not block the event loop, its memory is limited, and if it does not end, it
// is terminated. Not here: the thread's side (job-thread-worker.ts), recording the result (job-runs.ts).
import { Worker } from "node:worker_threads";
import type { JobThread, RunningJob } from "./job-kinds.ts";

/** The input of the thread. */
export interface ThreadInput {
  readonly module: string;
  readonly id: number;
  readonly subject: string;
  readonly projectId: number;
  readonly payload: unknown;
  readonly attempt: number;
}

/** The thread's messages. */
export type ThreadMessage =
  | { readonly report: readonly [done: number, total: number | undefined] }
  | { readonly log: string }
  | { readonly result: unknown }
  /** Its work failed. */
  | { readonly error: string };

/** The message that aborts a thread, with the reason. */
export interface ThreadEnd {
  readonly end: string;
}

/** A thread that is aborted and continues for this long is terminated. */
const GRACE_MS = 1000;

/** Runs a job in a new thread; returns the result of its work. Errors: the work's own as text; if the thread died, the reason. */
export async function runInThread({ module, memoryMb }: JobThread, job: RunningJob): Promise<unknown> {
  const { id, subject, projectId, payload, attempt, signal } = job;
  signal.throwIfAborted();
  const input: ThreadInput = { module: module.href, id, subject, projectId, payload, attempt };
  const worker = new Worker(new URL("./job-thread-worker.ts", import.meta.url), {
    workerData: input,
    // The environment may contain secrets.
    env: {},
    resourceLimits: { maxOldGenerationSizeMb: memoryMb },
  });
  let timer: NodeJS.Timeout | undefined;
  const end = (): void => {
    worker.postMessage({ end: String(signal.reason) } satisfies ThreadEnd);
    timer = setTimeout(() => void worker.terminate(), GRACE_MS);
  };
  signal.addEventListener("abort", end);
  try {
    return await new Promise((resolve, reject) => {
      worker.on("message", (message: ThreadMessage) => {
        if ("report" in message) job.report(...message.report);
        else if ("log" in message) job.log(message.log);
        else if ("result" in message) resolve(message.result);
        else reject(new Error(message.error));
      });
      worker.on("messageerror", reject);
      worker.on("error", reject);
      worker.on("exit", (code) => reject(new Error(`its thread ended with code ${code} before its work did`)));
    });
  } finally {
    signal.removeEventListener("abort", end);
    clearTimeout(timer);
    await worker.terminate();
  }
}
