// `migrate` is killed in the middle, forwards and back, on both databases, and run again: it goes on, and the tables, indexes and triggers are
// those of a run that nobody disturbed, with everything in them. Not here: each step's own interruptions (apps/server/.../migrate*.test.ts).
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
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

/** Kills in each direction. Each costs a start of the program. */
const KILLS = Number(process.env["BERTH_TEST_MIGRATE_KILLS"] ?? 4);
/** The oldest step that is taken back: the tables themselves, with what is in them, stay. */
const BACK_TO = 1;

type ReadSchema = () => Promise<unknown>;

async function expectDone(version: Version, args: readonly string[]): Promise<void> {
  const ended = await runCommand(version, args);
  assert.equal(ended.code, 0, `${args[0]}: ${ended.stdout}${ended.stderr}`);
}

/** Runs a command and kills it after some time, or lets it end before; gives whether it was killed. */
async function runAndKill(version: Version, args: readonly string[], afterMs: number): Promise<boolean> {
  const child = spawn(process.execPath, [version.launcher, ...args], { stdio: "ignore", env: {} });
  const callOff = atOurEnd(() => child.kill("SIGKILL"));
  const ended = once(child, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
  const timer = new AbortController();
  await Promise.race([ended, sleep(afterMs, undefined, { signal: timer.signal }).catch(() => undefined)]);
  timer.abort();
  child.kill("SIGKILL");
  const [code, signal] = await ended;
  callOff();
  if (signal === null) assert.equal(code, 0);
  return signal !== null;
}

async function killMigrations(t: TestContext, settings: Settings, readSchema: ReadSchema): Promise<void> {
  const version = await thisTree();
  const server = await startReplaceable(t, version, settings);
  const images = Array.from({ length: 12 }, () => makeImage(20_000));
  for (const [at, image] of images.entries()) await pushImage(server.origin, `library/app-${at % 3}`, `v${at}`, image);
  await server.end();

  const command = flagsOf(settings);
  const goals = [BACK_TO, version.databaseVersion];
  const undisturbed: unknown[] = [];
  const tookMs: number[] = [];
  for (const goal of goals) {
    const startedAt = performance.now();
    await expectDone(version, ["migrate", "--to", String(goal), ...command]);
    tookMs.push(performance.now() - startedAt);
    undisturbed.push(await readSchema());
  }
  assert.notDeepEqual(undisturbed[0], undisturbed[1]);
  let killed = 0;
  for (let round = 0; round < KILLS; round++) {
    for (const [at, goal] of goals.entries()) {
      const args = ["migrate", "--to", String(goal), ...command];
      // The first half is the program's start, before it has reached the database.
      const [from, to] = [tookMs[at]! / 3, tookMs[at]! * 1.05];
      if (await runAndKill(version, args, from + randomInt(Math.ceil(to - from)))) killed++;
      await expectDone(version, args);
      assert.deepEqual(await readSchema(), undisturbed[at], `after a kill on the way to ${goal}`);
    }
  }
  t.diagnostic(`${killed} of ${KILLS * goals.length} runs were killed before their end`);
  await server.replaceBy(version);
  for (const [at, image] of images.entries()) await checkImage(server.origin, `library/app-${at % 3}`, `v${at}`, image);
  await server.end();
  await expectDone(version, ["doctor", "--deep", ...command]);
}

it("goes on after a kill on SQLite", async (t) => {
  const data = await temporaryFolder("migrate-kill");
  t.after(() => rm(data, { recursive: true, force: true, maxRetries: 3 }));
  await killMigrations(t, { data, "auth.secretKey": randomBytes(32).toString("hex") }, async () => {
    const database = new DatabaseSync(join(data, "berth.db"), { readOnly: true });
    try {
      return database.prepare("select type, name, sql from sqlite_schema order by type, name").all();
    } finally {
      database.close();
    }
  });
});

it("goes on after a kill on PostgreSQL", async (t) => {
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
  await killMigrations(t, settings, () => listSchema(settings["database.url"]!));
});

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
