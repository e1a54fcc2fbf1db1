// Groups over HTTP on every engine: their members, their roles in projects and in the registry, and that a project keeps an owner.
// Not here: what a standing comes to over random histories (access/group-standing.test.ts).
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { addUser, createTestClock, TEST_PASSWORD, type TestClock } from "../../access/access.testing.ts";
import { forEachDatabase, type TestDatabase } from "../../platform/database/databases.testing.ts";
import { startTestApi, type TestApi } from "./api.testing.ts";

type Body = Awaited<ReturnType<TestApi["call"]>>["body"];

forEachDatabase("groups", (create) => {
  let test: TestDatabase;
  let clock: TestClock;
  let api: TestApi;
  const admin = ["admin", TEST_PASSWORD] as const;
  const alice = ["alice", TEST_PASSWORD] as const;
  const bob = ["bob", TEST_PASSWORD] as const;

  before(async () => {
    test = await create();
    clock = createTestClock();
    api = await startTestApi(test.database, clock);
    await addUser(test.database, "admin", { isAdmin: true });
    for (const name of ["alice", "bob"]) await addUser(test.database, name);
  });
  after(async () => {
    await api.end();
    await test.end();
  });

  async function done(caller: readonly [string, string], method: string, path: string, body?: unknown): Promise<Body> {
    const answer = await api.call(caller, method, path, body);
    assert.ok(answer.status < 300, `${method} ${path}: ${answer.status} ${answer.code}`);
    return answer.body;
  }
  async function code(caller: readonly [string, string], method: string, path: string, body?: unknown): Promise<string | undefined> {
    return (await api.call(caller, method, path, body)).code;
  }

  it("are made, read, changed and deleted by administrators alone", async () => {
    const group = await done(admin, "POST", "/groups", { name: "crew", description: "all hands" });
    assert.deepEqual([group.source, group.systemRole], [{ kind: "local" }, null]);
    assert.equal(await code(admin, "POST", "/groups", { name: "crew" }), "GROUP_EXISTS");
    assert.equal(await code(alice, "POST", "/groups", { name: "mine" }), "DENIED");
    assert.equal(await code(alice, "GET", "/groups"), "DENIED");
    for (const source of [{ kind: "local", provider: "x" }, { kind: "oidc" }, { kind: "ldap", provider: "x" }, { kind: "oidc", key: "x" }])
      assert.equal(await code(admin, "POST", "/groups", { name: "odd", source }), "FIELD_INVALID", JSON.stringify(source));
    const source = { kind: "oidc", provider: "keycloak", key: "/Team A" };
    await done(admin, "POST", "/groups", { name: "team-a", source });
    assert.equal(await code(admin, "POST", "/groups", { name: "twice", source }), "GROUP_EXISTS");
    assert.deepEqual(
      (await done(admin, "GET", "/groups")).items.map(({ name }: { name: string }) => name),
      ["crew", "team-a"],
    );
    assert.equal((await done(admin, "PATCH", "/groups/crew", { description: "few" })).description, "few");
    assert.equal(await code(admin, "GET", "/groups/none"), "GROUP_UNKNOWN");
    for (const name of ["crew", "team-a"]) await done(admin, "DELETE", `/groups/${name}`);
    assert.equal(await code(admin, "DELETE", "/groups/crew"), "GROUP_UNKNOWN");
  });

  it("give their members a role in a project, at once, as long as both memberships last", async () => {
    await done(admin, "POST", "/projects", { name: "one" });
    await done(admin, "POST", "/groups", { name: "devs" });
    assert.equal(await code(alice, "GET", "/projects/one"), "PROJECT_UNKNOWN");
    assert.equal(await code(admin, "PUT", "/projects/one/groups/none", { role: "guest" }), "GROUP_UNKNOWN");
    await done(admin, "PUT", "/projects/one/groups/devs", { role: "maintainer" });
    assert.equal(await code(alice, "GET", "/projects/one"), "PROJECT_UNKNOWN");
    assert.equal(await code(admin, "PUT", "/groups/devs/members/none"), "USER_UNKNOWN");
    for (let i = 0; i < 2; i++) await done(admin, "PUT", "/groups/devs/members/alice");
    await done(alice, "GET", "/projects/one");
    await done(alice, "GET", "/projects/one/robots");
    assert.equal(await code(alice, "PATCH", "/projects/one", {}), "DENIED");
    assert.deepEqual(
      (await done(alice, "GET", "/projects")).items.map(({ name }: { name: string }) => name),
      ["one"],
    );
    assert.deepEqual((await done(alice, "GET", "/projects/one/groups")).items, [{ group: "devs", role: "maintainer" }]);
    assert.deepEqual((await done(admin, "GET", "/groups/devs/members")).items, [{ user: "alice", source: "local" }]);
    // The strongest role counts, wherever it comes from.
    await done(admin, "PUT", "/projects/one/members/alice", { role: "guest" });
    await done(alice, "GET", "/projects/one/robots");
    await done(admin, "PUT", "/projects/one/groups/devs", { role: "guest" });
    assert.equal(await code(alice, "GET", "/projects/one/robots"), "DENIED");
    await done(admin, "DELETE", "/projects/one/members/alice");
    await done(alice, "GET", "/projects/one");
    await done(admin, "DELETE", "/groups/devs/members/alice");
    assert.equal(await code(admin, "DELETE", "/groups/devs/members/alice"), "MEMBER_UNKNOWN");
    assert.equal(await code(alice, "GET", "/projects/one"), "PROJECT_UNKNOWN");
    await done(admin, "PUT", "/groups/devs/members/alice");
    await done(alice, "GET", "/projects/one");
    await done(admin, "DELETE", "/groups/devs");
    assert.equal(await code(alice, "GET", "/projects/one"), "PROJECT_UNKNOWN");
    assert.equal(await code(admin, "DELETE", "/projects/one/groups/devs"), "MEMBER_UNKNOWN");
  });

  it("give their members a role in the whole registry", async () => {
    await done(admin, "POST", "/groups", { name: "ops", systemRole: "auditor" });
    await done(admin, "POST", "/groups", { name: "makers", systemRole: "creator" });
    for (const group of ["ops", "makers"]) await done(admin, "PUT", `/groups/${group}/members/alice`);
    assert.deepEqual((await done(alice, "GET", "/users/me")).systemRoles, ["auditor", "creator"]);
    await done(alice, "GET", "/users");
    assert.equal(await code(alice, "POST", "/users", { name: "x", password: null }), "DENIED");
    await done(alice, "POST", "/projects", { name: "made" });
    await done(admin, "PATCH", "/groups/ops", { systemRole: "administrator" });
    assert.equal((await done(alice, "GET", "/users/me")).isAdmin, true);
    assert.equal((await done(admin, "GET", "/users/alice")).isAdmin, false);
    // Who can sign in with a password of their own is still one.
    assert.equal(await code(alice, "PATCH", "/users/admin", { isAdmin: false }), "LAST_ADMINISTRATOR");
    await done(admin, "PATCH", "/groups/ops", { systemRole: null });
    assert.deepEqual((await done(alice, "GET", "/users/me")).systemRoles, ["creator"]);
    await done(admin, "DELETE", "/groups/makers");
    assert.deepEqual((await done(alice, "GET", "/users/me")).systemRoles, []);
    await done(admin, "DELETE", "/groups/ops");
    await done(admin, "DELETE", "/projects/made");
  });

  it("own projects where they have members, and the last owner stays, whoever it is", async () => {
    await done(admin, "POST", "/projects", { name: "kept" });
    await done(admin, "POST", "/groups", { name: "owners" });
    await done(admin, "PUT", "/projects/kept/groups/owners", { role: "owner" });
    // A group without members owns nothing.
    assert.equal(await code(admin, "DELETE", "/projects/kept/members/admin"), "LAST_OWNER");
    await done(admin, "PUT", "/groups/owners/members/bob");
    await done(bob, "PATCH", "/projects/kept", { visibility: "private" });
    await done(admin, "DELETE", "/projects/kept/members/admin");
    for (const [method, path, body] of [
      ["DELETE", "/projects/kept/groups/owners", undefined],
      ["PUT", "/projects/kept/groups/owners", { role: "guest" }],
      ["DELETE", "/groups/owners", undefined],
    ] as const)
      assert.equal(await code(admin, method, path, body), "LAST_OWNER", `${method} ${path}`);
    await done(admin, "PUT", "/projects/kept/members/bob", { role: "owner" });
    // Of bob's own role and his group's one is left to nobody else.
    assert.equal(await code(admin, "DELETE", "/users/bob"), "LAST_OWNER");
    await done(admin, "DELETE", "/projects/kept/groups/owners");
    await done(admin, "DELETE", "/groups/owners");
    await done(admin, "DELETE", "/projects/kept");
  });

  it("lists members of a group in pages, and those by two sources whole", async () => {
    await done(admin, "POST", "/groups", { name: "crowd" });
    for (const name of ["admin", "alice", "bob"]) await done(admin, "PUT", `/groups/crowd/members/${name}`);
    await test.database.script(
      "insert into group_member (group_id, account_id, source) select account_group.id, account.id, 'oidc:x' from account_group, account where account_group.name = 'crowd' and account.name = 'alice'",
    );
    for (const limit of [1, 2, 10]) {
      const seen: string[] = [];
      let next: string | null = "";
      while (next !== null) {
        const page: Body = await done(admin, "GET", `/groups/crowd/members?limit=${limit}${next === "" ? "" : `&after=${next}`}`);
        seen.push(...page.items.map(({ user, source }: { user: string; source: string }) => `${user} ${source}`));
        next = page.next;
      }
      assert.deepEqual(seen, ["admin local", "alice local", "alice oidc:x", "bob local"]);
    }
    await done(admin, "DELETE", "/groups/crowd/members/alice");
    assert.equal((await done(admin, "GET", "/groups/crowd/members")).items.length, 3);
    await done(admin, "DELETE", "/groups/crowd");
  });
});
