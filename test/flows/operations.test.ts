// The pages for monitoring: health, readiness, metrics on the main port for administrators and on a port of their own.
import assert from "node:assert/strict";
import { it } from "node:test";
import { freePort } from "../tools/processes.ts";
import { startTestRegistry } from "./registry.testing.ts";

it("operations: gives every answer the id of its request, the client's own where it sent a fair one", async () => {
  const registry = await startTestRegistry();
  try {
    const { layerDigest, digest: manifestDigest } = await registry.pushImage("library/counted", "v1", 100_000);
    const seen = new Set<string>();
    const ask = async (
      method: string,
      path: string,
      status: number,
      options: Parameters<typeof registry.send>[2] = {},
    ): Promise<Response> => {
      const answer = await registry.send(method, path, options);
      await answer.arrayBuffer();
      assert.equal(answer.status, status, `${method} ${path}`);
      const id = answer.headers.get("x-request-id");
      assert.ok(id !== null && !seen.has(id), `${method} ${path}: ${id}`);
      seen.add(id);
      return answer;
    };
    const repository = "/v2/library/counted";
    await ask("GET", "/v2/", 200);
    await ask("GET", "/v2/_catalog", 200);
    await ask("GET", `${repository}/tags/list`, 200);
    await ask("GET", `${repository}/referrers/${manifestDigest}`, 200);
    for (const method of ["GET", "HEAD"]) {
      await ask(method, `${repository}/manifests/v1`, 200);
      await ask(method, `${repository}/blobs/${layerDigest}`, 200);
      await ask(method, `${repository}/manifests/none`, 404);
    }
    await ask("GET", `${repository}/blobs/${layerDigest}`, 304, { headers: { "if-none-match": `"${layerDigest}"` } });
    await ask("GET", `${repository}/manifests/v1`, 304, { headers: { "if-none-match": `"${manifestDigest}"` } });
    await ask("GET", `${repository}/blobs/${layerDigest}`, 206, { headers: { range: "bytes=1-2" } });
    await ask("GET", `${repository}/blobs/${layerDigest}`, 206, { headers: { range: "bytes=1-2,5-6" } });
    const begun = await ask("POST", `${repository}/blobs/uploads/`, 202);
    const session = begun.headers.get("location")!;
    await ask("PATCH", session, 202, { body: Buffer.from("chunk") });
    await ask("GET", session, 204);
    await ask("DELETE", session, 204);
    await ask("POST", `/v2/library/other/blobs/uploads/?mount=${layerDigest}&from=library/counted`, 201);
    await ask("DELETE", `${repository}/manifests/v1`, 202);
    for (const path of ["/token", "/metrics", "/healthz", "/readyz", "/api/v1/projects"]) await ask("GET", path, 200);
    await ask("GET", "/nothing", 404);
    const own = await registry.send("GET", "/v2/", { headers: { "x-request-id": "mine-1" } });
    assert.equal(own.headers.get("x-request-id"), "mine-1");
  } finally {
    await registry.stop();
  }
});

it("operations: reports that it lives, that it is ready, and what it counted", async () => {
  const port = await freePort();
  const registry = await startTestRegistry({ "metrics.listen": `127.0.0.1:${port}`, "metrics.tag": "test" });
  try {
    assert.equal((await registry.send("GET", "/healthz", { anonymous: true })).status, 200);
    const ready = await registry.send("GET", "/readyz", { anonymous: true });
    assert.deepEqual(await ready.json(), { status: "ok", checks: { database: "ok", store: "ok" } });

    const { layerDigest } = await registry.pushImage("library/counted", "v1", 100_000);
    await (await registry.send("GET", `/v2/library/counted/blobs/${layerDigest}`)).arrayBuffer();
    assert.equal((await registry.send("GET", "/metrics", { anonymous: true })).status, 401);
    const page = await (await registry.send("GET", "/metrics")).text();
    const open = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    for (const text of [page, open]) {
      assert.match(text, /^berth_operations_total\{.*kind="manifest-put".*status="201".*\} 1$/m);
      assert.match(text, /^berth_store_duration_seconds_count\{.*kind="finish".*\} 1$/m);
      assert.match(text, /^berth_store_duration_seconds_count\{.*kind="read".*\} [1-9]/m);
      assert.match(text, /^berth_collection_backlog_blobs\{.*tag="test".*\} 0$/m);
    }
    assert.equal((await fetch(`http://127.0.0.1:${port}/v2/`)).status, 404);
  } finally {
    await registry.stop();
  }
});
