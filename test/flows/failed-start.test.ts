// A start that fails closes what it had opened, whichever part it is that fails: a process that does not start must not live on, neither
// half a server nor one that waits on connections. Not here: an orderly stop (graceful-stop.test.ts).
import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { connect, createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { freePort } from "../tools/processes.ts";
import { runProgram } from "./program.testing.ts";
import { startTestRegistry, temporaryFolder } from "./registry.testing.ts";
import { startServerProcess } from "./server-process.testing.ts";

/** An address of this machine that somebody else has. */
async function busyAddress(t: TestContext): Promise<string> {
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  t.after(() => other.close());
  return `127.0.0.1:${(other.address() as AddressInfo).port}`;
}

async function isRefused(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    return false;
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, "ECONNREFUSED");
    return true;
  } finally {
    socket.destroy();
  }
}

describe("a start that fails closes what it had opened", () => {
  const cases: Record<string, (t: TestContext) => Promise<{ settings: Record<string, string>; message: RegExp }>> = {
    "the store": async () => ({
      settings: {
        "storage.kind": "s3",
        "storage.s3.endpoint": `http://127.0.0.1:${await freePort()}`,
        "storage.s3.bucket": "none",
        "storage.s3.accessKeyId": "nobody",
        "storage.s3.secretAccessKey": "nothing",
      },
      message: /cannot serve this now/,
    }),
    "the administrator": async () => ({ settings: { "auth.adminPassword": "x".repeat(300) }, message: /administrator's password/ }),
    "the certificate": async () => ({
      settings: { "http.tls.certificateFile": "/nonexistent.crt", "http.tls.keyFile": "/nonexistent.key" },
      message: /Cannot use the certificate/,
    }),
    "the server": async (t) => ({ settings: { "http.listen": await busyAddress(t) }, message: /EADDRINUSE/ }),
    "the server for metrics": async (t) => ({ settings: { "metrics.listen": await busyAddress(t) }, message: /EADDRINUSE/ }),
  };
  for (const [part, prepare] of Object.entries(cases)) {
    it(part, async (t) => {
      const folder = await temporaryFolder();
      t.after(() => folder.end());
      const port = await freePort();
      const { settings, message } = await prepare(t);
      await assert.rejects(startTestRegistry({ data: folder.path, "http.listen": `127.0.0.1:${port}`, ...settings }), message);
      // SQLite removes the log with the last connection that closes.
      assert.ok(existsSync(join(folder.path, "berth.db")));
      assert.ok(!existsSync(join(folder.path, "berth.db-wal")), "the database is still open");
      assert.ok(await isRefused(port), "the server still answers");
    });
  }
});

it("ends a process whose address is taken; the next start finds the password that the first one made", async (t) => {
  const folder = await temporaryFolder();
  t.after(() => folder.end());
  const port = await freePort();
  const main = [`--data=${folder.path}`, `--listen=127.0.0.1:${port}`];
  const ended = await runProgram(["serve", ...main, `--metrics.listen=${await busyAddress(t)}`]);
  assert.equal(ended.code, 1);
  assert.match(ended.stderr, /^listen EADDRINUSE: [^\n]*\n$/);
  const password = (await readFile(join(folder.path, "admin-password"), "utf8")).trim();

  const registry = await startServerProcess({ data: folder.path });
  t.after(() => registry.clean());
  const authorization = `Basic ${Buffer.from(`admin:${password}`).toString("base64")}`;
  assert.equal((await fetch(`${registry.origin}/v2/`, { headers: { authorization } })).status, 200);
});
