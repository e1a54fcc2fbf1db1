// What an operator's machinery sees: health, readiness, metrics on the main port for administrators and on a port of their own.
import assert from "node:assert/strict";
import { it } from "node:test";
import { freePort } from "../tools/processes.ts";
import { startTestRegistry } from "./registry.testing.ts";

it("tells that it lives, that it is ready, and what it counted", async () => {
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
