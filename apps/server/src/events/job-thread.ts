// Runs the heavy part of a job in a thread of its own: what it computes blocks nobody, what it allocates has a limit, and where it does not end,
// it is ended. Not here: the thread's side (job-thread-worker.ts), what becomes of the job (job-runs.ts).
import { Worker } from "node:worker_threads";
import type { JobThread, RunningJob } from "./job-kinds.ts";

/** What the thread is given. */
export interface ThreadInput {
  readonly module: string;
  readonly id: number;
  readonly subject: string;
  readonly projectId: number;
  readonly payload: unknown;
  readonly attempt: number;
}

/** What the thread says. */
export type ThreadMessage =
  | { readonly report: readonly [done: number, total: number | undefined] }
  | { readonly log: string }
  | { readonly result: unknown }
  /** Its work failed. */
  | { readonly error: string };

/** What the thread is told: the reason for which it is to end. */
export interface ThreadEnd {
  readonly end: string;
}

/** A thread that was told to end and goes on for so long is ended. */
const GRACE_MS = 1000;

/** Runs a job in a new thread; gives what its work gave. Errors: the work's own as text; where the thread died, how. */
export async function runInThread({ module, memoryMb }: JobThread, job: RunningJob): Promise<unknown> {
  const { id, subject, projectId, payload, attempt, signal } = job;
  signal.throwIfAborted();
  const input: ThreadInput = { module: module.href, id, subject, projectId, payload, attempt };
  const worker = new Worker(new URL("./job-thread-worker.ts", import.meta.url), {
    workerData: input,
    // Secrets may stand there.
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
