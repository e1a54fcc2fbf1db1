// A Berth of its own on SQLite or PostgreSQL with so many of everything: started, given users and anchors through the API, stopped, filled,
// and started again. Not here: the rows (seeds.ts), what is measured (cases.ts).
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import type { Database } from "../../../apps/server/src/platform/database/database.ts";
import { openPostgres } from "../../../apps/server/src/platform/database/postgres.ts";
import { openSqlite } from "../../../apps/server/src/platform/database/sqlite.ts";
import type { DialectName } from "../../../apps/server/src/platform/database/statement.ts";
import { artifactManifest, emptyBlob } from "../content.ts";
import type { Credentials } from "../http-exchange.ts";
import { programs, startRegistry } from "../registries.ts";
import type { Registry, RegistryProcess } from "../registries.ts";
import { openSession, pushBlob, putManifest } from "../registry-session.ts";
import { numbered, places, seedDatabase, wideRepository } from "./seeds.ts";
import type { Anchors } from "./seeds.ts";

/** How many repositories the readers of few may see. */
export const visibleRepositories = 10;

/** A filled registry, stopped from running (SIGSTOP) until it is measured. */
export interface ScaledRegistry {
  readonly label: string;
  readonly dialect: DialectName;
  readonly count: number;
  readonly blobs: number;
  readonly registry: Registry;
  readonly process: RegistryProcess;
  readonly anchors: Anchors;
  /** A user that is a member of ten projects, and a robot whose scopes name ten repositories of the wide project. */
  readonly member: Credentials;
  readonly robot: Credentials;
  readonly seedSeconds: number;
  /** Opens its database beside it (PostgreSQL), or while it is stopped (SQLite). */
  readonly openDatabase: () => Promise<Database>;
}

/** What to make. `databaseUrl` undefined: SQLite. */
export interface ScaleSize {
  readonly count: number;
  readonly blobs: number;
  readonly databaseUrl: string | undefined;
}

/** What a run lends to its parts. */
export interface ScaleRun {
  readonly folder: string;
  readonly progress: (text: string) => void;
  /** Is told of every process, so that none outlives the run. */
  readonly track: (process: RegistryProcess) => void;
}

/** Starts, fills and starts again. */
export async function startScaled({ folder, progress, track }: ScaleRun, size: ScaleSize): Promise<ScaledRegistry> {
  const { count, databaseUrl } = size;
  const dialect: DialectName = databaseUrl === undefined ? "sqlite" : "postgres";
  const label = `${dialect} ${count.toExponential(0).replace("+", "")}`;
  const openDatabase = (): Promise<Database> => openSeeded(join(folder, `${dialect}-${count}`), databaseUrl);
  const registry = await startBerth(join(folder, `${dialect}-${count}`), databaseUrl);
  const { process } = registry;
  if (process === undefined) throw new Error("a registry without a process");
  track(process);
  try {
    const anchors = await pushAnchors(registry);
    const member: Credentials = { user: "reader", password: "a password of the bench" };
    const robot = await prepareAccounts(registry, member, count);
    await process.stop();
    const startedAt = performance.now();
    const database = await openDatabase();
    try {
      await seedDatabase(database, anchors, size, (text) => progress(`${label}: ${text}`));
    } finally {
      await database.close();
    }
    const seedSeconds = (performance.now() - startedAt) / 1000;
    await process.restart();
    await joinProjects(registry, member, count);
    process.pause();
    return { label, dialect, count, blobs: size.blobs, registry, process, anchors, member, robot, seedSeconds, openDatabase };
  } catch (error) {
    await process.stop();
    throw error;
  }
}

/** Starts Berth as the bench does, on a database of our choice. */
export async function startBerth(folder: string, databaseUrl: string | undefined, env: Readonly<Record<string, string>> = {}) {
  const berth = programs.find((program) => program.name === "berth");
  if (berth === undefined) throw new Error("the bench does not know Berth");
  const databaseSettings =
    databaseUrl === undefined ? {} : { BERTH_DATABASE_URL: databaseUrl, BERTH_AUTH_SECRET_KEY: randomBytes(32).toString("base64") };
  return startRegistry(
    {
      ...berth,
      async prepare(own, port) {
        const launch = await berth.prepare(own, port);
        return { ...launch, env: { ...launch.env, ...env, ...databaseSettings } };
      },
    },
    folder,
  );
}

/** Opens the database of a stopped registry that `startBerth` made. */
export async function openSeeded(folder: string, databaseUrl: string | undefined): Promise<Database> {
  const onBackgroundError = (error: unknown): void => {
    throw error;
  };
  if (databaseUrl === undefined) return openSqlite({ path: join(folder, "berth", "data", "berth.db"), onBackgroundError });
  return openPostgres({ url: databaseUrl, maxConnections: 2, acquireTimeoutMs: 10_000, onBackgroundError });
}

async function pushAnchors(registry: Registry): Promise<Anchors> {
  const tagged = artifactManifest("scale: every tag names this");
  const subject = artifactManifest("scale: every referrer names this");
  const session = openSession(registry.endpoint, 1);
  try {
    for (const [repository, manifest] of [
      [places.tags, tagged],
      [places.referrers, subject],
      [places.blobs, tagged],
    ] as const) {
      await pushBlob(session, repository, emptyBlob);
      await putManifest(session, repository, "anchor", manifest);
    }
  } finally {
    session.close();
  }
  return { tagged, subject };
}

async function prepareAccounts(registry: Registry, member: Credentials, count: number): Promise<Credentials> {
  await callApi(registry, "POST", "/projects", { name: places.wide, visibility: "private" }, 201);
  await callApi(registry, "POST", "/users", { name: member.user, password: member.password }, 201);
  const scopes = spread(count).map((index) => ({ repositories: wideRepository(index), actions: ["pull"] }));
  const robot = await callApi(registry, "POST", `/projects/${places.wide}/robots`, { name: "ten", scopes }, 201);
  const { login, secret } = JSON.parse(robot) as { login: string; secret: string };
  return { user: login, password: secret };
}

async function joinProjects(registry: Registry, member: Credentials, count: number): Promise<void> {
  for (const index of spread(count)) {
    const path = `/projects/${places.narrow}${numbered(index)}/members/${member.user}`;
    await callApi(registry, "PUT", path, { role: "developer" }, 200);
  }
}

/** Ten places, from the first to the last. */
function spread(count: number): number[] {
  return Array.from({ length: visibleRepositories }, (_, index) => Math.floor((index * (count - 1)) / (visibleRepositories - 1)));
}

async function callApi(registry: Registry, method: string, path: string, body: unknown, expected: number): Promise<string> {
  const { base, credentials } = registry.endpoint;
  const authorization = `Basic ${Buffer.from(`${credentials?.user}:${credentials?.password}`).toString("base64")}`;
  const answer = await fetch(`${base}/api/v1${path}`, {
    method,
    headers: { authorization, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const text = await answer.text();
  if (answer.status !== expected) throw new Error(`${method} ${path} answered ${answer.status}: ${text.slice(0, 300)}`);
  return text;
}
