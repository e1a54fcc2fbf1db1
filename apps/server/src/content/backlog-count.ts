// What the collector has yet to do, kept in a row for all processes: counted now and then, and lessened by what was done since, so that much
// garbage costs a small share of the machine to know. Not here: the counting itself (backlog.ts), what is taken (garbage.ts).
import type { Clock } from "../platform/clock.ts";
import { type Database, type Executor, ON_FULL_DISK } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import { type Backlog, countBacklog } from "./backlog.ts";

/** A count is good for this long at least. */
const GOOD_FOR_MS = 30_000;
/** And for so many times the time that it took: counting is a fiftieth of what goes on at the most. */
const SHARE = 50;
/** The number of the only row. */
const ROW = 1;

/** The count may be wrong or lost: the next one corrects it, so that it waits for no sync. */
const LOSABLE = { durable: false, ...ON_FULL_DISK } as const;

const find = statement<Record<never, never>>()("backlog.find", (db) =>
  db
    .selectFrom("collection_backlog")
    .select(["links", "link_bytes", "keys", "key_bytes", "oldest_due_at", "good_until"])
    .where("id", "=", ROW),
);

type Counted = { links: number; linkBytes: number; keys: number; keyBytes: number; oldestDueAt: number | null; goodUntil: number };

const put = statement<Counted>()("backlog.put", (db, p) =>
  db
    .insertInto("collection_backlog")
    .values({
      id: ROW,
      links: p.links,
      link_bytes: p.linkBytes,
      keys: p.keys,
      key_bytes: p.keyBytes,
      oldest_due_at: p.oldestDueAt,
      good_until: p.goodUntil,
    })
    .onConflict((conflict) =>
      conflict.column("id").doUpdateSet((eb) => ({
        links: eb.ref("excluded.links"),
        link_bytes: eb.ref("excluded.link_bytes"),
        keys: eb.ref("excluded.keys"),
        key_bytes: eb.ref("excluded.key_bytes"),
        oldest_due_at: eb.ref("excluded.oldest_due_at"),
        good_until: eb.ref("excluded.good_until"),
      })),
    ),
);

type Done = { links: number; linkBytes: number; keys: number; keyBytes: number };

// More was done than was known of: it came due since, and the next look counts.
const lessen = statement<Done>()("backlog.lessen", (db, p, tools) =>
  db
    .updateTable("collection_backlog")
    .set(({ eb, lit, case: when, or }) => {
      const less = (column: "links" | "link_bytes" | "keys" | "key_bytes", by: number) => tools.greatest(eb(column, "-", by), lit(0));
      return {
        links: less("links", p.links),
        link_bytes: less("link_bytes", p.linkBytes),
        keys: less("keys", p.keys),
        key_bytes: less("key_bytes", p.keyBytes),
        good_until: when()
          .when(or([eb("links", "<", p.links), eb("keys", "<", p.keys)]))
          .then(lit(0))
          .else(eb.ref("good_until"))
          .end(),
      };
    })
    .where("id", "=", ROW),
);

/** The backlog as far as it is known; undefined before the first count. */
export async function findBacklog(executor: Executor): Promise<Backlog | undefined> {
  const row = await executor.first(find, {});
  if (row === undefined) return undefined;
  const { links, link_bytes: linkBytes, keys, key_bytes: keyBytes, oldest_due_at: oldest } = row;
  return { links, linkBytes, keys, keyBytes, oldestDueAt: links + keys === 0 || oldest === null ? undefined : oldest };
}

/** Counts where the last count is no longer good; `pause` as in `countBacklog`. */
export async function refreshBacklog(database: Database, clock: Clock, pause: () => Promise<boolean>): Promise<void> {
  const row = await database.first(find, {});
  const startedAt = clock.now();
  // A clock that was put back must not stop it for long.
  if (row !== undefined && startedAt < row.good_until && row.good_until - startedAt <= GOOD_FOR_MS * SHARE) return;
  const { oldestDueAt, ...counted } = await countBacklog(database, startedAt, pause);
  const tookMs = clock.now() - startedAt;
  const goodUntil = clock.now() + Math.min(GOOD_FOR_MS * SHARE, Math.max(GOOD_FOR_MS, tookMs * SHARE));
  // The only row, whoever wrote it last.
  await database.write(put, { ...counted, oldestDueAt: oldestDueAt ?? null, goodUntil }, LOSABLE);
}

/** A batch of links or keys was done. */
export async function noteCollected(database: Database, done: Partial<Done>): Promise<void> {
  // None before the first count.
  await database.write(lessen, { links: 0, linkBytes: 0, keys: 0, keyBytes: 0, ...done }, LOSABLE);
}
