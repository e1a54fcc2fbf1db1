// Transactions that share a commit: those that arrive in one turn of the event loop run one after the other and are committed together. Not
// here: running one transaction (sqlite.ts), waiting for the disk (group-sync.ts).
import { setImmediate } from "node:timers/promises";

/** The most transactions of one commit: a failure makes all of them run again, and the event loop waits for them together. */
const MAX_BATCHED = 32;

type Work<X> = (tx: X) => Promise<unknown>;

interface Waiting<X> {
  readonly work: Work<X>;
  readonly answer: PromiseWithResolvers<unknown>;
}

/** How transactions run, and how others are excluded meanwhile. */
export interface TransactionBatchesParts<X> {
  /** Runs `work` when all earlier work has ended. */
  exclusively(work: () => Promise<void>): Promise<void>;
  /** Runs a transaction: all of it or nothing. */
  run<T>(work: (tx: X) => Promise<T>): Promise<T>;
}

/**
 * Creates a function that queues a transaction; those that arrive until the present turn of the event loop ends share a commit. If one of
 * them fails, all are rolled back and each runs again alone, so `work` must change nothing but the database. A transaction's promise
 * resolves after the commit.
 */
export function createTransactionBatches<X>({
  exclusively,
  run,
}: TransactionBatchesParts<X>): <T>(work: (tx: X) => Promise<T>) => Promise<T> {
  let open: Waiting<X>[] | undefined;

  async function runTogether(batch: readonly Waiting<X>[]): Promise<void> {
    const results = await run(async (tx) => {
      const done: unknown[] = [];
      for (const { work } of batch) done.push(await work(tx));
      return done;
    });
    batch.forEach(({ answer }, index) => answer.resolve(results[index]));
  }

  async function runAll(batch: readonly Waiting<X>[]): Promise<void> {
    if (batch.length > 1) {
      try {
        return await runTogether(batch);
      } catch {
        // The second run shows which one failed.
      }
    }
    for (const { work, answer } of batch) await run(work).then(answer.resolve, answer.reject);
  }

  return <T>(work: (tx: X) => Promise<T>) => {
    const answer = Promise.withResolvers<unknown>();
    if (open === undefined || open.length === MAX_BATCHED) {
      const batch: Waiting<X>[] = [];
      open = batch;
      void exclusively(async () => {
        // This runs after everything that this turn reads from sockets.
        await setImmediate();
        if (open === batch) open = undefined;
        await runAll(batch);
      });
    }
    open.push({ work, answer });
    return answer.promise as Promise<T>;
  };
}
