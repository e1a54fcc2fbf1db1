// Which store belongs to the database: a row here and a mark in the store carry the same id, created when the two are first used together.
// A server does not start if they differ, so that neither a mistyped bucket, directory or database nor an empty one is taken for the
// registry's own: all blobs would count as damaged, and a new registry would replace the old one. Decision:
// docs/decisions/0034-database-and-store-know-each-other.md. Not here: looking again while the server runs (compose/ownership-watch.ts), a
// mark's bytes (blobs/).
import { randomUUID } from "node:crypto";
import { RegistryError } from "@berth/oci/errors";
import { setTimeout as sleep } from "node:timers/promises";
import type { Database, Executor } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import { listTables } from "../platform/database/tables.ts";
import { StartupError } from "../platform/startup-error.ts";
import type { BlobStore, StorageKey } from "./blobs/blob-store.ts";
import { parseStorageKey, uploadIdOf } from "./blobs/paths.ts";

/** The row of `job_lease`: a table that every release has, that no migration removes, and that no backup contains. */
const ROW = "store";
/** The row's `fence`: an id was proposed, or the store carries it. */
const PROPOSED = 1;
const MARKED = 2;

const find = statement<Record<never, never>>()("binding.find", (db) =>
  db.selectFrom("job_lease").select(["holder", "fence"]).where("name", "=", ROW),
);
const propose = statement<{ id: string; fence: number; now: number }>()("binding.propose", (db, p) =>
  db
    .insertInto("job_lease")
    .values({ name: ROW, holder: p.id, fence: p.fence, expires_at: p.now })
    .onConflict((conflict) => conflict.column("name").doNothing()),
);
const confirm = statement<{ id: string }>()("binding.confirm", (db, p) =>
  db.updateTable("job_lease").set({ fence: MARKED }).where("name", "=", ROW).where("holder", "=", p.id),
);
const sampleKeys = statement<{ limit: number }>()(
  "binding.sample",
  (db, p) => db.selectFrom("blob").select("storage_key").where("storage_key", "is not", null).orderBy("id", "desc").limit(p.limit),
  { bounded: "once, where a store bears no mark yet: its newest blobs" },
);
const knownReclaims = statement<{ keys: string[] }>()(
  "binding.reclaims",
  (db, p, tools) =>
    db
      .selectFrom("reclaim")
      .select("id")
      .where(({ ref }) => tools.inList(ref("storage_key"), p.keys, "text"))
      .limit(1),
  { bounded: "once, where a store bears no mark yet and none of its newest keys is a blob's" },
);
const knownUploads = statement<{ ids: string[] }>()("binding.uploads", (db, p, tools) =>
  db
    .selectFrom("upload")
    .select("id")
    .where(({ ref }) => tools.inList(ref("id"), p.ids, "text"))
    .limit(1),
);

/**
 * The newest blobs of the database, which are looked for in a store without a mark. In the right store all of them exist, except damaged
 * ones.
 */
const SAMPLE = 20;
/** Keys of a store that are looked for in a database, if none of the database's own blobs was found. */
const LISTED = 200;
/** How long a replica waits for the one that proposed the id to mark the store; usually that takes no time. */
const WAIT_MS = 10_000;
const LOOK_AGAIN_MS = 250;

/** What is bound. */
export interface BindingParts {
  readonly database: Database;
  readonly store: BlobStore;
  /** The store's name in messages, with the setting that names it. */
  readonly shown: string;
  readonly now: number;
  /** How long to wait for another replica. */
  readonly waitMs?: number;
}

/** The id by which the database knows its store, or undefined; `isMarked`: the store is known to carry it. The tables must exist. */
export async function findBinding(executor: Executor): Promise<{ readonly id: string; readonly isMarked: boolean } | undefined> {
  const row = await executor.first(find, {});
  return row === undefined ? undefined : { id: row.holder, isMarked: Number(row.fence) >= MARKED };
}

/** Errors: `StartupError` if a new database would be created for a store that belongs to a registry. */
export async function refuseForNewDatabase(
  { store, shown }: Pick<BindingParts, "store" | "shown">,
  isStillNew: () => Promise<boolean>,
): Promise<void> {
  const mark = await store.readMark();
  // Another replica may be creating the registry at this moment: its mark is not foreign.
  if (mark !== undefined && (await isStillNew())) {
    throw new StartupError(
      `The database is empty, but ${shown} belongs to a registry (${mark}): is this the right database (database.url, or --data)? ` +
        "If the database is lost, restore a backup; for a new registry choose an empty store.",
    );
  }
  for await (const { key } of store.list?.() ?? []) {
    if (!(await isStillNew())) return;
    throw new StartupError(
      `The database is empty, but ${shown} is not (it has ${key}): is this the right database (database.url, or --data)? ` +
        "If the database is lost, restore a backup; for a new registry choose an empty store.",
    );
  }
}

/**
 * Binds database and store if they are not bound yet, and returns their id. Errors: `StartupError` if they do not belong together;
 * UNAVAILABLE.
 */
export async function bindStore(parts: BindingParts): Promise<string> {
  const { database, store, shown, now } = parts;
  // The mark is read first: its writer has written the row before.
  let mark = await store.readMark();
  let bound = await findBinding(database);
  const proposal = randomUUID();
  if (bound === undefined) {
    if (mark === undefined) await requireOwnContent(parts);
    else if (!(await hasSampled(parts)))
      throw new StartupError(foreignMark(shown, mark, "knows no store yet, and none of its blobs is there"));
    // When replicas propose at once, the first one wins: read it back.
    await database.write(propose, { id: mark ?? proposal, fence: mark === undefined ? PROPOSED : MARKED, now });
    bound = (await findBinding(database))!;
  }
  if (mark === undefined) {
    if (bound.id !== proposal && !bound.isMarked) ({ mark, bound } = await waitForMark(parts, bound));
    if (mark === undefined) {
      if (bound.isMarked) throw new StartupError(lacksMark(shown));
      await requireOwnContent(parts);
      mark = await store.putMark(bound.id);
    }
  }
  if (mark !== bound.id) throw new StartupError(foreignMark(shown, mark, `belongs to another (${bound.id})`));
  // Changes nothing if another replica confirmed it first.
  if (!bound.isMarked) await database.write(confirm, { id: bound.id });
  return bound.id;
}

/**
 * For commands that only read: checks that the store is the database's own, if that is known. Errors: `StartupError` if it is another's;
 * UNAVAILABLE.
 */
export async function requireOwnStore(executor: Executor, store: BlobStore, shown: string): Promise<void> {
  const hasTables = (await listTables(executor)).some(({ name }) => name === "job_lease");
  const bound = hasTables ? await findBinding(executor) : undefined;
  const mark = await store.readMark();
  if (bound?.id === mark) return;
  if (mark === undefined && !bound!.isMarked) return;
  if (mark === undefined) throw new StartupError(lacksMark(shown));
  throw new StartupError(
    foreignMark(shown, mark, bound === undefined ? "knows no store yet: start the server once" : `belongs to another (${bound.id})`),
  );
}

/** What database and store know of each other, and how many of the sampled blobs exist. Errors: UNAVAILABLE. */
export async function describeBinding(parts: BindingParts) {
  const bound = await findBinding(parts.database);
  const mark = await parts.store.readMark();
  try {
    return { bound: bound?.id, mark, ...(await sample(parts)) };
  } catch (error) {
    // It answered just now: only the directory that held everything is gone.
    if (!(error instanceof RegistryError) || error.code !== "UNAVAILABLE" || mark !== undefined) throw error;
    return { bound: bound?.id, mark, found: 0, sampled: 0 };
  }
}

/**
 * Makes the store the database's own, whatever it was, and returns the id. `replaced` must be the id of the registry that it belonged to,
 * if there was one. Errors: `StartupError`, UNAVAILABLE.
 */
export async function adoptStore(parts: BindingParts, replaced: string | undefined): Promise<string> {
  const { database, store, shown, now } = parts;
  const mark = await store.readMark();
  const bound = (await findBinding(database)) ?? { id: mark ?? randomUUID(), isMarked: false };
  if (mark !== undefined && mark !== bound.id && mark !== replaced) {
    throw new StartupError(
      `${shown} belongs to another registry (${mark}), which would not start any more. If that one is gone for good, say --replace ${mark}`,
    );
  }
  // Changes nothing if the row exists: its id is used.
  await database.write(propose, { id: bound.id, fence: PROPOSED, now });
  await store.putMark(bound.id, { replaces: mark ?? "" });
  // Changes nothing if it was confirmed before the mark was lost.
  await database.write(confirm, { id: bound.id });
  return bound.id;
}

function foreignMark(shown: string, mark: string, database: string): string {
  return `${shown} belongs to the registry ${mark}, and the database ${database}: is the database right, and is the store?`;
}

function lacksMark(shown: string): string {
  return (
    `${shown} is not the store of this database, or has lost everything: it does not bear its mark. Is the setting right, is the disk mounted? ` +
    "If its bytes are lost or were copied without the mark, run `berth-server store adopt` with the same settings."
  );
}

/** Waits until the replica that proposed the id has marked the store, or must have ended before it could. */
async function waitForMark({ database, store, waitMs = WAIT_MS }: BindingParts, bound: { id: string; isMarked: boolean }) {
  const until = performance.now() + waitMs;
  for (;;) {
    const mark = await store.readMark();
    const present = (await findBinding(database)) ?? bound;
    if (mark !== undefined || present.isMarked || performance.now() >= until)
      return { mark: mark ?? (await store.readMark()), bound: present };
    await sleep(LOOK_AGAIN_MS);
  }
}

async function sample({ database, store }: BindingParts): Promise<{ found: number; sampled: number }> {
  const keys = (await database.all(sampleKeys, { limit: SAMPLE })).map((row) => row.storage_key!);
  const stats = await Promise.all(keys.map((key) => store.stat(parseStorageKey(key))));
  return { found: stats.filter((each) => each !== undefined).length, sampled: keys.length };
}

async function hasSampled(parts: BindingParts): Promise<boolean> {
  return (await sample(parts)).found > 0;
}

/** Errors: `StartupError` if a store without a mark does not look like the database's own. */
async function requireOwnContent(parts: BindingParts): Promise<void> {
  const { found, sampled } = await sample(parts);
  if (found > 0) return;
  if (sampled > 0) throw new StartupError(`${lacksMark(parts.shown)} None of the database's ${sampled} newest blobs is there.`);
  const listed: StorageKey[] = [];
  for await (const { key } of parts.store.list?.() ?? []) if (listed.push(key) === LISTED) break;
  if (listed.length === 0 || (await knowsAny(parts.database, listed))) return;
  throw new StartupError(
    `${parts.shown} holds bytes of another registry (such as ${listed[0]}), and the database has none in it: is the setting right? ` +
      "If it is, run `berth-server store adopt` with the same settings.",
  );
}

/** Whether the database knows some of the keys: as bytes to be deleted, or as those of an upload. */
async function knowsAny(database: Database, keys: readonly StorageKey[]): Promise<boolean> {
  if ((await database.first(knownReclaims, { keys: [...keys] })) !== undefined) return true;
  const ids = keys.map(uploadIdOf).filter((id) => id !== undefined);
  return ids.length > 0 && (await database.first(knownUploads, { ids })) !== undefined;
}
