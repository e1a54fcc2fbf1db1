// Pages of lists, as every feature gives them. Not here: the queries.

/** Which page. */
export interface PageRequest {
  readonly after?: string;
  readonly limit?: number;
}

/** A page, and where the next one goes on; null on the last. */
export interface Listed<T> {
  items: T[];
  next: string | null;
}

/** A page of at most `limit` items out of rows that were asked for with `limit + 1`, so that the last page is known as such. */
export function listed<T, V>(found: readonly T[], limit: number, toItem: (row: T) => V, keyOf: (row: T) => string): Listed<V> {
  const rows = found.slice(0, limit);
  const last = rows.at(-1);
  return { items: rows.map(toItem), next: found.length > limit && last !== undefined ? keyOf(last) : null };
}
