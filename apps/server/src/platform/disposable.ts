// Things that are closed: for `await using`, and several that are opened one after another. Not here: what they are.

/** Holds something that is closed when its block ends. */
export function disposable<T extends { close(): Promise<void> }>(it: T): AsyncDisposable & { readonly it: T } {
  return { it, [Symbol.asyncDispose]: () => it.close() };
}

/**
 * Opens parts one after another. `open` tells the stack how each is closed, and what it returns closes them with the stack, newest first.
 * Where one fails to open, those before it are closed in the same order and its error goes on; `onCloseError` hears of an error of theirs.
 */
export async function openInOrder<T>(
  open: (opened: AsyncDisposableStack) => Promise<T>,
  onCloseError: (error: unknown) => void,
): Promise<T> {
  const opened = new AsyncDisposableStack();
  try {
    return await open(opened);
  } catch (error) {
    await opened.disposeAsync().catch(onCloseError);
    throw error;
  }
}
