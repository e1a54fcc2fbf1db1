// The foundation of every role that works: metrics, the database at this program's version, the store, and the clocks; opened and closed
// together. Not here: opening each (openers.ts), what is built on them (the files beside this one).
import { parseProjectName, type ProjectName } from "@berth/oci/reference";
import type { Directory } from "../access/ldap/directory.ts";
import type { Config } from "../config.ts";
import type { LeaseTimes } from "../content/blobs.ts";
import type { BlobStore } from "../content/blobs/blob-store.ts";
import { meterStore } from "../content/blobs/metered-store.ts";
import { bindStore, findBinding, refuseForNewDatabase } from "../content/store-binding.ts";
import { createGarbage, type Garbage } from "../content/garbage.ts";
import { refuseHalfRestored } from "../commands/backup/restore-store.ts";
import { type Clock, createSteadyClock, SECOND_MS, systemClock } from "../platform/clock.ts";
import { startDatabaseClock } from "../platform/database/database-clock.ts";
import type { Database } from "../platform/database/database.ts";
import { findMigrationVersion, migrate } from "../platform/database/migrate.ts";
import { createDatabaseMeter, observeDatabase } from "../platform/database/observed-database.ts";
import { withTopics } from "../platform/database/topics.ts";
import { openInOrder } from "../platform/disposable.ts";
import type { Logger } from "../platform/log.ts";
import { createMetrics, type Metrics } from "../platform/metrics.ts";
import type { Outbound } from "../platform/outbound.ts";
import type { Tracing } from "../platform/tracing.ts";
import { awaitDatabase } from "./await-database.ts";
import { openDirectories } from "./directories.ts";
import { watchDatabase, watchStore } from "./ownership-watch.ts";
import { explainStoreError, storeStartError } from "./start-errors.ts";
import { openOutbound, type OutboundPurpose } from "./outbound.ts";
import { nameDatabase, nameStore, openDatabase, openStore, tryStore } from "./openers.ts";

/** The context of a role. */
export interface RoleContext {
  readonly config: Config;
  readonly logger: Logger;
  readonly masterKey: Uint8Array;
  /** Undefined if there is no tracing. */
  readonly tracing?: Tracing | undefined;
}

/** Database, store, and the clocks. */
export interface Foundation {
  readonly database: Database;
  readonly store: BlobStore;
  readonly garbage: Garbage;
  /** The time that all processes of the registry share. */
  readonly clock: Clock;
  /** The same, but it accepts a step forward only after a delay: it decides what has expired. */
  readonly steadyClock: Clock;
  readonly metrics: Metrics;
  /** How others are reached whose addresses somebody gave. */
  readonly outbound: Outbound<OutboundPurpose>;
  /** Whose people sign in by their passwords there, in the order in which they are asked. */
  readonly directories: readonly Directory[];
  close(): Promise<void>;
}

/** The collector's times, in milliseconds. */
export function leaseTimes(config: Config): LeaseTimes {
  return { leaseMs: config.gc.leaseSeconds * SECOND_MS, graceMs: config.gc.graceSeconds * SECOND_MS };
}

/** The project of repositories that clients name with one segment; undefined if such names are not allowed. */
export function defaultProjectOf({ projects }: Config): ProjectName | undefined {
  return projects.default === undefined ? undefined : parseProjectName(projects.default);
}

/** Opens database and store, and migrates the database to this program's version. If it fails, nothing stays open. */
export async function openFoundation(roleContext: RoleContext): Promise<Foundation> {
  const { config, logger, tracing } = roleContext;
  const metrics = createMetrics({ tag: config.metrics.tag });
  const meter = createDatabaseMeter(metrics);
  return openParts(roleContext, async (opened) => {
    const outbound = await openOutbound(roleContext, metrics);
    opened.defer(() => outbound.close());
    const plain = await openDatabase(config, logger, (isGood, seconds) => meter.end("sync", isGood, seconds));
    const watched = watchDatabase(plain);
    const observed = observeDatabase(watched, meter, tracing, watched.explain);
    const database = withTopics(observed, (error) =>
      logger.warn({ err: error }, "other processes were not told of a commit; they find it by themselves"),
    );
    opened.defer(() => database.close());
    await awaitDatabase(database, config, logger);
    await refuseHalfRestored(database);
    const isNew = async (): Promise<boolean> => (await findMigrationVersion(database)) === 0;
    const plainStore = await openStore(config, async () => (await isNew()) || (await findBinding(database))?.isMarked !== true);
    opened.defer(() => plainStore.close());
    if (await isNew()) {
      await refuseForNewDatabase({ store: plainStore, shown: nameStore(config) }, isNew).catch((error: unknown) => {
        throw storeStartError(error, config);
      });
      // A new registry cannot be a mistake for another; the warning shows a mistyped path at least.
      logger.warn({ database: nameDatabase(config), store: nameStore(config) }, "the database is empty: a new registry is made");
    }
    for (const step of await migrate(database, systemClock)) logger.info({ step }, "migrated the database");
    const bound = await bindOrGoWithout(roleContext, database, plainStore);
    watched.watch(bound.id, {
      onProblem: (error) =>
        logger.error(
          { err: error },
          error.code === "DATABASE_VERSION"
            ? "the database is not at this program's version any more: nothing is written to it"
            : "the database is not this registry's any more: nothing is written to it",
        ),
      onEnd: () => logger.info("the database is this registry's, and at this program's version, again"),
    });
    const store = meterStore(watchStore(plainStore, bound.id, bound.isSeen), metrics, tracing);
    const databaseClock = config.database.url === undefined ? undefined : await startDatabaseClock(database, warnOfClock(logger));
    opened.defer(() => databaseClock?.stop());
    const plainClock = databaseClock ?? systemClock;
    const times = leaseTimes(config);
    const steadyClock = createSteadyClock(plainClock, times.leaseMs);
    const clock = steadyClock.shown;
    const directories = await openDirectories(roleContext, { metrics, clock });
    opened.defer(() => directories.forEach((directory) => directory.close()));
    const garbage = createGarbage(database, store, clock, times, steadyClock);
    return { database, store, garbage, clock, steadyClock, metrics, outbound, directories, close: () => opened.disposeAsync() };
  });
}

/**
 * Binds database and store. If the two are bound already, an unreachable store does not keep a server from serving what is in the database:
 * the store is then checked when it comes back, before anything is read from it or written to it. Errors: `StartupError`; UNAVAILABLE if
 * the registry is new.
 */
async function bindOrGoWithout(
  { config, logger }: RoleContext,
  database: Database,
  store: BlobStore,
): Promise<{ readonly id: string; readonly isSeen: boolean }> {
  try {
    const id = await bindStore({ database, store, shown: nameStore(config), now: systemClock.now() });
    await tryStore(config, logger);
    return { id, isSeen: true };
  } catch (error) {
    const bound = await findBinding(database);
    // Somebody has to fix what the store's service refuses: a new replica with a wrong key must not count as healthy.
    if (explainStoreError(error, config)?.mayPass !== true || bound?.isMarked !== true) throw storeStartError(error, config);
    logger.error({ err: error }, "the store is out of reach: manifests and small blobs are served, and the rest when it is back");
    return { id: bound.id, isSeen: false };
  }
}

/** Opens the foundation, does some work with it, and closes it. */
export async function withFoundation<T>(roleContext: RoleContext, work: (foundation: Foundation) => Promise<T>): Promise<T> {
  const foundation = await openFoundation(roleContext);
  try {
    return await work(foundation);
  } finally {
    await foundation.close();
  }
}

/** Opens parts of a start in order (`openInOrder`). An operator needs the start's own error; one of closing is logged. */
export function openParts<T>({ logger }: RoleContext, open: (opened: AsyncDisposableStack) => Promise<T>): Promise<T> {
  return openInOrder(open, (error) => logger.error({ err: error }, "the start failed, and what it had opened could not be closed"));
}

function warnOfClock(logger: Logger): (aheadMs: number) => void {
  return (aheadMs) =>
    logger.warn(
      { aheadSeconds: Math.round(aheadMs / SECOND_MS) },
      "this machine's clock differs from the database's, which counts: is its time service running?",
    );
}
