// Pages of lists, as every feature gives them: they end by rows and by bytes. Not here: the queries.

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

/**
 * Most bytes of a page's items as JSON; it has one at least. 200 of what is listed take 100 KB, but a robot with the most and longest scopes 40 KB
 * by itself.
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
      // Something was shown, so that there is a row before this one.
      if (bytes > MAX_PAGE_BYTES && items.length > 0) return { items, next: keyOf(rows[start + at - 1]!) };
      items.push(item);
    }
  }
  const last = rows.at(-1);
  return { items, next: found.length > limit && last !== undefined ? keyOf(last) : null };
}

/** Rows that are read at a time where all are wanted. */
export const LIST_BATCH = 500;

/** All of a list that is read in batches of a length, each behind the one before it: for what is written down row by row anyway. */
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
