// Traces as an operator gets them: a server process, a collector, and the received spans of a push, a pull and a refusal; they contain no
// secret. Not here: the queue and the sampling (platform/tracing-otlp.test.ts).
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { it } from "node:test";
import { startOtlpReceiver } from "../../apps/server/src/platform/otlp-receiver.testing.ts";
import { ADMIN_PASSWORD, sha256, temporaryFolder } from "./registry.testing.ts";
import { startServerProcess } from "./server-process.testing.ts";

const AUTHORIZATION = `Basic ${Buffer.from(`admin:${ADMIN_PASSWORD}`).toString("base64")}`;
const CLIENT_TRACE = "0af7651916cd43dd8448eb211c80319c";
const CLIENT_SPAN = "b7ad6b7169203331";

it("tracing: shows requests with what they did, continues the client's trace, ties the log to it, and tells no secret", async () => {
  const folder = await temporaryFolder();
  const receiver = await startOtlpReceiver();
  const server = await startServerProcess({ data: folder.path, "tracing.endpoint": receiver.endpoint, "tracing.sampleRatio": "1" });
  const send = (method: string, path: string, headers: Record<string, string> = {}, body?: Uint8Array<ArrayBuffer>) =>
    fetch(new URL(path, server.origin), {
      method,
      headers: { authorization: AUTHORIZATION, ...headers },
      ...(body === undefined ? {} : { body }),
    });
  try {
    const layer = new Uint8Array(randomBytes(100_000));
    const pushed = await send("POST", `/v2/library/traced/blobs/uploads/?digest=${sha256(layer)}`, {}, layer);
    assert.equal(pushed.status, 201);
    const traceparent = `00-${CLIENT_TRACE}-${CLIENT_SPAN}-01`;
    const pulled = await send("GET", `/v2/library/traced/blobs/${sha256(layer)}`, { traceparent });
    assert.equal((await pulled.arrayBuffer()).byteLength, layer.length);
    assert.equal(
      (
        await send("GET", "/v2/library/traced/manifests/none?password=in-the-query", {
          traceparent: `00-${CLIENT_TRACE}-${CLIENT_SPAN}-00`,
        })
      ).status,
      404,
    );
    assert.equal((await send("GET", "/token?service=berth&scope=repository:library/traced:pull")).status, 200);
    assert.equal((await send("GET", "/api/v1/projects/library")).status, 200);
    // Missing bytes cause an error in the log.
    for (const name of readdirSync(join(folder.path, "content")))
      rmSync(join(folder.path, "content", name), { recursive: true, force: true });
    const damaged = await send("GET", `/v2/library/traced/blobs/${sha256(layer)}`, { "x-request-id": "of-the-damaged" });
    assert.ok(damaged.status >= 500);
    const line = await server.logged(({ requestId }) => requestId === "of-the-damaged");

    const push = await receiver.received(({ attributes }) => attributes["berth.operation"] === "upload-begin");
    const pull = await receiver.received(({ kind, traceId }) => kind === 2 && traceId === CLIENT_TRACE);
    const failed = await receiver.received(({ attributes }) => attributes["berth.request_id"] === "of-the-damaged");
    const token = await receiver.received(({ name }) => name === "GET /token");
    const api = await receiver.received(({ attributes }) => attributes["http.route"] === "/api/v1/projects/:project");
    assert.equal(push.name, "POST /v2/{repository}/blobs/uploads/");
    assert.equal(push.kind, 2);
    assert.deepEqual(
      ["http.request.method", "http.response.status_code", "url.path", "url.scheme", "berth.repository"].map(
        (name) => push.attributes[name],
      ),
      ["POST", 201, "/v2/library/traced/blobs/uploads/", "http", "library/traced"],
    );
    const below = (traceId: string): string[] => receiver.spans.filter((span) => span.traceId === traceId).map(({ name }) => name);
    for (const name of ["authenticate", "authorize", "store append", "store finish", "transaction", "blobs.insert"]) {
      assert.ok(below(push.traceId).includes(name), `${name} is not among ${below(push.traceId).join(", ")}`);
    }
    assert.equal(pull.parentSpanId, CLIENT_SPAN);
    assert.ok(below(CLIENT_TRACE).includes("store read"));
    // The client's second request said that its trace is not sampled.
    assert.equal(receiver.spans.filter(({ traceId, kind }) => traceId === CLIENT_TRACE && kind === 2).length, 1);
    assert.equal(token.attributes["http.response.status_code"], 200);
    assert.equal(api.attributes["http.response.status_code"], 200);
    assert.equal(failed.status, 2);
    assert.equal(failed.attributes["error.type"], String(damaged.status));
    assert.deepEqual([line["trace_id"], line["trace_flags"]], [failed.traceId, "01"]);

    server.kill("SIGTERM");
    assert.equal((await server.ended).code, 0);
    const text = receiver.text();
    for (const secret of [ADMIN_PASSWORD, AUTHORIZATION.slice(6), "in-the-query", "scope="]) assert.ok(!text.includes(secret), secret);
  } finally {
    await server.clean();
    await receiver.stop();
    await folder.end();
  }
});
