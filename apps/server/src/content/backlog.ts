// The collector's backlog: links whose lease has ended and keys that are due, counted page by page, so that neither memory nor a single
// statement grows with the amount of garbage. Not here: when it is counted (backlog-count.ts), the collection itself
// (garbage.ts).
import { sql } from "kysely";
import type { Executor } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";

/** The work that is due now. */
export interface Backlog {
  /** Links of repositories to blobs: some are deleted when they are examined, some turn out to be held. */
  readonly links: number;
  /** The bytes that are freed with them: those of blobs that no other repository keeps. */
  readonly linkBytes: number;
  /** Keys whose bytes are to be deleted. */
  readonly keys: number;
  readonly keyBytes: number;
  /** When the oldest of all became due, in ms since 1970, or undefined. */
  readonly oldestDueAt: number | undefined;
}

/** The rows of one statement: some 2 ms of the event loop. */
const PAGE = 500;
/** The bound of either count, so that counting ends: a number at the bound means "at least". */
const BACKLOG_BOUND = 2_000_000;

const listLinks = statement<{ now: number; dueAt: number; repositoryId: number; blobId: number }>()("backlog.links", (db, p) =>
  db
    .selectFrom("repository_blob as link")
    .innerJoin("blob", "blob.id", "link.blob_id")
    .select(["link.repository_id", "link.blob_id", "link.leased_until"])
    .select(
      // Each blob counts once: with the first of its links, and not at all if a repository has a link that is not due.
      sql<number>`case when exists (select 1 from repository_blob as other where other.blob_id = link.blob_id
          and other.repository_id <> link.repository_id
          and (other.repository_id < link.repository_id or other.leased_until is null or other.leased_until >= ${p.now}))
        then 0 else blob.size_bytes end`.as("size_bytes"),
    )
    .where("link.leased_until", "is not", null)
    .where("link.leased_until", "<", p.now)
    .where(sql<boolean>`(link.leased_until, link.repository_id, link.blob_id) > (${p.dueAt}, ${p.repositoryId}, ${p.blobId})`)
    .orderBy("link.leased_until")
    .orderBy("link.repository_id")
    .orderBy("link.blob_id")
    .limit(PAGE),
);

const listKeys = statement<{ now: number; dueAt: number; id: number }>()("backlog.keys", (db, p) =>
  db
    .selectFrom("reclaim")
    .select(["id", "due_at", "size_bytes"])
    .where("due_at", "<", p.now)
    .where(sql<boolean>`(due_at, id) > (${p.dueAt}, ${p.id})`)
    .orderBy("due_at")
    .orderBy("id")
    .limit(PAGE),
);

/** Counts the backlog. `pause` runs between two pages, and ends the count early by returning false. */
export async function countBacklog(executor: Executor, now: number, pause: () => Promise<boolean>): Promise<Backlog> {
  let [links, linkBytes, keys, keyBytes] = [0, 0, 0, 0];
  let oldestDueAt: number | undefined;
  let goesOn = true;
  let link = { leased_until: -1, repository_id: -1, blob_id: -1 };
  while (goesOn && links < BACKLOG_BOUND) {
    const place = { dueAt: link.leased_until, repositoryId: link.repository_id, blobId: link.blob_id };
    const page = await executor.all(listLinks, { now, ...place });
    links += page.length;
    for (const row of page) linkBytes += Number(row.size_bytes);
    oldestDueAt ??= page[0]?.leased_until ?? undefined;
    const last = page.at(-1);
    if (page.length < PAGE || last === undefined) break;
    link = { ...last, leased_until: last.leased_until! };
    goesOn = await pause();
  }
  let key = { due_at: -1, id: -1 };
  let oldestKey: number | undefined;
  while (goesOn && keys < BACKLOG_BOUND) {
    const page = await executor.all(listKeys, { now, dueAt: key.due_at, id: key.id });
    keys += page.length;
    for (const row of page) keyBytes += row.size_bytes;
    oldestKey ??= page[0]?.due_at;
    const last = page.at(-1);
    if (page.length < PAGE || last === undefined) break;
    key = last;
    goesOn = await pause();
  }
  if (oldestKey !== undefined) oldestDueAt = Math.min(oldestDueAt ?? oldestKey, oldestKey);
  return { links, linkBytes, keys, keyBytes, oldestDueAt };
}
