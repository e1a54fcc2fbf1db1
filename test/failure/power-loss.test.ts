// Cuts the power under load: the server is killed, its files are rebuilt with only what was synced, or with that and a random part of the
// rest, and everything acknowledged must exist. The test also proves itself: without the syncs it finds losses. Not here: crashes of the
// process alone (kill.test.ts).
import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it, type TestContext } from "node:test";
import { cannotRunHere, ToolUnavailable } from "../tools/install.ts";
import { temporaryFolder } from "../tools/processes.ts";
import { buildSyncedLibrary, rebuild, syncedEnvironment } from "./power-cut.ts";
import { createProject, createRegistryLoad, killUnderLoad, LOAD_SETTINGS, type RegistryLoad } from "./registry-load.ts";
import { roundsOf } from "./rounds.ts";
import { startServer } from "./server-process.ts";
import { openStored } from "./stored.ts";

const rounds = roundsOf({ usual: 3, long: 60 });
/** The most changes before the cut, chosen at random: some 80 pushes write enough for a checkpoint of the log. */
const MAX_CHANGES = 300;
/** Enough that a kept image has a blob in the store, except in one run in a hundred thousand. */
const SOME_CHANGES = 40;
/** Long enough that most pushes of this load end in half of it on a busy machine. */
const LEASE_SECONDS = 5;
const SETTINGS = { ...LOAD_SETTINGS, "gc.leaseSeconds": `${LEASE_SECONDS}s`, "gc.graceSeconds": "0s", "gc.intervalSeconds": "1s" };

describe("power loss on SQLite and a directory", () => {
  let folder: string;
  let library: string | undefined;
  let missing = "";
  let count = 0;

  before(async () => {
    folder = await temporaryFolder("power");
    library = await buildSyncedLibrary(folder).catch((error: unknown) => {
      if (!(error instanceof ToolUnavailable)) throw error;
      missing = cannotRunHere + error.message;
      return undefined;
    });
  });
  after(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }));

  /** Compares the content with what was acknowledged, and runs doctor. */
  async function compare(load: RegistryLoad, origin: string, data: string, learns: boolean) {
    const stored = await openStored({ data, ...SETTINGS });
    try {
      const found = await load.check(origin, stored, { learns });
      assert.deepEqual((await stored.examine()).problems, []);
      return found;
    } finally {
      await stored.close();
    }
  }

  /** One cut: returns what each rebuilt disk held, or throws what it lacked. */
  async function cutPower(
    context: TestContext,
    options: { ignore?: string; changes: number; isFirstStart?: boolean; disks: readonly ("least" | "some")[] },
  ): Promise<void> {
    const base = join(folder, `cut-${++count}`);
    const [root, shadow] = [join(base, "disk"), join(base, "shadow")];
    await mkdir(root, { recursive: true });
    await mkdir(shadow);
    const env = syncedEnvironment({ library: library!, root, shadow, ...(options.ignore === undefined ? {} : { ignore: options.ignore }) });
    const load = createRegistryLoad({ clients: 6, leaseMs: LEASE_SECONDS * 1000 });
    // A server that has been started before, unless its first moments are the question.
    for (const changes of options.isFirstStart === true ? [options.changes] : [1, options.changes]) {
      const server = await startServer({ settings: { data: join(root, "berth"), ...SETTINGS }, env });
      try {
        await createProject(server.origin);
        await compare(load, server.origin, join(root, "berth"), true);
        await killUnderLoad(load, server, { changes, lateMs: 50 });
      } finally {
        await server.kill();
      }
    }
    for (const [i, kind] of options.disks.entries()) {
      const target = join(base, `rebuilt-${i}`);
      await rebuild({ root, shadow, target }, kind);
      const again = await startServer({ settings: { data: join(target, "berth"), ...SETTINGS } });
      try {
        const { images, blobs } = await compare(load, again.origin, join(target, "berth"), false);
        context.diagnostic(`${load.acknowledged} changes acknowledged; ${images} images of ${blobs} blobs are whole (${kind})`);
      } finally {
        await again.kill();
      }
    }
    await rm(base, { recursive: true, force: true, maxRetries: 3 });
  }

  it(`keeps everything acknowledged (${rounds} cuts)`, async (context) => {
    if (library === undefined) return context.skip(missing);
    for (let round = 0; round < rounds; round++)
      await cutPower(context, { changes: 1 + randomInt(MAX_CHANGES), disks: ["least", "some", "some"] });
  });

  it("keeps what was acknowledged in a server's first moments", async (context) => {
    if (library === undefined) return context.skip(missing);
    for (const changes of [1, 3, 10]) await cutPower(context, { changes, isFirstStart: true, disks: ["least", "some"] });
  });

  // The purpose of each sync during a push: without it, something acknowledged is lost.
  for (const [name, ignore, changes] of [
    ["the log's sync", "*/berth.db-wal", SOME_CHANGES],
    // It only matters if the log restarted over what was copied out of it: that needs a checkpoint.
    ["the database file's sync before the log begins anew", "*/berth.db", MAX_CHANGES],
    ["the sync of the data directory, which holds database and log", "*/berth", SOME_CHANGES],
    ["the sync of a blob's bytes", "*/uploads/*", SOME_CHANGES],
    ["the sync of a blob's directory entry", "*/blobs/sha256/??", SOME_CHANGES],
    ["the sync of a new directory's own entry", "*/blobs/sha256", SOME_CHANGES],
    ["the sync of an algorithm's directory's entry", "*/content/blobs", SOME_CHANGES],
    ["the sync of the store's two directories' entries", "*/berth/content", SOME_CHANGES],
  ] as const) {
    it(`would find it were ${name} missing`, async (context) => {
      if (library === undefined) return context.skip(missing);
      await assert.rejects(
        cutPower(context, { ignore, changes, disks: ["least"] }),
        // The forms in which a lost write appears: a change is undone, content is damaged, or the server does not start.
        /acknowledged, and gone|deleted, and there|nobody was told|lacks|_DAMAGED|malformed|UNAVAILABLE|project crash|did not come up|ended with|blob-missing/,
      );
    });
  }
});
