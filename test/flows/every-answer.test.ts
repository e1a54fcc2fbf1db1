// Every request, however malformed, is answered in the registry's own form: every method on every route, requests with no or a strange
// Host, input that is not HTTP; and clients that leave count as nobody's fault. Over bare sockets.
import assert from "node:assert/strict";
import { METHODS } from "node:http";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { OPERATIONS } from "@berth/api/operations";
import { freePort } from "../tools/processes.ts";
import { openRawClient, requestHead, type RawAnswer, type RawClient } from "./raw-client.testing.ts";
import { ADMIN_PASSWORD, sha256, startTestRegistry, type TestRegistry } from "./registry.testing.ts";

const AUTH = { authorization: `Basic ${Buffer.from(`admin:${ADMIN_PASSWORD}`).toString("base64")}` };
const DIGEST = sha256("nothing");

/** Every address, and the methods that it takes. */
const ROUTES: Record<string, readonly string[]> = {
  "/v2/": ["GET", "HEAD"],
  "/v2": ["GET", "HEAD"],
  "/v2/?x=1": ["GET", "HEAD"],
  "/v2/_catalog": ["GET", "HEAD"],
  "/v2/library/app/tags/list": ["GET", "HEAD"],
  "/v2/library/app/manifests/v1": ["GET", "HEAD", "PUT", "DELETE"],
  [`/v2/library/app/manifests/${DIGEST}`]: ["GET", "HEAD", "PUT", "DELETE"],
  [`/v2/library/app/blobs/${DIGEST}`]: ["GET", "HEAD", "DELETE"],
  "/v2/library/app/blobs/uploads/": ["POST"],
  "/v2/library/app/blobs/uploads/abc": ["GET", "HEAD", "PATCH", "PUT", "DELETE"],
  [`/v2/library/app/referrers/${DIGEST}`]: ["GET", "HEAD"],
  "/token": ["GET", "POST"],
  "/token?service=x": ["GET", "POST"],
  "/healthz": ["GET", "HEAD"],
  "/readyz": ["GET", "HEAD"],
  "/metrics": ["GET", "HEAD"],
  "/api/v1/openapi.json": ["GET", "HEAD"],
};
for (const { method, path } of OPERATIONS) {
  const address = `/api/v1${path.replaceAll(/\{\w+\}/g, "x1")}`;
  ROUTES[address] = [...(ROUTES[address] ?? []), ...(method === "GET" ? ["GET", "HEAD"] : [method])];
}
const NOWHERE = [
  "/",
  "/v1",
  "/v3/",
  "/api",
  "/api/v1",
  "/api/v2/projects",
  "/api/v1/nothing",
  "/tokens",
  "/token/",
  "/healthz/x",
  "/favicon.ico",
];

const errorOf = (answer: RawAnswer): { code: string; message: string; detail?: unknown } =>
  (JSON.parse(answer.body.toString()) as { errors: [{ code: string; message: string }] }).errors[0];

describe("every answer", () => {
  let registry: TestRegistry;
  let metricsPort: number;
  let client: RawClient;
  before(async () => {
    metricsPort = await freePort();
    registry = await startTestRegistry({ "metrics.listen": `127.0.0.1:${metricsPort}`, "http.headerTimeoutSeconds": "2s" });
    client = await openRawClient(registry.origin);
  });
  after(async () => {
    client.destroy();
    await registry.stop();
  });

  /** Sends bytes on a new connection and returns the answer; fails if there is none. */
  async function answerTo(...parts: (string | Uint8Array)[]): Promise<RawAnswer> {
    const own = await openRawClient(registry.origin);
    try {
      await own.send(...parts);
      return await own.answer();
    } finally {
      own.destroy();
    }
  }

  /** The same on a connection that is kept for as long as the server keeps it. */
  async function ask(method: string, path: string): Promise<RawAnswer> {
    if (client.socket.destroyed || client.socket.readableEnded) client = await openRawClient(registry.origin);
    await client.send(requestHead(method, path, { ...AUTH, "content-length": 0 }));
    const answer = await client.answer(method === "HEAD");
    if (answer.headers.get("connection") === "close") {
      client.destroy();
      client = await openRawClient(registry.origin);
    }
    return answer;
  }

  it("to a method that an address does not take is 405 with those that it takes; to what it takes, never", async () => {
    for (const [path, methods] of Object.entries(ROUTES)) {
      for (const method of METHODS.filter((each) => each !== "CONNECT")) {
        const answer = await ask(method, path);
        const what = `${method} ${path}: ${answer.status} ${answer.body.toString().slice(0, 200)}`;
        assert.ok(answer.status < 500, what);
        if (methods.includes(method)) assert.notEqual(answer.status, 405, what);
        else {
          assert.equal(answer.status, 405, what);
          assert.deepEqual(answer.headers.get("allow")?.split(", ").toSorted(), methods.toSorted(), what);
          if (method !== "HEAD") assert.equal(errorOf(answer).code, "UNSUPPORTED", what);
        }
      }
    }
  });

  it("is 404 where nothing is, by any method", async () => {
    for (const path of NOWHERE) {
      for (const method of METHODS.filter((each) => each !== "CONNECT")) {
        const answer = await ask(method, path);
        assert.equal(answer.status, 404, `${method} ${path}`);
        if (method !== "HEAD") assert.equal(errorOf(answer).code, "OPERATION_UNKNOWN");
      }
    }
  });

  it("on the port of the metrics is 405 or 404 in the same way", async () => {
    for (const method of ["POST", "PUT", "DELETE", "OPTIONS"]) {
      const answer = await fetch(`http://127.0.0.1:${metricsPort}/metrics`, { method });
      assert.deepEqual([answer.status, answer.headers.get("allow")], [405, "GET, HEAD"]);
      assert.equal((await fetch(`http://127.0.0.1:${metricsPort}/x`, { method })).status, 404);
    }
    assert.equal((await fetch(`http://127.0.0.1:${metricsPort}/metrics`, { method: "HEAD" })).status, 200);
  });

  it("to a tunnel is 405", async () => {
    const answer = await answerTo("CONNECT registry:443 HTTP/1.1\r\nhost: registry:443\r\n\r\n");
    assert.deepEqual([answer.status, errorOf(answer).code], [405, "UNSUPPORTED"]);
  });

  it("of 401 comes whatever the host is, also where none is named", async () => {
    const odd = ["", "a b", "a/b", "a@b", '"', "é", ":", "[::1", "x".repeat(300), "a,b", "http://x", "%41", "a:99999999"];
    for (const path of ["/v2/", "/v2/private/app/manifests/v1", "/api/v1/users/me", "/metrics"]) {
      const requests = [
        `GET ${path} HTTP/1.0\r\n\r\n`,
        `HEAD ${path} HTTP/1.0\r\n\r\n`,
        `OPTIONS ${path} HTTP/1.0\r\n\r\n`,
        `GET ${path} HTTP/1.0\r\nhost:\r\n\r\n`,
        ...odd.map((host) => `GET ${path} HTTP/1.1\r\nhost: ${host}\r\n\r\n`),
      ];
      for (const request of requests) {
        const own = await openRawClient(registry.origin);
        await own.send(Buffer.from(request, "latin1"));
        const answer = await own.answer(request.startsWith("HEAD"));
        own.destroy();
        assert.ok(answer.status >= 400 && answer.status < 500, `${request}: ${answer.status}`);
        if (request.startsWith("OPTIONS")) assert.equal(answer.status, 405);
        else assert.equal(answer.status, 401, `${request}: ${answer.status}`);
        const challenge = answer.headers.get("www-authenticate") ?? "";
        if (path.startsWith("/v2/") && answer.status === 401)
          assert.match(challenge, /^Bearer realm="http:\/\/127\.0\.0\.1:\d+\/token",service="/, request);
      }
    }
  });

  it("to what is no request is in the form of all errors", async () => {
    const cases: [string | Uint8Array, number, string][] = [
      ["GET /v2/ HTTP/1.1\r\n\r\n", 400, "REQUEST_INVALID"],
      ["hello\r\n\r\n", 400, "REQUEST_INVALID"],
      ["GET /v2/ HTTP/9.9\r\nhost: x\r\n\r\n", 400, "REQUEST_INVALID"],
      ["GET /v2/ HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n", 400, "REQUEST_INVALID"],
      ["GET /v2/ HTTP/1.1\r\nhost: x\r\na: b\0c\r\n\r\n", 400, "REQUEST_INVALID"],
      ["GET /v2/ a HTTP/1.1\r\nhost: x\r\n\r\n", 400, "REQUEST_INVALID"],
      ["FETCH /v2/ HTTP/1.1\r\nhost: x\r\n\r\n", 400, "REQUEST_INVALID"],
      ["get /v2/ HTTP/1.1\r\nhost: x\r\n\r\n", 400, "REQUEST_INVALID"],
      ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "REQUEST_INVALID"],
      ["POST /token HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 400, "REQUEST_INVALID"],
      ["POST /token HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400, "REQUEST_INVALID"],
      ["POST /token HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400, "REQUEST_INVALID"],
      [Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03]), 400, "REQUEST_INVALID"],
      [`GET /v2/ HTTP/1.1\r\nhost: x\r\nx-long: ${"x".repeat(40_000)}\r\n\r\n`, 431, "HEADERS_TOO_LARGE"],
      ["POST /token HTTP/1.1\r\nhost: x\r\nexpect: coffee\r\ncontent-length: 1\r\n\r\n", 417, "REQUEST_INVALID"],
      ["GET /v2/ HTTP/1.1\r\nhost: x\r\n", 408, "REQUEST_TIMEOUT"],
    ];
    for (const [bytes, status, code] of cases) {
      const answer = await answerTo(bytes);
      const what = JSON.stringify(bytes.toString().slice(0, 100));
      assert.deepEqual([answer.status, errorOf(answer).code], [status, code], what);
      assert.equal(answer.headers.get("content-type"), "application/json", what);
      assert.equal(answer.headers.get("connection"), "close", what);
    }
  });

  it("that nobody waits for is counted as 499, and never as a fault", async () => {
    const counts = async (): Promise<Map<string, number>> => {
      const page = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
      return new Map(
        [...page.matchAll(/^berth_operations_total\{kind="([^"]+)",status="(\d+)"\} (\d+)$/gm)].map(([, kind, status, n]) => [
          `${kind} ${status}`,
          Number(n),
        ]),
      );
    };
    const { layerDigest } = await registry.pushImage("library/app", "v1", 8 * 1024 * 1024);
    const location = (await registry.send("POST", "/v2/library/app/blobs/uploads/")).headers.get("location")!;
    const json = { "content-type": "application/json", "content-length": 1000 };
    const cases: [string, string, string][] = [
      [
        "token",
        requestHead("POST", "/token", { "content-type": "application/x-www-form-urlencoded", "content-length": 1000 }),
        "grant_type=pass",
      ],
      ["api", requestHead("POST", "/api/v1/projects", { ...AUTH, ...json }), '{"name":'],
      ["upload-append", requestHead("PATCH", location, { ...AUTH, "content-length": 1000 }), "abc"],
      ["manifest-put", requestHead("PUT", "/v2/library/app/manifests/v2", { ...AUTH, "content-length": 1000 }), "{"],
      ["blob-get", requestHead("GET", `/v2/library/app/blobs/${layerDigest}`, AUTH), ""],
    ];
    const before = await counts();
    for (const [kind, ...parts] of cases) {
      const own = await openRawClient(registry.origin);
      own.socket.pause();
      await own.send(...parts);
      // The request has begun when the metrics show it.
      for (;;) {
        const page = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
        if (page.includes(`berth_operations_in_flight{kind="${kind}"} 1\n`)) break;
        await sleep(10);
      }
      own.destroy();
      while (((await counts()).get(`${kind} 499`) ?? 0) === (before.get(`${kind} 499`) ?? 0)) await sleep(20);
    }
    const now = await counts();
    for (const [name, count] of now) if (/ 5\d\d$/.test(name)) assert.equal(count, before.get(name), name);
  });
});
