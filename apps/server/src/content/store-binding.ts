// Which store belongs to the database: a row here and a mark in the store carry the same id, made when the two first meet. A server does not
// start where they differ, so that neither a mistyped bucket, directory or database nor an empty one passes for the registry's own: its blobs
// would count as damaged, and a new registry would stand where one was. Decision: docs/decisions/0034-database-and-store-know-each-other.md.
// Not here: looking again while the server runs (compose/ownership-watch.ts), a mark's bytes (blobs/).
import { randomUUID } from "node:crypto";
import { RegistryError } from "@berth/oci/errors";
import { setTimeout as sleep } from "node:timers/promises";
import type { Database, Executor } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import { listTables } from "../platform/database/tables.ts";
import { StartupError } from "../platform/startup-error.ts";
import type { BlobStore, StorageKey } from "./blobs/blob-store.ts";
import { parseStorageKey, uploadIdOf } from "./blobs/paths.ts";

/** The row of `job_lease`: a table that every release has, that no step back takes away, and that no backup holds. */
const ROW = "store";
/** The row's `fence`: an id was proposed, or the store bears it. */
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

/** Blobs of the database that are looked for in a store without a mark: the newest. Of a right store, all are there but damaged ones. */
const SAMPLE = 20;
/** Keys of a store that are looked for in a database that has no blob of its own in it. */
const LISTED = 200;
/** How long a replica waits for the one that proposed the id to mark the store; it took none at all, as a rule. */
const WAIT_MS = 10_000;
const LOOK_AGAIN_MS = 250;

/** What is to be bound. */
export interface BindingParts {
  readonly database: Database;
  readonly store: BlobStore;
  /** The store for people, with the setting that names it. */
  readonly shown: string;
  readonly now: number;
  /** How long to wait for another replica. */
  readonly waitMs?: number;
}

/** The id by which the database knows its store, or undefined; `isMarked`: the store is known to bear it. The tables must be there. */
export async function findBinding(executor: Executor): Promise<{ readonly id: string; readonly isMarked: boolean } | undefined> {
  const row = await executor.first(find, {});
  return row === undefined ? undefined : { id: row.holder, isMarked: Number(row.fence) >= MARKED };
}

/** Errors: `StartupError` where a database that is not made yet would be put beside a store that something belongs to. */
export async function refuseForNewDatabase(
  { store, shown }: Pick<BindingParts, "store" | "shown">,
  isStillNew: () => Promise<boolean>,
): Promise<void> {
  const mark = await store.readMark();
  // Another replica may be making the registry at this moment: what it wrote is not foreign.
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

/** Binds database and store where they are not yet, and gives their id. Errors: `StartupError` where they do not belong together; UNAVAILABLE. */
export async function bindStore(parts: BindingParts): Promise<string> {
  const { database, store, shown, now } = parts;
  // The mark first: whoever wrote it had written the row before.
  let mark = await store.readMark();
  let bound = await findBinding(database);
  const proposal = randomUUID();
  if (bound === undefined) {
    if (mark === undefined) await requireOwnContent(parts);
    else if (!(await hasSampled(parts)))
      throw new StartupError(foreignMark(shown, mark, "knows no store yet, and none of its blobs is there"));
    // Of replicas that propose at once one comes first: read back.
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
  // Nothing where another replica said so first.
  if (!bound.isMarked) await database.write(confirm, { id: bound.id });
  return bound.id;
}

/** For what only reads: whether the store is the database's own, where that is known. Errors: `StartupError` where it is another's; UNAVAILABLE. */
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

/** What database and store know of each other, and how many of how many sampled blobs are there. Errors: UNAVAILABLE. */
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
 * Makes the store the database's own, whatever it was, and gives the id. `replaced` has to be the id of the registry that it belonged to, where
 * it did. Errors: `StartupError`, UNAVAILABLE.
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
  // Nothing where the row is there: its id is the one.
  await database.write(propose, { id: bound.id, fence: PROPOSED, now });
  await store.putMark(bound.id, { replaces: mark ?? "" });
  // Nothing where it said so before the mark was lost.
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

/** Waits until the replica that proposed the id has marked the store, or is held to have ended before it did. */
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

/** Errors: `StartupError` where a store without a mark does not look like the database's own. */
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
