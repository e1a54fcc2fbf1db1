// The clock is set by hours and days, forwards and back, while servers run: nothing acknowledged is lost, no lease ends early, expired
// things are refused, and nothing is stuck for ever. Replicas whose clocks differ use their database's time. Not here: schedules
// (content/).
import assert from "node:assert/strict";
import { randomBytes, randomInt } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { skipOrThrow } from "../tools/install.ts";
import { temporaryFolder } from "../tools/processes.ts";
import { startPostgres } from "../tools/servers.ts";
import { createProject, createRegistryLoad, LOAD_SETTINGS, type RegistryLoad } from "./registry-load.ts";
import { send, sha256 } from "./registry-model.ts";
import { roundsOf } from "./rounds.ts";
import { PASSWORD, startServer } from "./server-process.ts";
import { openStored } from "./stored.ts";
import { buildClockLibrary, createWallClock } from "./wall-clock.ts";

const HOUR = 3600;
const DAY = 24 * HOUR;
/** Long enough that a push of this load is done in half of it on a busy machine. */
const LEASE_SECONDS = 10;
const SETTINGS = { ...LOAD_SETTINGS, "gc.leaseSeconds": `${LEASE_SECONDS}s`, "gc.graceSeconds": "1s", "gc.intervalSeconds": "1s" };
const rounds = roundsOf({ usual: 1, long: 20 });

type Settings = Readonly<Record<string, string>>;

describe("clocks that are set", () => {
  let folder: string;
  let library: string | undefined;
  let unavailable: unknown;
  let count = 0;

  before(async () => {
    folder = await temporaryFolder("clock");
    library = await buildClockLibrary(folder).catch((error: unknown) => {
      unavailable = error;
      return undefined;
    });
  });
  after(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }));

  const newClock = () => createWallClock(library!, join(folder, `clock-${++count}`));

  /**
   * `clockWasSet`: doctor uses the machine's clock, so things that were written days behind it count as late until the collector's next
   * round.
   */
  async function compare(load: RegistryLoad, origin: string, settings: Settings, { clockWasSet = false } = {}): Promise<void> {
    const stored = await openStored(settings);
    try {
      await load.check(origin, stored);
      const kinds = (await stored.examine()).problems.map(({ kind, detail }) => `${kind}: ${detail}`);
      assert.deepEqual(
        kinds.filter((kind) => !clockWasSet || !/^(lease|reclaim)-late:/.test(kind)),
        [],
      );
    } finally {
      await stored.close();
    }
  }

  /** Waits for changes, or for the end of a load that has no more changes; awaiting the load shows its errors. */
  async function untilAcknowledged(load: RegistryLoad, running: Promise<void>, changes: number, deadlineMs: number): Promise<void> {
    let isOver = false;
    running.then(
      () => (isOver = true),
      () => (isOver = true),
    );
    const startedAt = performance.now();
    while (load.acknowledged < changes && !isOver && performance.now() - startedAt < deadlineMs) await sleep(50);
  }

  async function untilLeftovers(settings: Settings, isReached: (rows: Readonly<Record<string, number>>) => boolean): Promise<void> {
    const stored = await openStored(settings);
    try {
      const giveUpAt = performance.now() + 300_000;
      for (;;) {
        const { rows } = await stored.leftovers();
        if (isReached(rows)) return;
        if (performance.now() > giveUpAt) assert.fail(`stuck: ${JSON.stringify(rows)}`);
        await sleep(200);
      }
    } finally {
      await stored.close();
    }
  }

  it(`keep every promise and lose nothing while one server's clock goes back and forth (${rounds} rounds)`, async (context) => {
    if (library === undefined) return skipOrThrow(context, unavailable);
    const wall = await newClock();
    const settings = { data: join(folder, `berth-${count}`), ...SETTINGS };
    const load = createRegistryLoad({ clients: 3, leaseMs: LEASE_SECONDS * 1000 });
    for (let round = 0; round < rounds; round++) {
      const server = await startServer({ settings, env: wall.env });
      try {
        await createProject(server.origin);
        await compare(load, server.origin, settings);
        const stop = new AbortController();
        const running = load.run(server.origin, stop.signal, { isGentle: true });
        running.catch(() => undefined);
        for (const shift of [HOUR, -HOUR, DAY, 10 * DAY, -DAY, 0, randomInt(-30 * DAY, 30 * DAY), 0]) {
          await wall.set(shift);
          // A busy machine gets its time to push something at each of them.
          const target = load.acknowledged + 5;
          await untilAcknowledged(load, running, target, 10_000);
        }
        stop.abort();
        await running;
        await compare(load, server.origin, settings, { clockWasSet: true });
        // Leases written with the advanced clock last until then, or until the clock is set: as long as it was wrong, and no longer.
        await wall.set(40 * DAY);
        await untilLeftovers(settings, ({ leases, reclaim }) => leases === 0 && reclaim === 0);
        await compare(load, server.origin, settings);
        await wall.set(0);
      } finally {
        await server.kill();
      }
    }
    context.diagnostic(`${load.acknowledged} changes acknowledged, ${[...load.counts].map(([kind, n]) => `${kind}: ${n}`).join(", ")}`);
  });

  it("end no lease by a step forward", async (context) => {
    if (library === undefined) return skipOrThrow(context, unavailable);
    const wall = await newClock();
    // Far longer than this takes, also on a busy machine.
    const settings = { data: join(folder, `berth-${count}`), ...SETTINGS, "gc.leaseSeconds": "60s" };
    const server = await startServer({ settings, env: wall.env });
    try {
      await createProject(server.origin);
      const bytes = randomBytes(100_000);
      const promisedAt = performance.now();
      const uploaded = await send(server.origin, "POST", `/v2/crash/one/blobs/uploads/?digest=${sha256(bytes)}`, {
        body: bytes,
        type: "application/octet-stream",
      });
      assert.equal(uploaded.status, 201, await uploaded.text());
      // One step exceeds a lease, the other also the idle time of an upload; each meets a collector that runs every second.
      for (const shift of [HOUR, 30 * DAY]) {
        await wall.set(shift);
        await sleep(2_500);
        const there = await send(server.origin, "GET", `/v2/crash/one/blobs/${sha256(bytes)}`);
        await there.arrayBuffer();
        const tookMs = performance.now() - promisedAt;
        assert.ok(there.status === 200 || tookMs > 60_000, `the clock was set ${shift} s forward, and a lease ended after ${tookMs} ms`);
      }
    } finally {
      await server.kill();
    }
  });

  it("refuse tokens of another time, forward and back, and robots past their end", async (context) => {
    if (library === undefined) return skipOrThrow(context, unavailable);
    const wall = await newClock();
    const server = await startServer({ settings: { data: join(folder, `berth-${count}`), ...SETTINGS }, env: wall.env });
    try {
      await createProject(server.origin);
      const tokenOf = async (name: string, password: string): Promise<string | number> => {
        const authorization = `Basic ${Buffer.from(`${name}:${password}`).toString("base64")}`;
        const url = new URL("/token?service=berth&scope=repository:crash/one:pull", server.origin);
        const answer = await fetch(url, { headers: { authorization } });
        return answer.status === 200 ? ((await answer.json()) as { token: string }).token : answer.status;
      };
      const statusWith = async (token: string | number): Promise<number> =>
        (await fetch(new URL("/v2/", server.origin), { headers: { authorization: `Bearer ${token}` } })).status;
      const expiresAt = new Date(Date.now() + HOUR * 1000).toISOString();
      const made = await send(server.origin, "POST", "/api/v1/projects/crash/robots", {
        body: JSON.stringify({ name: "puller", scopes: [{ repositories: "crash/*", actions: ["pull"] }], expiresAt }),
        type: "application/json",
      });
      const text = await made.text();
      assert.equal(made.status, 201, text);
      const robot = JSON.parse(text) as { login: string; secret: string };
      const robotName = robot.login;

      const token = await tokenOf("admin", PASSWORD);
      assert.equal(await statusWith(token), 200);
      assert.equal(typeof (await tokenOf(robotName, robot.secret)), "string");
      for (const shift of [-DAY, DAY]) {
        await wall.set(shift);
        assert.equal(await statusWith(token), 401, `a token of another time is taken, the clock being ${shift} s off`);
        assert.equal(await statusWith(await tokenOf("admin", PASSWORD)), 200);
        if (shift > 0) assert.equal(await tokenOf(robotName, robot.secret), 401);
      }
      await wall.set(0);
      assert.equal(await statusWith(await tokenOf("admin", PASSWORD)), 200);
      assert.equal(typeof (await tokenOf(robotName, robot.secret)), "string");
    } finally {
      await server.kill();
    }
  });

  it("hold no session up that a writer left when its clock was ahead", async (context) => {
    if (library === undefined) return skipOrThrow(context, unavailable);
    const wall = await newClock();
    const settings = { data: join(folder, `berth-${count}`), ...SETTINGS };
    await wall.set(DAY);
    let server = await startServer({ settings, env: wall.env });
    try {
      await createProject(server.origin);
      const begun = await send(server.origin, "POST", "/v2/crash/one/blobs/uploads/");
      const location = begun.headers.get("location")!;
      const bytes = randomBytes(100_000);
      // A writer that dies in the middle of a chunk has claimed the session.
      const { origin } = server;
      let isOver = false;
      const stall = (): void => {
        isOver = false;
        fetch(new URL(location, origin), {
          method: "PATCH",
          headers: {
            authorization: `Basic ${Buffer.from(`admin:${PASSWORD}`).toString("base64")}`,
            "content-type": "application/octet-stream",
          },
          body: (async function* () {
            yield bytes.subarray(0, 50_000);
            await new Promise(() => undefined);
          })() as never,
          duplex: "half",
        }).then(
          () => (isOver = true),
          () => (isOver = true),
        );
      };
      stall();
      for (;;) {
        await sleep(50);
        const { status } = await send(origin, "PATCH", location, { body: "", type: "application/octet-stream" });
        if (status === 409) break;
        // One of the requests came first, and was the writer for a moment.
        if (isOver) stall();
      }
      await server.kill();
      await wall.set(0);
      server = await startServer({ settings, env: wall.env });
      const again = await send(server.origin, "PATCH", location, { body: bytes, type: "application/octet-stream" });
      assert.equal(again.status, 202, await again.text());
    } finally {
      await server.kill();
    }
  });

  it("count for nothing on replicas of one PostgreSQL: its clock does", async (context: TestContext) => {
    if (library === undefined) return skipOrThrow(context, unavailable);
    let postgres: Awaited<ReturnType<typeof startPostgres>>;
    try {
      postgres = await startPostgres();
    } catch (error) {
      return skipOrThrow(context, error);
    }
    try {
      const shared = {
        ...SETTINGS,
        "auth.secretKey": randomBytes(32).toString("hex"),
        "database.url": await postgres.createDatabase(),
        "storage.filesystem.directory": join(folder, "shared-store"),
      };
      const [ahead, behind] = [await newClock(), await newClock()];
      await ahead.set(DAY);
      await behind.set(-5 * 60);
      const first = await startServer({ settings: { data: join(folder, "ahead"), ...shared }, env: ahead.env });
      const second = await startServer({ settings: { data: join(folder, "behind"), ...shared }, env: behind.env });
      try {
        const told = first.log.flatMap((line) => /"aheadSeconds":(\d+)/.exec(line)?.[1] ?? []).map(Number);
        // The answer with the time was under way for a while.
        assert.ok(
          told.some((seconds) => Math.abs(seconds - DAY) < 60),
          `the clock that is a day off was not told of: ${told.join(", ")}`,
        );
        const token = (await (await send(first.origin, "GET", "/token?service=berth")).json()) as { token: string };
        const answer = await fetch(new URL("/v2/", second.origin), { headers: { authorization: `Bearer ${token.token}` } });
        assert.equal(answer.status, 200, "a token of one replica is not taken by the other");
        await createProject(first.origin);
        // Pushes through the replica that is behind, while both collect: by its own clock the other would expire every lease at once.
        const settings = { data: join(folder, "behind"), ...shared };
        const load = createRegistryLoad({ clients: 3, leaseMs: LEASE_SECONDS * 1000 });
        const stop = new AbortController();
        const running = load.run(second.origin, stop.signal, { isGentle: true });
        running.catch(() => undefined);
        await untilAcknowledged(load, running, 60, 30_000);
        stop.abort();
        await running;
        await compare(load, first.origin, settings);
        await untilLeftovers(settings, ({ leases, reclaim }) => leases === 0 && reclaim === 0);
        await compare(load, second.origin, settings);
        context.diagnostic(`${load.acknowledged} changes acknowledged`);
      } finally {
        await first.kill();
        await second.kill();
      }
    } finally {
      await postgres.stop();
    }
  });
});
