// What caches in front of the registry may keep, and that they revalidate it before they serve it. Not here: conditions of writes.
import assert from "node:assert/strict";
import { it } from "node:test";
import { expectStatus, startTestRegistry } from "./registry.testing.ts";

it("a cache has to ask each time, and learns that a project became private", async (t) => {
  const registry = await startTestRegistry();
  t.after(() => registry.stop());
  const image = await registry.pushImage("library/app", "v1");
  const paths = ["manifests/v1", `manifests/${image.digest}`, `blobs/${image.layerDigest}`, `blobs/${image.configDigest}`];
  const tags = new Map<string, string>();
  for (const path of paths) {
    for (const anonymous of [true, false]) {
      const answer = await expectStatus(await registry.send("GET", `/v2/library/app/${path}`, { anonymous }), 200);
      await answer.arrayBuffer();
      assert.equal(answer.headers.get("cache-control"), anonymous ? "public, no-cache" : "private, no-cache", path);
      tags.set(path, answer.headers.get("etag")!);
    }
    const asked = await registry.send("GET", `/v2/library/app/${path}`, { anonymous: true, headers: { "if-none-match": tags.get(path)! } });
    assert.deepEqual([asked.status, asked.headers.get("cache-control")], [304, "public, no-cache"], path);
  }
  const change = { body: JSON.stringify({ visibility: "private" }), headers: { "content-type": "application/json" } };
  await expectStatus(await registry.send("PATCH", "/api/v1/projects/library", change), 200);
  for (const path of paths) {
    const asked = await registry.send("GET", `/v2/library/app/${path}`, { anonymous: true, headers: { "if-none-match": tags.get(path)! } });
    assert.equal(asked.status, 401, path);
  }
});
