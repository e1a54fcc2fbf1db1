// Things that are closed, for `await using`. Not here: what they are.

/** Holds something that is closed when its block ends. */
export function disposable<T extends { close(): Promise<void> }>(it: T): AsyncDisposable & { readonly it: T } {
  return { it, [Symbol.asyncDispose]: () => it.close() };
}
