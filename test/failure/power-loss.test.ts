// Cuts the power under load: the server is killed, its files are rebuilt with nothing but what was synced, or with that and a random part of
// the rest, and everything acknowledged must be there. And the test's own proof: without the syncs it finds losses.
// BERTH_TEST_ROUNDS=50 for more. Not here: crashes of the process alone (kill.test.ts).
import assert from "node:assert/strict";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { cannotRunHere, ToolUnavailable } from "../tools/install.ts";
import { temporaryFolder } from "../tools/processes.ts";
import { buildSyncedLibrary, rebuild, syncedEnvironment } from "./power-cut.ts";
import { createProject, createRegistryLoad } from "./registry-load.ts";
import { startServer } from "./server-process.ts";

const rounds = Number(process.env["BERTH_TEST_ROUNDS"] ?? 3);
/** Pushes before the cut: some 80 of them write enough for a checkpoint of the log. */
const PUSHES = 100;
const SETTINGS = { "gc.leaseSeconds": "2s", "gc.graceSeconds": "0s", "gc.intervalSeconds": "1s" };

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

  /** One cut: says what each rebuilt disk held, or throws what it lacked. */
  async function cutPower(
    context: TestContext,
    options: { ignore?: string; pushes: number; isFirstStart?: boolean; disks: readonly ("least" | "some")[] },
  ): Promise<void> {
    const base = join(folder, `cut-${++count}`);
    const [root, shadow] = [join(base, "disk"), join(base, "shadow")];
    await mkdir(root, { recursive: true });
    await mkdir(shadow);
    const env = syncedEnvironment({ library: library!, root, shadow, ...(options.ignore === undefined ? {} : { ignore: options.ignore }) });
    const load = createRegistryLoad({ clients: 6, deletes: true });
    // A server that has been started before, unless its first moments are the question.
    for (const pushes of options.isFirstStart === true ? [options.pushes] : [1, options.pushes]) {
      const server = await startServer({ settings: { data: join(root, "berth"), ...SETTINGS }, env });
      try {
        await createProject(server.origin);
        const stop = new AbortController();
        const running = load.run(server.origin, stop.signal);
        running.catch(() => undefined);
        while (load.acknowledged < pushes) await Promise.race([running, sleep(20)]);
        await server.kill();
        stop.abort();
        await running;
      } finally {
        await server.kill();
      }
    }
    for (const [i, kind] of options.disks.entries()) {
      const target = join(base, `rebuilt-${i}`);
      await rebuild({ root, shadow, target }, kind);
      const again = await startServer({ settings: { data: join(target, "berth"), ...SETTINGS } });
      try {
        const { images, blobs } = await load.check(again.origin, { learns: false });
        context.diagnostic(
          `${load.acknowledged} pushes acknowledged; of what was kept, ${images} images of ${blobs} blobs are whole (${kind})`,
        );
      } finally {
        await again.kill();
      }
    }
    await rm(base, { recursive: true, force: true, maxRetries: 3 });
  }

  it(`keeps everything acknowledged (${rounds} cuts)`, async (context) => {
    if (library === undefined) return context.skip(missing);
    for (let round = 0; round < rounds; round++) await cutPower(context, { pushes: PUSHES, disks: ["least", "some", "some"] });
  });

  it("keeps what was acknowledged in a server's first moments", async (context) => {
    if (library === undefined) return context.skip(missing);
    for (const pushes of [1, 3, 10]) await cutPower(context, { pushes, isFirstStart: true, disks: ["least", "some"] });
  });

  for (const [name, ignore] of [
    ["the log's sync", "berth.db-wal"],
    ["the sync of a blob's bytes", "/uploads/"],
    ["the sync of a blob's directory entry", "/content/blobs/"],
  ] as const) {
    it(`would find it were ${name} missing`, async (context) => {
      if (library === undefined) return context.skip(missing);
      await assert.rejects(
        cutPower(context, { ignore, pushes: 20, disks: ["least"] }),
        /acknowledged, and gone|lacks|BLOB_DAMAGED|UNAVAILABLE|project crash|did not come up|ended with/,
      );
    });
  }
});
