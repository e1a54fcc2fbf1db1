// Limits and bad input over bare sockets: requests that are too large, too slow, too many or contradictory are answered correctly, harm no
// others, and leave nothing behind. Tests wait for events; if a limit is a time, the smallest configurable one is waited for.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "../tools/processes.ts";
import { openRawClient, requestHead, type RawClient } from "./raw-client.testing.ts";
import { ADMIN_PASSWORD, expectStatus, sha256, startTestRegistry, type TestRegistry } from "./registry.testing.ts";

const REPO = "library/app";
const OCI = "application/vnd.oci.image.manifest.v1+json";
const AUTH = { authorization: `Basic ${Buffer.from(`admin:${ADMIN_PASSWORD}`).toString("base64")}` };
const MIB = 1024 * 1024;

/** Opens a connection that is closed with the test. */
async function open(t: { after(work: () => void): void }, registry: TestRegistry): Promise<RawClient> {
  const client = await openRawClient(registry.origin);
  t.after(() => client.destroy());
  return client;
}

async function beginUpload(registry: TestRegistry): Promise<string> {
  return (await expectStatus(await registry.send("POST", `/v2/${REPO}/blobs/uploads/`), 202)).headers.get("location")!;
}

/** The session's offset, as the server reports it: -1 for a missing session. */
async function offsetOf(registry: TestRegistry, location: string): Promise<number> {
  const state = await registry.send("GET", location);
  if (state.status === 404) return -1;
  const range = (await expectStatus(state, 204)).headers.get("range")!;
  return Number(range.slice("0-".length)) + 1;
}

/** Whether a request is writing to the session; the check changes nothing. */
async function isClaimed(registry: TestRegistry, location: string): Promise<boolean> {
  const answer = await registry.send("PATCH", location, { body: "x", headers: { "content-range": "999999999-999999999" } });
  assert.ok(answer.status === 409 || answer.status === 416, String(answer.status));
  return answer.status === 409;
}

/** Waits until that many of a kind run and wait, using a port that takes no place itself. */
async function untilSlots(metricsPort: number, kind: "request" | "upload", used: number, waiting: number): Promise<void> {
  await eventually(async () => {
    const page = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
    return page.includes(`berth_slots_used{kind="${kind}"} ${used}\n`) && page.includes(`berth_slots_waiting{kind="${kind}"} ${waiting}\n`);
  });
}

/** Polls until a condition holds: for what happens on the server after a connection is closed. The test's own limit ends it. */
async function eventually(check: () => Promise<boolean>): Promise<void> {
  while (!(await check())) await sleep(20);
}

describe("limits", () => {
  let registry: TestRegistry;
  before(async () => {
    registry = await startTestRegistry({
      "limits.uploadBytes": "4MiB",
      "limits.manifestBytes": "64KiB",
      "http.bodyIdleTimeoutSeconds": "1s",
    });
  });
  after(() => registry.stop());

  it("headers of more than 32 KiB are 431, in one header or in many", async (t) => {
    for (const headers of [
      { "x-long": "x".repeat(40_000) },
      Object.fromEntries(Array.from({ length: 900 }, (_, i) => [`x-${i}`, "y".repeat(40)])),
    ]) {
      const client = await open(t, registry);
      await client.send(requestHead("GET", "/v2/", headers));
      assert.equal((await client.answer()).status, 431);
      await client.closed();
    }
    const client = await open(t, registry);
    await client.send(requestHead("GET", `/v2/${"a".repeat(40_000)}`));
    assert.equal((await client.answer()).status, 431);
  });

  it("a manifest of more than the limit is 413, announced or not, and the connection goes on", async (t) => {
    const client = await open(t, registry);
    const large = Buffer.alloc(64 * 1024 + 1, "x");
    await client.send(
      requestHead("PUT", `/v2/${REPO}/manifests/x`, { ...AUTH, "content-type": OCI, "content-length": large.length }),
      large,
    );
    const announced = await client.answer();
    assert.deepEqual([announced.status, announced.code], [413, "MANIFEST_TOO_LARGE"]);
    await client.send(requestHead("PUT", `/v2/${REPO}/manifests/x`, { ...AUTH, "content-type": OCI, "transfer-encoding": "chunked" }));
    await client.send(`${large.length.toString(16)}\r\n`, large, "\r\n0\r\n\r\n");
    const streamed = await client.answer();
    assert.deepEqual([streamed.status, streamed.code], [413, "MANIFEST_TOO_LARGE"]);
    await client.send(requestHead("GET", "/v2/", AUTH));
    assert.equal((await client.answer()).status, 200);
  });

  it("a blob of more than the limit is 413, announced or not; its session stands where it stood", async (t) => {
    const location = await beginUpload(registry);
    const first = randomBytes(100_000);
    await expectStatus(await registry.send("PATCH", location, { body: first }), 202);
    const client = await open(t, registry);
    const rest = randomBytes(4 * MIB);
    await client.send(requestHead("PATCH", location, { ...AUTH, "content-length": rest.length }), rest);
    const announced = await client.answer();
    assert.deepEqual([announced.status, announced.code], [413, "BLOB_TOO_LARGE"]);
    assert.equal(await offsetOf(registry, location), first.length);
    await client.send(
      requestHead("PATCH", location, { ...AUTH, "transfer-encoding": "chunked" }),
      `${rest.length.toString(16)}\r\n`,
      rest,
      "\r\n0\r\n\r\n",
    );
    const streamed = await client.answer();
    assert.deepEqual([streamed.status, streamed.code], [413, "BLOB_TOO_LARGE"]);
    assert.equal(await offsetOf(registry, location), first.length);
    await expectStatus(await registry.send("PUT", `${location}?digest=${sha256(first)}`), 201);
    const whole = await registry.send("POST", `/v2/${REPO}/blobs/uploads/?digest=${sha256(rest)}`, { body: Buffer.concat([rest, first]) });
    assert.equal(whole.status, 413);
    const just = await registry.send("POST", `/v2/${REPO}/blobs/uploads/?digest=${sha256(rest)}`, { body: rest });
    assert.equal(just.status, 201);
  });

  it("a body that stops is 408 and ends its connection; the session is free and unchanged", async (t) => {
    const location = await beginUpload(registry);
    const first = randomBytes(50_000);
    await expectStatus(await registry.send("PATCH", location, { body: first }), 202);
    for (const part of [10, 60_000]) {
      const client = await open(t, registry);
      await client.send(requestHead("PATCH", location, { ...AUTH, "content-length": 200_000 }), randomBytes(part));
      const answer = await client.answer();
      assert.deepEqual([answer.status, answer.code, answer.headers.get("connection")], [408, "REQUEST_TIMEOUT", "close"]);
      await client.closed();
      assert.equal(await offsetOf(registry, location), first.length);
    }
    const client = await open(t, registry);
    await client.send(requestHead("PUT", `/v2/${REPO}/manifests/x`, { ...AUTH, "content-type": OCI, "content-length": 500 }), "{");
    assert.equal((await client.answer()).status, 408);
    await expectStatus(await registry.send("PUT", `${location}?digest=${sha256(first)}`), 201);
  });

  it("a client that takes nothing of its download is cut off, and the blob is served to others", async (t) => {
    // No other connections are counted.
    const registry = await startTestRegistry({ "http.bodyIdleTimeoutSeconds": "1s" });
    t.after(() => registry.stop());
    // More than the kernel buffers on both sides.
    const bytes = randomBytes(4 * MIB);
    const digest = await registry.pushBlob(REPO, bytes);
    const connections = async (): Promise<string> =>
      (await (await registry.send("GET", "/metrics")).text()).split("\n").find((line) => line.startsWith("berth_http_connections "))!;
    const before = await connections();
    const client = await open(t, registry);
    await client.send(requestHead("GET", "/v2/", AUTH));
    assert.equal((await client.answer()).status, 200);
    client.socket.pause();
    for (let i = 0; i < 8; i++) await client.send(requestHead("GET", `/v2/${REPO}/blobs/${digest}`, AUTH));
    await eventually(async () => (await connections()) === before);
    client.socket.resume();
    await client.closed();
    assert.equal((await (await registry.send("GET", `/v2/${REPO}/blobs/${digest}`)).arrayBuffer()).byteLength, bytes.length);
  });

  it("a client that leaves in the middle of an upload frees its session at once, at the offset of before", async (t) => {
    // A registry without a deadline: only the client's leaving ends the upload.
    const registry = await startTestRegistry();
    t.after(() => registry.stop());
    for (const before of [0, 10, 100_000]) {
      const location = await beginUpload(registry);
      const first = randomBytes(before);
      if (before > 0) await expectStatus(await registry.send("PATCH", location, { body: first }), 202);
      const client = await open(t, registry);
      await client.send(requestHead("PATCH", location, { ...AUTH, "content-length": 3 * MIB, expect: "100-continue" }));
      // A request also claims the session: not before this one has its turn.
      assert.equal((await client.answer()).status, 100);
      await client.send(randomBytes(MIB));
      await eventually(() => isClaimed(registry, location));
      client.destroy();
      const rest = randomBytes(5_000);
      await eventually(async () => {
        const answer = await registry.send("PATCH", location, {
          body: rest,
          headers: { "content-range": `${before}-${before + rest.length - 1}` },
        });
        assert.ok(answer.status === 202 || answer.status === 409, String(answer.status));
        return answer.status === 202;
      });
      await expectStatus(await registry.send("PUT", `${location}?digest=${sha256(Buffer.concat([first, rest]))}`), 201);
    }
  });

  it("a body shorter or longer than its chunk's range is refused; one longer than its length is another request", async (t) => {
    const location = await beginUpload(registry);
    const client = await open(t, registry);
    await client.send(requestHead("PATCH", location, { ...AUTH, "content-length": 10, "content-range": "0-19" }), randomBytes(10));
    const shorter = await client.answer();
    assert.deepEqual([shorter.status, shorter.code], [400, "SIZE_INVALID"]);
    await client.send(
      requestHead("PATCH", location, { ...AUTH, "transfer-encoding": "chunked", "content-range": "0-4" }),
      "a\r\n0123456789\r\n0\r\n\r\n",
    );
    const longer = await client.answer();
    assert.deepEqual([longer.status, longer.code], [400, "SIZE_INVALID"]);
    assert.equal(await offsetOf(registry, location), 0);

    const lying = await open(t, registry);
    await lying.send(requestHead("PATCH", location, { ...AUTH, "content-length": 5 }), "0123456789");
    assert.equal((await lying.answer()).status, 202);
    assert.equal((await lying.closed()).length, 0, "what follows is no request and ends the connection");
    assert.equal(await offsetOf(registry, location), 5);

    const short = await open(t, registry);
    await short.send(requestHead("PATCH", location, { ...AUTH, "content-length": 10 }), "01234");
    short.socket.end();
    await short.closed();
    await eventually(async () => (await registry.send("PATCH", location)).status === 202);
    assert.equal(await offsetOf(registry, location), 5);
  });

  it("a body is taken whether it comes with its headers, behind them or in pieces; a refused one leaves the connection", async (t) => {
    const client = await open(t, registry);
    for (const size of [1, 5_000, 100_000, 200_000]) {
      for (const cuts of [[], [0], [0, size >> 1]]) {
        for (const isRight of [true, false]) {
          const location = await beginUpload(registry);
          const bytes = randomBytes(size);
          const digest = sha256(isRight ? bytes : Buffer.concat([bytes, bytes]));
          const head = Buffer.from(requestHead("PUT", `${location}?digest=${digest}`, { ...AUTH, "content-length": size }));
          // The first part goes with the headers; a pause makes the others arrive separately.
          await client.send(Buffer.concat([head, bytes.subarray(0, cuts[0] ?? size)]));
          for (const [i, cut] of cuts.entries()) {
            await sleep(5);
            await client.send(bytes.subarray(cut, cuts[i + 1] ?? size));
          }
          const answer = await client.answer();
          assert.deepEqual([answer.status, answer.code], isRight ? [201, ""] : [400, "DIGEST_INVALID"], `${size} ${cuts.join(" ")}`);
        }
      }
    }
  });

  it("pipelined requests are answered in order, whatever they are, and take effect in order", async (t) => {
    const bytes = randomBytes(3 * MIB);
    const digest = await registry.pushBlob(REPO, bytes);
    const location = await beginUpload(registry);
    const client = await open(t, registry);
    await client.send(
      [
        requestHead("GET", `/v2/${REPO}/blobs/${digest}`, AUTH),
        requestHead("GET", `/v2/${REPO}/blobs/${digest}`, { ...AUTH, range: "bytes=0-99999" }),
        requestHead("GET", "/api/v1/projects", AUTH),
        requestHead("HEAD", `/v2/${REPO}/blobs/${digest}`, AUTH),
        `${requestHead("PATCH", location, { ...AUTH, "content-length": 5 })}01234`,
        `${requestHead("PATCH", location, { ...AUTH, "content-length": 5, "content-range": "5-9" })}56789`,
        requestHead("PUT", `${location}?digest=${sha256("0123456789")}`, { ...AUTH, "content-length": 0 }),
        requestHead("GET", `/v2/${REPO}/blobs/${sha256("0123456789")}`, AUTH),
        requestHead("GET", "/v2/"),
      ].join(""),
    );
    assert.ok((await client.answer()).body.equals(bytes));
    assert.ok((await client.answer()).body.equals(bytes.subarray(0, 100_000)));
    assert.equal((await client.answer()).status, 200);
    assert.equal((await client.answer(true)).headers.get("content-length"), String(bytes.length));
    assert.deepEqual([(await client.answer()).status, (await client.answer()).status, (await client.answer()).status], [202, 202, 201]);
    assert.equal((await client.answer()).body.toString(), "0123456789");
    assert.equal((await client.answer()).status, 401);
  });

  it("bytes that are no request never get into the body of an answer", async (t) => {
    const bytes = randomBytes(4 * MIB);
    const digest = await registry.pushBlob(REPO, bytes);
    const client = await open(t, registry);
    await client.send(`${requestHead("GET", `/v2/${REPO}/blobs/${digest}`, AUTH)}no request at all\r\n\r\n`);
    for (let i = 0; i < 20; i++) await client.send("more of it\r\n\r\n");
    assert.ok((await client.answer()).body.equals(bytes));
    assert.equal((await client.closed()).length, 0);
  });

  it("HTTP/1.0, targets in absolute form, and OPTIONS * are answered", async (t) => {
    const old = await open(t, registry);
    await old.send(requestHead("GET", "/v2/", AUTH, "1.0"));
    const answer = await old.answer();
    assert.deepEqual([answer.status, answer.headers.get("connection")], [200, "close"]);
    await old.closed();
    const { host } = new URL(registry.origin);
    const client = await open(t, registry);
    for (const [target, status] of [
      [`${registry.origin}/v2/`, 200],
      [`HTTP://${host}/v2/${REPO}/tags/none`, 404],
      [`http://other.test/healthz`, 200],
      [`http://${host}`, 404],
      [`http://${host}?x=/v2/`, 404],
      ["*", 404],
    ] as const) {
      await client.send(requestHead(target === "*" ? "OPTIONS" : "GET", target, { ...AUTH, host }));
      assert.equal((await client.answer()).status, status, target);
    }
    await client.send(requestHead("GET", `${registry.origin}/v2/`, { host }));
    const challenged = await client.answer();
    assert.equal(challenged.headers.get("www-authenticate"), `Bearer realm="${registry.origin}/token",service="berth"`);
    const unnamed = await open(t, registry);
    await unnamed.send("GET /v2/ HTTP/1.1\r\n\r\n");
    assert.equal((await unnamed.answer()).status, 400);
  });

  it("whatever could be read as two requests by a proxy and as one here is refused", async (t) => {
    const inner = `GET /v2/_catalog HTTP/1.1\r\nhost: registry.test\r\n\r\n`;
    const heads = [
      "content-length: 5\r\ncontent-length: 6\r\n",
      "content-length: 5\r\ncontent-length: 5\r\n",
      "content-length: 5, 6\r\n",
      "content-length: 5\r\ntransfer-encoding: chunked\r\n",
      "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
      "transfer-encoding: gzip, chunked, identity\r\n",
      "transfer-encoding: xchunked\r\n",
      "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
      "transfer-encoding : chunked\r\n",
      "transfer-encoding:\x0bchunked\r\n",
      "content-length: +5\r\n",
      "content-length: -5\r\n",
      "content-length: 0x5\r\n",
      "content-length: 5 5\r\n",
      "content-length: 99999999999999999999999\r\n",
      "x: y\r\n content-length: 5\r\n",
      "x\0: y\r\n",
      "x: a\rb\r\n",
      // The headers of length and encoding in every order and spelling; folded lines; other line endings.
      "Content-Length: 5\r\ncontent-length: 0\r\n",
      "content-length: 5\r\nx: y\r\ncontent-length: 5\r\n",
      "content-length: 5,5\r\n",
      "content-length: 5, 5\r\n",
      "content-length:\r\n",
      "content-length: 5;\r\n",
      "content-length: 5.0\r\n",
      "content-length: 1e1\r\n",
      "content-length: 0\r\ntransfer-encoding: chunked\r\n",
      "content-length: 0\r\nx: y\r\nTransfer-Encoding: CHUNKED\r\n",
      "transfer-encoding: identity\r\ncontent-length: 5\r\n",
      "transfer-encoding: chunked, gzip\r\n",
      'transfer-encoding: "chunked"\r\n',
      "transfer-encoding: chunked;q=1\r\n",
      "transfer-encoding\t: chunked\r\n",
      "transfer-encoding:\r\n chunked\r\n",
      "transfer-encoding:\r\n\tchunked\r\n",
      "content-length: 0\r\n 5\r\n",
      "x: y\r\n\ttransfer-encoding: chunked\r\n",
      "content-length: 5\n",
      "x: y\ntransfer-encoding: chunked\r\n",
      // The host, too, is said once.
      "host: registry.test\r\n",
      "Host: other.test\r\n",
      "HOST:\r\n",
      `${"x:\r\n".repeat(1_500)}host: other.test\r\n`,
      "host : other.test\r\n",
    ];
    const location = await beginUpload(registry);
    for (const head of heads) {
      const client = await open(t, registry);
      await client.send(
        `PATCH ${location} HTTP/1.1\r\nhost: registry.test\r\nauthorization: ${AUTH.authorization}\r\n${head}\r\n0\r\n\r\n${inner}`,
      );
      const answer = await client.answer();
      assert.equal(answer.status, 400, JSON.stringify(head));
      assert.equal((await client.closed()).length, 0, `${JSON.stringify(head)}: nothing after the refusal`);
    }
    for (const chunks of [
      "5\n01234\r\n0\r\n\r\n",
      "5;x=\n\r\n01234\r\n0\r\n\r\n",
      "0x5\r\n01234\r\n0\r\n\r\n",
      "fffffffffffffffff\r\n",
      "-5\r\n",
      "5\r\n0123456\r\n",
    ]) {
      const client = await open(t, registry);
      await client.send(requestHead("PATCH", location, { ...AUTH, "transfer-encoding": "chunked" }), chunks, inner);
      const answer = await client.answer();
      assert.equal(answer.status, 400, JSON.stringify(chunks));
      assert.equal((await client.closed()).length, 0);
    }
    await eventually(async () => (await registry.send("PATCH", location)).status === 202);
    assert.equal(await offsetOf(registry, location), 0);
  });

  it("Expect: 100-continue is answered before the body is sent", async (t) => {
    const bytes = randomBytes(200_000);
    const location = await beginUpload(registry);
    const client = await open(t, registry);
    await client.send(
      requestHead("PUT", `${location}?digest=${sha256(bytes)}`, { ...AUTH, "content-length": bytes.length, expect: "100-continue" }),
    );
    assert.equal((await client.answer()).status, 100);
    await client.send(bytes);
    assert.equal((await client.answer()).status, 201);
    await client.send(requestHead("GET", "/v2/", { ...AUTH, expect: "something-else" }));
    assert.equal((await client.answer()).status, 417);
  });

  it("an upload without rights gets its answer while it still sends, and the connection goes on after a small one", async (t) => {
    for (const size of [100, 300_000, 3 * MIB]) {
      const client = await open(t, registry);
      const bytes = randomBytes(size);
      await client.send(
        requestHead("POST", `/v2/${REPO}/blobs/uploads/?digest=${sha256(bytes)}`, { "content-length": size }),
        bytes.subarray(0, size / 2),
      );
      const refused = await client.answer();
      assert.deepEqual([refused.status, refused.code], [401, "UNAUTHORIZED"]);
      assert.match(refused.headers.get("www-authenticate")!, /scope="repository:library\/app:pull,push"/);
      await client.send(bytes.subarray(size / 2), requestHead("GET", "/v2/", AUTH));
      assert.equal((await client.answer()).status, 200);
    }
    // The largest ones are not read completely, but the answer arrives before the connection is closed.
    const client = await open(t, registry);
    await client.send(requestHead("POST", `/v2/${REPO}/blobs/uploads/?digest=${sha256("")}`, { "content-length": 100 * MIB }));
    assert.equal((await client.answer()).status, 401);
    for (let i = 0; i < 100 && !client.socket.destroyed; i++) await client.send(Buffer.alloc(MIB));
    await client.closed();
  });

  it("every client that sends half a thing and leaves is forgotten", async (t) => {
    const location = await beginUpload(registry);
    const digest = await registry.pushBlob(REPO, randomBytes(3 * MIB));
    for (const text of [
      "",
      "G",
      "GET /v2/ HTTP/1.1\r\nhost",
      requestHead("PATCH", location, { ...AUTH, "content-length": 9 }),
      requestHead("PUT", `/v2/${REPO}/manifests/x`, { ...AUTH, "content-length": 9 }),
      requestHead("POST", "/token", { "content-length": 9 }),
      requestHead("POST", "/api/v1/projects", { ...AUTH, "content-type": "application/json", "content-length": 9 }),
      requestHead("GET", `/v2/${REPO}/blobs/${digest}`, AUTH),
      requestHead("GET", `/v2/${REPO}/blobs/${digest}`, AUTH).repeat(20),
      requestHead("GET", `/v2/${REPO}/blobs/${digest}`, AUTH) + requestHead("GET", "/api/v1/projects", AUTH).repeat(20),
    ]) {
      for (let i = 0; i < 3; i++) {
        const client = await open(t, registry);
        await client.send(text);
        await sleep(i * 5);
        client.destroy();
      }
    }
    await eventually(async () => {
      const page = await (await registry.send("GET", "/metrics")).text();
      const inFlight = page.split("\n").filter((line) => /^berth_\w*in_flight\w*(\{| )/.test(line));
      return inFlight.every((line) => line.endsWith(" 0"));
    });
    await expectStatus(await registry.send("PATCH", location, { body: "0" }), 202);
  });
});

describe("limits of how much runs at once", () => {
  it("uploads: as many run, as many wait, the next is 429 with Retry-After; reading goes on", async (t) => {
    const port = await freePort();
    const registry = await startTestRegistry({ "limits.concurrentUploads": "1", "metrics.listen": `127.0.0.1:${port}` });
    t.after(() => registry.stop());
    const bytes = randomBytes(50_000);
    const digest = await registry.pushBlob(REPO, bytes);
    const locations = [await beginUpload(registry), await beginUpload(registry), await beginUpload(registry)];
    const [running, waiting, refused] = [await open(t, registry), await open(t, registry), await open(t, registry)];
    const head = (location: string): string => requestHead("PATCH", location, { ...AUTH, "content-length": 10 });
    await running.send(head(locations[0]!), "01234");
    await untilSlots(port, "upload", 1, 0);
    await waiting.send(head(locations[1]!), "0123456789");
    await untilSlots(port, "upload", 1, 1);
    await refused.send(head(locations[2]!), "0123456789");
    const answer = await refused.answer();
    assert.deepEqual([answer.status, answer.code, answer.headers.get("retry-after")], [429, "TOOMANYREQUESTS", "5"]);
    assert.equal((await registry.send("HEAD", `/v2/${REPO}/blobs/${digest}`)).status, 200);
    await running.send("56789");
    assert.equal((await running.answer()).status, 202);
    assert.equal((await waiting.answer()).status, 202);
    await refused.send(head(locations[2]!), "0123456789");
    assert.equal((await refused.answer()).status, 202);
    // One that leaves while it waits gives its place back as well.
    await untilSlots(port, "upload", 0, 0);
    await running.send(head(locations[0]!), "01234");
    await untilSlots(port, "upload", 1, 0);
    await waiting.send(head(locations[1]!), "01234");
    await untilSlots(port, "upload", 1, 1);
    waiting.destroy();
    await running.send("56789");
    assert.equal((await running.answer()).status, 202);
    await expectStatus(await registry.send("PATCH", locations[2]!, { body: "0123456789" }), 202);
  });

  it("requests: as many run, as many wait, the next is 503 with Retry-After; probes are always answered", async (t) => {
    const port = await freePort();
    const registry = await startTestRegistry({ "limits.requestsInFlight": "1", "metrics.listen": `127.0.0.1:${port}` });
    t.after(() => registry.stop());
    const location = await beginUpload(registry);
    const [running, waiting] = [await open(t, registry), await open(t, registry)];
    await untilSlots(port, "request", 0, 0);
    await running.send(requestHead("PATCH", location, { ...AUTH, "content-length": 10 }), "01234");
    await untilSlots(port, "request", 1, 0);
    await waiting.send(requestHead("GET", "/v2/", AUTH));
    await untilSlots(port, "request", 1, 1);
    for (const path of ["/v2/", "/token", "/api/v1/projects", "/metrics", "/nothing"]) {
      const answer = await registry.send("GET", path);
      assert.deepEqual([answer.status, answer.headers.get("retry-after")], [503, "2"], path);
      assert.equal(((await answer.json()) as { errors: { code: string }[] }).errors[0]!.code, "UNAVAILABLE");
    }
    for (const path of ["/healthz", "/readyz"]) assert.equal((await registry.send("GET", path)).status, 200, path);
    // Pipelined requests wait for each other, not for places that others then lack.
    await running.send("56789", requestHead("GET", "/v2/", AUTH).repeat(20));
    assert.equal((await running.answer()).status, 202);
    assert.equal((await waiting.answer()).status, 200);
    for (let i = 0; i < 20; i++) assert.equal((await running.answer()).status, 200);
  });

  it("requests and connections whose clients were slow or left do not count for ever", async (t) => {
    const registry = await startTestRegistry({
      "limits.requestsInFlight": "2",
      "http.headerTimeoutSeconds": "1s",
      "http.bodyIdleTimeoutSeconds": "1s",
    });
    t.after(() => registry.stop());
    const digest = await registry.pushBlob(REPO, randomBytes(3 * MIB));
    for (let i = 0; i < 6; i++) {
      const client = await openRawClient(registry.origin);
      await client.send(requestHead("GET", `/v2/${REPO}/blobs/${digest}`, AUTH), requestHead("GET", "/api/v1/projects", AUTH).repeat(5));
      client.destroy();
    }
    await eventually(async () => (await registry.send("GET", "/v2/")).status === 200);
    // Headers that never end are answered with 408: Node checks every five seconds.
    const slow = await open(t, registry);
    await slow.send("GET /v2/ HTTP/1.1\r\nhost: registry.test\r\n");
    assert.equal((await slow.answer()).status, 408);
    await slow.closed();
  });
});
