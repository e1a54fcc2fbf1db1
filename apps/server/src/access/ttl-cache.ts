// A bounded cache whose values are never older than a given time, and which forgets at once what this process changed.
// Not here: what is cached (accounts.ts, login-failures.ts).
import { LRUCache } from "lru-cache";
import type { Clock } from "../platform/clock.ts";

/** How much, how long, and where from. */
export interface TtlCacheOptions<K, V> {
  readonly maxEntries: number;
  /** Age, counted from when the look-up began, after which a value is looked up anew. */
  readonly ttlMs: number;
  readonly clock: Clock;
  load(key: K): Promise<V>;
}

/** Looked-up values. */
export interface TtlCache<K, V> {
  /** The value, at hand or looked up; callers that ask together share one look-up. */
  get(key: K): V | Promise<V>;
  forget(key: K): void;
  /** Forgets those for which it is true; the value is undefined where it is being looked up. */
  forgetWhere(isChanged: (key: K, value: V | undefined) => boolean): void;
  /** Forgets all; a look-up under way is given to who already waits for it, and not kept. */
  clear(): void;
}

interface Entry<V> {
  readonly startedAt: number;
  pending: Promise<V> | undefined;
  value: V | undefined;
}

/** Makes an empty cache. */
export function createTtlCache<K extends string | number, V>(options: TtlCacheOptions<K, V>): TtlCache<K, V> {
  const { clock, ttlMs, load } = options;
  const entries = new LRUCache<K, Entry<V>>({ max: options.maxEntries });

  function get(key: K): V | Promise<V> {
    const now = clock.now();
    const found = entries.get(key);
    // A look-up that itself takes longer than `ttlMs` is not joined either, so that nobody gets an older answer. The clock may step back.
    if (found !== undefined && now >= found.startedAt && now - found.startedAt < ttlMs) return found.pending ?? (found.value as V);
    const entry: Entry<V> = { startedAt: now, pending: undefined, value: undefined };
    entry.pending = load(key).then(
      (value) => {
        entry.value = value;
        entry.pending = undefined;
        return value;
      },
      (error: unknown) => {
        if (entries.peek(key) === entry) entries.delete(key);
        throw error;
      },
    );
    entries.set(key, entry);
    return entry.pending;
  }

  function forgetWhere(isChanged: (key: K, value: V | undefined) => boolean): void {
    for (const [key, { value }] of Array.from(entries.entries())) if (isChanged(key, value)) entries.delete(key);
  }

  return { get, forget: (key) => void entries.delete(key), forgetWhere, clear: () => entries.clear() };
}
