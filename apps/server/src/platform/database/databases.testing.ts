// Runs a suite on every engine: on SQLite, unless BERTH_TEST_SQLITE is "no" because another run does it; on PostgreSQL, if
// BERTH_TEST_POSTGRES_URL names a server on which databases may be created.
import { randomBytes } from "node:crypto";
import { statSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import pg from "pg";
import { systemClock } from "../clock.ts";
import type { Database } from "./database.ts";
import { readerOfPostgres, type DatabaseReader } from "./database-reader.ts";
import { migrate } from "./migrate.ts";
import { openPostgres, type PostgresDatabase } from "./postgres.ts";
import { openSqlite, openSqliteReader } from "./sqlite.ts";
import type { DialectName } from "./statement.ts";
import { guardTransactions } from "./transaction-guard.testing.ts";

/** A new database for a suite, and its end. */
export interface TestDatabase {
  readonly database: Database;
  /** Another connection pool (another replica) on the same database; on SQLite the same object. */
  open(options?: { onBackgroundError?: (error: unknown) => void }): Promise<Database>;
  /** A reader of the same database, as another process would open it. */
  openReader(): Promise<DatabaseReader>;
  end(): Promise<void>;
}

function onBackgroundError(error: unknown): void {
  throw error;
}

/** Creates a migrated SQLite database in a folder of its own. */
export async function createSqliteForTest(options: { migrated?: boolean } = {}): Promise<TestDatabase & { walBytes(): number }> {
  const folder = await mkdtemp(join(tmpdir(), "berth-db-"));
  const database = guardTransactions(await openSqlite({ path: join(folder, "berth.db"), onBackgroundError }));
  if (options.migrated !== false) await migrate(database, systemClock);
  return {
    database,
    open: async () => database,
    openReader: async () => openSqliteReader(join(folder, "berth.db")),
    walBytes: () => statSync(join(folder, "berth.db-wal")).size,
    async end() {
      await database.close();
      await rm(folder, { recursive: true });
    },
  };
}

/** Creates a migrated PostgreSQL database on the server at `serverUrl`. */
export async function createPostgresForTest(serverUrl: string, options: { migrated?: boolean } = {}): Promise<TestDatabase> {
  const name = `berth_${randomBytes(8).toString("hex")}`;
  const admin = new pg.Client({ connectionString: serverUrl });
  await admin.connect();
  await admin.query(`create database ${name}`);
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  const opened: Database[] = [];
  const connect = (onError = onBackgroundError): PostgresDatabase =>
    openPostgres({ url: url.href, maxConnections: 8, acquireTimeoutMs: 10_000, onBackgroundError: onError });
  async function open(more: { onBackgroundError?: (error: unknown) => void } = {}): Promise<Database> {
    const database = guardTransactions(connect(more.onBackgroundError));
    opened.push(database);
    return database;
  }
  const database = await open();
  if (options.migrated !== false) await migrate(database, systemClock);
  return {
    database,
    open,
    openReader: async () => readerOfPostgres(connect()),
    async end() {
      await Promise.all(opened.map((each) => each.close()));
      await admin.query(`drop database ${name} with (force)`);
      await admin.end();
    },
  };
}

/** Calls `suite` once for each engine, inside a `describe` that names it; a missing PostgreSQL is a named skip. */
export function forEachDatabase(
  name: string,
  suite: (create: (options?: { migrated?: boolean }) => Promise<TestDatabase>, dialect: DialectName) => void,
): void {
  if (process.env["BERTH_TEST_SQLITE"] !== "no") describe(`${name} on sqlite`, () => suite(createSqliteForTest, "sqlite"));
  const serverUrl = process.env["BERTH_TEST_POSTGRES_URL"];
  if (serverUrl === undefined) {
    it(`${name} on postgres`, { skip: "BERTH_TEST_POSTGRES_URL is not set; npm run test:all sets it" }, () => undefined);
  } else {
    describe(`${name} on postgres`, () => suite((options) => createPostgresForTest(serverUrl, options), "postgres"));
  }
}
