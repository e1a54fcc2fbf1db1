// Working on a stream of things, several at a time. Not here: what the work is.

/**
 * Runs `work` on every item, at most `limit` at a time, in the order in which they come. After a failure nothing new begins; it is thrown
 * when what runs has ended.
 */
export async function forEachParallel<T>(items: AsyncIterable<T>, limit: number, work: (item: T) => Promise<void>): Promise<void> {
  const iterator = items[Symbol.asyncIterator]();
  let hasFailed = false;
  async function worker(): Promise<void> {
    try {
      while (!hasFailed) {
        const next = await iterator.next();
        if (next.done === true) return;
        await work(next.value);
      }
    } catch (error) {
      hasFailed = true;
      throw error;
    }
  }
  const results = await Promise.allSettled(Array.from({ length: limit }, worker));
  const failed = results.find((result) => result.status === "rejected");
  if (failed === undefined) return;
  await iterator.return?.();
  throw failed.reason;
}
