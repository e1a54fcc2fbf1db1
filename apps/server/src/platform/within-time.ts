// Work with a limit of time. Not here: ending the work itself, which goes on unless it is told to end.

/** The work's outcome, or the error that `late` makes where that takes longer. What comes behind it is dropped. */
export async function withinTime<T>(work: Promise<T>, ms: number, late: () => Error): Promise<T> {
  const over = Promise.withResolvers<never>();
  const timer = setTimeout(() => over.reject(late()), ms);
  try {
    return await Promise.race([work, over.promise]);
  } finally {
    clearTimeout(timer);
  }
}
