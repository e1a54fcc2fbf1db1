// The base of flows that run on both databases: settings of a new registry, and direct access to its database. Not here: the registry
// itself (registry.testing.ts).
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { startTestRegistry, temporaryFolder, type TestRegistry } from "./registry.testing.ts";

/** Flags by name. */
export type Settings = Readonly<Record<string, string>>;

const SERVER_URL = process.env["BERTH_TEST_POSTGRES_URL"];
/** The key of registries in this process (registry.testing.ts). */
const SECRET_KEY = Buffer.alloc(32, 9).toString("base64");

/** The same as arguments. */
export const flagsOf = (settings: Settings): string[] => Object.entries(settings).map(([name, value]) => `--${name}=${value}`);

type Row = Readonly<Record<string, unknown>>;

/** Creates settings of a new registry with a directory of its own, and returns them with access to its database. */
export interface Engine {
  readonly name: string;
  readonly skip: string | false;
  make(t: TestContext): Promise<{ settings: Settings; content: string; sql(text: string): Promise<readonly Row[]> }>;
}

/** A new registry's settings on the embedded database. */
export async function makeSqlite(t: TestContext) {
  const folder = await temporaryFolder();
  t.after(() => folder.end());
  const content = join(folder.path, "content");
  const settings = { data: folder.path, "storage.filesystem.directory": content, "auth.secretKey": SECRET_KEY };
  return {
    settings,
    content,
    async sql(text: string) {
      const database = new DatabaseSync(join(folder.path, "berth.db"));
      try {
        return database.prepare(text).all() as readonly Row[];
      } finally {
        database.close();
      }
    },
  };
}

/** The same on PostgreSQL. */
export async function makePostgres(t: TestContext) {
  const { settings, content } = await makeSqlite(t);
  const name = `berth_${randomBytes(8).toString("hex")}`;
  const admin = new pg.Client({ connectionString: SERVER_URL });
  await admin.connect();
  await admin.query(`create database ${name}`);
  const url = new URL(SERVER_URL!);
  url.pathname = `/${name}`;
  t.after(async () => {
    await admin.query(`drop database ${name} with (force)`);
    await admin.end();
  });
  return {
    settings: { ...settings, "database.url": url.href },
    content,
    async sql(text: string) {
      const client = new pg.Client({ connectionString: url.href });
      await client.connect();
      try {
        return (await client.query<Row>(text)).rows as readonly Row[];
      } finally {
        await client.end();
      }
    },
  };
}

/** Both; PostgreSQL is skipped where there is none. */
export const ENGINES: readonly [Engine, Engine] = [
  { name: "sqlite", skip: false, make: makeSqlite },
  { name: "postgres", skip: SERVER_URL === undefined ? "BERTH_TEST_POSTGRES_URL is not set" : false, make: makePostgres },
];

/** Runs a registry for a moment. */
export async function during<T>(settings: Settings, work: (registry: TestRegistry) => Promise<T>): Promise<T> {
  const registry = await startTestRegistry(settings);
  try {
    return await work(registry);
  } finally {
    await registry.stop();
  }
}

/** Waits until a condition holds, for a minute by default. */
export async function until(what: string, isSo: () => Promise<boolean>, mostMs = 60_000): Promise<void> {
  const deadline = performance.now() + mostMs;
  while (!(await isSo())) {
    if (performance.now() > deadline) assert.fail(`it never came to this: ${what}`);
    await sleep(50);
  }
}

/** Status and code of an error. */
export async function codeOf(answer: Response): Promise<string> {
  const { errors } = (await answer.json()) as { errors: { code: string }[] };
  return `${answer.status} ${errors[0]?.code}`;
}
