// Log lines of requests, read from the output of a server in its own process. Not here: the log's own rules (platform/log.test.ts).
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { describe, it, type TestContext } from "node:test";
import { ADMIN_PASSWORD } from "./registry.testing.ts";
import { startServerProcess, type LogLine, type ServerProcess } from "./server-process.testing.ts";

const ADMIN = basic("admin", ADMIN_PASSWORD);
const MANIFEST = "application/vnd.oci.image.index.v1+json";
const EMPTY_INDEX = JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST, manifests: [] });

function basic(name: string, secret: string): string {
  return `Basic ${Buffer.from(`${name}:${secret}`).toString("base64")}`;
}

interface LoggedServer {
  readonly server: ServerProcess;
  send(method: string, path: string, options?: { headers?: Record<string, string>; body?: string }): Promise<Response>;
  /** The line of a request, by the id that its answer carries; undefined if a later request's line came without it. */
  lineOf(answer: Response): Promise<LogLine | undefined>;
}

async function start(t: TestContext, settings: Readonly<Record<string, string>> = {}): Promise<LoggedServer> {
  const server = await startServerProcess(settings);
  t.after(() => server.clean());
  const send: LoggedServer["send"] = async (method, path, { headers = {}, body } = {}) => {
    const answer = await fetch(new URL(path, server.origin), {
      method,
      headers,
      redirect: "manual",
      ...(body === undefined ? {} : { body }),
    });
    await answer.arrayBuffer();
    return answer;
  };
  return {
    server,
    send,
    async lineOf(answer) {
      // Lines come in the order in which requests end: when a later request's line exists, this one's does too.
      const mark = await send("PUT", "/v2/library/mark/manifests/mark", {
        headers: { authorization: ADMIN, "content-type": MANIFEST },
        body: EMPTY_INDEX,
      });
      await server.logged((line) => line["requestId"] === mark.headers.get("x-request-id"));
      return server.log.find((line) => line["requestId"] === answer.headers.get("x-request-id"));
    },
  };
}

const asAdmin = { authorization: ADMIN };
const put = { headers: { ...asAdmin, "content-type": MANIFEST }, body: EMPTY_INDEX };

describe("the log of requests", () => {
  it("has a line for every write by default, and none for reads and probes", async (t) => {
    const { send, lineOf } = await start(t);
    const pushed = await send("PUT", "/v2/library/app/manifests/v1", put);
    const line = await lineOf(pushed);
    assert.equal(line?.msg, "change");
    assert.equal(line.level, "info");
    const { operation, account, repository, reference, status, address, method } = line as Record<string, unknown>;
    assert.deepEqual(
      { operation, account, repository, reference, status, address, method },
      {
        operation: "manifest-put",
        account: "admin",
        repository: "library/app",
        reference: "v1",
        status: 201,
        address: "127.0.0.1",
        method: "PUT",
      },
    );
    assert.ok((line["receivedBytes"] as number) >= EMPTY_INDEX.length);
    assert.ok((line["milliseconds"] as number) > 0);
    assert.ok(!("complete" in line));
    const data = "some bytes of a blob";
    const digest = `sha256:${createHash("sha256").update(data).digest("hex")}`;
    const begun = await send("POST", "/v2/library/app/blobs/uploads/", { headers: asAdmin });
    assert.equal(await lineOf(begun), undefined);
    const ended = await send("PUT", `${begun.headers.get("location")}?digest=${digest}`, { headers: asAdmin, body: data });
    assert.equal((await lineOf(ended))?.["reference"], digest);
    const mounted = await send("POST", `/v2/library/other/blobs/uploads/?mount=${digest}&from=library/app`, { headers: asAdmin });
    assert.equal(mounted.status, 201);
    assert.equal((await lineOf(mounted))?.["repository"], "library/other");
    const made = await send("POST", "/api/v1/projects", {
      headers: { ...asAdmin, "content-type": "application/json" },
      body: JSON.stringify({ name: "made" }),
    });
    assert.deepEqual((await lineOf(made))?.["target"], { name: "made" });
    assert.ok(!("complete" in ((await lineOf(made)) ?? {})));
    for (const path of ["/v2/", "/v2/library/app/manifests/v1", "/api/v1/projects", "/readyz"]) {
      assert.equal(await lineOf(await send("GET", path, { headers: asAdmin })), undefined, path);
    }
    assert.equal((await lineOf(await send("DELETE", "/v2/library/app/manifests/v1", { headers: asAdmin })))?.msg, "change");
  });

  it("says which write was refused to whom, and is silent about the question for credentials that every client begins with", async (t) => {
    const { send, lineOf } = await start(t);
    const unknown = await send("PUT", "/v2/library/app/manifests/v1", { ...put, body: "{}" });
    const line = await lineOf(unknown);
    assert.deepEqual([line?.msg, line?.["code"], line?.["account"]], ["change refused", "MANIFEST_INVALID", "admin"]);
    const asked = await send("POST", "/v2/library/app/blobs/uploads/");
    assert.equal(asked.status, 401);
    assert.equal(await lineOf(asked), undefined);
  });

  it("has a line for every refused login with the name that was tried, and never its secret", async (t) => {
    const { server, send, lineOf } = await start(t);
    const secret = "a-wrong-password-0815";
    const refused = [
      await send("GET", "/v2/", { headers: { authorization: basic("admin", secret) } }),
      await send("GET", "/token?service=x", { headers: { authorization: basic("admin", secret) } }),
      await send("GET", "/api/v1/projects", { headers: { authorization: basic("admin", secret) } }),
      await send("POST", "/token", {
        headers: { "content-type": "application/x-www-form-urlencoded" },
        body: new URLSearchParams({ grant_type: "password", service: "x", client_id: "x", username: "admin", password: secret }).toString(),
      }),
    ];
    for (const answer of refused) {
      const line = await lineOf(answer);
      assert.equal(answer.status, 401);
      assert.deepEqual([line?.msg, line?.["login"], line?.["code"]], ["login refused", "admin", "UNAUTHORIZED"]);
    }
    const noLogin = await send("GET", "/v2/", { headers: { authorization: "Bearer nothing" } });
    assert.equal(await lineOf(noLogin), undefined);
    assert.ok(!JSON.stringify(server.log).includes(secret));
  });

  it("is an access log where all requests are wanted: one line each, probes left out", async (t) => {
    const { send, lineOf } = await start(t, { "log.requests": "all" });
    const read = await send("GET", "/v2/library/none/tags/list?n=5&secret=do-not-show", { headers: asAdmin });
    const line = await lineOf(read);
    assert.deepEqual([line?.msg, line?.["operation"], line?.["status"], line?.["code"]], ["request", "tags", 404, "NAME_UNKNOWN"]);
    const nowhere = await send("GET", '/nowhere"x?token=do-not-show');
    assert.equal((await lineOf(nowhere))?.["path"], "/nowhere%22x");
    assert.ok(!JSON.stringify(await lineOf(nowhere)).includes("do-not-show"));
    assert.equal(await lineOf(await send("GET", "/healthz")), undefined);
  });

  it("says of a client that left before the end that it did, and of nobody else", async (t) => {
    const { server, send, lineOf } = await start(t, { "log.requests": "all" });
    const begun = await send("POST", "/v2/library/app/blobs/uploads/", { headers: asAdmin });
    assert.ok(!("complete" in ((await lineOf(begun)) ?? {})));
    const { hostname, port } = new URL(server.origin);
    const leaver = connect(Number(port), hostname);
    leaver.on("error", () => undefined);
    // The server sends 100 Continue when it has begun to read the body.
    const asked = once(leaver, "data");
    leaver.write(
      `PATCH ${begun.headers.get("location")} HTTP/1.1\r\nhost: x\r\nx-request-id: leaver\r\nauthorization: ${ADMIN}\r\ncontent-length: 1000\r\nexpect: 100-continue\r\n\r\n`,
    );
    assert.match(String((await asked)[0]), /^HTTP\/1\.1 100 /);
    leaver.destroy();
    const line = await server.logged(({ requestId }) => requestId === "leaver");
    assert.equal(line["complete"], false);
  });

  it("is not kept where nobody wants it", async (t) => {
    const { server, send } = await start(t, { "log.requests": "none" });
    await send("PUT", "/v2/library/app/manifests/v1", put);
    server.kill("SIGTERM");
    await server.ended;
    assert.deepEqual(
      server.log.filter((line) => "operation" in line),
      [],
    );
  });
});
