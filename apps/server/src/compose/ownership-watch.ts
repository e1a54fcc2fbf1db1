// That database and store stay the registry's own while it runs: the tables may be taken away, replaced or taken to another version under it,
// and another disk or bucket may come back in the store's place. Then nothing is written, and nothing is taken for lost, until they are right
// again.
// Not here: how the two are bound at the start (content/store-binding.ts).
import { RegistryError } from "@berth/oci/errors";
import type { BlobStore } from "../content/blobs/blob-store.ts";
import { findBinding } from "../content/store-binding.ts";
import { databaseVersionError, type Database } from "../platform/database/database.ts";
import { findVersionProblem } from "../platform/database/migrate.ts";

const isVersionError = (error: unknown): error is RegistryError => error instanceof RegistryError && error.code === "DATABASE_VERSION";

/** How often somebody looks where no probe does. What is written in between goes where nobody looks for it. */
const LOOK_EVERY_MS = 1000;

const foreign = (what: string, isReported = false): RegistryError =>
  new RegistryError("STORAGE_FOREIGN", { cause: new Error(what), isReported, headers: { "retry-after": "10" } });

/** A database that is looked at, until it is closed. */
export interface WatchedDatabase extends Database {
  /** Begins to look: from then on the database has to know the store by this id, and to be at a version for this program. */
  watch(id: string, listener: DatabaseListener): void;
  /** Looks at once where an error may come from a version that changed since, and gives the error that says so; else the same error. */
  explain(error: unknown): Promise<unknown>;
}

/** Hears once of what is wrong, and once that all is right again. */
export interface DatabaseListener {
  onProblem(error: RegistryError): void;
  onEnd(): void;
}

/**
 * Wraps a database: writes throw STORAGE_FOREIGN from when it was seen that it is another one, and DATABASE_VERSION from when it was seen to be
 * at a version that is not for this program, until it is right again. Reads go on as far as they find what they read.
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
    // Rejecting, as all methods do, and not throwing.
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
      // A database that is out of reach by now says less than the error that there is.
      await look().catch(() => undefined);
      return problem ?? error;
    },
    watch(id, listener) {
      expected = { id, listener };
      // A database that is out of reach is told of by whoever needs it.
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
 * Wraps a store: it is used once its mark was seen to be `id`, and that is looked at again after each time that it was out of reach, and before
 * bytes count as damaged. `isKnown`: it was seen just now. Errors of every method besides its own: STORAGE_FOREIGN.
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
        // Before anybody takes a blob for damaged: in a store that is not ours nothing of ours can be.
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

/** Lets go of a body that is not to be read on: its first pieces may have been read already, and what watches over it ends with it. */
async function abandon(body: AsyncIterable<Uint8Array>, error: unknown): Promise<never> {
  try {
    for await (const _ of body) break;
  } catch {
    // How a body ends that nobody wants is of no interest beside why it is not wanted.
  }
  throw error;
}
