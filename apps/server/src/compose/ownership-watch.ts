// Watches that database and store stay the registry's own while it runs: the tables may be dropped, replaced or migrated under it, and
// another disk or bucket may appear in the store's place. Until that is fixed, nothing is written and no blob counts as lost.
// Not here: binding the two at the start (content/store-binding.ts).
import { RegistryError } from "@berth/oci/errors";
import type { BlobStore } from "../content/blobs/blob-store.ts";
import { findBinding } from "../content/store-binding.ts";
import { databaseVersionError, type Database } from "../platform/database/database.ts";
import { findVersionProblem } from "../platform/database/migrate.ts";

const isVersionError = (error: unknown): error is RegistryError => error instanceof RegistryError && error.code === "DATABASE_VERSION";

/** The interval of checks without a probe. Writes between two checks may go into the wrong database. */
const LOOK_EVERY_MS = 1000;

const foreign = (what: string, isReported = false): RegistryError =>
  new RegistryError("STORAGE_FOREIGN", { cause: new Error(what), isReported, headers: { "retry-after": "10" } });

/** A database that is checked until it is closed. */
export interface WatchedDatabase extends Database {
  /** Starts the checks: from then on the database must know the store by this id, and be at a version for this program. */
  watch(id: string, listener: DatabaseListener): void;
  /** Checks at once whether an error comes from a changed version, and returns the error that says so; else the same error. */
  explain(error: unknown): Promise<unknown>;
}

/** Called once when something is wrong, and once when everything is right again. */
export interface DatabaseListener {
  onProblem(error: RegistryError): void;
  onEnd(): void;
}

/**
 * Wraps a database: writes throw STORAGE_FOREIGN once it was seen to be another one, and DATABASE_VERSION once it was seen to be at a
 * version that is not for this program, until that is fixed. Reads continue as far as their tables exist.
 */
export function watchDatabase(database: Database): WatchedDatabase {
  let problem: RegistryError | undefined;
  let expected: { readonly id: string; readonly listener: DatabaseListener } | undefined;
  let timer: NodeJS.Timeout | undefined;
  let looking: Promise<void> | undefined;

  async function findProblem(id: string): Promise<RegistryError | undefined> {
    if ((await database.isInPlace?.()) === false)
      return foreign("the database's file was moved, deleted or replaced under the server; what is open is a file without a name", true);
    try {
      const atVersion = await findVersionProblem(database);
      if (atVersion !== undefined) return databaseVersionError(new Error(atVersion), true);
      const bound = await findBinding(database);
      if (bound?.id === id) return undefined;
      return foreign(
        `the database's tables are another registry's: they belong to the store ${bound?.id ?? "of nobody"}, and not to ${id}`,
        true,
      );
    } catch (error) {
      if (isVersionError(error)) return foreign("the database's tables are gone", true);
      throw error;
    }
  }

  async function look(): Promise<void> {
    if (expected === undefined) return;
    const { id, listener } = expected;
    looking ??= findProblem(id)
      .then((found) => {
        const before = problem;
        problem = found;
        if (found === undefined && before !== undefined) listener.onEnd();
        if (found !== undefined && found.code !== before?.code) listener.onProblem(found);
      })
      .finally(() => (looking = undefined));
    await looking;
  }

  return {
    ...database,
    // It rejects, as all methods do, instead of throwing.
    transaction: (work, options) => (problem === undefined ? database.transaction(work, options) : Promise.reject(problem)),
    write: (statement, parameters, options) =>
      problem === undefined ? database.write(statement, parameters, options) : Promise.reject(problem),
    async probe() {
      await look();
      if (problem !== undefined) throw problem;
      await database.probe();
    },
    async explain(error) {
      if (!isVersionError(error) || error.isReported) return error;
      // If the database is unreachable by now, the original error says more.
      await look().catch(() => undefined);
      return problem ?? error;
    },
    watch(id, listener) {
      expected = { id, listener };
      // An unreachable database is reported by its users.
      timer = setInterval(() => void look().catch(() => undefined), LOOK_EVERY_MS);
      timer.unref();
    },
    async close() {
      clearInterval(timer);
      await looking?.catch(() => undefined);
      await database.close();
    },
  };
}

/**
 * Wraps a store: it is used once its mark was seen to be `id`, and the mark is read again after each outage, and before bytes count as
 * damaged. `isKnown`: it was seen just now. Errors of every method besides its own: STORAGE_FOREIGN.
 */
export function watchStore(store: BlobStore, id: string, isKnown: boolean): BlobStore {
  let isOwn = isKnown;
  let looking: Promise<void> | undefined;

  async function compare(): Promise<void> {
    const mark = await store.readMark();
    isOwn = mark === id;
    if (isOwn) return;
    throw foreign(
      mark === undefined
        ? `the store lacks the mark of this registry (${id}): it is another one, or has lost everything; see \`berth-server store adopt\``
        : `the store belongs to another registry (${mark}), and not to this one (${id})`,
    );
  }

  function look(): Promise<void> {
    looking ??= compare().finally(() => (looking = undefined));
    return looking;
  }

  async function own<T>(work: () => Promise<T>): Promise<T> {
    if (!isOwn) await look();
    try {
      return await work();
    } catch (error) {
      if (error instanceof RegistryError && error.code === "UNAVAILABLE") isOwn = false;
      throw error;
    }
  }

  return {
    ...store,
    async append(uploadId, record, body, options) {
      if (!isOwn) await look().catch((error: unknown) => abandon(body, error));
      return own(() => store.append(uploadId, record, body, options));
    },
    finish: (...args) => own(() => store.finish(...args)),
    undoAppend: (...args) => own(() => store.undoAppend(...args)),
    removeLeftovers: (...args) => own(() => store.removeLeftovers(...args)),
    abort: (...args) => own(() => store.abort(...args)),
    stat: (key) => own(() => store.stat(key)),
    async *read(...args) {
      if (!isOwn) await look();
      try {
        yield* store.read(...args);
      } catch (error) {
        if (error instanceof RegistryError && error.code === "UNAVAILABLE") isOwn = false;
        // Checked before a blob counts as damaged: a foreign store contains none of our blobs.
        if (error instanceof RegistryError && error.code === "BLOB_DAMAGED") await look();
        throw error;
      }
    },
    signedUrl: (...args) => own(() => store.signedUrl(...args)),
    delete: (keys) => own(() => store.delete(keys)),
    sweep: (olderThan) => own(() => store.sweep(olderThan)),
    async probe() {
      await look();
      await own(() => store.probe());
    },
  };
}

/** Ends a body that is not read any further: its first pieces may have been read already, and its timers end with it. */
async function abandon(body: AsyncIterable<Uint8Array>, error: unknown): Promise<never> {
  try {
    for await (const _ of body) break;
  } catch {
    // An error of an unwanted body does not matter beside the reason for not wanting it.
  }
  throw error;
}
