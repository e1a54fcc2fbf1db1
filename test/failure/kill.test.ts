// Kills the server with SIGKILL at random moments under a mixed load, with collection at its most eager, and starts it again over the same
// files: everything acknowledged must be there with every byte, and nothing partial may be seen. BERTH_TEST_ROUNDS=200 for more.
import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { cannotRunHere, ToolUnavailable } from "../tools/install.ts";
import { temporaryFolder } from "../tools/processes.ts";
import { startPostgres } from "../tools/servers.ts";
import { createProject, createRegistryLoad } from "./registry-load.ts";
import { spawnServer, startServer } from "./server-process.ts";

const rounds = Number(process.env["BERTH_TEST_ROUNDS"] ?? 15);
const EAGER = { "gc.leaseSeconds": "2s", "gc.graceSeconds": "0s", "gc.intervalSeconds": "1s" };

async function killRounds(settings: Readonly<Record<string, string>>): Promise<string> {
  const folder = await temporaryFolder("kill");
  const options = { settings: { data: join(folder, "berth"), ...EAGER, ...settings } };
  const load = createRegistryLoad({ clients: 4, deletes: true });
  let last = { images: 0, blobs: 0 };
  try {
    for (let round = 1; round <= rounds; round++) {
      // Now and then it dies while it starts.
      if (round % 5 === 0) {
        const early = spawnServer(options);
        await sleep(randomInt(600));
        await early.kill();
      }
      const server = await startServer(options);
      try {
        await createProject(server.origin);
        last = await load.check(server.origin);
        const stop = new AbortController();
        const running = load.run(server.origin, stop.signal);
        running.catch(() => undefined);
        // After some pushes and in the middle of others; a busy machine gets its time.
        const target = load.acknowledged + 1 + randomInt(10);
        for (let waited = 0; load.acknowledged < target && waited < 3000; waited += 50) await Promise.race([running, sleep(50)]);
        await sleep(randomInt(100));
        await server.kill();
        stop.abort();
        await running;
      } finally {
        await server.kill();
      }
    }
    const server = await startServer(options);
    try {
      last = await load.check(server.origin);
    } finally {
      await server.kill();
    }
  } finally {
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  }
  // Fewer would mean that the load never got going.
  assert.ok(load.acknowledged > rounds, `only ${load.acknowledged} pushes were acknowledged`);
  return `${rounds} kills, ${load.acknowledged} pushes acknowledged, ${last.images} images of ${last.blobs} blobs at the end`;
}

describe("kill -9 under load", () => {
  it(`keeps everything acknowledged on SQLite and a directory (${rounds} rounds)`, async (context) => {
    context.diagnostic(await killRounds({}));
  });

  it(`keeps everything acknowledged on PostgreSQL and a directory (${rounds} rounds)`, async (context) => {
    const postgres = await startPostgres().catch((error: unknown) => {
      if (!(error instanceof ToolUnavailable)) throw error;
      context.skip(error.machineLacks ? cannotRunHere + error.message : error.message);
      return undefined;
    });
    if (postgres === undefined) return;
    try {
      context.diagnostic(await killRounds({ "database.url": await postgres.createDatabase(), "auth.secretKey": "k".repeat(43) + "=" }));
    } finally {
      await postgres.stop();
    }
  });
});
