// The only administrator's password is lost: a command on the machine sets a new one, also beside the running server; and the messages
// about first passwords. Not here: changes by users who can sign in (control-plane.test.ts).
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { it, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { expectCode } from "./program.testing.ts";
import { ADMIN_PASSWORD, temporaryFolder } from "./registry.testing.ts";
import { startServerProcess, type LogLine, type ServerProcess } from "./server-process.testing.ts";

const SERVER_URL = process.env["BERTH_TEST_POSTGRES_URL"];

async function statusWith(server: ServerProcess, password: string): Promise<number> {
  const authorization = `Basic ${Buffer.from(`admin:${password}`).toString("base64")}`;
  return (await fetch(`${server.origin}/api/v1/users/me`, { headers: { authorization } })).status;
}

async function until(isSo: () => Promise<boolean> | boolean): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!(await isSo())) {
    assert.ok(performance.now() < deadline, "it never came");
    await sleep(100);
  }
}

async function sqlite(t: TestContext): Promise<Record<string, string>> {
  const folder = await temporaryFolder();
  t.after(() => folder.end());
  return { data: folder.path };
}

async function postgres(t: TestContext): Promise<Record<string, string>> {
  const name = `berth_${randomBytes(8).toString("hex")}`;
  const admin = new pg.Client({ connectionString: SERVER_URL });
  await admin.connect();
  await admin.query(`create database ${name}`);
  t.after(async () => {
    await admin.query(`drop database ${name} with (force)`);
    await admin.end();
  });
  const url = new URL(SERVER_URL!);
  url.pathname = `/${name}`;
  return { ...(await sqlite(t)), "database.url": url.href, "auth.secretKey": Buffer.alloc(32, 5).toString("base64") };
}

for (const [engine, prepare] of Object.entries({ sqlite, postgres })) {
  const skip = engine === "postgres" && SERVER_URL === undefined ? "BERTH_TEST_POSTGRES_URL is not set" : false;
  it(`makes a new password beside the server and without it on ${engine}`, { skip }, async (t) => {
    const settings = await prepare(t);
    const flags = Object.entries(settings).map(([name, value]) => `--${name}=${value}`);
    assert.notEqual(
      (await expectCode(1, ["account", "reset", `--data=${settings["data"]}-none`])).stderr.match(/There is no database/),
      null,
    );
    const server = await startServerProcess(settings);
    t.after(() => server.clean());
    // Read before, so that the server has it cached and, on SQLite, in its snapshot.
    assert.equal(await statusWith(server, ADMIN_PASSWORD), 200);
    const reset = await expectCode(0, ["account", "reset", ...flags]);
    assert.match(reset.stdout, /^[\w-]{32}\n$/);
    assert.match(reset.stderr, /"account":"admin".*reset on the machine/);
    assert.ok(!reset.stderr.includes(reset.stdout.trim()));
    await until(async () => (await statusWith(server, reset.stdout.trim())) === 200);
    assert.equal(await statusWith(server, ADMIN_PASSWORD), 401);
    const isChange = (line: LogLine): boolean => line["account"] === "admin" && line.msg.includes("was changed by another process");
    await server.logged(isChange);
    assert.equal(server.log.filter(isChange).length, 1);
    server.kill("SIGTERM");
    await server.ended;
    const again = await expectCode(0, ["account", "reset", "admin", ...flags]);
    assert.match((await expectCode(1, ["account", "reset", "nobody", ...flags])).stderr, /There is no user "nobody"/);
    const second = await startServerProcess(settings);
    t.after(() => second.clean());
    assert.equal(await statusWith(second, again.stdout.trim()), 200);
    await second.logged((line) => line.msg.startsWith("auth.adminPassword is not heeded"));
  });
}

it("lost password: removes the file of the first password when that is changed, and not before", async (t) => {
  const settings = await sqlite(t);
  const server = await startServerProcess({ ...settings, "auth.adminPassword": "" });
  t.after(() => server.clean());
  const file = join(settings["data"]!, "admin-password");
  const first = (await readFile(file, "utf8")).trim();
  await sleep(3_000);
  assert.ok(existsSync(file));
  const answer = await fetch(`${server.origin}/api/v1/users/me/password`, {
    method: "PUT",
    headers: { authorization: `Basic ${Buffer.from(`admin:${first}`).toString("base64")}`, "content-type": "application/json" },
    body: JSON.stringify({ currentPassword: first, newPassword: "another-long-one" }),
  });
  assert.ok(answer.ok, `${answer.status} ${await answer.text()}`);
  await until(() => !existsSync(file));
  assert.equal(await statusWith(server, "another-long-one"), 200);
});
