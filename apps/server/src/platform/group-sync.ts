// Makes writes durable in groups: calls that arrive while one sync runs share the next. Not here: the sync itself.

/** Resolves when a sync that began after the call has ended. */
export type GroupSync = () => Promise<void>;

/** Wraps a sync so that any number of waiting callers costs one run of it. A failed sync fails all of its callers. */
export function createGroupSync(sync: () => Promise<void>): GroupSync {
  let running: Promise<void> | undefined;
  let next: Promise<void> | undefined;
  function start(): Promise<void> {
    running = sync().finally(() => {
      running = undefined;
    });
    return running;
  }
  return () => {
    if (running === undefined) return start();
    // The running sync began before this call, so it may miss this call's bytes: wait for the next one.
    next ??= running
      .catch(() => undefined)
      .then(() => {
        next = undefined;
        return start();
      });
    return next;
  };
}
