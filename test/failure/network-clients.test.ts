// The cost of bad clients: slow or stalled senders and readers, floods, and clients that vanish. Others are served meanwhile, refused ones
// are told when to retry, places are freed, and memory stays bounded. Not here: single limits (test/flows/limits.test.ts).
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFile, rm } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { openRawClient, requestHead, type RawClient } from "../flows/raw-client.testing.ts";
import { isInside, openNetwork, runInside, type NetworkPlace } from "../replicas/own-network.ts";
import { sha256 } from "../replicas/push-load.ts";
import { cannotRunHere } from "../tools/install.ts";
import { freePort, startProgram, temporaryFolder, type Program } from "../tools/processes.ts";

const PASSWORD = "failure-test-password";
const AUTH = { authorization: `Basic ${Buffer.from(`admin:${PASSWORD}`).toString("base64")}` };
const LAUNCHER = join(import.meta.dirname, "../../apps/server/bin/berth-server.mjs");
const MIB = 1024 * 1024;

interface Server {
  readonly origin: string;
  readonly program: Program;
  send(method: string, path: string, body?: Uint8Array, headers?: Readonly<Record<string, string>>): Promise<Response>;
  /** Resident memory, in bytes. */
  residentBytes(): Promise<number>;
  /** The metrics page, from a port of its own: requests there take no places. */
  metrics(): Promise<string>;
  /** A gauge's value. */
  gauge(name: string): Promise<number>;
}

async function start(
  t: TestContext,
  settings: Readonly<Record<string, string>> = {},
  { place, openFiles }: { readonly place?: NetworkPlace; readonly openFiles?: number } = {},
): Promise<Server> {
  const folder = await temporaryFolder("clients");
  const address = place?.address ?? "127.0.0.1";
  const [host, metrics] = [`${address}:${await freePort()}`, `${address}:${await freePort()}`];
  const all = { "http.listen": host, "metrics.listen": metrics, data: join(folder, "data"), "log.format": "json", ...settings };
  const command = [
    ...(place?.enter ?? []),
    ...(openFiles === undefined ? [] : ["sh", "-c", `ulimit -n ${openFiles} && exec "$@"`, "sh"]),
    process.execPath,
    LAUNCHER,
    "serve",
    ...Object.entries(all).map(([name, value]) => `--${name}=${value}`),
  ];
  const program = await startProgram({
    command: command[0]!,
    args: command.slice(1),
    folder,
    env: { BERTH_ADMIN_PASSWORD: PASSWORD },
    ready: async () => (await fetch(`http://${host}/healthz`)).status === 200,
  });
  t.after(() => program.stop());
  t.after(() => rm(folder, { recursive: true, force: true }));
  const readMetrics = async (): Promise<string> => (await fetch(`http://${metrics}/metrics`)).text();
  return {
    origin: `http://${host}`,
    program,
    send: (method, path, body, headers = {}) =>
      fetch(`http://${host}${path}`, {
        method,
        headers: { ...AUTH, "content-type": "application/octet-stream", ...headers },
        ...(body === undefined ? {} : { body: body as Uint8Array<ArrayBuffer> }),
      }),
    residentBytes: async () => Number(/^VmRSS:\s+(\d+)/m.exec(await readFile(`/proc/${program.pid}/status`, "utf8"))?.[1]) * 1024,
    metrics: readMetrics,
    gauge: async (name) => Number(new RegExp(`^berth_${name}(?:\\{[^}]*\\})? (\\S+)$`, "m").exec(await readMetrics())?.[1]),
  };
}

/** Operations that run now, of all kinds. */
async function inFlight(server: Server): Promise<number> {
  const page = await server.metrics();
  return [...page.matchAll(/^berth_operations_in_flight\{[^}]*\} (\S+)$/gm)].reduce((sum, [, value]) => sum + Number(value), 0);
}

async function expectStatus(answer: Response, status: number): Promise<Response> {
  if (answer.status !== status) assert.fail(`${answer.url}: expected ${status}, got ${answer.status}: ${await answer.text()}`);
  return answer;
}

async function push(server: Server, bytes: Buffer): Promise<string> {
  const digest = sha256(bytes);
  await expectStatus(await server.send("POST", `/v2/library/app/blobs/uploads/?digest=${digest}`, bytes), 201);
  return `/v2/library/app/blobs/${digest}`;
}

/** Waits for something that must happen; the test's own limit ends the wait. */
async function eventually(holds: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await holds())) await sleep(50);
}

async function openMany(t: TestContext, server: Server, count: number): Promise<RawClient[]> {
  const clients = await Promise.all(Array.from({ length: count }, () => openRawClient(server.origin)));
  t.after(() => {
    for (const client of clients) client.destroy();
  });
  return clients;
}

/** Sends requests repeatedly while `work` runs: they stand for other clients, and must all be answered. */
async function othersAreServed(server: Server, work: Promise<unknown>): Promise<void> {
  let isOver = false;
  const ended = work.finally(() => {
    isOver = true;
  });
  const path = await push(server, randomBytes(40_000));
  while (!isOver) {
    await (await expectStatus(await server.send("GET", path), 200)).arrayBuffer();
    await sleep(20);
  }
  await ended;
}

const clientTests = (): void => {
  it("that send their headers byte by byte are cut off, and hold up nobody", async (t) => {
    const server = await start(t, { "http.headerTimeoutSeconds": "3s" });
    const clients = await openMany(t, server, 300);
    let isOver = false;
    const dripping = (async () => {
      for (let at = 0; !isOver; at++) {
        for (const { socket } of clients) if (socket.writable) socket.write(at === 0 ? "GET /v2/ HTTP/1.1\r\nx-slow: " : "x");
        await sleep(100);
      }
    })();
    await othersAreServed(server, Promise.all(clients.map((client) => client.closed())));
    isOver = true;
    await dripping;
    // The remaining connections are fetch's.
    await eventually(async () => (await server.gauge("http_connections")) < 20);
  });

  it("that stop in the middle of an upload lose their place to those that wait for it", async (t) => {
    const server = await start(t, { "http.bodyIdleTimeoutSeconds": "3s", "limits.concurrentUploads": "4" });
    const begun = await Promise.all(
      Array.from({ length: 7 }, async () =>
        (await expectStatus(await server.send("POST", "/v2/library/app/blobs/uploads/"), 202)).headers.get("location")!,
      ),
    );
    const clients = await openMany(t, server, begun.length);
    for (const [at, client] of clients.entries()) {
      await client.send(
        requestHead("PATCH", begun[at]!, { ...AUTH, "content-type": "application/octet-stream", "content-length": MIB }),
        randomBytes(50_000),
      );
    }
    // It waits behind seven others, four at a time and three seconds each, and is served.
    const [, answers] = await Promise.all([push(server, randomBytes(100_000)), Promise.all(clients.map((client) => client.answer()))]);
    for (const { status } of answers) assert.equal(status, 408);
    await eventually(async () => (await inFlight(server)) === 0);
  });

  it("that keep all places for uploads by sending a little lose them to others, and those on a slow line do not", async (t) => {
    const server = await start(t, { "limits.concurrentUploads": "3" });
    const path = await push(server, randomBytes(100_000));
    const begun = await Promise.all(
      [1, 2, 3].map(async () =>
        (await expectStatus(await server.send("POST", "/v2/library/app/blobs/uploads/"), 202)).headers.get("location")!,
      ),
    );
    const clients = await openMany(t, server, 3);
    const [slowLine, ...dripping] = clients as [RawClient, RawClient, RawClient];
    // A sixth of 1 Mbit/s: a client that sends six layers at a time over such a line.
    const PIECE_BYTES = 20 * 1024;
    const sizes = [15 * PIECE_BYTES, MIB, MIB];
    for (const [at, client] of clients.entries()) {
      await client.send(
        requestHead("PATCH", begun[at]!, { ...AUTH, "content-type": "application/octet-stream", "content-length": sizes[at]! }),
      );
    }
    let isOver = false;
    const ended = Promise.all(dripping.map((client) => client.answer())).finally(() => {
      isOver = true;
    });
    const drips = (async () => {
      while (!isOver) {
        for (const client of dripping) await client.send("x");
        await sleep(300);
      }
    })();
    const sent = (async () => {
      for (let at = 0; at < 15; at++) {
        await slowLine.send(randomBytes(PIECE_BYTES));
        await sleep(1_000);
      }
    })();
    await eventually(async () => (await server.metrics()).includes('berth_slots_used{kind="upload"} 3\n'));
    // Two requests always wait, as clients do: until there is a place, or until they are told when to retry.
    const pushing = [1, 2].map(async () => {
      while (!isOver) {
        const bytes = randomBytes(100_000);
        const answer = await server.send("POST", `/v2/library/app/blobs/uploads/?digest=${sha256(bytes)}`, bytes);
        if (answer.status === 201) continue;
        assert.match(await answer.text(), /TOOMANYREQUESTS/);
        assert.equal(answer.status, 429);
        assert.match(answer.headers.get("retry-after") ?? "", /^\d+$/);
      }
    });
    await (await expectStatus(await server.send("GET", path), 200)).arrayBuffer();
    for (const answer of await ended) assert.deepEqual([answer.status, answer.code], [408, "REQUEST_TIMEOUT"]);
    await Promise.all([drips, ...pushing, sent]);
    assert.equal((await slowLine.answer()).status, 202);
    await push(server, randomBytes(100_000));
    // Their sessions are unchanged, and can be continued.
    for (const location of begun.slice(1)) {
      const { headers } = await expectStatus(await server.send("GET", location), 204);
      const [, last = "0"] = /^0-(\d+)$/.exec(headers.get("range") ?? "") ?? [];
      const next = last === "0" ? 0 : Number(last) + 1;
      await expectStatus(await server.send("PATCH", location, Buffer.from("hello"), { "content-range": `${next}-${next + 4}` }), 202);
    }
    await eventually(async () => (await inFlight(server)) === 0);
  });

  it("that do not read what they asked for cost no memory, and are cut off", async (t) => {
    const server = await start(t, { "http.bodyIdleTimeoutSeconds": "10s", "storage.hotCacheBytes": "0" });
    const path = await push(server, randomBytes(24 * MIB));
    const before = await server.residentBytes();
    const sockets = await Promise.all(
      Array.from({ length: 100 }, async () => {
        const { hostname, port } = new URL(server.origin);
        const socket = connect({ port: Number(port), host: hostname });
        socket.on("error", () => undefined);
        socket.pause();
        await new Promise<void>((resolve) => void socket.write(requestHead("GET", path, AUTH), () => resolve()));
        return socket;
      }),
    );
    t.after(() => {
      for (const socket of sockets) socket.destroy();
    });
    let [most, grown] = [0, 0];
    await othersAreServed(
      server,
      eventually(async () => {
        const now = await inFlight(server);
        most = Math.max(most, now);
        grown = Math.max(grown, (await server.residentBytes()) - before);
        return most >= 90 && now <= 3;
      }),
    );
    t.diagnostic(`${most} readers of 24 MiB that stand still: ${Math.round(grown / MIB)} MiB`);
    // 2.4 GB were requested; each reader may hold the piece of 1 MiB that it does not take, and the next.
    assert.ok(grown < 300 * MIB, `${grown} bytes`);
  });

  it("that come in a flood of requests are refused beyond the limit with a time to come again, and probes are answered", async (t) => {
    const server = await start(t, { "limits.requestsInFlight": "4" });
    const begun = await Promise.all(
      [1, 2, 3, 4].map(async () =>
        (await expectStatus(await server.send("POST", "/v2/library/app/blobs/uploads/"), 202)).headers.get("location")!,
      ),
    );
    const holders = await openMany(t, server, 4);
    for (const [at, client] of holders.entries()) {
      await client.send(
        requestHead("PATCH", begun[at]!, { ...AUTH, "content-type": "application/octet-stream", "content-length": 10 }),
        "12345",
      );
    }
    await eventually(async () => (await server.metrics()).includes('berth_slots_used{kind="request"} 4\n'));
    const flood = await openMany(t, server, 60);
    for (const client of flood) await client.send(requestHead("GET", "/v2/", AUTH));
    for (const path of ["/healthz", "/readyz"]) assert.equal((await fetch(`${server.origin}${path}`)).status, 200);
    for (const client of flood) {
      const { status, code, headers } = await client.answer();
      assert.deepEqual([status, code], [503, "UNAVAILABLE"]);
      assert.match(headers.get("retry-after") ?? "", /^\d+$/);
    }
    for (const client of holders) await client.send("67890");
    for (const client of holders) assert.equal((await client.answer()).status, 202);
    await eventually(async () => (await server.metrics()).includes('berth_slots_used{kind="request"} 0\n'));
    for (const client of flood) {
      await client.send(requestHead("GET", "/v2/", AUTH));
      assert.equal((await client.answer()).status, 200);
    }
  });

  it("that take all connections and rest make room for the next ones", async (t) => {
    const server = await start(t, { "http.maxConnections": "50" });
    // One is left, and the test's own keep one or two.
    const resting = await openMany(t, server, 47);
    for (const client of resting) {
      await client.send(requestHead("GET", "/v2/", AUTH));
      assert.equal((await client.answer()).status, 200);
    }
    const served: RawClient[] = [];
    await eventually(async () => {
      const client = await openRawClient(server.origin);
      try {
        await client.send(requestHead("GET", "/v2/", AUTH));
        assert.equal((await client.answer()).status, 200);
        served.push(client);
      } catch (error) {
        // The connection was dropped: the sign to make room.
        assert.match(String(error), /the connection ended before/);
        client.destroy();
      }
      return resting.some(({ socket }) => socket.destroyed) && served.some(({ socket }) => !socket.destroyed);
    });
    for (const client of served) client.destroy();
  });

  it("in numbers that the system has no files for are dropped, with a word at the start, and work goes on", async (t) => {
    const server = await start(t, {}, { openFiles: 400 });
    assert.match(await readFile(server.program.logFile, "utf8"), /"openFiles":400,"maxConnections":144/);
    const { hostname, port } = new URL(server.origin);
    const sockets: Socket[] = [];
    t.after(() => {
      for (const socket of sockets) socket.destroy();
    });
    let closed = 0;
    for (let i = 0; i < 500; i++) {
      const socket = connect(Number(port), hostname);
      socket.on("error", () => undefined);
      socket.on("close", () => closed++);
      sockets.push(socket);
    }
    await eventually(() => closed >= 350);
    for (const socket of sockets.slice(0, 100)) socket.destroy();
    await eventually(async () => {
      try {
        return (await fetch(`${server.origin}/readyz`)).status === 200;
      } catch {
        // Dropped; there is room when the server has noticed that the connections ended.
        return false;
      }
    });
    const path = await push(server, randomBytes(3 * MIB));
    await (await expectStatus(await server.send("GET", path), 200)).arrayBuffer();
  });

  it("that rest, ten thousand of them, cost little memory, and others come in as before", async (t) => {
    const COUNT = 10_000;
    const limit = Number(/^Max open files\s+(\d+)/m.exec(await readFile("/proc/self/limits", "utf8"))?.[1]);
    if (!(limit > COUNT * 1.4)) return t.skip(`${cannotRunHere}the limit of open files is ${limit}`);
    // They stay idle for as long as a busy machine needs to open them all.
    const server = await start(t, { "http.maxConnections": String(COUNT + 500), "http.keepAliveSeconds": "1h" });
    await push(server, randomBytes(MIB));
    const before = await server.residentBytes();
    const { hostname, port } = new URL(server.origin);
    const sockets: Socket[] = [];
    t.after(() => {
      for (const socket of sockets) socket.destroy();
    });
    // A few hundred at a time: the queue of connections that wait to be accepted is short.
    for (let batch = 0; batch < COUNT / 250; batch++) {
      await Promise.all(
        Array.from({ length: 250 }, async () => {
          const socket = connect(Number(port), hostname);
          socket.on("error", () => undefined);
          sockets.push(socket);
          const answered = new Promise<void>((resolve, reject) => {
            socket.once("data", () => resolve());
            socket.once("close", () => reject(new Error("a connection ended without an answer")));
          });
          socket.write(requestHead("GET", "/v2/", AUTH));
          await answered;
        }),
      );
    }
    assert.ok((await server.gauge("http_connections")) >= COUNT);
    const grown = (await server.residentBytes()) - before;
    t.diagnostic(`${COUNT} connections at rest: ${Math.round(grown / MIB)} MiB, ${Math.round(grown / COUNT / 1024)} KiB each`);
    assert.ok(grown < COUNT * 40 * 1024, `${grown} bytes`);
    const path = await push(server, randomBytes(3 * MIB));
    await (await expectStatus(await server.send("GET", path), 200)).arrayBuffer();
  });
};

if (isInside) {
  it("clients that vanish without a word lose their connections and places", async (t) => {
    const network = await openNetwork(t);
    const place = await network.join(1);
    const server = await start(
      t,
      {
        "http.bodyIdleTimeoutSeconds": "2s",
        "http.keepAliveSeconds": "2s",
        "http.headerTimeoutSeconds": "2s",
        "storage.hotCacheBytes": "0",
      },
      { place },
    );
    const path = await push(server, randomBytes(24 * MIB));
    const location = (await expectStatus(await server.send("POST", "/v2/library/app/blobs/uploads/"), 202)).headers.get("location")!;
    const [resting, sending, reading, beginning] = await openMany(t, server, 4);
    await resting!.send(requestHead("GET", "/v2/", AUTH));
    assert.equal((await resting!.answer()).status, 200);
    await sending!.send(
      requestHead("PATCH", location, { ...AUTH, "content-type": "application/octet-stream", "content-length": MIB }),
      randomBytes(50_000),
    );
    reading!.socket.pause();
    await reading!.send(requestHead("GET", path, AUTH));
    await beginning!.send("GET /v2/ HTTP/1.1\r\n");
    await eventually(async () => (await server.gauge("http_connections")) >= 4);
    // The metrics port is not cut.
    await network.cut(place.address, Number(new URL(server.origin).port));
    await eventually(async () => (await server.gauge("http_connections")) === 0);
    await network.heal();
    for (const client of [resting, sending, reading, beginning]) client!.destroy();
    // The upload is unclaimed, and continues from what was acknowledged.
    const octets = { "content-range": "0-4" };
    await expectStatus(await server.send("PATCH", location, Buffer.from("hello"), octets), 202);
    await eventually(async () => (await inFlight(server)) === 0);
  });
} else {
  // Two: most of each test is waiting, and every one has its own server.
  describe("clients", { concurrency: 2 }, clientTests);
  it("clients that vanish without a word lose their connections and places", (t) => runInside(t, import.meta.filename));
}
