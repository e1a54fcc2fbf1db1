// The control plane and the data plane together over HTTP: a change on one applies to the other with the next request. Not here:
// permissions (access-matrix.test.ts), the operations' own rules on every engine (http/api/api.test.ts).
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { expectStatus, sha256, startTestRegistry, type PushedImage, type TestRegistry } from "./registry.testing.ts";

const PASSWORD = "flow-user-password";

describe("control plane", () => {
  let registry: TestRegistry;
  let count = 0;
  before(async () => {
    registry = await startTestRegistry();
  });
  after(() => registry.stop());

  const basic = (name: string, secret: string): string => `Basic ${Buffer.from(`${name}:${secret}`).toString("base64")}`;

  interface ApiAnswer {
    readonly status: number;
    readonly code: string;
    readonly body: Record<string, unknown>;
  }
  /** As the administrator where `authorization` is not given. */
  async function api(method: string, path: string, body?: unknown, authorization?: string): Promise<ApiAnswer> {
    const answer = await registry.send(method, `/api/v1${path}`, {
      headers: {
        ...(authorization === undefined ? {} : { authorization }),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    const parsed = (text === "" ? {} : JSON.parse(text)) as Record<string, unknown>;
    return { status: answer.status, code: (parsed["errors"] as { code: string }[] | undefined)?.[0]?.code ?? "", body: parsed };
  }
  async function done(method: string, path: string, body?: unknown): Promise<Record<string, unknown>> {
    const answer = await api(method, path, body);
    assert.ok(answer.status < 300, `${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer.body;
  }
  async function statusOf(method: string, path: string, authorization: string | undefined, body?: string): Promise<number> {
    const answer = await registry.send(method, path, {
      anonymous: true,
      headers: authorization === undefined ? {} : { authorization },
      ...(body === undefined ? {} : { body }),
    });
    await answer.body?.cancel();
    return answer.status;
  }
  async function bearer(repository: string, authorization?: string): Promise<string> {
    const answer = await registry.send("GET", `/token?scope=repository:${repository}:pull,push,delete`, {
      anonymous: true,
      headers: authorization === undefined ? {} : { authorization },
    });
    return `Bearer ${((await (await expectStatus(answer, 200)).json()) as { token: string }).token}`;
  }
  /** A project with an image, a user, and the user's credentials. */
  async function setUp(role?: string): Promise<{ project: string; repository: string; user: string; login: string; image: PushedImage }> {
    count++;
    const [project, user] = [`project${count}`, `user${count}`];
    await done("POST", "/projects", { name: project });
    await done("POST", "/users", { name: user, password: PASSWORD });
    if (role !== undefined) await done("PUT", `/projects/${project}/members/${user}`, { role });
    const repository = `${project}/app`;
    return { project, repository, user, login: basic(user, PASSWORD), image: await registry.pushImage(repository, "v1", 20_000) };
  }

  it("a right that is given or taken away counts with the next request, also for a token that is out", async () => {
    const { project, repository, user, login } = await setUp();
    const get = `/v2/${repository}/manifests/v1`;
    const both = async (): Promise<[number, number]> => [
      await statusOf("GET", get, login),
      await statusOf("GET", get, await bearer(repository, login)),
    ];
    assert.deepEqual(await both(), [404, 404]);
    await done("PUT", `/projects/${project}/members/${user}`, { role: "developer" });
    assert.deepEqual(await both(), [200, 200]);
    const token = await bearer(repository, login);
    const begin = `/v2/${repository}/blobs/uploads/`;
    assert.equal(await statusOf("POST", begin, token), 202);
    const upload = await registry.send("POST", begin, { headers: { authorization: token } });
    const location = upload.headers.get("location")!;

    await done("PUT", `/projects/${project}/members/${user}`, { role: "guest" });
    assert.equal(await statusOf("GET", get, token), 200);
    assert.equal(await statusOf("POST", begin, token), 403);
    // Even an upload that was begun before is stopped.
    assert.equal(await statusOf("PATCH", location, token, "bytes"), 403);
    assert.equal(await statusOf("PUT", `${location}?digest=${sha256("")}`, token), 403);
    await done("DELETE", `/projects/${project}/members/${user}`);
    assert.equal(await statusOf("GET", get, token), 404);
    assert.equal(await statusOf("GET", get, login), 404);
    // A restored right counts for the same token.
    await done("PUT", `/projects/${project}/members/${user}`, { role: "developer" });
    assert.equal(await statusOf("PATCH", location, token, "bytes"), 202);
  });

  it("a disabled user, a new password and a deleted user end every token at once", async () => {
    const { project, repository, user, login } = await setUp("owner");
    const get = `/v2/${repository}/tags/list`;
    let token = await bearer(repository, login);
    assert.equal(await statusOf("GET", get, token), 200);
    await done("PATCH", `/users/${user}`, { isDisabled: true });
    for (const authorization of [token, login]) assert.equal(await statusOf("GET", get, authorization), 401);
    await done("PATCH", `/users/${user}`, { isDisabled: false });
    assert.equal(await statusOf("GET", get, login), 200);
    assert.equal(await statusOf("GET", get, token), 401, "a token from before stays dead");

    token = await bearer(repository, login);
    const changed = await api("PUT", "/users/me/password", { currentPassword: PASSWORD, newPassword: "another-password" }, login);
    assert.equal(changed.status, 204);
    for (const authorization of [token, login]) assert.equal(await statusOf("GET", get, authorization), 401);
    token = await bearer(repository, basic(user, "another-password"));
    assert.equal(await statusOf("GET", get, token), 200);
    await done("DELETE", `/users/${user}`);
    assert.equal(await statusOf("GET", get, token), 401);
    // A new account with the same name gets neither the token nor the memberships.
    await done("POST", "/users", { name: user, password: "another-password" });
    assert.equal(await statusOf("GET", get, token), 401);
    assert.equal(await statusOf("GET", get, basic(user, "another-password")), 404);
    assert.equal((await api("GET", `/projects/${project}`, undefined, basic(user, "another-password"))).code, "PROJECT_UNKNOWN");
  });

  it("an administrator who is one no longer loses everything but what a member has", async () => {
    const { repository, user, login } = await setUp();
    const get = `/v2/${repository}/manifests/v1`;
    await done("PATCH", `/users/${user}`, { isAdmin: true });
    const token = await bearer(repository, login);
    assert.equal(await statusOf("GET", get, token), 200);
    assert.equal((await api("GET", "/users?limit=1", undefined, login)).status, 200);
    await done("PATCH", `/users/${user}`, { isAdmin: false });
    assert.equal(await statusOf("GET", get, token), 404);
    assert.equal((await api("GET", "/users", undefined, login)).code, "DENIED");
    assert.equal((await api("PATCH", "/users/admin", { isAdmin: false })).code, "LAST_ADMINISTRATOR");
    assert.equal((await api("DELETE", "/users/admin")).code, "LAST_ADMINISTRATOR");
    assert.equal((await api("PATCH", "/users/admin", { isDisabled: true })).code, "LAST_ADMINISTRATOR");
  });

  it("a robot: its scopes, its secret, its expiry and its end", async () => {
    const { project, repository } = await setUp();
    await registry.pushImage(`${project}/deep/er`, "v1", 1_000);
    const robots = `/projects/${project}/robots`;
    const made = await done("POST", robots, { name: "ci", scopes: [{ repositories: `${project}/*`, actions: ["pull", "push"] }] });
    let login = basic(String(made["login"]), String(made["secret"]));
    const token = await bearer(repository, login);
    const get = `/v2/${repository}/manifests/v1`;
    for (const authorization of [token, login]) {
      assert.equal(await statusOf("GET", get, authorization), 200);
      assert.equal(await statusOf("POST", `/v2/${repository}/blobs/uploads/`, authorization), 202);
      assert.equal(await statusOf("DELETE", `/v2/${repository}/manifests/none`, authorization), 403);
    }
    assert.equal(await statusOf("GET", `/v2/${project}/deep/er/manifests/v1`, login), 404, "one segment deeper, and no more");
    await done("PATCH", `${robots}/ci`, { scopes: [{ repositories: `${project}/**`, actions: ["pull"] }] });
    assert.equal(await statusOf("GET", `/v2/${project}/deep/er/manifests/v1`, login), 200);
    for (const authorization of [token, login])
      assert.equal(await statusOf("POST", `/v2/${repository}/blobs/uploads/`, authorization), 403);

    const rotated = await done("POST", `${robots}/ci/secret`);
    for (const authorization of [token, login]) assert.equal(await statusOf("GET", get, authorization), 401);
    login = basic(String(made["login"]), String(rotated["secret"]));
    assert.equal(await statusOf("GET", get, login), 200);
    const later = await bearer(repository, login);
    await done("PATCH", `${robots}/ci`, { isDisabled: true });
    for (const authorization of [later, login]) assert.equal(await statusOf("GET", get, authorization), 401);
    await done("PATCH", `${robots}/ci`, { isDisabled: false });
    const soon = new Date(Date.now() + 5_000).toISOString();
    await done("PATCH", `${robots}/ci`, { expiresAt: soon });
    const last = await bearer(repository, login);
    for (;;) {
      const askedAt = Date.now();
      if ((await statusOf("GET", get, last)) !== 200) break;
      assert.ok(askedAt < Date.parse(soon) + 1_000, "a token does not outlive its robot");
      await sleep(20);
    }
    assert.equal(await statusOf("GET", get, login), 401);
    await done("DELETE", `${robots}/ci`);
    assert.equal((await api("GET", `${robots}/ci`)).code, "ROBOT_UNKNOWN");
  });

  it("a project that opens, closes, and makes room for another of its name", async () => {
    const { project, repository, user, login, image } = await setUp("owner");
    const get = `/v2/${repository}/manifests/v1`;
    const anonymous = await bearer(repository);
    assert.deepEqual([await statusOf("GET", get, undefined), await statusOf("GET", get, anonymous)], [401, 401]);
    await done("PATCH", `/projects/${project}`, { visibility: "public" });
    assert.equal(await statusOf("GET", get, undefined), 200);
    const open = await bearer(repository);
    assert.equal(await statusOf("GET", `/v2/${repository}/blobs/${image.layerDigest}`, open), 200);
    await done("PATCH", `/projects/${project}`, { visibility: "private" });
    assert.deepEqual([await statusOf("GET", get, undefined), await statusOf("GET", get, open)], [401, 401]);

    assert.equal((await api("DELETE", `/projects/${project}`, undefined, login)).code, "PROJECT_NOT_EMPTY");
    const path = `/projects/${project}/repositories/${encodeURIComponent(repository.slice(project.length + 1))}`;
    const member = await bearer(repository, login);
    assert.equal(await statusOf("GET", get, member), 200);
    await done("DELETE", path);
    assert.deepEqual([await statusOf("GET", get, member), (await api("DELETE", path)).code], [404, "REPOSITORY_UNKNOWN"]);
    assert.equal((await api("DELETE", `/projects/${project}`, undefined, login)).status, 204);
    const empty = `${project}x`;
    await done("POST", "/projects", { name: empty });
    await done("PUT", `/projects/${empty}/members/${user}`, { role: "owner" });
    const token = await bearer(`${empty}/app`, login);
    assert.equal((await api("DELETE", `/projects/${empty}`, undefined, login)).status, 204);
    assert.equal(await statusOf("POST", `/v2/${empty}/app/blobs/uploads/`, token), 403);
    await done("POST", "/projects", { name: empty });
    assert.equal(
      await statusOf("POST", `/v2/${empty}/app/blobs/uploads/`, token),
      403,
      "a token for the old project of that name opens nothing",
    );
    assert.equal((await api("PUT", `/projects/${empty}/members/admin`, { role: "guest" })).code, "LAST_OWNER");
    assert.equal((await api("DELETE", `/projects/${empty}/members/admin`)).code, "LAST_OWNER");
  });

  it("lists go by pages that are whole and in order, whatever is added and removed between them", async () => {
    const { project } = await setUp();
    const names = Array.from({ length: 7 }, (_, i) => `${project}-page-${i}`);
    for (const name of names) {
      await done("POST", "/users", { name, password: PASSWORD });
      await done("PUT", `/projects/${project}/members/${name}`, { role: "guest" });
      await done("POST", `/projects/${project}/robots`, { name, scopes: [{ repositories: `${project}/x`, actions: ["pull"] }] });
      await done("POST", "/projects", { name });
    }
    const walk = async (path: string, key: string, between?: () => Promise<unknown>): Promise<string[]> => {
      const seen: string[] = [];
      for (let after: string | null = ""; after !== null;) {
        const page = await done("GET", `${path}?limit=2&after=${encodeURIComponent(after)}`);
        const items = page["items"] as Record<string, string>[];
        assert.ok(items.length <= 2);
        seen.push(...items.map((item) => item[key]!));
        after = page["next"] as string | null;
        await between?.();
      }
      return seen.filter((name) => name.startsWith(`${project}-page`));
    };
    assert.deepEqual(await walk("/users", "name"), names, "/users");
    assert.deepEqual(await walk(`/projects/${project}/members`, "user"), names, `/projects/${project}/members`);
    assert.deepEqual(await walk(`/projects/${project}/robots`, "name"), names, `/projects/${project}/robots`);
    assert.deepEqual(await walk("/projects", "name"), names, "/projects");
    let removed = 0;
    const left = await walk(`/projects/${project}/members`, "user", async () => {
      if (removed < 3) await done("DELETE", `/projects/${project}/members/${names[removed++]}`);
    });
    for (const name of names.slice(3)) assert.ok(left.includes(name), "who stays is on one of the pages");
    assert.equal(new Set(left).size, left.length);
    for (const bad of ["limit=0", "limit=201", "limit=x", "after=%00", `after=${"x".repeat(600)}`, "page=2"]) {
      assert.equal((await api("GET", `/users?${bad}`)).code, "FIELD_INVALID", bad);
    }
  });

  it("answers every malformed request with an error of its own, and never with 500", async () => {
    const paths = [
      "/projects",
      "/projects/%00",
      "/projects/..%2f..",
      "/projects/%ff",
      "/users/me/password",
      "/robots/+",
      `/users/${"x".repeat(500)}`,
      "//",
      "/projects/library/members/%0a",
      "/nothing",
    ];
    const bodies = [
      "",
      "{",
      "null",
      "[]",
      "0",
      '"x"',
      `{"name":${"[".repeat(20_000)}`,
      '{"name":"a","name":"B"}',
      '{"__proto__":{"name":"x"}}',
      '{"constructor":1}',
      randomBytes(40),
    ];
    for (const path of paths) {
      for (const method of ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]) {
        for (const body of method === "GET" || method === "HEAD" ? [undefined] : bodies) {
          const answer = await registry.send(method, `/api/v1${path}`, {
            headers: { "content-type": "application/json" },
            ...(body === undefined ? {} : { body }),
          });
          const text = await answer.text();
          assert.ok(answer.status < 500, `${method} ${path} ${String(body).slice(0, 30)}: ${answer.status} ${text}`);
          if (answer.status >= 400 && method !== "HEAD") {
            assert.equal((JSON.parse(text) as { errors?: unknown[] }).errors?.length, 1, `${method} ${path}: ${text}`);
          }
        }
      }
    }
  });
});
