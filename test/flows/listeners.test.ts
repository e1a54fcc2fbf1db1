// Listeners of their own for pulls and for administration: each serves its plane and refuses the other's, whichever way a path is written, and both
// have health checks. Not here: the port of metrics alone (observability.test.ts).
import assert from "node:assert/strict";
import { it } from "node:test";
import { startTestRegistry } from "./registry.testing.ts";

it("listeners: pulls and administration are served where they belong, and refused elsewhere", async (t) => {
  const registry = await startTestRegistry({ "http.adminListen": "127.0.0.1:0" });
  t.after(() => registry.stop());
  const { origin, adminOrigin } = registry;
  assert.ok(adminOrigin !== undefined && adminOrigin !== origin);
  const at = async (base: string, method: string, path: string) => {
    const answer = await registry.send(method, `${base}${path}`);
    return { status: answer.status, text: await answer.text() };
  };
  const content = ["/v2/", "/v2", "/v2?x=1", "/v2/_catalog", "/v2/library/app/tags/list", "/token", "/token?scope=a", "/oauth/token"];
  const administration = ["/api/v1/projects", "/api/v1/openapi.json", "/metrics", "/", "/api", "/%76%32/", "/V2/", "//v2/"];
  for (const path of content) {
    assert.doesNotMatch((await at(origin, "GET", path)).text, /PLANE_ELSEWHERE/, path);
    const refused = await at(adminOrigin, "GET", path);
    assert.deepEqual([refused.status, /PLANE_ELSEWHERE/.test(refused.text)], [404, true], path);
  }
  for (const path of administration) {
    assert.doesNotMatch((await at(adminOrigin, "GET", path)).text, /PLANE_ELSEWHERE/, path);
    const refused = await at(origin, "GET", path);
    assert.deepEqual([refused.status, /PLANE_ELSEWHERE/.test(refused.text)], [404, true], path);
  }
  for (const base of [origin, adminOrigin])
    for (const path of ["/healthz", "/readyz"]) assert.equal((await at(base, "GET", path)).status, 200);
  const { digest } = await registry.pushImage("library/app", "one");
  assert.equal((await at(origin, "HEAD", `/v2/library/app/manifests/${digest}`)).status, 200);
  assert.equal((await at(adminOrigin, "PUT", "/v2/library/app/manifests/two")).status, 404);
  assert.equal((await at(adminOrigin, "GET", "/metrics")).status, 200);
  const made = await registry.send("POST", `${adminOrigin}/api/v1/projects`, {
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ name: "team" }),
  });
  assert.equal(made.status, 201);
  assert.equal((await at(origin, "DELETE", "/api/v1/projects/team")).status, 404);
  assert.equal((await at(adminOrigin, "DELETE", "/api/v1/projects/team")).status, 204);
});
