// The catalog for clients of the token protocol, which authenticate only when challenged. Not here: its pages (distribution-api.test.ts).
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { expectStatus, startTestRegistry, type TestRegistry } from "./registry.testing.ts";

let registry: TestRegistry;
before(async () => {
  registry = await startTestRegistry();
});
after(() => registry.stop());

it("catalog: challenges who shows nothing, and gives an anonymous token the public repositories only", async () => {
  const project = JSON.stringify({ name: "vault", visibility: "private" });
  await expectStatus(
    await registry.send("POST", "/api/v1/projects", { body: project, headers: { "content-type": "application/json" } }),
    201,
  );
  await registry.pushImage("library/open", "v1");
  await registry.pushImage("vault/hidden", "v1");

  const challenged = await registry.send("GET", "/v2/_catalog", { anonymous: true });
  assert.equal(challenged.status, 401);
  const challenge = challenged.headers.get("www-authenticate") ?? "";
  assert.match(challenge, /,scope="registry:catalog:\*"/);

  const listed = async (options: { anonymous: boolean }) => {
    const token = `/token?service=berth&scope=${encodeURIComponent("registry:catalog:*")}`;
    const answer = (await (await expectStatus(await registry.send("GET", token, options), 200)).json()) as { token: string };
    const headers = { authorization: `Bearer ${answer.token}` };
    return (await (await expectStatus(await registry.send("GET", "/v2/_catalog", { headers }), 200)).json()) as object;
  };
  assert.deepEqual(await listed({ anonymous: true }), { repositories: ["library/open"] });
  assert.deepEqual(await listed({ anonymous: false }), { repositories: ["library/open", "vault/hidden"] });
});
