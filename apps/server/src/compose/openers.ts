// Opens what the configuration names: database, blob store, tracing. Packages that only some configurations need are imported only here,
// when they are needed: drivers cost memory and start-up time. Not here: the foundation of every role (foundation.ts), the parts themselves
// (platform/, content/).
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { Config } from "../config.ts";
import type { BlobStore } from "../content/blobs/blob-store.ts";
import { createFilesystemStore } from "../content/blobs/filesystem.ts";
import { SECOND_MS } from "../platform/clock.ts";
import type { Database, Executor } from "../platform/database/database.ts";
import { SQLITE_RESERVE_BYTES } from "../platform/database/disk-reserve.ts";
import { readerOfPostgres, type DatabaseReader } from "../platform/database/database-reader.ts";
import type { PostgresDatabase } from "../platform/database/postgres.ts";
import { parsePostgresAddress } from "../platform/database/postgres-hosts.ts";
import type { Logger } from "../platform/log.ts";
import { StartupError } from "../platform/startup-error.ts";
import type { Tracing } from "../platform/tracing.ts";
import { VERSION } from "../platform/version.ts";

/** Starts tracing if it is configured; its packages take 15 MB and 50 ms, which others do not pay. */
export async function openTracing(config: Config, logger: Logger): Promise<Tracing | undefined> {
  const { endpoint, headers, sampleRatio, serviceName } = config.tracing;
  if (endpoint === undefined) return undefined;
  const otlp = await import("../platform/tracing-otlp.ts");
  return otlp.openTracing({
    endpoint,
    headers,
    sampleRatio,
    serviceName,
    version: VERSION,
    onFailure: (error) => logger.warn({ err: error, endpoint }, "the collector of traces does not take them; they are lost"),
  });
}

/** Opens the configured database without migrating it. `onSync` is called after each wait for the embedded one's disk. */
export async function openDatabase(config: Config, logger: Logger, onSync?: (isGood: boolean, seconds: number) => void): Promise<Database> {
  if (config.database.url === undefined) {
    const { openSqlite } = await import("../platform/database/sqlite.ts");
    return openSqlite({
      path: sqlitePath(config),
      onBackgroundError: noteFailures(logger),
      ...(onSync === undefined ? {} : { onSync }),
      reserveBytes: SQLITE_RESERVE_BYTES,
      onRoom: () => logger.info("there is room on the database's disk again"),
    });
  }
  return connectPostgres(config, config.database.url, logger);
}

async function connectPostgres(config: Config, url: string, logger: Logger): Promise<PostgresDatabase> {
  const { openPostgres } = await import("../platform/database/postgres.ts");
  return openPostgres({
    url,
    maxConnections: config.database.maxConnections,
    acquireTimeoutMs: config.database.acquireTimeoutSeconds * SECOND_MS,
    onBackgroundError: noteFailures(logger),
  });
}

function noteFailures(logger: Logger): (error: unknown) => void {
  return (error) => logger.error({ err: error }, "the database failed in the background");
}

/** The configured database's name for confirmations: the file's path, or hosts and name. It contains no secret. */
export function nameDatabase(config: Config): string {
  if (config.database.url === undefined) return sqlitePath(config);
  const address = parsePostgresAddress(config.database.url);
  if (!address.ok) return "";
  const path = URL.parse(address.hosts[0]!.url)?.pathname ?? "";
  return `${address.hosts.map(({ shown }) => shown).join(",")}${decodeURIComponent(path)}`;
}

/** For commands that need an existing database. Errors: `StartupError` if the embedded one does not exist. */
export function requireDatabase(config: Config): void {
  const path = sqlitePath(config);
  if (config.database.url !== undefined || existsSync(path)) return;
  throw new StartupError(`There is no database ${path}: choose the server's data directory with --data.`);
}

/** Opens the configured database for reading only, also beside a running server. Errors: `StartupError` if there is none. */
export async function openReader(config: Config, logger: Logger): Promise<DatabaseReader> {
  if (config.database.url !== undefined) return readerOfPostgres(await connectPostgres(config, config.database.url, logger));
  requireDatabase(config);
  const { openSqliteReader } = await import("../platform/database/sqlite.ts");
  return openSqliteReader(sqlitePath(config));
}

/** Runs one transaction on the embedded database, also beside a running server; durable when it resolves. */
export async function transactBeside<T>(config: Config, work: (tx: Executor) => Promise<T>): Promise<T> {
  const { transactBesideServer } = await import("../platform/database/sqlite.ts");
  return transactBesideServer(sqlitePath(config), work);
}

/** The configured store's name for messages, with the setting that names it. */
export function nameStore({ storage: { kind, filesystem, s3 } }: Config): string {
  if (kind === "filesystem") return `the store ${filesystem.directory} (storage.filesystem.directory)`;
  return `the store in the bucket ${s3.bucket}${s3.prefix === undefined ? "" : ` under ${s3.prefix}`} (storage.s3.bucket, storage.s3.prefix)`;
}

/** Errors: `StartupError` if the store's directory, or a part of its path, is a file: waiting or mounting would not help. */
export async function refuseFileAsStore({ storage: { kind, filesystem } }: Config): Promise<void> {
  if (kind !== "filesystem") return;
  try {
    if ((await stat(filesystem.directory)).isDirectory()) return;
  } catch (error) {
    // A missing directory is created or reported later.
    if ((error as NodeJS.ErrnoException).code !== "ENOTDIR") return;
  }
  throw new StartupError(`storage.filesystem.directory: ${filesystem.directory} is a file or below one, and no directory for the store.`);
}

/**
 * Opens the configured store without a request. `isNew`: whether the database knows no store yet, so that one may be created; if it is not
 * given, it may be.
 */
export async function openStore(config: Config, isNew?: () => Promise<boolean>): Promise<BlobStore> {
  // Identifies this process among all that ever write to the store.
  const processId = randomBytes(8).toString("hex");
  const { kind, filesystem, s3 } = config.storage;
  if (kind === "filesystem") {
    await refuseFileAsStore(config);
    return createFilesystemStore({ root: filesystem.directory, processId, isNew });
  }
  const { createS3Store } = await import("../content/blobs/s3.ts");
  return createS3Store({ ...s3, processId });
}

/** Tests what the configured store supports, for the log. Errors: UNAVAILABLE. */
export async function tryStore({ storage: { kind, s3 } }: Config, logger: Logger): Promise<void> {
  if (kind === "filesystem") return;
  const { tryS3Store } = await import("../content/blobs/s3.ts");
  const capabilities = await tryS3Store({ ...s3, processId: randomBytes(8).toString("hex") });
  if (capabilities === undefined) logger.error("the S3 service has no room; it was not probed");
  else logger.info({ capabilities }, "the S3 service was probed");
}

function sqlitePath(config: Config): string {
  return join(config.data, "berth.db");
}
