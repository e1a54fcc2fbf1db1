// Resources that are closed: for `await using`, and several that are opened in order. Not here: the resources.

/** Wraps a resource that is closed when its block ends. */
export function disposable<T extends { close(): Promise<void> }>(it: T): AsyncDisposable & { readonly it: T } {
  return { it, [Symbol.asyncDispose]: () => it.close() };
}

/**
 * Opens parts in order. `open` adds to the stack how each is closed, and closing the result closes them all, newest first. If one fails to
 * open, those before it are closed in the same order and its error is thrown; `onCloseError` gets errors of closing.
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
