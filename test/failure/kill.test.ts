// Kills the server with SIGKILL at random moments under a mixed load, with the shortest times for collection, and starts it again on the
// same database and store: everything acknowledged must exist with every byte, the rest completely or not at all, and nothing may leak. Not
// here: what counts as acknowledged (registry-model.ts), power cuts (power-loss.test.ts).
import assert from "node:assert/strict";
import { randomBytes, randomInt } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { cephSettings } from "../clients/storage.ts";
import { skipOrThrow } from "../tools/install.ts";
import { temporaryFolder } from "../tools/processes.ts";
import { startCephRgw, startPostgres } from "../tools/servers.ts";
import { createProject, createRegistryLoad, killUnderLoad, LOAD_SETTINGS } from "./registry-load.ts";
import { roundsOf } from "./rounds.ts";
import { spawnServer, startServer } from "./server-process.ts";
import { ageUploads, type Leftovers, openStored } from "./stored.ts";

/** For each of the four: some 50 in CI, 500 in the long run. */
const rounds = roundsOf({ usual: 13, long: 125 });
const EAGER = { ...LOAD_SETTINGS, "gc.leaseSeconds": "2s", "gc.graceSeconds": "0s", "gc.intervalSeconds": "1s" };
/**
 * After this many rounds everything unreferenced must be deleted: rounds are shorter than that takes, so that kills interrupt a busy
 * collector.
 */
const DRAIN_EVERY = 25;
/** Far more than lease, grace, interval and work take together. */
const DRAINED_WITHIN_MS = 300_000;

type Settings = Readonly<Record<string, string>>;

/** Compares model, database and store of a running server; nothing may differ. */
async function checkAll(load: ReturnType<typeof createRegistryLoad>, origin: string, settings: Settings) {
  const stored = await openStored(settings);
  try {
    const found = await load.check(origin, stored);
    assert.deepEqual((await stored.examine()).problems, []);
    return found;
  } finally {
    await stored.close();
  }
}

/** Waits until only live content is left: sessions were aged before. */
async function expectDrained(settings: Settings): Promise<void> {
  const stored = await openStored(settings);
  const nothing: Leftovers = { rows: { uploads: 0, reclaim: 0, leases: 0, unlinked: 0 }, keys: [], temporary: 0 };
  try {
    const giveUpAt = performance.now() + DRAINED_WITHIN_MS;
    for (;;) {
      let left = await stored.leftovers();
      // Only when no row is left: rows lead to their leftovers, which would otherwise only be removed by age.
      if (left.rows.uploads === 0 && left.temporary > 0) {
        await stored.sweep();
        left = await stored.leftovers();
      }
      const isDrained = JSON.stringify(left) === JSON.stringify(nothing);
      if (isDrained || performance.now() > giveUpAt) {
        assert.deepEqual(left, nothing, "something leaks");
        return;
      }
      await sleep(200);
    }
  } finally {
    await stored.close();
  }
}

async function killRounds(more: Settings, report: (line: string) => void): Promise<void> {
  const folder = await temporaryFolder("kill");
  const options = { settings: { data: join(folder, "berth"), ...EAGER, ...more } };
  const load = createRegistryLoad({ clients: 4, leaseMs: 2000 });
  let last = { images: 0, blobs: 0 };
  const logs: (readonly string[])[] = [];
  try {
    for (let round = 1; round <= rounds; round++) {
      // Now and then it dies while it starts.
      if (round % 5 === 0) {
        const early = spawnServer(options);
        await sleep(randomInt(600));
        await early.kill();
      }
      const server = await startServer(options);
      logs.push(server.log);
      try {
        await createProject(server.origin);
        await checkAll(load, server.origin, options.settings);
        // A busy machine gets its time: a quiet one needs a second or two.
        await killUnderLoad(load, server, { changes: load.acknowledged + 1 + randomInt(40), deadlineMs: 20_000, lateMs: 100 });
      } finally {
        await server.kill();
      }
      if (round % DRAIN_EVERY !== 0 && round !== rounds) continue;
      await ageUploads(options.settings);
      const quiet = await startServer(options);
      logs.push(quiet.log);
      try {
        await expectDrained(options.settings);
        last = await checkAll(load, quiet.origin, options.settings);
      } finally {
        await quiet.kill();
      }
      report(`${round} kills, ${load.acknowledged} changes acknowledged, ${last.images} images of ${last.blobs} blobs are there`);
    }
  } catch (error) {
    // Warnings and errors of the servers: 40 is a warning.
    for (const line of logs
      .flat()
      .filter((text) => Number(/"level":(\d+)/.exec(text)?.[1] ?? 40) >= 40)
      .slice(-30))
      report(line);
    throw error;
  } finally {
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  }
  report([...load.counts].map(([kind, times]) => `${kind}: ${times}`).join(", "));
  // Fewer would mean that the load never got going.
  assert.ok(load.acknowledged > rounds, `only ${load.acknowledged} changes were acknowledged`);
}

// Two at a time: mostly they wait for disks and processes.
describe("kill -9 under load", { concurrency: 2 }, () => {
  const stops: (() => Promise<void>)[] = [];
  after(async () => {
    for (const stop of stops.toReversed()) await stop();
  });
  const once = <T extends { stop(): Promise<void> }>(start: () => Promise<T>): (() => Promise<T>) => {
    let started: Promise<T> | undefined;
    return async () => {
      if (started === undefined) {
        started = start();
        started.then((service) => stops.push(() => service.stop())).catch(() => undefined);
      }
      return started;
    };
  };
  const postgres = once(startPostgres);
  const ceph = once(startCephRgw);

  for (const database of ["SQLite", "PostgreSQL"] as const) {
    for (const store of ["a directory", "Ceph"] as const) {
      it(`keeps everything acknowledged and leaks nothing on ${database} and ${store} (${rounds} rounds)`, async (context) => {
        let settings: Settings = { "auth.secretKey": randomBytes(32).toString("hex") };
        try {
          if (database === "PostgreSQL") settings = { ...settings, "database.url": await (await postgres()).createDatabase() };
          if (store === "Ceph") settings = { ...settings, ...cephSettings(await (await ceph()).createBucket()) };
        } catch (error) {
          return skipOrThrow(context, error);
        }
        await killRounds(settings, (line) => {
          context.diagnostic(line);
          // Diagnostics come at the end, which in a long run is hours away.
          if (rounds > DRAIN_EVERY) console.log(`${database}, ${store}: ${line}`);
        });
      });
    }
  }
});
