// An unwanted deletion is undone: PostgreSQL archives its log, an image is deleted, and the database is restored to the moment before. The
// bytes still exist if `gc.graceSeconds` reaches back that far; if not, doctor names them and a push heals them. Not here: Berth's own
// backups (commands/backup), which restore the moments at which they were taken.
import assert from "node:assert/strict";
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { it, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { postgresSettings } from "../clients/storage.ts";
import { checkImage, makeImage, pushImage, type Image } from "../replicas/push-load.ts";
import { ask, expectStatus, until } from "../replicas/replicas.ts";
import { skipOrThrow } from "../tools/install.ts";
import { temporaryFolder } from "../tools/processes.ts";
import { archiveSettings, makeArchiveFolder, startAtMoment, startPostgres, takeBaseBackup, type PostgresServer } from "../tools/servers.ts";
import { runCommand, thisTree } from "../versions/release.ts";
import { flagsOf, startReplaceable, type Settings } from "../versions/replaceable.ts";

interface Archived {
  readonly postgres: PostgresServer;
  readonly archive: string;
}

async function startArchived(t: TestContext): Promise<Archived | undefined> {
  try {
    const archive = await makeArchiveFolder();
    t.after(() => rm(archive, { recursive: true, force: true }));
    const postgres = await startPostgres({ settings: archiveSettings(archive) });
    t.after(() => postgres.stop());
    return { postgres, archive };
  } catch (error) {
    skipOrThrow(t, error);
    return undefined;
  }
}

/** Waits until the log up to now is in the archive. */
async function archiveLog({ postgres, archive }: Archived): Promise<void> {
  const [row] = await postgres.query("select pg_walfile_name(pg_switch_wal()) as name");
  await until("the log is archived", async () => (await readdir(archive)).includes(String(row!["name"])));
}

it("point in time: brings back what was deleted, as far as the bytes were kept", async (t) => {
  const archived = await startArchived(t);
  if (archived === undefined) return;
  const { postgres, archive } = archived;
  const version = await thisTree();
  const store = await temporaryFolder("point-in-time");
  t.after(() => rm(store, { recursive: true, force: true }));
  const shared: Settings = {
    ...(await postgresSettings(postgres)),
    "storage.filesystem.directory": store,
    // Long enough for a push on a busy machine.
    "push.sparseImages": "refuse",
    "gc.leaseSeconds": "6s",
    "gc.intervalSeconds": "1s",
  };
  const layerFiles = async (image: Image): Promise<string[]> => {
    const hex = image.blobs[1]!.digest.slice("sha256:".length);
    const names = await readdir(join(store, "blobs"), { recursive: true });
    return names.filter((name) => name.includes(hex));
  };
  const remove = async (origin: string, image: Image): Promise<void> => {
    await expectStatus(await ask(origin, "DELETE", `/v2/library/app/manifests/${image.digest}`), 202);
  };
  const client = new pg.Client({ connectionString: shared["database.url"] });
  await client.connect();
  const isForgotten = async (image: Image): Promise<boolean> =>
    (await client.query("select 1 from blob where digest = $1", [image.blobs[1]!.digest])).rows.length === 0;

  const [wanted, hasty, later] = [makeImage(50_000), makeImage(50_000), makeImage(50_000)];
  const careless = await startReplaceable(t, version, { ...shared, "gc.graceSeconds": "0s" });
  await pushImage(careless.origin, "library/app", "hasty", hasty);
  await takeBaseBackup(postgres, archive);
  await pushImage(careless.origin, "library/app", "wanted", wanted);
  const [moment] = await postgres.query("select clock_timestamp()::text as now");
  // What is committed afterwards is later by the server's clock as well.
  await sleep(20);

  await remove(careless.origin, hasty);
  await until("the bytes go at once without a grace", async () => (await layerFiles(hasty)).length === 0);
  await careless.end();
  const careful = await startReplaceable(t, version, { ...shared, "gc.graceSeconds": "1h" });
  await remove(careful.origin, wanted);
  await until("the collector has forgotten the blob", () => isForgotten(wanted));
  assert.equal((await layerFiles(wanted)).length, 1);
  await pushImage(careful.origin, "library/app", "later", later);
  await client.end();
  await careful.end();
  await archiveLog(archived);

  const restored = await startAtMoment(archive, String(moment!["now"]));
  t.after(() => restored.stop());
  const url = new URL(shared["database.url"]!);
  url.port = String(restored.port);
  const settings: Settings = { ...shared, "database.url": url.href, "gc.graceSeconds": "1h" };
  const doctor = async (code: number, ...more: string[]): Promise<Record<string, unknown>[]> => {
    const args = flagsOf({ ...settings, data: join(store, "doctor") });
    const ended = await runCommand(version, ["doctor", "--json", ...more, ...args]);
    assert.equal(ended.code, code, ended.stdout + ended.stderr);
    const lines = ended.stdout.trim().split("\n");
    return lines.map((line) => JSON.parse(line) as Record<string, unknown>).filter(({ event }) => event === "problem");
  };
  const server = await startReplaceable(t, version, settings);
  await checkImage(server.origin, "library/app", "wanted", wanted);
  await expectStatus(await ask(server.origin, "GET", "/v2/library/app/manifests/later"), 404);
  const problems = await doctor(1, "--deep", "--repair");
  assert.deepEqual(
    problems.map(({ kind, subject }) => [kind, subject]),
    [["blob-missing", hasty.blobs[1]!.digest]],
  );
  await pushImage(server.origin, "library/app", "hasty", hasty);
  await checkImage(server.origin, "library/app", "hasty", hasty);
  await pushImage(server.origin, "library/app", "later", later);
  await checkImage(server.origin, "library/app", "later", later);
  assert.deepEqual(await doctor(0, "--deep"), []);
});
