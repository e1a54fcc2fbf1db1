// Transactions that share a commit: those that come in one turn of the event loop run one after the other and are committed together.
// Not here: what a transaction is and how it is run (sqlite.ts), waiting for the disk (group-sync.ts).
import { setImmediate } from "node:timers/promises";

/** Transactions that share a commit: a failure costs all of them a second run, and the event loop waits for them together. */
const MAX_BATCHED = 32;

type Work<X> = (tx: X) => Promise<unknown>;

interface Waiting<X> {
  readonly work: Work<X>;
  readonly answer: PromiseWithResolvers<unknown>;
}

/** How one transaction runs, and what keeps others off meanwhile. */
export interface TransactionBatchesParts<X> {
  /** Runs `work` when all that was given before has ended. */
  exclusively(work: () => Promise<void>): Promise<void>;
  /** Runs a transaction: all of it or nothing. */
  run<T>(work: (tx: X) => Promise<T>): Promise<T>;
}

/**
 * Makes what runs a transaction soon, with those that come until the present turn of the event loop ends. Where one of them fails, nothing of any
 * has happened, and each runs again by itself: so `work` must change nothing but the database. Answers come when the commit has been made.
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
        // Whose failure it is shows now.
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
        // After all that this turn read from its sockets.
        await setImmediate();
        if (open === batch) open = undefined;
        await runAll(batch);
      });
    }
    open.push({ work, answer });
    return answer.promise as Promise<T>;
  };
}
