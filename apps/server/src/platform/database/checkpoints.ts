// Copies SQLite's write-ahead log into the database file, in a thread (checkpoint-worker.ts). Not here: when that happens (sqlite.ts).
import { Worker } from "node:worker_threads";

/** Checkpoints, one at a time. */
export interface Checkpoints {
  /** Starts a checkpoint unless one is running. */
  run(): void;
  /** The running checkpoint; its promise never rejects. */
  running(): Promise<void> | undefined;
  stop(): Promise<void>;
}

/**
 * Creates the checkpoints of a file; `onEnd` is called after each, with the error if it failed.
 * A checkpoint has two passes: the first copies most of the log while writes continue; the second, a short one, runs between transactions,
 * so that it reaches the log's end and the next writer reuses the file from its start. The event loop never waits, only queued transactions
 * do.
 */
export function createCheckpoints(
  path: string,
  exclusively: <T>(work: () => Promise<T>) => Promise<T>,
  onEnd: (failure: unknown) => void,
): Checkpoints {
  let worker: Worker | undefined;
  let running: Promise<void> | undefined;
  async function pass(): Promise<void> {
    worker ??= new Worker(new URL("./checkpoint-worker.ts", import.meta.url), { workerData: { path } });
    worker.unref();
    const current = worker;
    await new Promise<void>((resolve, reject) => {
      const onMessage = (answer: { error?: string }): void => finish(answer.error === undefined ? undefined : new Error(answer.error));
      const onExit = (): void => finish(new Error("the checkpoint thread ended"));
      function finish(error: Error | undefined): void {
        current.off("message", onMessage).off("error", finish).off("exit", onExit);
        if (error === undefined) resolve();
        else reject(error);
      }
      current.on("message", onMessage).on("error", finish).on("exit", onExit);
      current.postMessage("checkpoint");
    });
  }
  async function checkpoint(): Promise<void> {
    try {
      await pass();
      await exclusively(pass);
      onEnd(undefined);
    } catch (error) {
      await worker?.terminate();
      worker = undefined;
      onEnd(error);
    } finally {
      running = undefined;
    }
  }
  return {
    run() {
      running ??= checkpoint();
    },
    running: () => running,
    async stop() {
      await running;
      await worker?.terminate();
    },
  };
}
