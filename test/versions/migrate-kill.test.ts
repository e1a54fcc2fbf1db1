// `migrate` is killed in the middle, forwards and back, on both databases, and run again: it continues, and the tables, indexes and
// triggers are those of an undisturbed run, with all content. Not here: each step's own interruptions (apps/server/.../migrate*.test.ts).
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { statSync } from "node:fs";
import { randomBytes, randomInt } from "node:crypto";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { rm } from "node:fs/promises";
import { it, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { postgresSettings } from "../clients/storage.ts";
import { checkImage, makeImage, pushImage } from "../replicas/push-load.ts";
import { skipOrThrow } from "../tools/install.ts";
import { atOurEnd, temporaryFolder } from "../tools/processes.ts";
import { startPostgres } from "../tools/servers.ts";
import { runCommand, thisTree, type Version } from "./release.ts";
import { flagsOf, startReplaceable, type Settings } from "./replaceable.ts";

/** Kills in each direction on SQLite. Each costs a start of the program. */
const KILLS = Number(process.env["BERTH_TEST_MIGRATE_KILLS"] ?? 4);
/** Tables that others write to while PostgreSQL's are changed. Steps have to wait for each of them at some point. */
const BUSY_TABLES = ["member", "repository_blob", "manifest", "tag"];
/** The version of 0.1.0. */
const BACK_TO = 3;

type ReadSchema = () => Promise<unknown>;

async function expectDone(version: Version, args: readonly string[]): Promise<void> {
  const ended = await runCommand(version, args);
  assert.equal(ended.code, 0, `${args[0]}: ${ended.stdout}${ended.stderr}`);
}

/** Waits for the moment to kill; gives up when the command has ended by itself. */
type WaitForMoment = (hasEnded: () => boolean) => Promise<void>;

/** Runs a command and kills it at a moment, unless it ends before; returns whether it was killed. */
async function runAndKill(version: Version, args: readonly string[], moment: WaitForMoment): Promise<boolean> {
  const child = spawn(process.execPath, [version.launcher, ...args], { stdio: "ignore", env: {} });
  const callOff = atOurEnd(() => child.kill("SIGKILL"));
  const ended = once(child, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
  await moment(() => child.exitCode !== null);
  child.kill("SIGKILL");
  const [code, signal] = await ended;
  callOff();
  if (signal === null) assert.equal(code, 0);
  return signal !== null;
}

/** One way to disturb a migration. */
type Disturbance = (run: (moment: WaitForMoment) => Promise<void>) => Promise<void>;

async function killMigrations(
  t: TestContext,
  settings: Settings,
  readSchema: ReadSchema,
  disturbances: readonly Disturbance[],
): Promise<void> {
  const version = await thisTree();
  const server = await startReplaceable(t, version, settings);
  const images = Array.from({ length: 12 }, () => makeImage(20_000));
  for (const [at, image] of images.entries()) await pushImage(server.origin, `library/app-${at % 3}`, `v${at}`, image);
  await server.end();

  const command = flagsOf(settings);
  const goals = [BACK_TO, version.databaseVersion];
  const undisturbed: unknown[] = [];
  for (const goal of goals) {
    await expectDone(version, ["migrate", "--to", String(goal), "--yes", ...command]);
    undisturbed.push(await readSchema());
  }
  assert.notDeepEqual(undisturbed[0], undisturbed[1]);
  let killed = 0;
  for (const disturb of disturbances) {
    for (const [at, goal] of goals.entries()) {
      const args = ["migrate", "--to", String(goal), "--yes", ...command];
      await disturb(async (moment) => {
        if (await runAndKill(version, args, moment)) killed++;
      });
      await expectDone(version, args);
      assert.deepEqual(await readSchema(), undisturbed[at], `after a kill on the way to ${goal}`);
    }
  }
  t.diagnostic(`${killed} of ${disturbances.length * goals.length} runs were killed before their end`);
  assert.ok(killed > 0, "nothing was killed");
  await server.replaceBy(version);
  for (const [at, image] of images.entries()) await checkImage(server.origin, `library/app-${at % 3}`, `v${at}`, image);
  await server.end();
  await expectDone(version, ["doctor", "--deep", ...command]);
}

it("migrate kill: goes on after a kill on SQLite", async (t) => {
  const data = await temporaryFolder("migrate-kill");
  t.after(() => rm(data, { recursive: true, force: true, maxRetries: 3 }));
  const log = join(data, "berth.db-wal");
  /** Some moments after the first commit of a step has grown the log; only opening the database writes a few pages. */
  const soonAfterFirstCommit: WaitForMoment = async (hasEnded) => {
    const sizeOf = (): number => statSync(log, { throwIfNoEntry: false })?.size ?? 0;
    while (!hasEnded() && sizeOf() < 40_000) await sleep(1);
    await sleep(randomInt(12));
  };
  const readSchema: ReadSchema = async () => {
    const database = new DatabaseSync(join(data, "berth.db"), { readOnly: true });
    try {
      return database.prepare("select type, name, sql from sqlite_schema order by type, name").all();
    } finally {
      database.close();
    }
  };
  const settings: Settings = { data, "auth.secretKey": randomBytes(32).toString("hex") };
  const disturbances = Array.from({ length: KILLS }, (): Disturbance => (run) => run(soonAfterFirstCommit));
  await killMigrations(t, settings, readSchema, disturbances);
});

it("migrate kill: goes on after a kill on PostgreSQL", async (t) => {
  let postgres: Awaited<ReturnType<typeof startPostgres>>;
  try {
    postgres = await startPostgres();
  } catch (error) {
    return skipOrThrow(t, error);
  }
  t.after(() => postgres.stop());
  const data = await temporaryFolder("migrate-kill");
  t.after(() => rm(data, { recursive: true, force: true, maxRetries: 3 }));
  const settings: Settings = { data, ...(await postgresSettings(postgres)) };
  const url = settings["database.url"]!;
  await killMigrations(
    t,
    settings,
    () => listSchema(url),
    BUSY_TABLES.map((table) => (run) => whileBusy(url, table, run)),
  );
});

/** Runs something while an open transaction has written to a table; its moment is when somebody waits for that transaction. */
async function whileBusy(url: string, table: string, run: (moment: WaitForMoment) => Promise<void>): Promise<void> {
  const [holder, watcher] = [new pg.Client({ connectionString: url }), new pg.Client({ connectionString: url })];
  await holder.connect();
  await watcher.connect();
  try {
    await holder.query(`begin; lock table ${table} in row exclusive mode`);
    await run(async (hasEnded) => {
      const isAwaited = async (): Promise<boolean> =>
        (await watcher.query("select 1 from pg_locks where not granted and pid <> pg_backend_pid()")).rows.length > 0;
      while (!hasEnded() && !(await isAwaited())) await sleep(5);
    });
  } finally {
    await holder.end();
    await watcher.end();
  }
}

async function listSchema(url: string): Promise<unknown> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query(`
      select 'column' as kind, table_name || '.' || column_name as name, data_type || ' ' || is_nullable || coalesce(column_default, '') as what
        from information_schema.columns where table_schema = 'public'
      union all select 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid) || ' ' || indisvalid::text
        from pg_index join pg_class on pg_class.oid = indrelid where relnamespace = 'public'::regnamespace
      union all select 'trigger', tgrelid::regclass || '.' || tgname, pg_get_triggerdef(oid) from pg_trigger where not tgisinternal
      union all select 'function', proname, pg_get_functiondef(oid) from pg_proc where pronamespace = 'public'::regnamespace
      union all select 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid) from pg_constraint
        where connamespace = 'public'::regnamespace
      order by 1, 2`);
    return rows;
  } finally {
    await client.end();
  }
}
