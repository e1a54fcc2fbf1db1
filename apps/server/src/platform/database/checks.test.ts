// The database's own checks on every engine: what they refuse and accept, whoever writes, and that existing bad rows neither stop the
// migration nor become unchangeable. Not here: the rights of such rows (access/unknown-rights.test.ts).
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { systemClock } from "../clock.ts";
import { forEachDatabase, type TestDatabase } from "./databases.testing.ts";
import { migrate } from "./migrate.ts";
import { checks } from "./migrations/0008-checks.ts";

const REFUSED = /row_is_not_valid/;
const project = (name: string, isPublic = 0, sortKey = `${name}/`): string =>
  `insert into project (name, sort_key, is_public, created_at) values ('${name}', '${sortKey}', ${isPublic}, 1)`;
const account = (kind: string, name: string, { isAdmin = 0, isDisabled = 0, projectId = "null" } = {}): string =>
  `insert into account (kind, name, project_id, secret_hash, is_admin, is_disabled, epoch, created_at)
    values ('${kind}', ${name.startsWith("cast(") ? name : `'${name}'`}, ${projectId}, 'x', ${isAdmin}, ${isDisabled}, 1, 1)`;
const ofUser = (name: string): string => `(select id from account where name = '${name}')`;
const ofProject = (name: string): string => `(select id from project where name = '${name}')`;
const member = (role: string): string =>
  `insert into member (project_id, account_id, role) values (${ofProject("p")}, ${ofUser("alice")}, '${role}')`;
const scope = (pattern: string, actions: string): string =>
  `insert into robot_scope (account_id, repository_pattern, actions) values (${ofUser("p+ci")}, '${pattern}', '${actions}')`;
const repository = (name: string): string =>
  `insert into repository (project_id, name, created_at) values (${ofProject("p")}, '${name}', 1)`;

forEachDatabase("the database's checks", (create, dialect) => {
  let test: TestDatabase;
  before(async () => {
    test = await create();
    for (const sql of [project("p"), account("user", "alice"), account("robot", "p+ci", { projectId: ofProject("p") })])
      await test.database.script(sql);
  });
  after(() => test.end());

  const refuses = (sql: string): Promise<void> => assert.rejects(test.database.script(sql), REFUSED, sql);

  it("take what the program writes", async () => {
    for (const name of ["0", "a-b.c_d", "x--y", "a".repeat(128)]) await test.database.script(project(name, 1));
    await test.database.script(project("~", 0, "~"));
    for (const name of ["me.too", "a@b-c_d.e", "a".repeat(64)]) await test.database.script(account("user", name));
    for (const name of ["+all", `${"p".repeat(128)}+${"r".repeat(64)}`]) await test.database.script(account("robot", name));
    for (const role of ["guest", "developer", "maintainer", "owner"]) {
      await test.database.script(member(role));
      await test.database.script(`update member set role = 'guest'`);
      await test.database.script(`delete from member`);
    }
    for (const [index, actions] of ["pull", "push", "delete", "delete,pull", "pull,push", "delete,push", "delete,pull,push"].entries())
      await test.database.script(scope(`p/x${index}/**`, actions));
    await test.database.script(scope("**", "pull"));
    for (const name of ["p/app", "p/a/b-c/d__e", "p/".padEnd(255, "x")]) await test.database.script(repository(name));
    await test.database.script(`update repository set name = '~' || cast(id as text) where name = 'p/app'`);
  });

  it("refuse everything else, new and changed", async () => {
    await test.database.script(member("guest"));
    for (const role of ["superuser", "", "Owner", "owner ", "guest,owner"]) {
      await refuses(member(role));
      await refuses(`update member set role = '${role}'`);
    }
    const odd = ["", "A", "a b", "a\n", "-a", "a-", "é", "a/b", "a+b", "a%", "a'' or 1=1", "ａ"];
    for (const name of [...odd, "a".repeat(129), "~1"]) await refuses(project(name));
    for (const value of [2, -1]) {
      await refuses(project("flag", value));
      await refuses(`update project set is_public = ${value} where name = 'p'`);
      await refuses(account("user", "flag", { isAdmin: value }));
      await refuses(`update account set is_disabled = ${value} where name = 'alice'`);
    }
    await refuses(`update project set name = 'Q' where name = 'p'`);
    for (const name of [...odd, "a".repeat(65)]) await refuses(account("user", name));
    for (const name of ["", "ci", "p+", "p+a+b", "P+ci", "p+c i", "p".repeat(200)]) await refuses(account("robot", name));
    for (const kind of ["", "admin", "USER"]) await refuses(account(kind, "someone"));
    await refuses(account("user", "inside", { projectId: ofProject("p") }));
    await refuses(`update account set name = 'Alice' where name = 'alice'`);
    for (const actions of ["", "admin", "pull,", "push,pull", "pull,pull", "*", "pull,push,delete"]) await refuses(scope("p/y", actions));
    for (const pattern of ["", "P/x", "p/x y", "p/\n", "x".repeat(256)]) await refuses(scope(pattern, "pull"));
    for (const name of ["", "P/app", "p//app", "/app", "p/", "p/a b", "p/é", "p/".padEnd(256, "x"), "~", "~1", "~999999"])
      await refuses(repository(name));
    await refuses(`update repository set name = 'p/App' where project_id = ${ofProject("p")}`);
    // PostgreSQL cannot store such a text at all.
    if (dialect === "sqlite") await refuses(account("user", "cast(x'6100622027' as text)"));
  });

  it("come to a database with odd rows, which stay, and can be changed otherwise, made right and taken away", async () => {
    const old = await create({ migrated: false });
    try {
      const { database } = old;
      await migrate(database, systemClock, checks.id - 1);
      for (const sql of [project("p"), account("user", "alice"), account("user", "Odd Name"), member("superuser"), repository("P/ODD")])
        await database.script(sql);
      await migrate(database, systemClock, checks.id);
      await database.script(`update account set secret_hash = 'y', epoch = 2, expires_at = null where name = 'Odd Name'`);
      await database.script(`update account set is_disabled = 1 where name = 'Odd Name'`);
      await assert.rejects(database.script(`update account set name = 'Odder Name' where name = 'Odd Name'`), REFUSED);
      await database.script(`update member set role = 'guest'`);
      await assert.rejects(database.script(member("superuser")), REFUSED);
      await database.script(`delete from account where name = 'Odd Name'`);
      await database.script(`delete from repository where name = 'P/ODD'`);
      // Migrated back, everything is accepted as before.
      await migrate(database, systemClock, checks.id - 1);
      await database.script(account("user", "Odd Name"));
      await database.script(`update member set role = 'superuser'`);
      await migrate(database, systemClock, checks.id);
    } finally {
      await old.end();
    }
  });

  it("let a restore bring what was there", async () => {
    await test.database.script(`insert into job_lease (name, holder, fence, expires_at) values ('restore', 'x', 1, 1)`);
    await test.database.script(project("Old Project"));
    await test.database.script(`delete from job_lease where name = 'restore'`);
    await refuses(project("New Project"));
  });
});
