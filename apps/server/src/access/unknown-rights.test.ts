// Rights in the database that this program does not know, as after an attack or from another version: they open nothing.
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { parseRepositoryName } from "@berth/oci/reference";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import {
  addProject,
  addRobot,
  addUser,
  callerOf,
  createTestAccess,
  createTestClock,
  TEST_ADDRESS,
  TEST_PASSWORD,
  type TestAccess,
} from "./access.testing.ts";
import { findRole, listMembers } from "./member-store.ts";

const APP = parseRepositoryName("own/app");

forEachDatabase("unknown rights", (create) => {
  let test: TestDatabase;
  let access: TestAccess;
  let projectId: number;

  /** In a way that bypasses the database's own checks: existing rows may be older than they are. */
  async function write(...statements: string[]): Promise<void> {
    await test.database.script(`insert into job_lease (name, holder, fence, expires_at) values ('restore', 'x', 1, 1)`);
    for (const sql of statements) await test.database.script(sql);
    await test.database.script(`delete from job_lease where name = 'restore'`);
    access.accounts.forget();
  }

  before(async () => {
    test = await create();
    access = createTestAccess(test.database, createTestClock());
    projectId = await addProject(test.database, "own");
  });
  after(() => test.end());

  it("of a member are none, and whoever has them is no member", async () => {
    const id = await addUser(test.database, "eve", { roles: new Map([[projectId, "owner"]]), secretHash: "unused" });
    const caller = await callerOf(test.database, id);
    assert.equal((await access.authorizer.allowed(caller, APP)).size, 3);
    for (const role of ["superuser", "OWNER", "", "constructor", "__proto__", "toString"]) {
      await write(`update member set role = '${role}' where account_id = ${id}`);
      assert.equal((await access.authorizer.allowed(caller, APP)).size, 0, role);
      await assert.rejects(async () => access.authorizer.authorize(caller, "pull", APP), { code: "NAME_UNKNOWN" });
      for (const permission of ["project.read", "members.write", "robots.read"] as const)
        await assert.rejects(access.authorizer.authorizeProject(caller, permission, "own"), { code: "PROJECT_UNKNOWN" }, role);
      assert.deepEqual(await access.authorizer.listReadableProjects(caller, "", 10), []);
      assert.equal(await findRole(test.database, projectId, id), undefined);
      assert.deepEqual(await listMembers(test.database, { id: projectId, name: "own" }, "", 10), []);
    }
    await test.database.script(`update member set role = 'guest' where account_id = ${id}`);
    access.accounts.forget();
    assert.deepEqual([...(await access.authorizer.allowed(caller, APP))], ["pull"]);
  });

  it("of an account are none: of another kind, neither an administrator nor not, neither disabled nor not", async () => {
    const id = await addUser(test.database, "mallory", { isAdmin: true });
    const { authenticator } = access;
    const logIn = async (): Promise<boolean> => (await authenticator.authenticateSecret("mallory", TEST_PASSWORD, TEST_ADDRESS)).isAdmin;
    assert.equal(await logIn(), true);
    for (const value of [2, -1, 256]) {
      await write(`update account set is_admin = ${value} where id = ${id}`);
      assert.equal(await logIn(), false);
    }
    await write(`update account set is_admin = 1, kind = 'god' where id = ${id}`);
    await assert.rejects(logIn(), { code: "UNAUTHORIZED" });
    for (const value of [2, -1]) {
      await write(`update account set kind = 'user', is_disabled = ${value} where id = ${id}`);
      await assert.rejects(logIn(), { code: "UNAUTHORIZED" });
    }
  });

  it("of a robot are none, beside those that are known", async () => {
    const { id } = await addRobot(test.database, "own+ci", projectId, { "own/**": ["pull"] });
    const caller = await callerOf(test.database, id);
    for (const [actions, allowed] of [
      ["admin", []],
      ["*", []],
      ["", []],
      ["PULL", []],
      ["admin,pull,everything", ["pull"]],
      ["constructor,__proto__", []],
    ] as const) {
      await write(`update robot_scope set actions = '${actions}' where account_id = ${id}`);
      assert.deepEqual([...(await access.authorizer.allowed(caller, APP))], allowed, actions);
    }
    for (const pattern of ["", "*", "/**", "own", "own**", "own/app/", "**/app"]) {
      await write(`update robot_scope set actions = 'pull', repository_pattern = '${pattern}' where account_id = ${id}`);
      assert.equal((await access.authorizer.allowed(caller, APP)).size, 0, pattern);
    }
  });
});
