// PostgreSQL's own disk is full: that of its tables, where it continues and refuses writes that need space, and that of its log, where it
// stops and does not start again. Not here: the embedded database on a full disk (disk-full.test.ts), other faults
// (network-database.test.ts).
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { chmod, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { it, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { postgresSettings } from "../clients/storage.ts";
import { skipOrThrow } from "../tools/install.ts";
import { temporaryFolder } from "../tools/processes.ts";
import { type PostgresServer, startPostgres } from "../tools/servers.ts";
import { type Answer, type AuditedServer, makeImage, type SmallImage, startAudited } from "./audited-session.ts";
import { runRole } from "./server-process.ts";
import { mountSmallDisk, type SmallDisk } from "./small-disk.ts";

const MIB = 1024 * 1024;

async function databaseOf(server: AuditedServer): Promise<object> {
  const { status, state, checks } = await server.readiness();
  return { status, state, database: checks["database"] };
}

/** Pushes small images, all of which the database holds, until one is refused; what was acknowledged is added to `kept`. */
async function pushUntilRefused(server: AuditedServer, kept: SmallImage[]): Promise<Answer> {
  for (;;) {
    const image = makeImage("library/app", `v-${randomUUID()}`, 15_000);
    for (const bytes of [image.config, image.layer]) {
      const answer = await server.pushBlob(image.repository, bytes);
      if (answer.status !== 201) return answer;
    }
    const answer = await server.putManifest(image);
    if (answer.status !== 201) return answer;
    kept.push(image);
  }
}

/** A documented refusal, which says when to retry. */
function assertRefused(answer: Answer, ...codes: readonly string[]): void {
  assert.ok(answer.code !== undefined && codes.includes(answer.code), answer.text);
  assert.equal(answer.status, answer.code === "STORAGE_FULL" ? 507 : 503);
  assert.match(answer.headers.get("retry-after") ?? "", /^\d+$/);
}

/** What a test is given. */
interface FullDatabase {
  readonly server: AuditedServer;
  readonly disk: SmallDisk;
  readonly postgres: PostgresServer;
}

/** A server on a PostgreSQL whose tables or log are on a small disk, and the rest elsewhere. */
async function withFullDatabase(t: TestContext, small: "filesIn" | "logIn", run: (parts: FullDatabase) => Promise<void>): Promise<void> {
  const disk = await mountSmallDisk(100).catch((error: unknown) => skipOrThrow(t, error));
  if (disk === undefined) return;
  const elsewhere = await temporaryFolder("database-disk");
  // For PostgreSQL's user, too.
  await chmod(elsewhere, 0o755);
  try {
    const postgres = await startPostgres({
      filesIn: elsewhere,
      logIn: elsewhere,
      [small]: disk.path,
      // No checkpoint, which would free space in the log by reusing its files.
      settings: ["checkpoint_timeout=1h", "max_wal_size=1GB"],
    }).catch((error: unknown) => skipOrThrow(t, error));
    if (postgres === undefined) return;
    try {
      const settings = { ...(await postgresSettings(postgres)), data: join(elsewhere, "berth"), "gc.intervalSeconds": "1s" };
      const server = await startAudited({ settings });
      try {
        await run({ server, disk, postgres });
        t.diagnostic(`${await server.audit()} answers of 5xx, each with its cause in the log`);
        assert.equal(await server.metric("berth_blobs_damaged"), 0);
      } finally {
        await server.kill();
      }
      const doctor = await runRole(["doctor", "--deep"], settings);
      assert.equal(doctor.code, 0, doctor.stdout + doctor.stderr);
    } finally {
      await postgres.stop();
    }
  } finally {
    await disk.close();
    await rm(elsewhere, { recursive: true, force: true });
  }
}

it("database disk: goes on reading while the disk of PostgreSQL's tables is full, and writing once it is not", (t) =>
  withFullDatabase(t, "filesIn", async ({ server, disk }) => {
    const kept: SmallImage[] = [];
    const first = makeImage("library/app", "first", 300_000);
    await server.push(first);
    kept.push(first);
    const gone = makeImage("library/app", "gone", 20_000);
    await server.push(gone);
    disk.fill();
    assertRefused(await pushUntilRefused(server, kept), "STORAGE_FULL");
    t.diagnostic(`${kept.length} pushes acknowledged before the first refusal`);
    await server.until("word of the full disk", async () => (await server.readiness()).checks["database"] === "STORAGE_FULL");
    assert.deepEqual(await databaseOf(server), { status: 200, state: "full", database: "STORAGE_FULL" });
    // The state stays although nobody writes: a probe is cached for a second.
    await sleep(2_500);
    assert.deepEqual(await databaseOf(server), { status: 200, state: "full", database: "STORAGE_FULL" });
    for (const image of kept) await server.pull(image);
    for (const path of ["/v2/library/app/tags/list", "/v2/_catalog", "/token?service=berth&scope=repository:library/app:pull"])
      assert.equal((await server.send("GET", path)).status, 200);
    assertRefused(await pushUntilRefused(server, kept), "STORAGE_FULL");
    // A deletion needs hardly any space: it succeeds, or is refused like the rest.
    const deletion = await server.send("DELETE", `/v2/library/app/manifests/${gone.digest}`);
    if (deletion.status !== 202) assertRefused(deletion, "STORAGE_FULL");

    disk.free();
    await server.until("readiness", async () => (await server.readiness()).state === "ok");
    const later = makeImage("library/app", "later", 300_000);
    await server.push(later);
    for (const image of [...kept, later]) await server.pull(image);
  }));

it("database disk: says that PostgreSQL is away when its log's disk is full, and loses nothing that it acknowledged", (t) =>
  withFullDatabase(t, "logIn", async ({ server, disk, postgres }) => {
    const kept: SmallImage[] = [];
    const first = makeImage("library/app", "first", 300_000);
    await server.push(first);
    kept.push(first);
    disk.fill();
    // This fills most of the log's last file of 16 MiB; pushes fill the rest.
    await postgres.query(`select pg_logical_emit_message(false, 'test', repeat('x', ${5 * MIB}))`);
    for (const refused of await Promise.all([1, 2, 3, 4].map(() => pushUntilRefused(server, kept))))
      assertRefused(refused, "UNAVAILABLE", "STORAGE_FULL");
    t.diagnostic(`${kept.length} pushes acknowledged before the first refusal`);
    // It stops, and does not start again: its recovery needs space in the log.
    await server.until("PostgreSQL's end", async () => (await readFile(postgres.logFile, "utf8")).includes("database system is shut down"));
    await server.until("word of it", async () => (await server.readiness()).checks["database"] === "UNAVAILABLE");
    assert.equal((await server.readiness()).status, 503);
    assert.equal((await server.send("GET", "/healthz")).status, 200);
    for (const [method, path] of [
      ["GET", "/v2/library/app/manifests/first"],
      ["GET", "/v2/library/app/tags/list"],
      ["POST", "/v2/library/app/blobs/uploads/"],
      ["DELETE", "/v2/library/app/manifests/first"],
    ] as const)
      assertRefused(await server.send(method, path), "UNAVAILABLE");

    disk.free();
    // As its service manager or an operator does.
    await postgres.crash();
    await postgres.resume();
    await server.until("readiness", async () => (await server.readiness()).state === "ok");
    for (const image of kept) await server.pull(image);
    const later = makeImage("library/app", "later", 300_000);
    await server.push(later);
    await server.pull(later);
  }));
