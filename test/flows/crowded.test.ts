// Clients that hold what others need: readers that do not read, bodies that drip, idle connections. Each test shows that other clients are
// still served. Loopback has many addresses, which stand for different clients. Not here: limits of one request (limits.test.ts).
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "../tools/processes.ts";
import { openRawClient, requestHead, type RawClient } from "./raw-client.testing.ts";
import { ADMIN_PASSWORD, expectStatus, sha256, startTestRegistry, type TestRegistry } from "./registry.testing.ts";

const REPO = "library/app";
const OCI = "application/vnd.oci.image.manifest.v1+json";
const AUTH = { authorization: `Basic ${Buffer.from(`admin:${ADMIN_PASSWORD}`).toString("base64")}` };
const MIB = 1024 * 1024;

interface Test {
  after(work: () => void | Promise<void>): void;
}

async function start(
  t: Test,
  settings: Record<string, string>,
): Promise<{ registry: TestRegistry; metric(name: string): Promise<number> }> {
  const port = await freePort();
  const registry = await startTestRegistry({ "http.shutdownGraceSeconds": "1s", ...settings, "metrics.listen": `127.0.0.1:${port}` });
  t.after(() => registry.stop());
  const metric = async (name: string): Promise<number> => {
    const page = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    const line = page.split("\n").find((one) => one.startsWith(`${name} `));
    assert.ok(line !== undefined, `no ${name}`);
    return Number(line.slice(name.length + 1));
  };
  return { registry, metric };
}

async function open(t: Test, registry: TestRegistry, localAddress = "127.0.0.1"): Promise<RawClient> {
  const client = await openRawClient(registry.origin, localAddress);
  t.after(() => client.destroy());
  return client;
}

/** Polls until the condition holds; the test's own limit ends it. */
async function until(check: () => Promise<boolean>): Promise<void> {
  while (!(await check())) await sleep(20);
}

/** Requests a blob and reads none of it. */
async function stare(t: Test, registry: TestRegistry, digest: string, localAddress: string): Promise<RawClient> {
  const client = await open(t, registry, localAddress);
  client.socket.pause();
  await client.send(requestHead("GET", `/v2/${REPO}/blobs/${digest}`));
  return client;
}

describe("a crowded registry", { timeout: 120_000 }, () => {
  it("readers that do not read give their places to other addresses, and one address may have all that is free", async (t) => {
    const { registry, metric } = await start(t, { "limits.requestsInFlight": "8" });
    const digest = await registry.pushBlob(REPO, randomBytes(32 * MIB));
    const small = await registry.pushBlob(REPO, randomBytes(20_000));
    await Promise.all(Array.from({ length: 8 }, () => stare(t, registry, digest, "127.0.0.2")));
    await until(async () => (await metric('berth_slots_used{kind="request"}')) === 8);
    // Long before any of them has been idle for a minute.
    for (let i = 0; i < 4; i++) {
      const client = await open(t, registry, "127.0.0.3");
      await client.send(requestHead("GET", `/v2/${REPO}/blobs/${small}`));
      assert.equal((await client.answer()).status, 200);
    }
    assert.ok((await metric('berth_slots_broken_off_total{kind="request"}')) >= 1);
  });

  it("forms and bodies of the API that drip give their places to other addresses", async (t) => {
    for (const [path, type] of [
      ["/token", "application/x-www-form-urlencoded"],
      ["/api/v1/projects", "application/json"],
    ] as const) {
      const { registry, metric } = await start(t, { "limits.requestsInFlight": "8" });
      const held = await Promise.all(Array.from({ length: 8 }, () => open(t, registry, "127.0.0.2")));
      for (const client of held)
        await client.send(`${requestHead("POST", path, { ...AUTH, "content-type": type, "content-length": 1000 })} `);
      await until(async () => (await metric('berth_slots_used{kind="request"}')) === 8);
      const client = await open(t, registry, "127.0.0.3");
      await client.send(requestHead("GET", "/v2/"));
      assert.equal((await client.answer()).status, 401, path);
      assert.ok((await metric('berth_slots_broken_off_total{kind="request"}')) >= 1, path);
    }
  });

  it("a push that comes along is not broken off for the readers of another address", async (t) => {
    const { registry, metric } = await start(t, { "limits.requestsInFlight": "4" });
    const digest = await registry.pushBlob(REPO, randomBytes(32 * MIB));
    const begun = await expectStatus(await registry.send("POST", `/v2/${REPO}/blobs/uploads/`), 202);
    const pushing = await open(t, registry, "127.0.0.4");
    const bytes = randomBytes(60_000);
    await pushing.send(requestHead("PATCH", begun.headers.get("location")!, { ...AUTH, "content-length": bytes.length }));
    await until(async () => (await metric('berth_slots_used{kind="upload"}')) === 1);
    await Promise.all(Array.from({ length: 3 }, () => stare(t, registry, digest, "127.0.0.2")));
    await until(async () => (await metric('berth_slots_used{kind="request"}')) === 4);
    const others = await Promise.all([1, 2].map(() => open(t, registry, "127.0.0.3")));
    for (const other of others) await other.send(requestHead("GET", "/v2/", AUTH));
    for (let at = 0; at < bytes.length; at += 10_000) {
      await pushing.send(bytes.subarray(at, at + 10_000));
      await sleep(300);
    }
    assert.equal((await pushing.answer()).status, 202);
    for (const other of others) assert.equal((await other.answer()).status, 200);
  });

  it("callers without an account do not keep those with one out, from however many addresses they come", async (t) => {
    const { registry, metric } = await start(t, { "limits.requestsInFlight": "8", "limits.anonymousShare": "0.25" });
    const digest = await registry.pushBlob(REPO, randomBytes(32 * MIB));
    await Promise.all(Array.from({ length: 8 }, (_, n) => stare(t, registry, digest, `127.0.1.${n + 1}`)));
    await until(async () => (await metric('berth_slots_used{kind="request"}')) === 8);
    const client = await open(t, registry, "127.0.0.3");
    await client.send(requestHead("GET", `/v2/${REPO}/tags/list`, AUTH));
    assert.equal((await client.answer()).status, 200);
  });

  it("forms without credentials are strangers', also from many addresses, until they bring some", async (t) => {
    const { registry, metric } = await start(t, {
      "limits.requestsInFlight": "8",
      "limits.anonymousShare": "0.25",
      // No client is too slow: connections are only dropped for their share.
      "http.minimumUploadBytesPerSecond": "0",
    });
    const type = { "content-type": "application/x-www-form-urlencoded" };
    for (let n = 1; n <= 8; n++) {
      const client = await open(t, registry, `127.0.1.${n}`);
      await client.send(`${requestHead("POST", "/token", { ...type, "content-length": 1000 })}grant_type=`);
    }
    await until(async () => (await metric('berth_slots_used{kind="request"}')) === 8);
    // One with credentials in the header, and one that brings them in a form, as containerd does.
    const form = new URLSearchParams({ grant_type: "password", username: "admin", password: ADMIN_PASSWORD, service: "berth" }).toString();
    for (const head of [
      requestHead("GET", `/v2/${REPO}/tags/list`, AUTH),
      `${requestHead("POST", "/token", { ...type, "content-length": form.length })}${form}`,
    ]) {
      const client = await open(t, registry, "127.0.0.3");
      await client.send(head);
      const { status } = await client.answer();
      assert.ok(status === 200 || status === 404, String(status));
    }
    // They were broken off, and did not merely time out.
    assert.ok((await metric('berth_slots_broken_off_total{kind="request"}')) >= 1);
  });

  it("a large manifest that nobody takes holds its place, and is cut off", async (t) => {
    const { registry, metric } = await start(t, { "http.bodyIdleTimeoutSeconds": "1s", "limits.requestsInFlight": "64" });
    const image = await registry.pushImage(REPO, "small");
    const parsed = JSON.parse(image.manifest) as Record<string, unknown>;
    const large = JSON.stringify({ ...parsed, annotations: { filler: "x".repeat(3 * MIB) } });
    await expectStatus(await registry.send("PUT", `/v2/${REPO}/manifests/large`, { body: large, headers: { "content-type": OCI } }), 201);
    const clients = await Promise.all(Array.from({ length: 4 }, () => open(t, registry, "127.0.0.2")));
    for (const client of clients) {
      client.socket.pause();
      await client.send(requestHead("GET", `/v2/${REPO}/manifests/large`).repeat(4));
    }
    await until(async () => (await metric('berth_slots_used{kind="request"}')) >= 4);
    await until(async () => (await metric('berth_slots_used{kind="request"}')) === 0);
    for (const client of clients) client.socket.resume();
    for (const client of clients) await client.closed();
  });

  it("large answers that nobody takes hold a bounded part of the memory, and their address gives way", async (t) => {
    const { registry, metric } = await start(t, {});
    const image = await registry.pushImage(REPO, "small");
    const parsed = JSON.parse(image.manifest) as Record<string, unknown>;
    const large = JSON.stringify({ ...parsed, annotations: { filler: "x".repeat(3.9 * MIB) } });
    await expectStatus(await registry.send("PUT", `/v2/${REPO}/manifests/large`, { body: large, headers: { "content-type": OCI } }), 201);
    const ask = requestHead("GET", `/v2/${REPO}/manifests/large`);
    const other = await open(t, registry, "127.0.0.3");
    other.socket.pause();
    await other.send(ask.repeat(8));
    const greedy = await Promise.all(Array.from({ length: 60 }, () => open(t, registry, "127.0.0.2")));
    for (const client of greedy) client.socket.pause();
    await until(async () => (await metric("berth_http_connections")) >= 61);
    // The kernel takes some of the answers; some 30 of the next may stay in memory.
    await Promise.all(greedy.map((client) => client.send(ask.repeat(8))));
    await until(async () => (await metric("berth_http_connections")) <= 40);
    other.socket.resume();
    for (let i = 0; i < 8; i++) assert.equal((await other.answer()).status, 200);
  });

  it("a refused body that drips ends its connection", async (t) => {
    const { registry } = await start(t, { "http.headerTimeoutSeconds": "1s" });
    for (const [method, path] of [
      ["PUT", `/v2/${REPO}/manifests/x`],
      ["POST", `/v2/${REPO}/blobs/uploads/?digest=${sha256("")}`],
      ["GET", "/v2/"],
      ["POST", "/nothing"],
    ] as const) {
      const client = await open(t, registry);
      let isOver = false;
      await client.send(requestHead(method, path, { "content-length": 1000 }));
      await client.answer();
      const dripping = (async () => {
        while (!isOver) {
          await client.send("x");
          await sleep(50);
        }
      })();
      await client.closed();
      isOver = true;
      await dripping;
    }
  });

  it("open uploads of an account are bounded, and the answer names what can be cancelled", async (t) => {
    const { registry } = await start(t, { "limits.openUploadsPerAccount": "3" });
    const locations: string[] = [];
    for (let i = 0; i < 3; i++) {
      const begun = await expectStatus(await registry.send("POST", `/v2/${REPO}/blobs/uploads/`), 202);
      locations.push(begun.headers.get("location")!);
    }
    const refused = await registry.send("POST", `/v2/${REPO}/blobs/uploads/`);
    assert.deepEqual([refused.status, refused.headers.get("retry-after")], [429, "1"]);
    const { errors } = (await refused.json()) as {
      errors: { code: string; message: string; detail: { yourOldest: { upload: string }[] } }[];
    };
    assert.equal(errors[0]!.code, "UPLOADS_EXCEEDED");
    assert.match(errors[0]!.message, /limits\.openUploadsPerAccount/);
    assert.deepEqual(errors[0]!.detail.yourOldest.map(({ upload }) => upload).toSorted(), locations.toSorted());
    await expectStatus(await registry.send("DELETE", errors[0]!.detail.yourOldest[0]!.upload), 204);
    await until(async () => (await registry.send("POST", `/v2/${REPO}/blobs/uploads/`)).status === 202);
  });

  it("manifests that are received hold no more memory together than is set, and small ones get in", async (t) => {
    const { registry, metric } = await start(t, { "limits.manifestBytes": "1MiB", "limits.manifestMemoryBytes": "2MiB" });
    const image = await registry.pushImage(REPO, "latest");
    const clients = await Promise.all(Array.from({ length: 16 }, () => open(t, registry, "127.0.0.2")));
    for (const client of clients)
      await client.send(requestHead("PUT", `/v2/${REPO}/manifests/x`, { ...AUTH, "content-type": OCI, "content-length": MIB }), "{");
    await until(async () => (await metric("berth_manifest_bodies_bytes")) === 2 * MIB);
    assert.equal(await metric("berth_manifest_bodies_limit_bytes"), 2 * MIB);
    const client = await open(t, registry, "127.0.0.3");
    const head = requestHead("PUT", `/v2/${REPO}/manifests/again`, {
      ...AUTH,
      "content-type": OCI,
      "content-length": image.manifest.length,
    });
    await client.send(head, image.manifest);
    assert.equal((await client.answer()).status, 201);
  });
});

describe("all connections taken", { timeout: 120_000 }, () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "berth-crowded-"));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  it("makes room: first who rests, then who never asked for anything, and a new client is served", async (t) => {
    const { registry, metric } = await start(t, { "http.maxConnections": "20" });
    const resting = await Promise.all(Array.from({ length: 5 }, () => open(t, registry, "127.0.0.5")));
    for (const client of resting) {
      await client.send(requestHead("GET", "/v2/", AUTH));
      assert.equal((await client.answer()).status, 200);
    }
    const silent: Socket[] = [];
    const { port } = new URL(registry.origin);
    t.after(() => silent.forEach((socket) => socket.destroy()));
    const served = async (): Promise<boolean> => {
      silent.push(connect({ port: Number(port), host: "127.0.0.1", localAddress: "127.0.0.2" }).on("error", () => undefined));
      const client = await openRawClient(registry.origin, "127.0.0.3");
      await client.send(requestHead("GET", "/v2/", AUTH));
      const answer = await client.answer().catch(() => undefined);
      client.destroy();
      return answer?.status === 200;
    };
    for (let i = 0; i < 60; i++) {
      await served();
      await sleep(20);
    }
    await Promise.all(resting.map((client) => client.closed()));
    // Now only silent ones are left to be closed, once they are a second old.
    await until(served);
    assert.ok((await metric("berth_http_connections_closed_total")) > resting.length);
  });
});
