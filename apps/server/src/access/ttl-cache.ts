// A bounded TTL cache, which also forgets at once what this process changed. Not here: the cached values (accounts.ts, login-failures.ts).
import { LRUCache } from "lru-cache";
import type { Clock } from "../platform/clock.ts";

/** The size, the TTL, and the look-up. */
export interface TtlCacheOptions<K, V> {
  readonly maxEntries: number;
  /** The age, counted from the beginning of the look-up, after which a value is looked up again. */
  readonly ttlMs: number;
  readonly clock: Clock;
  load(key: K): Promise<V>;
}

/** Cached values. */
export interface TtlCache<K, V> {
  /** The value, cached or looked up; concurrent callers share one look-up. */
  get(key: K): V | Promise<V>;
  forget(key: K): void;
  /** Forgets the matching values; the value is undefined if it is being looked up. */
  forgetWhere(isChanged: (key: K, value: V | undefined) => boolean): void;
  /** Forgets everything; a running look-up is still returned to its waiting callers, and not cached. */
  clear(): void;
}

interface Entry<V> {
  readonly startedAt: number;
  pending: Promise<V> | undefined;
  value: V | undefined;
}

/** Creates an empty cache. */
export function createTtlCache<K extends string | number, V>(options: TtlCacheOptions<K, V>): TtlCache<K, V> {
  const { clock, ttlMs, load } = options;
  const entries = new LRUCache<K, Entry<V>>({ max: options.maxEntries });

  function get(key: K): V | Promise<V> {
    const now = clock.now();
    const found = entries.get(key);
    // A look-up that itself takes longer than `ttlMs` is not joined either, so that no caller gets an older answer. The clock may step
    // back.
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
