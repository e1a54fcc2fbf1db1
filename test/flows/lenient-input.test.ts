// Requests that are right except for something optional, outdated or repeated: they are answered by the rest of them. Not here: every form
// of an address (http/v2/parse-request.test.ts), what is refused and why (docs/decisions/0025-lenient-input.md).
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { openRawClient } from "./raw-client.testing.ts";
import { expectStatus, sha256, startTestRegistry, type TestRegistry } from "./registry.testing.ts";

const REPO = "library/lenient";

describe("what is optional, outdated or repeated fails no good request", () => {
  let registry: TestRegistry;
  before(async () => {
    registry = await startTestRegistry();
  });
  after(() => registry.stop());

  async function begin(query = ""): Promise<Response> {
    return expectStatus(await registry.send("POST", `/v2/${REPO}/blobs/uploads/${query}`), 202);
  }

  it("a mount from a name of another registry, or of a digest that is none, begins an upload that can be finished", async () => {
    const bytes = randomBytes(100);
    for (const mount of [
      `mount=${sha256(bytes)}&from=docker.io/Library/alpine`,
      `mount=${sha256(bytes)}&from=registry.k8s.io:443/pause`,
      `mount=${sha256(bytes)}&from=library/not-there`,
      `mount=${sha256(bytes)}&from=${"x".repeat(300)}`,
      "mount=sha256:short&from=library/base",
    ]) {
      const location = (await begin(`?${mount}`)).headers.get("location")!;
      await expectStatus(await registry.send("PUT", `${location}?digest=${sha256(bytes)}`, { body: bytes }), 201);
    }
  });

  it("an upload without a byte has no range, one with bytes has", async () => {
    const begun = await begin();
    const location = begun.headers.get("location")!;
    const empty = { "content-length": "0", "content-range": "0-0" };
    for (const answer of [
      begun,
      await expectStatus(await registry.send("PATCH", location, { headers: empty, body: new Uint8Array(0) }), 202),
      await expectStatus(await registry.send("PATCH", location, { headers: { "content-range": "5-9" }, body: new Uint8Array(5) }), 416),
    ]) {
      assert.equal(answer.headers.get("range"), null);
      assert.equal(answer.headers.get("location"), location);
    }
    const state = await expectStatus(await registry.send("GET", location), 204);
    assert.equal(state.headers.get("range"), "0--1", "resumed behind its end it begins at 0");
    const one = await expectStatus(await registry.send("PATCH", location, { body: new Uint8Array(1) }), 202);
    assert.equal(one.headers.get("range"), "0-0");
    // A repeated chunk is refused with the upload's offset, and the next one is accepted.
    const again = await registry.send("PATCH", location, { headers: { "content-range": "0-0" }, body: new Uint8Array(1) });
    assert.deepEqual([again.status, again.headers.get("range")], [416, "0-0"]);
    await expectStatus(await registry.send("PUT", `${location}?digest=${sha256(new Uint8Array(1))}`), 201);
  });

  it("the end of an upload may be sent again, whole or without a body, and other content may not", async () => {
    for (const size of [100, 300_000]) {
      const bytes = randomBytes(size);
      const location = (await begin()).headers.get("location")!;
      const finish = (digest: string, body?: Uint8Array) =>
        registry.send("PUT", `${location}?digest=${digest}`, body === undefined ? {} : { body });
      await expectStatus(await finish(sha256(bytes), bytes), 201);
      // As scripts write it that expect a query in the address.
      await expectStatus(await registry.send("PUT", `${location}&digest=${sha256(bytes)}`), 201);
      for (const body of [bytes, undefined]) {
        const again = await expectStatus(await finish(sha256(bytes), body), 201);
        assert.equal(again.headers.get("location"), `/v2/${REPO}/blobs/${sha256(bytes)}`);
        assert.equal(again.headers.get("docker-content-digest"), sha256(bytes));
      }
      await expectStatus(await finish(sha256("other"), bytes), 404);
      await expectStatus(await registry.send("GET", location), 404);
    }
  });

  it("a token names what it can of what was asked for", async () => {
    const scopes = Array.from({ length: 40 }, (_, i) => `repository:library/app${i}:pull`);
    const query = ["nonsense", ...scopes].map((scope) => `scope=${encodeURIComponent(scope)}`).join("&");
    const answer = await expectStatus(await registry.send("GET", `/token?${query}`), 200);
    const { token } = (await answer.json()) as { token: string };
    const { access } = JSON.parse(Buffer.from(token.split(".")[1]!, "base64url").toString()) as { access: { name: string }[] };
    assert.deepEqual(
      access.map(({ name }) => name),
      scopes.slice(0, 32).map((scope) => scope.split(":")[1]),
    );
    // The rest is asked for when it is needed.
    const beyond = await registry.send("GET", "/v2/library/app39/tags/list", { headers: { authorization: `Bearer ${token}` } });
    assert.equal(beyond.status, 401);
    assert.match(beyond.headers.get("www-authenticate")!, /scope="repository:library\/app39:pull"/);
  });

  it("credentials of another scheme are answered with the schemes that there are", async () => {
    for (const authorization of ["Negotiate abc", "Digest username=x", "Basic", "Bearer", "Bearer ", "basic Og==", "x"]) {
      for (const [path, scheme] of [
        ["/v2/", "Bearer"],
        [`/v2/${REPO}/tags/list`, "Bearer"],
        ["/token", "Basic"],
        ["/api/v1/projects", "Basic"],
      ] as const) {
        const answer = await registry.send("GET", path, { headers: { authorization } });
        assert.equal(answer.status, 401, `${authorization} ${path}`);
        assert.ok(answer.headers.get("www-authenticate")!.startsWith(`${scheme} realm=`), `${authorization} ${path}`);
      }
    }
    // An empty header counts as none: public content can be read.
    const client = await openRawClient(registry.origin);
    await client.send("GET /token HTTP/1.1\r\nhost: x\r\nauthorization:\r\n\r\n");
    assert.equal((await client.answer()).status, 200);
    await client.send("GET /v2/ HTTP/1.1\r\nhost: x\r\nauthorization: \r\n\r\n");
    const ping = await client.answer();
    assert.equal(ping.status, 401);
    assert.match(ping.headers.get("www-authenticate")!, /^Bearer realm=/);
    client.destroy();
  });

  it("what no repository can be called is not there; a doubled slash is named", async () => {
    const errorOf = async (method: string, path: string) => {
      const client = await openRawClient(registry.origin);
      await client.send(`${method} ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`);
      const { status, body } = await client.answer();
      const [error] = (JSON.parse(body.toString()) as { errors: { code: string; message: string }[] }).errors;
      client.destroy();
      return { status, ...error };
    };
    const unknown = await errorOf("GET", "/v2/UPPER/case/manifests/v1");
    assert.deepEqual([unknown.status, unknown.code], [404, "NAME_UNKNOWN"]);
    const invalid = await errorOf("POST", "/v2/UPPER/case/blobs/uploads/");
    assert.deepEqual([invalid.status, invalid.code], [400, "NAME_INVALID"]);
    for (const path of ["/v2//library/app/tags/list", "/v2/library//app/tags/list", "//v2/library/app/tags/list"]) {
      const { status, message } = await errorOf("GET", path);
      assert.equal(status, 404);
      assert.match(message!, /doubled slash/, path);
    }
  });
});
