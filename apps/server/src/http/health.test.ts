// Readiness: a replica that cannot reach the store steps back while others can; a replica that is alone, or no worse off than the others,
// keeps serving. In fixed cases, and in random ones in which at least one replica always answers 200. Not here: replicas as processes
// (test/replicas), the probes themselves.
import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { after, before, beforeEach, it } from "node:test";
import { RegistryError, type ErrorCode } from "@berth/oci/errors";
import { createTestClock, type TestClock } from "../access/access.testing.ts";
import { createMemoryBlobs, createMemoryStore } from "../content/blobs/memory.ts";
import { createStoreSightings } from "../content/store-sightings.ts";
import type { Database } from "../platform/database/database.ts";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import { createLog } from "../platform/log.ts";
import { createMetrics } from "../platform/metrics.ts";
import { createHealth, type Health } from "./health.ts";

/** A replica whose store and database are in the state that the test sets. */
interface Replica {
  store: ErrorCode | "ok";
  database: ErrorCode | "ok";
  /** How far its reading of the registry's time is ahead. */
  aheadMs: number;
  readonly health: Health;
  /** The answer of the probe, followed by what the metrics page says right afterwards. */
  ask(): Promise<string>;
}

/** After this time a replica reports again that it reaches the store, and others count it. */
const A_NOTE_MS = 2500;
/** After this time no report counts any more. */
const LONG_MS = 60_000;
const SERVES = /^200 (?:ok|full)$/;

forEachDatabase("readiness", (create) => {
  let test: TestDatabase;
  let clock: TestClock;
  const { logger } = createLog({ level: "silent", format: "json" });

  before(async () => {
    test = await create();
  });
  after(() => test.end());
  beforeEach(async () => {
    clock = createTestClock();
    await test.database.script("delete from job_lease where name = 'store-seen'");
  });

  async function createReplica(isAlone = false): Promise<Replica> {
    const own = await test.open();
    const probe = async (outcome: ErrorCode | "ok"): Promise<void> => {
      if (outcome !== "ok") throw new RegistryError(outcome);
    };
    const database: Database = { ...own, probe: () => probe(replica.database) };
    const store = { ...createMemoryStore({ processId: "p", memory: createMemoryBlobs() }), probe: () => probe(replica.store) };
    let telling: Promise<void> | undefined;
    const ownClock = { now: () => clock.now() + replica.aheadMs };
    const sightings = createStoreSightings(database, ownClock, (error) => {
      throw error;
    });
    const health = createHealth({
      database,
      store,
      // Reports made in the background are awaited, so that each case is deterministic.
      sightings: isAlone ? undefined : { ...sightings, note: (at) => (telling = sightings.note(at)) },
      clock: ownClock,
      metrics: createMetrics(),
      logger,
      probeTtlMs: 0,
    });
    const replica: Replica = {
      store: "ok",
      database: "ok",
      aheadMs: 0,
      health,
      async ask() {
        let told = "";
        const response = { writeHead: (status: number) => (told = `${status} `), end: (text: string) => (told += text) };
        await health.ready({} as IncomingMessage, response as unknown as ServerResponse);
        await telling;
        const { isReady, isDegraded } = await health.state();
        const { status } = JSON.parse(told.slice(4)) as { status: string };
        assert.deepEqual([isReady, isDegraded], [told.startsWith("200"), status === "degraded"]);
        return `${told.slice(0, 4)}${status}`;
      },
    };
    return replica;
  }

  it("serves degraded where there is no other replica, and only where the store is out of reach", async () => {
    const replica = await createReplica(true);
    assert.equal(await replica.ask(), "200 ok");
    replica.store = "UNAVAILABLE";
    assert.equal(await replica.ask(), "200 degraded");
    replica.database = "STORAGE_FULL";
    assert.equal(await replica.ask(), "200 degraded");
    replica.database = "UNAVAILABLE";
    assert.equal(await replica.ask(), "503 unavailable");
    replica.database = "ok";
    replica.store = "STORAGE_FOREIGN";
    assert.equal(await replica.ask(), "503 unavailable");
    replica.store = "STORAGE_FULL";
    assert.equal(await replica.ask(), "200 full");
    for (const store of ["ok", "UNAVAILABLE"] as const) {
      replica.store = store;
      replica.health.drain();
      assert.equal(await replica.ask(), "503 draining");
    }
  });

  it("steps back once another replica is seen to reach the store, and serves again when none does", async () => {
    const [one, other] = [await createReplica(), await createReplica()];
    for (const each of [one, other]) assert.equal(await each.ask(), "200 ok");
    assert.match(await other.ask(), SERVES);
    one.store = "UNAVAILABLE";
    // What the other replica saw earlier says nothing about now.
    assert.equal(await one.ask(), "200 degraded");
    clock.advance(A_NOTE_MS);
    assert.equal(await one.ask(), "200 degraded");
    assert.match(await other.ask(), SERVES);
    assert.equal(await one.ask(), "503 unavailable");
    other.store = "UNAVAILABLE";
    clock.advance(A_NOTE_MS);
    // The last replica to reach the store serves at once; the first one only when the other may be gone as well.
    assert.equal(await other.ask(), "200 degraded");
    assert.equal(await one.ask(), "503 unavailable");
    clock.advance(LONG_MS);
    for (const each of [one, other]) assert.equal(await each.ask(), "200 degraded");
    one.store = "ok";
    assert.match(await one.ask(), SERVES);
    clock.advance(A_NOTE_MS);
    assert.match(await one.ask(), SERVES);
    assert.equal(await other.ask(), "503 unavailable");
    other.store = "ok";
    assert.equal(await other.ask(), "200 ok");
  });

  it("steps back for a replica that serves, and not for one that stops or that nobody asks", async () => {
    const [one, stopping, unasked, full] = [await createReplica(), await createReplica(), await createReplica(), await createReplica()];
    one.store = "UNAVAILABLE";
    stopping.health.drain();
    assert.equal(await one.ask(), "200 degraded");
    for (let round = 0; round < 3; round++) {
      clock.advance(A_NOTE_MS);
      assert.equal(await stopping.ask(), "503 draining");
      assert.equal((await unasked.health.state()).isReady, true);
      assert.equal(await one.ask(), "200 degraded");
    }
    // A full store still serves reads.
    full.store = "STORAGE_FULL";
    assert.match(await full.ask(), SERVES);
    assert.equal(await one.ask(), "503 unavailable");
  });

  it("goes on by a clock that was set back", async () => {
    const [one, other] = [await createReplica(), await createReplica()];
    one.store = "UNAVAILABLE";
    assert.equal(await one.ask(), "200 degraded");
    clock.advance(A_NOTE_MS);
    assert.match(await other.ask(), SERVES);
    assert.equal(await one.ask(), "503 unavailable");
    clock.advance(-24 * 3_600_000);
    assert.equal(await one.ask(), "200 degraded");
    clock.advance(A_NOTE_MS);
    assert.match(await other.ask(), SERVES);
    assert.equal(await one.ask(), "503 unavailable");
  });

  it("never sends everybody away for the store's sake", async (t) => {
    let seed = Number(process.env["BERTH_TEST_SEED"] ?? Date.now() % 2 ** 31);
    t.diagnostic(`seed ${seed}`);
    // Source: Numerical Recipes, the linear congruential generator.
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    const replicas = await Promise.all([createReplica(), createReplica(), createReplica()]);
    for (const each of replicas) each.aheadMs = random(1000) - 500;
    let [away, beaten] = [0, 0];
    for (let round = 0; round < 400; round++) {
      clock.advance(random(4) === 0 ? random(LONG_MS) : random(3000));
      const changed = replicas[random(3)]!;
      changed.store = random(2) === 0 ? "ok" : "UNAVAILABLE";
      if (random(20) === 0) for (const each of replicas) each.store = "UNAVAILABLE";
      const told: string[] = [];
      for (const each of replicas) told.push(await each.ask());
      assert.ok(
        told.some((each) => each.startsWith("200")),
        `round ${round}: ${told.join(", ")}`,
      );
      if (told.every((each) => each !== "200 ok")) away++;
      if (told.includes("503 unavailable")) beaten++;
    }
    assert.ok(away > 0 && beaten > 0, "outages of both kinds came up");
  });
});
