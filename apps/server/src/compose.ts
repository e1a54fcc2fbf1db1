// Builds everything, top to bottom: the only file that constructs stores and services. Not here: roles and signals (main.ts).
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import { RegistryError } from "@berth/oci/errors";
import { createAccounts } from "./access/accounts.ts";
import { createAuthenticator } from "./access/authenticate.ts";
import { createAuthorizer } from "./access/authorize.ts";
import { traceAuthenticator, traceAuthorizer } from "./access/traced-access.ts";
import { bootstrap } from "./access/bootstrap.ts";
import { createLoginFailures } from "./access/login-failures.ts";
import { createPasswordHasher } from "./access/secrets.ts";
import { createSigningKeys } from "./access/signing-keys.ts";
import { createTokens } from "./access/tokens.ts";
import type { Config } from "./config.ts";
import { countBacklog } from "./content/backlog.ts";
import { countDamagedBlobs, createBlobs, hasStoredBlobs } from "./content/blobs.ts";
import type { BlobStore } from "./content/blobs/blob-store.ts";
import { createFilesystemStore } from "./content/blobs/filesystem.ts";
import { createHotCache } from "./content/blobs/hot-cache.ts";
import { createGarbage, type Garbage } from "./content/garbage.ts";
import { meterStore, STORE_OPERATIONS } from "./content/blobs/metered-store.ts";
import { createManifests } from "./content/manifests.ts";
import { createReferrers } from "./content/referrers.ts";
import { createRepositories } from "./content/repositories.ts";
import { createRepositoryRemoval } from "./content/repository-removal.ts";
import { createTags } from "./content/tags.ts";
import { createUploads } from "./content/uploads.ts";
import { foldUsage, USAGE_FOLD_BATCH } from "./content/usage.ts";
import { createCollector, type Collector } from "./distribution/collector.ts";
import { createLists } from "./distribution/lists.ts";
import { createMount } from "./distribution/mount.ts";
import { createBlobReader } from "./distribution/open-blob.ts";
import type { Ports } from "./distribution/ports.ts";
import { createPull } from "./distribution/pull.ts";
import { createPush } from "./distribution/push.ts";
import { createUploadSessions } from "./distribution/upload-session.ts";
import { createUpkeep } from "./distribution/upkeep.ts";
import { refuseHalfRestored } from "./features/backup/restore-store.ts";
import { createHealth } from "./http/health.ts";
import { addServerMetrics, countLoginFailures } from "./http/server-metrics.ts";
import { createSemaphore } from "./http/limits.ts";
import { startMetricsServer } from "./http/metrics-server.ts";
import { startServer, type RunningServer } from "./http/server.ts";
import { answerToken } from "./http/token.ts";
import { createClientAddressReader, originOf } from "./http/trusted-proxies.ts";
import { createV2Handler, V2_OPERATIONS } from "./http/v2/handler.ts";
import { createV2Routes } from "./http/v2/routes.ts";
import { type Clock, createPatientClock, systemClock } from "./platform/clock.ts";
import { startDatabaseClock } from "./platform/database/database-clock.ts";
import type { Database } from "./platform/database/database.ts";
import { readerOfPostgres, type DatabaseReader } from "./platform/database/database-reader.ts";
import { migrate } from "./platform/database/migrate.ts";
import { DATABASE_OPERATIONS, observeDatabase } from "./platform/database/observed-database.ts";
import { createRequestIds, type Logger } from "./platform/log.ts";
import { createMetrics, type Metrics } from "./platform/metrics.ts";
import { StartupError } from "./platform/startup-error.ts";
import { openKeyPair } from "./platform/tls.ts";
import type { Tracing } from "./platform/tracing.ts";
import { VERSION } from "./platform/version.ts";
import { carriesAuthorization } from "./platform/host-names.ts";
import { connectionsWithin, openFilesLimit } from "./platform/open-files.ts";
import { createNoteRead } from "./platform/young-memory.ts";

/** What a role brings with it. */
export interface Surroundings {
  readonly config: Config;
  readonly logger: Logger;
  readonly masterKey: Uint8Array;
  /** Where there are traces. */
  readonly tracing?: Tracing | undefined;
}

/** What every role stands on: where metadata and bytes lie. */
export interface Foundation {
  readonly database: Database;
  readonly store: BlobStore;
  readonly garbage: Garbage;
  /** The time by which all processes of the registry go. */
  readonly clock: Clock;
  /** The same, but slow to believe a step forward: by it things end that were promised. */
  readonly patientClock: Clock;
  readonly metrics: Metrics;
  close(): Promise<void>;
}

/** A registry that answers. */
export interface RunningRegistry {
  readonly port: number;
  /** Set at the very first start: the administrator's password, made up because the configuration gave none. */
  readonly generatedAdminPassword: string | undefined;
  /** Lets requests and jobs end, then closes everything. */
  stop(): Promise<void>;
}

/** What is counted outside the data plane: the token service and the control plane. */
const OTHER_OPERATIONS = ["token", "api"] as const;
const SECOND = 1000;
const HOUR_MS = 3_600_000;

/** Starts to trace where the configuration says where to; its packages take 15 MB and 50 ms, which nobody else pays. */
export async function openTracing(config: Config, logger: Logger): Promise<Tracing | undefined> {
  const { endpoint, headers, sampleRatio, serviceName } = config.tracing;
  if (endpoint === undefined) return undefined;
  const otlp = await import("./platform/tracing-otlp.ts");
  return otlp.openTracing({
    endpoint,
    headers,
    sampleRatio,
    serviceName,
    version: VERSION,
    onFailure: (error) => logger.warn({ err: error, endpoint }, "the collector of traces does not take them; they are lost"),
  });
}

/** Opens the database that the configuration names; migrates nothing. `onSync` hears of each wait for the embedded one's disk. */
export async function openDatabase(config: Config, logger: Logger, onSync?: (isGood: boolean, seconds: number) => void): Promise<Database> {
  const onBackgroundError = (error: unknown): void => logger.error({ err: error }, "the database failed in the background");
  if (config.database.url === undefined) {
    const { openSqlite, SQLITE_RESERVE_BYTES } = await import("./platform/database/sqlite.ts");
    return openSqlite({
      path: join(config.data, "berth.db"),
      onBackgroundError,
      ...(onSync === undefined ? {} : { onSync }),
      reserveBytes: SQLITE_RESERVE_BYTES,
      onRoom: () => logger.info("there is room on the database's disk again"),
    });
  }
  // Loaded only where it is used: the driver costs an embedded registry memory and start-up time.
  const { openPostgres } = await import("./platform/database/postgres.ts");
  return openPostgres({
    url: config.database.url,
    maxConnections: config.database.maxConnections,
    acquireTimeoutMs: config.database.acquireTimeoutSeconds * SECOND,
    onBackgroundError,
  });
}

/** Opens the configured database for reading only, also beside the server that has it. Errors: `StartupError` where there is none. */
export async function openReader(config: Config, logger: Logger): Promise<DatabaseReader> {
  if (config.database.url !== undefined) return readerOfPostgres(await openDatabase(config, logger));
  const path = join(config.data, "berth.db");
  if (!existsSync(path)) throw new StartupError(`There is no database ${path}: choose the server's data directory with --data.`);
  const { openSqliteReader } = await import("./platform/database/sqlite.ts");
  return openSqliteReader(path);
}

/** Opens the store that the configuration names. `isNew`: whether no bytes were ever stored there; where it is not given, nobody knows. */
export async function openStore(config: Config, logger: Logger, isNew?: () => Promise<boolean>): Promise<BlobStore> {
  // Names this process among all that ever write to the store.
  const processId = randomBytes(8).toString("hex");
  const { kind, filesystem, s3 } = config.storage;
  if (kind === "filesystem") return createFilesystemStore({ root: filesystem.directory, processId, isNew });
  const { openS3Store } = await import("./content/blobs/s3.ts");
  const opened = await openS3Store({ ...s3, processId });
  logger.info({ capabilities: opened.capabilities }, "the S3 service was probed");
  return opened.store;
}

/** Makes something when it is first asked for, and once. */
function onFirstUse<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make().catch((error: unknown) => {
      made = undefined;
      throw error;
    });
    return made;
  };
}

/** The times of the collector, in milliseconds. */
export function leaseTimes(config: Config): { leaseMs: number; graceMs: number } {
  return { leaseMs: config.gc.leaseSeconds * SECOND, graceMs: config.gc.graceSeconds * SECOND };
}

function warnOfClock(logger: Logger): (aheadMs: number) => void {
  return (aheadMs) =>
    logger.warn(
      { aheadSeconds: Math.round(aheadMs / SECOND) },
      "this machine's clock differs from the database's, which counts: is its time service running?",
    );
}

/** Opens database and store, and brings the database to this program's version. */
export async function openFoundation({ config, logger, tracing }: Surroundings): Promise<Foundation> {
  const metrics = createMetrics({
    operations: [...V2_OPERATIONS, ...OTHER_OPERATIONS],
    storeOperations: STORE_OPERATIONS,
    databaseOperations: DATABASE_OPERATIONS,
    tag: config.metrics.tag,
  });
  const opened = await openDatabase(config, logger, (isGood, seconds) => metrics.database.end("sync", isGood, seconds));
  const database = observeDatabase(opened, metrics.database, tracing);
  try {
    await refuseHalfRestored(database);
    for (const step of await migrate(database, systemClock)) logger.info({ step }, "migrated the database");
    const store = meterStore(await openStore(config, logger, async () => !(await hasStoredBlobs(database))), metrics, tracing);
    const databaseClock = config.database.url === undefined ? undefined : await startDatabaseClock(database, warnOfClock(logger));
    const clock = databaseClock ?? systemClock;
    const times = leaseTimes(config);
    const patientClock = createPatientClock(clock, times.leaseMs);
    return {
      database,
      store,
      metrics,
      clock,
      patientClock,
      garbage: createGarbage(database, store, clock, times, patientClock),
      async close() {
        databaseClock?.stop();
        await store.close();
        await database.close();
      },
    };
  } catch (error) {
    await database.close();
    throw error;
  }
}

/** Builds the content's side: what uploads and the collector share. */
function composeContent({ config, logger, tracing }: Surroundings, { database, store, garbage, metrics, clock, patientClock }: Foundation) {
  const repositories = createRepositories(database, clock);
  const blobs = createBlobs(database, clock, leaseTimes(config));
  const uploads = createUploads(database, clock, config.limits.uploadAgeSeconds * SECOND, patientClock);
  const sessions = createUploadSessions({
    database,
    repositories,
    uploads,
    blobs,
    store,
    inlineMaxBytes: config.storage.inlineMaxBytes,
    maxBlobBytes: config.limits.uploadBytes,
    noteRead: createNoteRead(),
    onBackgroundError: (error) => logger.warn({ err: error }, "clearing up behind an upload failed; the sweep will do it"),
  });
  let failedRounds = 0;
  metrics.addCounter("collection_failed_rounds_total", "Rounds of collection that ended with an error.", () => failedRounds);
  let unlinked = 0;
  metrics.addCounter("collection_unlinked_total", "Blobs taken out of a repository in which nothing held them.", () => unlinked);
  let backlogBytes = 0;
  metrics.addGauge("collection_backlog_bytes", "Bytes that become free when what waits now is reclaimed.", () => backlogBytes);
  const collector = createCollector({
    garbage,
    countBacklog: (pause) => countBacklog(database, clock.now(), pause),
    uploads: sessions,
    store,
    clock: patientClock,
    intervalMs: config.gc.intervalSeconds * SECOND,
    batchSize: config.gc.batchSize,
    sweepAgeMs: config.limits.uploadAgeSeconds * SECOND + HOUR_MS,
    onUnlinked: (links) => {
      unlinked += links;
    },
    onReclaimed: (keys, bytes) => metrics.addReclaimed(keys, bytes),
    onBacklog: (backlog) => {
      backlogBytes = backlog.linkBytes + backlog.keyBytes;
      const oldest = backlog.oldestDueAt === undefined ? 0 : (clock.now() - backlog.oldestDueAt) / SECOND;
      metrics.setCollectionBacklog(backlog.links + backlog.keys, oldest);
    },
    onError: (error) => {
      failedRounds++;
      logger.error({ err: error }, "a round of collection failed; the next one goes on");
    },
    traced: tracing?.job,
  });
  const removeDeleted = createRepositoryRemoval(database, clock, leaseTimes(config));
  const upkeep = createUpkeep([async () => (await foldUsage(database, USAGE_FOLD_BATCH)) === USAGE_FOLD_BATCH, removeDeleted], (error) =>
    logger.error({ err: error }, "upkeep failed; it is tried again"),
  );
  const jobs: Collector = {
    ...collector,
    start() {
      collector.start();
      upkeep.start();
    },
    async stop() {
      await Promise.all([collector.stop(), upkeep.stop()]);
    },
    async runOnce() {
      // First what deleted repositories held, so that the round finds what only they linked; then those that waited for an upload's end.
      while (await removeDeleted());
      const round = await collector.runOnce();
      while (await removeDeleted());
      return round;
    },
  };
  return { repositories, blobs, uploads, sessions, collector: jobs };
}

/** The collector alone, for the `work` role and the `gc` command. */
export function composeCollector(surroundings: Surroundings, foundation: Foundation): Collector {
  return composeContent(surroundings, foundation).collector;
}

/** Builds and starts the registry. `jobs` false leaves the background work to `work` processes. */
export async function startRegistry(surroundings: Surroundings, options: { jobs: boolean }): Promise<RunningRegistry> {
  const { config, logger, masterKey, tracing } = surroundings;
  const foundation = await openFoundation(surroundings);
  const { database, store, metrics, clock } = foundation;
  const { repositories, blobs, uploads, sessions, collector } = composeContent(surroundings, foundation);

  // Access: who may.
  const accounts = createAccounts({ database, clock });
  const plainAuthorizer = createAuthorizer({ accounts, database, clock });
  const authorizer = tracing === undefined ? plainAuthorizer : traceAuthorizer(plainAuthorizer, tracing);
  const signingKeys = createSigningKeys({ database, clock, masterKey, signsForMs: config.auth.signingKeyRotationDays * 24 * HOUR_MS });
  // A wrong master key shows here, and not at the first login.
  await signingKeys.prepare().catch((cause: unknown) => {
    if (cause instanceof RegistryError) throw cause;
    throw new StartupError(
      "The secret key does not open the secrets in the database: start with the key that this database was made with (auth.secretKey, or `secret-key` in the data directory).",
      { cause },
    );
  });
  const tokens = createTokens({
    signingKeys,
    authorizer,
    clock,
    issuer: config.auth.service,
    service: config.auth.service,
    lifetimeSeconds: config.auth.tokenLifetimeSeconds,
  });
  const passwords = createPasswordHasher();
  const { lockout } = config.auth;
  const rules = {
    freeFailures: lockout.freeFailures,
    windowMs: lockout.windowSeconds * SECOND,
    firstLockMs: lockout.firstLockSeconds * SECOND,
    maxLockMs: lockout.maxLockSeconds * SECOND,
  };
  const loginFailures = countLoginFailures(createLoginFailures({ database, clock, rules }), metrics);
  const plainAuthenticator = createAuthenticator({ accounts, tokens, passwords, loginFailures, clock });
  const authenticator = tracing === undefined ? plainAuthenticator : traceAuthenticator(plainAuthenticator, tracing);
  const first = await bootstrap({ database, clock, passwords, administratorPassword: config.auth.adminPassword });

  // Content and distribution: the data plane. No port is handed in yet.
  const ports: Ports = {};
  const manifests = createManifests(database, clock, leaseTimes(config));
  const tags = createTags(database, clock);
  const referrers = createReferrers(database);
  const cache = createHotCache({ store, maxBytes: config.storage.hotCacheBytes });
  let damagedReads = 0;
  metrics.addCounter("blob_damaged_reads_total", "Reads that found a blob's bytes missing or wrong.", () => damagedReads);
  metrics.addGauge("hot_cache_bytes", "Memory that the cache of hot blobs holds.", () => cache.sizeBytes);
  metrics.addCounter("hot_cache_hit_bytes_total", "Bytes of blobs that came from the cache.", () => cache.hitBytes);
  metrics.addCounter("hot_cache_miss_bytes_total", "Bytes of blobs that had to come from the store.", () => cache.missBytes);
  const reader = createBlobReader({
    blobs,
    cache,
    onDamage: (blob, error) => {
      damagedReads++;
      logger.error({ err: error, digest: blob.digest }, "a blob's bytes are missing or wrong: pushing it again heals it");
    },
    onUnmarked: (blob, error) => logger.error({ err: error, digest: blob.digest }, "a damaged blob could not be marked as such"),
  });
  const uploadSlots = createSemaphore({
    limit: config.limits.concurrentUploads,
    queueLimit: config.limits.concurrentUploads,
    waitMs: 10 * SECOND,
    code: "TOOMANYREQUESTS",
    retryAfterSeconds: 5,
  });
  const addressOf = createClientAddressReader(config.http.trustedProxies);
  let hasWarned = false;
  function mayRedirect(request: IncomingMessage, address: string): boolean {
    const origin = originOf(addressOf(request), config.http.publicUrl);
    if (origin !== undefined && !carriesAuthorization(origin, address)) return true;
    if (!hasWarned) {
      hasWarned = true;
      logger.warn(
        { origin, store: URL.parse(address)?.host },
        "blobs are not redirected to the S3 service: it has the registry's host name, so that clients would send it their tokens; give it one of its own (storage.s3.publicEndpoint)",
      );
    }
    return false;
  }
  const routes = createV2Routes({
    pull: createPull({ authorizer, repositories, manifests, blobs, ports }),
    push: createPush({
      authorizer,
      repositories,
      manifests,
      tags,
      blobs,
      ports,
      acceptSparseImages: config.push.sparseImages === "accept",
    }),
    mount: createMount({ authorizer, repositories, blobs }),
    lists: createLists({ authorizer, repositories, manifests, tags, referrers }),
    uploads: sessions,
    manifests,
    reader,
    store,
    uploadSlots,
    settings: {
      maxManifestBytes: config.limits.manifestBytes,
      maxPageSize: config.limits.pageSize,
      minChunkBytes: config.limits.chunkMinBytes,
      bodyIdleTimeoutMs: config.http.bodyIdleTimeoutSeconds * SECOND,
      redirect: config.storage.redirect === "always",
      mayRedirect,
      // Dragonfly keeps a redirect for ten minutes and may begin a large download then.
      signedUrlTtlSeconds: 20 * 60,
    },
  });

  // HTTP: the way in.
  const requestIds = createRequestIds();
  const keyPair =
    config.http.tls.certificateFile === undefined || config.http.tls.keyFile === undefined
      ? undefined
      : await openKeyPair({ certificateFile: config.http.tls.certificateFile, keyFile: config.http.tls.keyFile, logger });
  const v2 = createV2Handler({
    authenticator,
    routes,
    metrics,
    logger,
    service: config.auth.service,
    realmOf(request) {
      if (config.auth.realm !== undefined) return config.auth.realm;
      const origin = originOf(addressOf(request), config.http.publicUrl);
      if (origin === undefined) throw new RegistryError("REQUEST_INVALID", { message: "the Host header is missing" });
      return `${origin}/token`;
    },
  });
  const api = onFirstUse(async () => {
    // Its framework and schemas take 40 MB and 200 ms that a registry that only serves images never needs.
    const { createApi } = await import("./http/api/api.ts");
    return createApi({ database, clock, accounts, authorizer, authenticator, passwords, loginFailures, logger, addressOf });
  });
  const health = createHealth({ database, store, metrics, authorizer, authenticator, logger });
  const requestSlots = createSemaphore({
    limit: config.limits.requestsInFlight,
    queueLimit: config.limits.requestsInFlight,
    waitMs: 5 * SECOND,
    code: "UNAVAILABLE",
    retryAfterSeconds: 2,
  });
  const [tokenMeter, apiMeter] = OTHER_OPERATIONS.map((kind) => metrics.operation(kind));
  const openFiles = await openFilesLimit();
  const maxConnections = connectionsWithin(openFiles, config.http.maxConnections);
  if (maxConnections < config.http.maxConnections) {
    logger.warn(
      { openFiles, maxConnections, wanted: config.http.maxConnections },
      "the system lets this process open too few files for http.maxConnections: it takes fewer connections; raise the limit (LimitNOFILE=, ulimit -n) or lower the setting",
    );
  }
  const server: RunningServer = await startServer(
    {
      host: config.http.listen.host,
      port: config.http.listen.port,
      keyPair,
      headerTimeoutMs: config.http.headerTimeoutSeconds * SECOND,
      keepAliveMs: config.http.keepAliveSeconds * SECOND,
      maxConnections,
      logger,
    },
    {
      v2,
      paths: new Map([
        ["/token", (request, response, context) => answerToken({ authenticator, tokens }, request, response, context.remoteAddress)],
        ["/healthz", health.live],
        ["/readyz", health.ready],
        ["/metrics", health.metrics],
      ]),
      rest: async (request, response, context) => (await api())(request, response, context),
      meterOf: (path) => (path === "/token" ? tokenMeter : path.startsWith("/api/") ? apiMeter : undefined),
    },
    {
      slots: requestSlots,
      contextOf: (request) => ({ id: requestIds(request.headers["x-request-id"]), remoteAddress: addressOf(request).remoteAddress }),
      traced:
        tracing === undefined
          ? undefined
          : (request, response, { id, remoteAddress }, work) =>
              tracing.request({ request, response, id, remoteAddress, scheme: addressOf(request).scheme }, work),
    },
  );
  addServerMetrics(metrics, {
    maxConnections,
    config,
    database,
    health,
    keyPair,
    requestSlots,
    uploadSlots,
    connections: () => server.connections(),
    countUploads: (limit) => uploads.countOpen(limit),
    countDamagedBlobs: (limit) => countDamagedBlobs(database, limit),
    tracing,
    version: VERSION,
  });
  const metricsServer =
    config.metrics.listen === undefined
      ? undefined
      : await startMetricsServer(
          config.metrics.listen,
          new Map([
            ["/metrics", health.openMetrics],
            ["/healthz", health.live],
            ["/readyz", health.ready],
          ]),
          (error) => logger.error({ err: error }, "the metrics page failed"),
        );
  if (options.jobs) collector.start();

  return {
    port: server.port,
    generatedAdminPassword: first.created ? first.generatedPassword : undefined,
    async stop() {
      health.drain();
      await server.stop(config.http.shutdownGraceSeconds * SECOND);
      await metricsServer?.stop();
      await collector.stop();
      keyPair?.close();
      await foundation.close();
    },
  };
}
