// Processes a stream of items, several at a time. Not here: the work.

/**
 * Runs `work` on every item, at most `limit` at a time, in the order of arrival. After a failure no more work starts; the error is thrown
 * when running work has ended.
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
