// A failing start closes everything that it had opened, whichever part fails: the process must not live on, neither as half a server nor
// waiting on connections. Not here: an orderly stop (graceful-stop.test.ts).
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { connect, createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { cannotRunHere } from "../tools/install.ts";
import { freePort } from "../tools/processes.ts";
import { PROGRAM, runProgram } from "./program.testing.ts";
import { startTestRegistry, temporaryFolder } from "./registry.testing.ts";
import { startServerProcess } from "./server-process.testing.ts";

/** An address of this machine that is in use. */
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
      message:
        /The store in the bucket none \(storage\.s3\.bucket, storage\.s3\.prefix\) cannot be used: nobody listens there .*storage\.s3\.endpoint http/,
    }),
    "the administrator": async () => ({ settings: { "auth.adminPassword": "x".repeat(300) }, message: /administrator's password/ }),
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

describe("says in one sentence what is wrong, and with which setting", () => {
  const owner = new RegExp(`in use by process ${process.pid} \\(.+\\), which runs since \\d{4}-`);
  const asUser = process.getuid?.() === 0 ? `${cannotRunHere}root may use every port and directory` : false;
  const pgUrl = process.env["BERTH_TEST_POSTGRES_URL"];
  const noPostgres = pgUrl === undefined ? "BERTH_TEST_POSTGRES_URL is not set" : false;
  const key = { "auth.secretKey": Buffer.alloc(32, 9).toString("base64"), "database.startTimeoutSeconds": "0s" };
  interface Case {
    readonly skip?: string | false;
    settings(t: TestContext): Promise<Record<string, string>>;
    readonly message: RegExp;
    /** Whether the embedded database may have been made. */
    readonly isMade?: boolean;
  }
  const cases: Record<string, Case> = {
    "a taken port": {
      settings: async (t) => ({ "http.listen": await busyAddress(t) }),
      message: new RegExp(`\\(http\\.listen\\): the address is ${owner.source}`),
    },
    "a taken port for metrics": {
      settings: async (t) => ({ "metrics.listen": await busyAddress(t) }),
      message: new RegExp(`\\(metrics\\.listen\\): the address is ${owner.source}`),
    },
    "an address of another machine": {
      settings: async () => ({ "http.listen": "192.0.2.1:5000" }),
      message: /\(http\.listen\): this machine has no such address/,
    },
    "a privileged port": {
      skip: asUser,
      settings: async () => ({ "http.listen": "127.0.0.1:81" }),
      message: /\(http\.listen\): this user may not use that port/,
    },
    "a store that is a file": {
      settings: async () => ({ "storage.filesystem.directory": "/etc/hostname" }),
      message: /^storage\.filesystem\.directory: \/etc\/hostname is a file/,
    },
    "a store below a file": {
      settings: async () => ({ "storage.filesystem.directory": "/etc/hostname/content" }),
      message: /^storage\.filesystem\.directory: \/etc\/hostname\/content is a file or below one/,
    },
    "a certificate that there is not": {
      settings: async () => ({ "http.tls.certificateFile": "/nonexistent.crt", "http.tls.keyFile": "/nonexistent.key" }),
      message: /^Cannot use the certificate \/nonexistent\.crt .*\(http\.tls\.certificateFile, http\.tls\.keyFile\): ENOENT/,
    },
    "a certificate that is none": {
      settings: async () => ({ "http.tls.certificateFile": "/etc/hostname", "http.tls.keyFile": "/etc/hostname" }),
      message: /\(http\.tls\.certificateFile, http\.tls\.keyFile\): \/etc\/hostname holds no certificate in PEM form/,
    },
    "a store where nothing can be made": {
      settings: async () => ({ "storage.filesystem.directory": "/proc/content" }),
      message: /storage\.filesystem\.directory\) cannot be used: the directory cannot be made there/,
      isMade: true,
    },
    "a data directory where nothing can be made": {
      settings: async () => ({ data: "/proc/data/deeper" }),
      message: /Cannot create the data directory \/proc\/data/,
    },
    "a database where nobody listens": {
      settings: async () => ({ ...key, "database.url": `postgres://u:secret-word@127.0.0.1:${await freePort()}/berth` }),
      message: /The database 127\.0\.0\.1:\d+\/berth \(database\.url\) cannot be used: nobody listens there/,
    },
    "a database of no host": {
      settings: async () => ({ ...key, "database.url": "postgres://u:secret-word@no-such-host.invalid/berth" }),
      message: /\(database\.url\) cannot be used: (?:there is no such host|the host's name cannot be looked up now)/,
    },
    "a database that there is not": {
      skip: noPostgres,
      settings: async () => ({ ...key, "database.url": `${pgUrl}_none` }),
      message: /\(database\.url\) cannot be used: the server has no database of that name/,
    },
    "a database without TLS": {
      skip: noPostgres,
      settings: async () => ({ ...key, "database.url": `${pgUrl}?sslmode=verify-full` }),
      message: /\(database\.url\) cannot be used: (?:the server speaks no TLS|TLS does not come about)/,
    },
  };
  for (const [what, { skip = false, settings, message, isMade = false }] of Object.entries(cases)) {
    it(what, { skip }, async (t) => {
      const folder = await temporaryFolder();
      t.after(() => folder.end());
      const all = { data: folder.path, "http.listen": "127.0.0.1:0", ...(await settings(t)) };
      const ended = await runProgram(["serve", ...Object.entries(all).map(([name, value]) => `--${name}=${value}`)]);
      assert.equal(ended.code, 1);
      assert.match(ended.stderr, message);
      assert.equal(ended.stderr.trim().split("\n").length, 1, ended.stderr);
      assert.doesNotMatch(ended.stderr, /secret-word|^\s+at /m);
      assert.equal(existsSync(join(folder.path, "berth.db")), isMade);
    });
  }
});

const noPostgres = process.env["BERTH_TEST_POSTGRES_URL"] === undefined ? "BERTH_TEST_POSTGRES_URL is not set" : false;

it("failed start: waits for a database that comes later, and says so", { skip: noPostgres }, async (t) => {
  const url = new URL(process.env["BERTH_TEST_POSTGRES_URL"]!);
  const port = await freePort();
  const settings = {
    "database.url": `postgres://${url.username}@127.0.0.1:${port}/none`,
    "auth.secretKey": Buffer.alloc(32, 9).toString("base64"),
  };
  const folder = await temporaryFolder();
  t.after(() => folder.end());
  const flags = Object.entries({ data: folder.path, "http.listen": "127.0.0.1:0", ...settings }).map(
    ([name, value]) => `--${name}=${value}`,
  );
  const program = spawn(process.execPath, [PROGRAM, "serve", ...flags], { stdio: ["ignore", "pipe", "pipe"], env: {} });
  t.after(() => program.kill("SIGKILL"));
  let [stdout, stderr] = ["", ""];
  program.stdout.on("data", (piece: Buffer) => (stdout += piece.toString("utf8")));
  program.stderr.on("data", (piece: Buffer) => (stderr += piece.toString("utf8")));
  const ended = once(program, "close");
  while (!stdout.includes("waiting for the database")) {
    assert.equal(program.exitCode, null, stderr);
    await sleep(50);
  }
  // The database becomes reachable, and then says that it has no such database.
  const way = createServer((socket) => {
    const on = connect(Number(url.port), url.hostname);
    socket.pipe(on).pipe(socket);
    socket.on("error", () => on.destroy());
    on.on("error", () => socket.destroy());
  }).listen(port, "127.0.0.1");
  t.after(() => way.close());
  await ended;
  assert.match(stderr, /no database of that name/);
});

it("failed start: says who has the data directory", async (t) => {
  const first = await startServerProcess();
  t.after(() => first.clean());
  const data = first.log.find((line) => line.msg.includes("a new registry is made"))?.["database"];
  const ended = await runProgram(["serve", "--listen=127.0.0.1:0", `--data=${join(String(data), "..")}`]);
  assert.equal(ended.code, 1);
  assert.match(ended.stderr, new RegExp(`is in use by another running server \\(process ${first.pid} on .+, since \\d{4}-`));
});

it("failed start: keeps the first password of a start that fails late; the next start finds the password that the first one made", async (t) => {
  const folder = await temporaryFolder();
  t.after(() => folder.end());
  const port = await freePort();
  const main = [`--data=${folder.path}`, `--listen=127.0.0.1:${port}`];
  const ended = await runProgram(["serve", ...main, `--metrics.listen=0.0.0.0:${port}`]);
  assert.equal(ended.code, 1, ended.stderr);
  const password = (await readFile(join(folder.path, "admin-password"), "utf8")).trim();

  const registry = await startServerProcess({ data: folder.path });
  t.after(() => registry.clean());
  const authorization = `Basic ${Buffer.from(`admin:${password}`).toString("base64")}`;
  assert.equal((await fetch(`${registry.origin}/v2/`, { headers: { authorization } })).status, 200);
});
