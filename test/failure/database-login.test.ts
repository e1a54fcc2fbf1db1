// The message to an operator when PostgreSQL requires a password and gets a wrong one: one sentence, at once, without the password. Not
// here: other starts that fail (test/flows/failed-start.test.ts), whose PostgreSQL may accept everybody.
import assert from "node:assert/strict";
import { chmod, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { it } from "node:test";
import { skipOrThrow } from "../tools/install.ts";
import { temporaryFolder } from "../tools/processes.ts";
import { startPostgres, type PostgresServer } from "../tools/servers.ts";
import { runRole } from "./server-process.ts";

it("database login: says in one sentence that PostgreSQL does not take the password, and does not wait", async (t) => {
  const folder = await temporaryFolder("database-login");
  t.after(() => rm(folder, { recursive: true, force: true }));
  const rules = join(folder, "pg_hba.conf");
  await writeFile(rules, "host all postgres 127.0.0.1/32 trust\nhost all berth 127.0.0.1/32 scram-sha-256\n");
  // PostgreSQL runs as another user.
  await chmod(folder, 0o755);
  await chmod(rules, 0o644);
  let postgres: PostgresServer;
  try {
    postgres = await startPostgres({ settings: [`hba_file=${rules}`] });
  } catch (error) {
    skipOrThrow(t, error);
    return;
  }
  t.after(() => postgres.stop());
  await postgres.query("create role berth login password 'right-password'");
  await postgres.query("create database berth owner berth");
  const migrate = (user: string, password: string) =>
    runRole(["migrate"], {
      data: join(folder, "data"),
      "auth.secretKey": Buffer.alloc(32, 9).toString("base64"),
      // Waiting would not help, and this is longer than the test may take.
      "database.startTimeoutSeconds": "1h",
      "database.url": `postgres://${user}:${password}@127.0.0.1:${postgres.port}/berth`,
    });
  for (const [user, password] of [
    ["berth", "wrong-password"],
    ["berth", ""],
    ["nobody", "right-password"],
  ] as const) {
    const { code, stdout, stderr } = await migrate(user, password);
    assert.deepEqual([code, stdout], [1, ""], stderr);
    assert.match(stderr, /^The database \S+ \(database\.url\) cannot be used: .*\.\n$/);
    if (password === "wrong-password") assert.match(stderr, /the password is wrong, or there is no such user/);
    if (password === "") assert.match(stderr, /the server wants a password, and none is given/);
    if (user === "nobody") assert.match(stderr, /does not let this user in from here/);
    assert.doesNotMatch(stderr, /(?:wrong|right)-password/);
  }
  assert.equal((await migrate("berth", "right-password")).code, 0);
});
