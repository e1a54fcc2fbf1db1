// Roles of users in the whole registry over HTTP, on every engine. Not here: what each role may (access/authorize.test.ts, test/flows/access-matrix.test.ts).
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { addUser, createTestClock, TEST_PASSWORD, type TestClock } from "../../access/access.testing.ts";
import { forEachDatabase, type TestDatabase } from "../../platform/database/databases.testing.ts";
import { startTestApi, type TestApi } from "./api.testing.ts";

forEachDatabase("roles in the registry", (create) => {
  let test: TestDatabase;
  let clock: TestClock;
  let api: TestApi;
  let other: TestApi;
  const admin = ["admin", TEST_PASSWORD] as const;

  before(async () => {
    test = await create();
    clock = createTestClock();
    api = await startTestApi(test.database, clock);
    other = await startTestApi(await test.open(), clock);
    await addUser(test.database, "admin", { isAdmin: true });
  });
  after(async () => {
    await Promise.all([api.end(), other.end()]);
    await test.end();
  });

  it("gives users a role in the registry, changes it and takes it away", async () => {
    const name = "sam";
    const caller = [name, TEST_PASSWORD] as const;
    const path = `/users/${name}`;
    const created = await api.call(admin, "POST", "/users", { name, password: TEST_PASSWORD, systemRole: "auditor" });
    assert.deepEqual([created.body.systemRole, created.body.isAdmin], ["auditor", false]);
    assert.deepEqual((await api.call(caller, "GET", "/users/me")).body.systemRoles, ["auditor"]);
    assert.equal((await api.call(caller, "GET", "/users")).status, 200);
    assert.equal((await api.call(caller, "PATCH", path, { systemRole: "administrator" })).code, "DENIED");
    assert.equal((await api.call(caller, "POST", "/projects", { name: `p${name}` })).code, "DENIED");
    for (const [change, role] of [
      [{ isAdmin: false }, "auditor"],
      [{}, "auditor"],
      [{ systemRole: "creator" }, "creator"],
      [{ isAdmin: true }, "administrator"],
      [{ isAdmin: true, systemRole: "administrator" }, "administrator"],
      [{ isAdmin: false }, null],
      [{ isAdmin: false, systemRole: "auditor" }, "auditor"],
      [{ systemRole: null }, null],
      [{ systemRole: "creator" }, "creator"],
    ] as const) {
      const { body } = await api.call(admin, "PATCH", path, change);
      assert.deepEqual([body.systemRole, body.isAdmin], [role, role === "administrator"], JSON.stringify(change));
      // Other replicas look again within half a second.
      clock.advance(1000);
      const me = (await other.call(caller, "GET", "/users/me")).body;
      assert.deepEqual([me.systemRoles, me.isAdmin], [role === null ? [] : [role], role === "administrator"]);
    }
    assert.equal((await api.call(caller, "GET", "/users")).code, "DENIED");
    assert.equal((await api.call(caller, "POST", "/projects", { name: `p${name}` })).status, 201);
    for (const change of [
      { isAdmin: true, systemRole: "auditor" },
      { isAdmin: false, systemRole: "administrator" },
      { systemRole: "root" },
    ])
      assert.equal((await api.call(admin, "PATCH", path, change)).code, "FIELD_INVALID");
    for (const systemRole of [null, "auditor"])
      assert.equal((await api.call(admin, "PATCH", "/users/admin", { systemRole })).code, "LAST_ADMINISTRATOR");
    assert.equal((await api.call(admin, "DELETE", path)).code, "LAST_OWNER");
    await api.call(admin, "DELETE", `/projects/p${name}`);
    assert.equal((await api.call(admin, "DELETE", path)).status, 204);
  });
});
