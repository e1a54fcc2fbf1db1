// Names of one segment: `myapp` and `library/myapp` are one repository, and every answer uses the client's spelling. Not here: permissions
// (access-matrix.test.ts), the specification's suite with such names (test/conformance), real clients (test/clients).
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { expectStatus, sha256, startTestRegistry, type TestRegistry } from "./registry.testing.ts";

const OCI = "application/vnd.oci.image.manifest.v1+json";

describe("a name of one segment", () => {
  let registry: TestRegistry;
  before(async () => {
    registry = await startTestRegistry();
  });
  after(() => registry.stop());

  async function json<T>(method: string, path: string, headers: Record<string, string> = {}): Promise<T> {
    return (await (await expectStatus(await registry.send(method, path, { headers }), 200)).json()) as T;
  }
  async function tokenFor(...scopes: string[]): Promise<string> {
    const query = scopes.map((scope) => `scope=${encodeURIComponent(scope)}`).join("&");
    return (await json<{ token: string }>("GET", `/token?${query}`)).token;
  }

  it("is the default project's repository: what is pushed under one name is there under both", async () => {
    for (const [written, read] of [
      ["myapp", "library/myapp"],
      ["library/other", "other"],
    ] as const) {
      const image = await registry.pushImage(written, "17");
      for (const name of [written, read]) {
        const manifest = await expectStatus(await registry.send("GET", `/v2/${name}/manifests/17`), 200);
        assert.equal(await manifest.text(), image.manifest);
        const blob = await expectStatus(await registry.send("GET", `/v2/${name}/blobs/${image.layerDigest}`), 200);
        assert.equal(sha256(Buffer.from(await blob.arrayBuffer())), image.layerDigest);
        assert.deepEqual(await json("GET", `/v2/${name}/tags/list`), { name, tags: ["17"] });
      }
      await expectStatus(await registry.send("DELETE", `/v2/${read}/manifests/17`), 202);
      await expectStatus(await registry.send("GET", `/v2/${written}/manifests/17`), 404);
    }
  });

  it("stays as it was written in every Location and Link", async () => {
    for (const name of ["locations", "library/locations"]) {
      const bytes = randomBytes(50);
      const begun = await expectStatus(await registry.send("POST", `/v2/${name}/blobs/uploads/`), 202);
      const session = begun.headers.get("location")!;
      assert.ok(session.startsWith(`/v2/${name}/blobs/uploads/`), session);
      const patched = await expectStatus(await registry.send("PATCH", session, { body: bytes.subarray(0, 20) }), 202);
      assert.equal(patched.headers.get("location"), session);
      const refused = await registry.send("PATCH", session, { body: bytes, headers: { "content-range": "0-49" } });
      assert.deepEqual([refused.status, refused.headers.get("location")], [416, session]);
      assert.equal((await registry.send("GET", session)).headers.get("location"), session);
      const done = await registry.send("PUT", `${session}?digest=${sha256(bytes)}`, { body: bytes.subarray(20) });
      assert.equal((await expectStatus(done, 201)).headers.get("location"), `/v2/${name}/blobs/${sha256(bytes)}`);
      const whole = await registry.send("POST", `/v2/${name}/blobs/uploads/?digest=${sha256(bytes)}`, { body: bytes });
      assert.equal((await expectStatus(whole, 201)).headers.get("location"), `/v2/${name}/blobs/${sha256(bytes)}`);
      const { digest } = await registry.pushImage(name, "b");
      const put = await registry.send("PUT", `/v2/${name}/manifests/a`, {
        body: await (await registry.send("GET", `/v2/${name}/manifests/b`)).text(),
        headers: { "content-type": OCI },
      });
      assert.equal((await expectStatus(put, 201)).headers.get("location"), `/v2/${name}/manifests/${digest}`);
      const page = await expectStatus(await registry.send("GET", `/v2/${name}/tags/list?n=1`), 200);
      assert.equal(page.headers.get("link"), `</v2/${name}/tags/list?n=1&last=a>; rel="next"`);
      for (const artifact of ["x", "y"]) await putReferrer(name, digest, artifact);
      const referrers = await expectStatus(await registry.send("GET", `/v2/${name}/referrers/${digest}?n=1`), 200);
      assert.match(referrers.headers.get("link")!, new RegExp(`^</v2/${name}/referrers/${digest}\\?n=1&last=`));
    }
    // Two of each spelling, and one list.
    assert.equal((await json<{ tags: string[] }>("GET", "/v2/locations/tags/list")).tags.length, 2);
  });

  async function putReferrer(name: string, subject: string, artifact: string): Promise<void> {
    const empty = await registry.pushBlob(name, Buffer.from("{}"));
    const blob = { mediaType: "application/vnd.oci.empty.v1+json", digest: empty, size: 2 };
    const body = JSON.stringify({
      schemaVersion: 2,
      mediaType: OCI,
      artifactType: `application/${artifact}`,
      config: blob,
      layers: [blob],
      subject: { mediaType: OCI, digest: subject, size: 1 },
    });
    await expectStatus(
      await registry.send("PUT", `/v2/${name}/manifests/${sha256(body)}`, { body, headers: { "content-type": OCI } }),
      201,
    );
  }

  it("is one entry of the catalog, of the API and of the usage, with its project", async () => {
    await registry.pushImage("entry", "1");
    await registry.pushImage("library/entry", "2");
    const { repositories } = await json<{ repositories: string[] }>("GET", "/v2/_catalog");
    assert.deepEqual(
      repositories.filter((name) => name.endsWith("entry")),
      ["library/entry"],
    );
    const view = await json<{ name: string; usage: { tags: number } }>("GET", "/api/v1/projects/library/repositories/entry");
    assert.deepEqual([view.name, view.usage.tags], ["library/entry", 2]);
    await expectStatus(await registry.send("DELETE", "/api/v1/projects/library/repositories/entry"), 204);
    await expectStatus(await registry.send("GET", "/v2/entry/manifests/1"), 404);
  });

  it("is challenged for, granted and opened in both spellings", async () => {
    await registry.pushImage("tokens", "1");
    const challenged = await registry.send("PUT", "/v2/tokens/manifests/1", { anonymous: true, body: "{}" });
    assert.equal(challenged.status, 401);
    assert.match(challenged.headers.get("www-authenticate")!, /scope="repository:tokens:pull,push"$/);
    const { errors } = (await challenged.json()) as { errors: [{ detail: { scope: string } }] };
    assert.equal(errors[0].detail.scope, "repository:tokens:pull,push");

    const token = await tokenFor("repository:tokens:pull,push");
    const { access } = JSON.parse(Buffer.from(token.split(".")[1]!, "base64url").toString()) as { access: unknown };
    assert.deepEqual(access, [{ type: "repository", name: "tokens", actions: ["pull", "push"] }]);
    for (const each of [token, await tokenFor("repository:library/tokens:pull,push")]) {
      for (const name of ["tokens", "library/tokens"]) {
        const headers = { authorization: `Bearer ${each}` };
        await expectStatus(await registry.send("GET", `/v2/${name}/manifests/1`, { headers }), 200);
        await expectStatus(await registry.send("POST", `/v2/${name}/blobs/uploads/`, { headers }), 202);
        const elsewhere = await registry.send("POST", `/v2/${name}-2/blobs/uploads/`, { headers });
        assert.equal(elsewhere.status, 401);
        assert.ok(elsewhere.headers.get("www-authenticate")!.includes(`scope="repository:${name}-2:pull,push"`));
      }
    }
  });

  it("is a source and a target of mounts", async () => {
    const { layerDigest } = await registry.pushImage("base", "1");
    for (const [target, from] of [
      ["mounted-1", "base"],
      ["mounted-2", "library/base"],
      ["library/mounted-3", "base"],
    ] as const) {
      const mount = await registry.send("POST", `/v2/${target}/blobs/uploads/?mount=${layerDigest}&from=${from}`);
      assert.equal((await expectStatus(mount, 201)).headers.get("location"), `/v2/${target}/blobs/${layerDigest}`);
    }
    const headers = { authorization: `Bearer ${await tokenFor("repository:mounted-4:pull,push")}` };
    const poor = await registry.send("POST", `/v2/mounted-4/blobs/uploads/?mount=${layerDigest}&from=base`, { headers });
    assert.equal(poor.status, 401);
    assert.match(poor.headers.get("www-authenticate")!, /scope="repository:mounted-4:pull,push repository:base:pull"/);
    const both = { authorization: `Bearer ${await tokenFor("repository:mounted-4:pull,push", "repository:base:pull")}` };
    await expectStatus(await registry.send("POST", `/v2/mounted-4/blobs/uploads/?mount=${layerDigest}&from=base`, { headers: both }), 201);
  });

  it("is never a project, and that of a robot is reached by its patterns", async () => {
    const made = await registry.send("POST", "/api/v1/projects", {
      body: JSON.stringify({ name: "team", visibility: "private" }),
      headers: { "content-type": "application/json" },
    });
    await expectStatus(made, 201);
    await registry.pushImage("team", "1");
    assert.deepEqual(await json("GET", "/v2/library/team/tags/list"), { name: "library/team", tags: ["1"] });
    const robotOf = async (project: string, repositories: string) => {
      const answer = await registry.send("POST", `/api/v1/projects/${project}/robots`, {
        body: JSON.stringify({ name: "ci", scopes: [{ repositories, actions: ["pull", "push"] }] }),
        headers: { "content-type": "application/json" },
      });
      const { login, secret } = (await (await expectStatus(answer, 201)).json()) as { login: string; secret: string };
      return { authorization: `Basic ${Buffer.from(`${login}:${secret}`).toString("base64")}` };
    };
    const push = (name: string, headers: Record<string, string>) => registry.send("POST", `/v2/${name}/blobs/uploads/`, { headers });
    const ofLibrary = await robotOf("library", "library/team");
    await expectStatus(await push("team", ofLibrary), 202);
    await expectStatus(await push("team-2", ofLibrary), 403);
    await expectStatus(await push("team", await robotOf("team", "team/**")), 403);
  });
});

it("a default project of another name is there from the start, and none refuses names of one segment", async (t) => {
  const apps = await startTestRegistry({ "projects.default": "apps" });
  t.after(() => apps.stop());
  await apps.pushImage("myapp", "17");
  await expectStatus(await apps.send("GET", "/v2/apps/myapp/manifests/17"), 200);
  await expectStatus(await apps.send("GET", "/v2/library/myapp/manifests/17"), 404);

  const none = await startTestRegistry({ "projects.default": "" });
  t.after(() => none.stop());
  const write = await none.send("POST", "/v2/myapp/blobs/uploads/");
  assert.equal(write.status, 400);
  assert.match(await write.text(), /NAME_INVALID.*PROJECT\/NAME, for example library\/myapp/);
  await expectStatus(await none.send("GET", "/v2/myapp/manifests/17"), 404);
  await none.pushImage("library/myapp", "17");
});
