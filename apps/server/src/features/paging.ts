// Pages of lists, common to all features: they end by rows and by bytes. Not here: the queries.

/** Which page. */
export interface PageRequest {
  readonly after?: string;
  readonly limit?: number;
}

/** A page, and where the next one continues; null on the last. */
export interface Listed<T> {
  items: T[];
  next: string | null;
}

/**
 * The most bytes of a page's items as JSON; it has at least one item. 200 usual items take 100 KB, but a robot with the most and longest
 * scopes takes 40 KB.
 */
const MAX_PAGE_BYTES = 1024 * 1024;
/**
 * A page of at most `limit` items out of rows that were asked for with `limit + 1`, so that the last page is known as such. `toItems` gives one
 * for each of its rows, or undefined where what the row told of is gone; it is asked for `batch` at a time, so that where an item's parts are
 * many and in rows of their own, no more of them are read in vain.
 */
export async function listed<T, V>(
  found: readonly T[],
  limit: number,
  toItems: (rows: readonly T[]) => readonly (V | undefined)[] | Promise<readonly (V | undefined)[]>,
  keyOf: (row: T) => string,
  batch = limit,
): Promise<Listed<V>> {
  const rows = found.slice(0, limit);
  const items: V[] = [];
  let bytes = 0;
  for (let start = 0; start < rows.length; start += batch) {
    for (const [at, item] of (await toItems(rows.slice(start, start + batch))).entries()) {
      if (item === undefined) continue;
      bytes += Buffer.byteLength(JSON.stringify(item));
      // Something was shown, so there is a row before this one.
      if (bytes > MAX_PAGE_BYTES && items.length > 0) return { items, next: keyOf(rows[start + at - 1]!) };
      items.push(item);
    }
  }
  const last = rows.at(-1);
  return { items, next: found.length > limit && last !== undefined ? keyOf(last) : null };
}

/** The rows that are read at a time if all are wanted. */
export const LIST_BATCH = 500;

/** A whole list that is read in batches, each after the one before: for results that are written row by row anyway. */
export async function listEvery<T, K>(
  first: K,
  list: (after: K) => Promise<readonly T[]>,
  length: number,
  keyOf: (row: T) => K,
): Promise<T[]> {
  const all: T[] = [];
  for (let after = first; ; after = keyOf(all.at(-1)!)) {
    const rows = await list(after);
    all.push(...rows);
    if (rows.length < length) return all;
  }
}
