// The control plane over HTTP on every engine: projects, members, users, robots; who may; what is refused and how.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, beforeEach, it } from "node:test";
import { buildOpenApi } from "@berth/api/openapi";
import { OPERATIONS } from "@berth/api/operations";
import { parseRepositoryName } from "@berth/oci/reference";
import { addProject, addUser, basic, createTestClock, TEST_PASSWORD, type TestClock } from "../../access/access.testing.ts";
import { forEachDatabase, type TestDatabase } from "../../platform/database/databases.testing.ts";
import { statement } from "../../platform/database/statement.ts";
import { startTestApi, type TestApi } from "./api.testing.ts";

const addRepository = statement<{ projectId: number; name: string }>()("test.add_repository", (db, p) =>
  db.insertInto("repository").values({ project_id: p.projectId, name: p.name, created_at: 1 }),
);

forEachDatabase("control plane", (create) => {
  let test: TestDatabase;
  let clock: TestClock;
  let api: TestApi;
  let other: TestApi;
  let count = 0;
  const admin = ["admin", TEST_PASSWORD] as const;
  const alice = ["alice", TEST_PASSWORD] as const;
  const bob = ["bob", TEST_PASSWORD] as const;

  before(async () => {
    test = await create();
    clock = createTestClock();
    api = await startTestApi(test.database, clock);
    other = await startTestApi(await test.open(), clock);
    await addUser(test.database, "admin", { isAdmin: true });
    await addUser(test.database, "alice");
    await addUser(test.database, "bob");
  });
  after(async () => {
    await Promise.all([api.end(), other.end()]);
    await test.end();
  });
  beforeEach(() => {
    count++;
  });

  async function makeProject(members: Record<string, string> = {}, visibility = "private"): Promise<string> {
    const name = `p${count}`;
    assert.equal((await api.call(admin, "POST", "/projects", { name, visibility })).status, 201);
    for (const [user, role] of Object.entries(members)) {
      assert.equal((await api.call(admin, "PUT", `/projects/${name}/members/${user}`, { role })).status, 200);
    }
    return name;
  }

  it("creates, reads, changes and deletes projects", async () => {
    const name = await makeProject();
    assert.equal((await api.call(admin, "POST", "/projects", { name })).code, "PROJECT_EXISTS");
    assert.equal((await api.call(alice, "POST", "/projects", { name: "mine" })).code, "DENIED");
    assert.equal((await api.call(undefined, "POST", "/projects", { name: "mine" })).code, "UNAUTHORIZED");
    const read = await api.call(admin, "GET", `/projects/${name}`);
    const usage = { repositories: 0, manifests: 0, tags: 0, blobs: 0, sizeBytes: 0 };
    const described = { visibility: "private", description: null, contact: null, labels: [] };
    assert.deepEqual(read.body, { name, ...described, role: "owner", usage, createdAt: new Date(clock.now()).toISOString() });
    assert.equal((await api.call(alice, "GET", `/projects/${name}`)).code, "PROJECT_UNKNOWN");
    assert.equal((await api.call(undefined, "GET", `/projects/${name}`)).code, "UNAUTHORIZED");
    assert.equal((await api.call(admin, "PATCH", `/projects/${name}`, { visibility: "public" })).body.visibility, "public");
    assert.deepEqual((await api.call(alice, "GET", `/projects/${name}`)).body.role, null);
    assert.equal((await api.call(undefined, "GET", `/projects/${name}`)).status, 200);
    assert.equal((await api.call(alice, "PATCH", `/projects/${name}`, { visibility: "private" })).code, "DENIED");
    assert.equal((await api.call(admin, "DELETE", `/projects/${name}`)).status, 204);
    assert.equal((await api.call(admin, "GET", `/projects/${name}`)).code, "PROJECT_UNKNOWN");
  });

  it("deletes no project that has repositories; with it go members and robots", async () => {
    const id = await addProject(test.database, `p${count}`);
    const robot = { name: "ci", scopes: [{ repositories: `p${count}/**`, actions: ["pull"] }] };
    const { secret, login } = (await api.call(admin, "POST", `/projects/p${count}/robots`, robot)).body;
    await api.call(admin, "PUT", `/projects/p${count}/members/alice`, { role: "owner" });
    await test.database.write(addRepository, { projectId: id, name: `p${count}/app` });
    const refused = await api.call(alice, "DELETE", `/projects/p${count}`);
    assert.equal(refused.code, "PROJECT_NOT_EMPTY");
    assert.deepEqual(refused.body.errors[0].detail, { repositories: 1, some: [`p${count}/app`] });
    await test.database.transaction((tx) => tx.run(statementDeleteRepositories, { projectId: id }, 1));
    assert.equal((await api.call(alice, "DELETE", `/projects/p${count}`)).status, 204);
    assert.equal((await api.call([login, secret], "GET", "/users/me")).code, "UNAUTHORIZED");
  });

  it("lists projects by pages, only those that the caller may read", async () => {
    const names = ["a", "a-b", "a.b", "b"].map((name) => `list${count}${name}`);
    for (const name of names) await api.call(admin, "POST", "/projects", { name });
    for (const name of names.slice(0, 3)) await api.call(admin, "PUT", `/projects/${name}/members/bob`, { role: "guest" });
    const seen: string[] = [];
    let next: string | null = `list${count}`;
    while (next !== null && seen.length < 20) {
      const { body } = await api.call(bob, "GET", `/projects?limit=2&after=${encodeURIComponent(next)}`);
      assert.ok(body.items.length <= 2);
      seen.push(...body.items.map((item: { name: string }) => item.name));
      ({ next } = body);
    }
    const mine = seen.filter((name) => name.startsWith(`list${count}`));
    // In the order of their repositories: "-" and "." stand before "/".
    assert.deepEqual(mine, [names[1], names[2], names[0]]);
    const none = await api.call(undefined, "GET", `/projects?after=list${count}`);
    assert.ok(none.body.items.every((item: { visibility: string }) => item.visibility === "public"));
  });

  it("keeps an owner in every project, also when two go at once", async () => {
    const name = await makeProject({ alice: "owner" });
    const members = `/projects/${name}/members`;
    assert.deepEqual((await api.call(alice, "GET", members)).body, {
      items: [
        { user: "admin", role: "owner" },
        { user: "alice", role: "owner" },
      ],
      next: null,
    });
    const left = await Promise.all([
      api.call(admin, "DELETE", `${members}/alice`),
      other.call(admin, "PUT", `${members}/admin`, { role: "guest" }),
    ]);
    assert.equal(left.filter(({ code }) => code === "LAST_OWNER").length, 1);
    assert.equal((await api.call(admin, "PUT", `${members}/alice`, { role: "owner" })).status, 200);
    assert.equal((await api.call(admin, "PUT", `${members}/admin`, { role: "guest" })).status, 200);
    assert.equal((await api.call(alice, "DELETE", `${members}/alice`)).code, "LAST_OWNER");
    assert.equal((await api.call(alice, "PUT", `${members}/alice`, { role: "owner" })).status, 200);
    assert.equal((await api.call(alice, "PUT", `${members}/nobody`, { role: "guest" })).code, "USER_UNKNOWN");
    assert.equal((await api.call(alice, "DELETE", `${members}/bob`)).code, "MEMBER_UNKNOWN");
    await api.call(alice, "PUT", `${members}/bob`, { role: "maintainer" });
    assert.equal((await api.call(bob, "PUT", `${members}/bob`, { role: "owner" })).code, "DENIED");
    assert.equal((await api.call(bob, "GET", members)).status, 200);
    assert.equal((await api.call(alice, "DELETE", `${members}/bob`)).status, 204);
    assert.equal((await api.call(bob, "GET", members)).code, "PROJECT_UNKNOWN");
  });

  it("creates, reads, changes and deletes users, for administrators only", async () => {
    const name = `user${count}`;
    for (const [method, path, body] of [
      ["GET", "/users", undefined],
      ["POST", "/users", { name, password: TEST_PASSWORD }],
      ["GET", "/users/bob", undefined],
      ["PATCH", "/users/alice", { isAdmin: true }],
      ["DELETE", "/users/bob", undefined],
      ["GET", "/robots", undefined],
    ] as const) {
      assert.equal((await api.call(alice, method, path, body)).code, "DENIED", `${method} ${path}`);
      assert.equal((await api.call(undefined, method, path, body)).code, "UNAUTHORIZED", `${method} ${path}`);
    }
    const created = await api.call(admin, "POST", "/users", { name, password: "first password" });
    assert.deepEqual(created.body, {
      name,
      isAdmin: false,
      systemRole: null,
      isDisabled: false,
      hasPassword: true,
      createdAt: new Date(clock.now()).toISOString(),
    });
    assert.equal((await api.call(admin, "POST", "/users", { name, password: "first password" })).code, "USER_EXISTS");
    assert.deepEqual((await api.call([name, "first password"], "GET", "/users/me")).body, {
      name,
      kind: "user",
      isAdmin: false,
      systemRoles: [],
    });
    assert.equal((await other.call([name, "first password"], "GET", "/users/me")).status, 200);

    assert.equal((await api.call(admin, "PATCH", `/users/${name}`, { password: "second password" })).status, 200);
    assert.equal((await api.call([name, "first password"], "GET", "/users/me")).code, "UNAUTHORIZED");
    clock.advance(999);
    assert.equal((await other.call([name, "first password"], "GET", "/users/me")).code, "UNAUTHORIZED");
    assert.equal((await api.call(admin, "PATCH", `/users/${name}`, { isDisabled: true })).body.isDisabled, true);
    assert.equal((await api.call([name, "second password"], "GET", "/users/me")).code, "UNAUTHORIZED");
    assert.equal((await api.call(admin, "PATCH", `/users/${name}`, { isDisabled: false, isAdmin: true })).body.isAdmin, true);
    assert.equal((await api.call([name, "second password"], "GET", "/users?limit=1")).body.items.length, 1);
    assert.equal((await api.call(admin, "DELETE", `/users/${name}`)).status, 204);
    assert.equal((await api.call([name, "second password"], "GET", "/users/me")).code, "UNAUTHORIZED");
    assert.equal((await api.call(admin, "GET", `/users/${name}`)).code, "USER_UNKNOWN");
  });

  it("keeps an administrator who can log in, also when two go at once", async () => {
    for (const [method, body] of [
      ["PATCH", { isAdmin: false }],
      ["PATCH", { isDisabled: true }],
      ["PATCH", { password: null }],
      ["DELETE", undefined],
    ] as const) {
      assert.equal((await api.call(admin, method, "/users/admin", body)).code, "LAST_ADMINISTRATOR");
    }
    const name = `second${count}`;
    await api.call(admin, "POST", "/users", { name, password: TEST_PASSWORD, isAdmin: true });
    const both = await Promise.all([
      api.call(admin, "PATCH", `/users/${name}`, { isAdmin: false }),
      other.call(admin, "PATCH", "/users/admin", { isAdmin: false }),
    ]);
    assert.equal(both.filter(({ status }) => status === 200).length, 1);
    // Whichever is left puts things right again.
    const left = both[0].status === 200 ? admin : ([name, TEST_PASSWORD] as const);
    clock.advance(1000);
    assert.equal((await api.call(left, "PATCH", "/users/admin", { isAdmin: true })).status, 200);
    assert.equal((await api.call(admin, "DELETE", `/users/${name}`)).status, 204);
  });

  it("makes users without a password, takes one away, and lets neither sign in with one", async () => {
    const name = `federated${count}`;
    assert.equal((await api.call(admin, "POST", "/users", { name })).code, "FIELD_INVALID");
    const created = await api.call(admin, "POST", "/users", { name, password: null, isAdmin: true });
    assert.deepEqual([created.status, created.body.hasPassword], [201, false]);
    for (const password of ["null", TEST_PASSWORD])
      assert.equal((await api.call([name, password], "GET", "/users/me")).code, "UNAUTHORIZED");
    // Nobody could sign in to put things right.
    assert.equal((await api.call(admin, "PATCH", "/users/admin", { isAdmin: false })).code, "LAST_ADMINISTRATOR");
    assert.equal((await api.call(admin, "PATCH", `/users/${name}`, { password: "first password" })).body.hasPassword, true);
    assert.equal((await api.call([name, "first password"], "GET", "/users/me")).status, 200);
    assert.equal((await api.call(admin, "PATCH", `/users/${name}`, { password: null })).body.hasPassword, false);
    assert.equal((await api.call([name, "first password"], "GET", "/users/me")).code, "UNAUTHORIZED");
    assert.equal((await api.call(admin, "DELETE", `/users/${name}`)).status, 204);
  });

  it("deletes no user who is a project's last owner, and says of which", async () => {
    const user = `owner${count}`;
    await api.call(admin, "POST", "/users", { name: user, password: TEST_PASSWORD });
    const name = await makeProject({ [user]: "owner", admin: "guest" });
    const refused = await api.call(admin, "DELETE", `/users/${user}`);
    assert.deepEqual([refused.code, refused.body.errors[0].detail], ["LAST_OWNER", { projects: [name] }]);
    await api.call(admin, "PUT", `/projects/${name}/members/admin`, { role: "owner" });
    assert.equal((await api.call(admin, "DELETE", `/users/${user}`)).status, 204);
    assert.equal((await api.call(admin, "GET", `/projects/${name}/members`)).body.items.length, 1);
  });

  it("lets users change their own password with the present one, and counts wrong ones", async () => {
    const user = `self${count}`;
    await api.call(admin, "POST", "/users", { name: user, password: "first password" });
    const path = "/users/me/password";
    const me = [user, "first password"] as const;
    assert.equal((await api.call(me, "PUT", path, { currentPassword: "wrong", newPassword: "second password" })).code, "PASSWORD_WRONG");
    assert.equal((await api.call(me, "PUT", path, { currentPassword: "first password", newPassword: "short" })).code, "FIELD_INVALID");
    assert.equal((await api.call(me, "PUT", path, { currentPassword: "first password", newPassword: "second password" })).status, 204);
    assert.equal((await api.call(me, "GET", "/users/me")).code, "UNAUTHORIZED");
    const now = [user, "second password"] as const;
    for (let i = 0; i < 3; i++) await api.call(now, "PUT", path, { currentPassword: `wrong ${i}`, newPassword: "third password" });
    const locked = await api.call(now, "PUT", path, { currentPassword: "second password", newPassword: "third password" });
    assert.deepEqual([locked.status, locked.code, locked.headers.get("retry-after")], [429, "TOOMANYREQUESTS", "10"]);
  });

  it("keeps robots of a project: scopes, secret shown once, expiry, rotation", async () => {
    const name = await makeProject({ alice: "owner", bob: "maintainer" });
    const robots = `/projects/${name}/robots`;
    const scopes = [{ repositories: `${name}/*`, actions: ["pull", "push"] }];
    const repository = parseRepositoryName(`${name}/app`);
    assert.equal((await api.call(bob, "POST", robots, { name: "ci", scopes })).code, "DENIED");
    const created = await api.call(alice, "POST", robots, { name: "ci", scopes, expiresAt: new Date(clock.now() + 60_000).toISOString() });
    const { secret, ...view } = created.body;
    assert.equal(view.login, `${name}+ci`);
    assert.deepEqual((await api.call(bob, "GET", `${robots}/ci`)).body, view);
    assert.deepEqual((await api.call(bob, "GET", robots)).body, { items: [view], next: null });
    assert.equal((await api.call(alice, "POST", robots, { name: "ci", scopes })).code, "ROBOT_EXISTS");
    assert.equal((await api.call(alice, "GET", `${robots}/cd`)).code, "ROBOT_UNKNOWN");

    async function rights(robotSecret: string): Promise<string[] | string> {
      try {
        const caller = await api.access.authenticator.authenticate(basic(view.login, robotSecret), "192.0.2.1");
        return [...(await api.access.authorizer.allowed(caller, repository))].toSorted();
      } catch (error) {
        return (error as { code: string }).code;
      }
    }
    assert.deepEqual(await rights(secret), ["pull", "push"]);
    assert.equal((await api.call([view.login, secret], "GET", robots)).code, "DENIED");
    assert.equal((await api.call([view.login, secret], "POST", "/projects", { name: "robots-own" })).code, "DENIED");
    assert.equal(
      (await api.call(alice, "PATCH", `${robots}/ci`, { scopes: [{ repositories: `${name}/app`, actions: ["pull"] }] })).status,
      200,
    );
    assert.deepEqual(await rights(secret), ["pull"]);
    clock.advance(60_001);
    assert.equal(await rights(secret), "UNAUTHORIZED");
    assert.equal((await api.call(alice, "PATCH", `${robots}/ci`, { expiresAt: null })).body.expiresAt, null);
    assert.deepEqual(await rights(secret), ["pull"]);
    const { secret: next } = (await api.call(alice, "POST", `${robots}/ci/secret`)).body;
    assert.equal(await rights(secret), "UNAUTHORIZED");
    assert.deepEqual(await rights(next), ["pull"]);
    await api.call(alice, "PATCH", `${robots}/ci`, { isDisabled: true });
    assert.equal(await rights(next), "UNAUTHORIZED");
    assert.equal((await api.call(alice, "DELETE", `${robots}/ci`)).status, 204);
    assert.equal((await api.call(alice, "GET", `${robots}/ci`)).code, "ROBOT_UNKNOWN");

    for (const [bad, field] of [
      [{ name: "x", scopes: [{ repositories: "other/**", actions: ["pull"] }] }, "body.scopes.0.repositories"],
      [{ name: "x", scopes: [{ repositories: "**", actions: ["pull"] }] }, "body.scopes.0.repositories"],
      [{ name: "x", scopes: [...scopes, ...scopes] }, "body.scopes.1.repositories"],
      [{ name: "x", scopes: [] }, "body.scopes"],
      [{ name: "x", scopes, expiresAt: "2020-01-01T00:00:00Z" }, "body.expiresAt"],
    ] as const) {
      const refused = await api.call(alice, "POST", robots, bad);
      assert.deepEqual([refused.code, refused.body.errors[0].detail[0].field], ["FIELD_INVALID", field]);
    }
  });

  it("keeps robots of the registry, for administrators", async () => {
    const scopes = [{ repositories: "**", actions: ["pull"] }];
    const { body } = await api.call(admin, "POST", "/robots", { name: `all${count}`, scopes });
    assert.equal(body.login, `+all${count}`);
    assert.deepEqual((await api.call([body.login, body.secret], "GET", "/users/me")).body, {
      name: body.login,
      kind: "robot",
      isAdmin: false,
      systemRoles: [],
    });
    assert.equal((await api.call(admin, "GET", "/robots")).body.items.length, 1);
    assert.equal((await api.call(admin, "DELETE", `/robots/all${count}`)).status, 204);
    assert.equal((await api.call(admin, "GET", "/robots")).body.items.length, 0);
  });

  it("refuses what is malformed, unknown, too large or from another site, and says why", async () => {
    const unknown = await api.call(admin, "POST", "/projects", JSON.parse('{"name":"x","colour":"red","__proto__":{"isAdmin":true}}'));
    assert.equal(unknown.code, "FIELD_INVALID");
    assert.deepEqual(
      unknown.body.errors[0].detail.toSorted((a: { field: string }, b: { field: string }) => (a.field < b.field ? -1 : 1)),
      [
        { field: "body.__proto__", reason: "is not a known field" },
        { field: "body.colour", reason: "is not a known field" },
      ],
    );
    const cases: [string, string, unknown, string][] = [
      ["POST", "/projects", {}, "body.name"],
      ["POST", "/projects", [], "body"],
      ["POST", "/projects", { name: "A" }, "body.name"],
      ["POST", "/projects", { name: "x".repeat(129) }, "body.name"],
      ["POST", "/projects", { name: "x", visibility: "secret" }, "body.visibility"],
      ["POST", "/users", { name: "me", password: TEST_PASSWORD }, "body.name"],
      ["GET", "/projects?limit=0", undefined, "query.limit"],
      ["GET", "/projects?limit=201", undefined, "query.limit"],
      ["GET", "/projects?limit=x", undefined, "query.limit"],
      ["GET", "/projects?limit=1&limit=2", undefined, "query.limit"],
      ["GET", "/projects?colour=red", undefined, "query.colour"],
      ["GET", "/projects/UPPER", undefined, "params.project"],
    ];
    for (const [method, path, body, field] of cases) {
      const refused = await api.call(admin, method, path, body);
      assert.deepEqual([refused.code, refused.body.errors[0].detail[0].field], ["FIELD_INVALID", field], `${method} ${path}`);
    }
    async function raw(headers: Record<string, string>, body: string | undefined, path = "/projects"): Promise<[number, string]> {
      const init = body === undefined ? {} : { body };
      const response = await fetch(`${api.origin}/api/v1${path}`, {
        method: "POST",
        headers: { authorization: basic(...admin), ...headers },
        ...init,
      });
      return [response.status, ((await response.json()) as { errors: { code: string }[] }).errors[0]!.code];
    }
    const json = { "content-type": "application/json" };
    assert.deepEqual(await raw(json, "{"), [400, "BODY_INVALID"]);
    assert.deepEqual(await raw(json, ""), [400, "FIELD_INVALID"]);
    assert.deepEqual(await raw({ "content-type": "text/plain" }, '{"name":"x"}'), [415, "MEDIA_TYPE_UNSUPPORTED"]);
    assert.deepEqual(await raw(json, JSON.stringify({ name: "x".repeat(200_000) })), [413, "BODY_TOO_LARGE"]);
    assert.deepEqual(await raw({ ...json, "sec-fetch-site": "cross-site" }, '{"name":"x"}'), [403, "CROSS_SITE_REFUSED"]);
    assert.deepEqual(await raw(json, "{}", "/nothing"), [404, "OPERATION_UNKNOWN"]);
    const outside = await fetch(`${api.origin}/elsewhere`);
    assert.deepEqual([outside.status, outside.headers.get("x-request-id")], [404, "test-request"]);
    const { token } = await api.access.tokens.issueToken(await api.access.authenticator.authenticate(basic(...admin), "192.0.2.1"), []);
    const byToken = await fetch(`${api.origin}/api/v1/users/me`, { headers: { authorization: `Bearer ${token}` } });
    assert.equal(byToken.status, 401);
  });

  it("serves the document of what it does, the same as the file", async () => {
    const response = await fetch(`${api.origin}/api/v1/openapi.json`);
    const served = (await response.json()) as { info: unknown; paths: unknown };
    const written = JSON.parse(await readFile(new URL("../../../../../docs/api/openapi.json", import.meta.url), "utf8")) as typeof served;
    assert.deepEqual(served, written);
    assert.deepEqual(served.paths, buildOpenApi(OPERATIONS, "x")["paths"]);
    assert.equal(new Set(OPERATIONS.map(({ id }) => id)).size, OPERATIONS.length);
  });
});

const statementDeleteRepositories = statement<{ projectId: number }>()("test.delete_repositories", (db, p) =>
  db.deleteFrom("repository").where("project_id", "=", p.projectId),
);
