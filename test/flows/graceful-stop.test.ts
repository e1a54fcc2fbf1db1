// Stopping a real process: running requests may finish, no new ones begin, a second signal ends it at once, and after its time the rest is
// cut off.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { openRawClient, requestHead, type RawClient } from "./raw-client.testing.ts";
import { ADMIN_PASSWORD, sha256, temporaryFolder } from "./registry.testing.ts";
import { startServerProcess, type ServerProcess } from "./server-process.testing.ts";

const REPO = "library/app";
const AUTH = { authorization: `Basic ${Buffer.from(`admin:${ADMIN_PASSWORD}`).toString("base64")}` };
const MIB = 1024 * 1024;

async function start(t: { after(work: () => Promise<void>): void }, settings: Record<string, string> = {}): Promise<ServerProcess> {
  const server = await startServerProcess(settings);
  t.after(() => server.clean());
  return server;
}

async function pushBlob(server: ServerProcess, bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const answer = await fetch(`${server.origin}/v2/${REPO}/blobs/uploads/?digest=${sha256(bytes)}`, {
    method: "POST",
    headers: AUTH,
    body: bytes,
  });
  assert.equal(answer.status, 201);
  return sha256(bytes);
}

/** A download whose headers have arrived while the rest is not read yet. */
async function beginDownload(server: ServerProcess, digest: string): Promise<RawClient> {
  const client = await openRawClient(server.origin);
  await client.send(requestHead("GET", `/v2/${REPO}/blobs/${digest}`, AUTH));
  await once(client.socket, "data");
  client.socket.pause();
  return client;
}

/** An upload whose first half has been sent. */
async function beginUpload(server: ServerProcess, bytes: Uint8Array): Promise<RawClient> {
  const client = await openRawClient(server.origin);
  const target = `/v2/${REPO}/blobs/uploads/?digest=${sha256(bytes)}`;
  await client.send(requestHead("POST", target, { ...AUTH, "content-length": bytes.length }), bytes.subarray(0, bytes.length / 2));
  return client;
}

async function isRefused(server: ServerProcess): Promise<boolean> {
  const { port, hostname } = new URL(server.origin);
  const socket = connect(Number(port), hostname);
  return new Promise((resolve) => {
    socket.once("connect", () => {
      socket.destroy();
      resolve(false);
    });
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code === "ECONNREFUSED"));
  });
}

function stopping(server: ServerProcess): Promise<unknown> {
  return server.logged((line) => line.msg.startsWith("stopping"));
}

describe("a stop", () => {
  it("lets a large upload and a large download end, takes nothing new, and exits with 0", async (t) => {
    const server = await start(t, { "http.shutdownGraceSeconds": "1m" });
    const stored = randomBytes(24 * MIB);
    const digest = await pushBlob(server, stored);
    const sent = randomBytes(8 * MIB);
    const download = await beginDownload(server, digest);
    const upload = await beginUpload(server, sent);
    // Idle connections: one that was used, and one that never was. Neither may delay the stop.
    const used = await openRawClient(server.origin);
    await used.send(requestHead("GET", "/v2/", AUTH));
    assert.equal((await used.answer()).status, 200);
    const unused = await openRawClient(server.origin);

    server.kill("SIGTERM");
    await stopping(server);
    // The line is logged just before the port is closed.
    while (!(await isRefused(server))) await sleep(10);
    await Promise.all([used.closed(), unused.closed()]);
    await upload.send(sent.subarray(sent.length / 2));
    assert.equal((await upload.answer()).status, 201);
    download.socket.resume();
    const got = await download.answer();
    assert.equal(createHash("sha256").update(got.body).digest("hex"), digest.slice(7));
    assert.deepEqual(await server.ended, { code: 0, signal: null });
    assert.deepEqual(
      server.log.filter((line) => line.level === "error"),
      [],
    );
  });

  it("ends at once at the second signal", async (t) => {
    const server = await start(t, { "http.shutdownGraceSeconds": "1h" });
    const upload = await beginUpload(server, randomBytes(4 * MIB));
    server.kill("SIGTERM");
    await stopping(server);
    server.kill("SIGTERM");
    assert.deepEqual(await server.ended, { code: 130, signal: null });
    await upload.closed();
  });

  it("cuts what still runs after its time, keeps none of it, and exits with 0", async (t) => {
    const server = await start(t, { "http.shutdownGraceSeconds": "1s" });
    const stored = randomBytes(24 * MIB);
    const download = await beginDownload(server, await pushBlob(server, stored));
    const upload = await beginUpload(server, randomBytes(4 * MIB));
    // Connections that never send a request must not last longer either.
    const half = await openRawClient(server.origin);
    await half.send("GET /v2/ HTTP/1.1\r\n");
    server.kill("SIGINT");
    await Promise.all([upload.closed(), half.closed()]);
    assert.deepEqual(await server.ended, { code: 0, signal: null });
    // Only now: a client that reads while connections are being closed, one after the other, might still get all of it.
    download.socket.resume();
    assert.ok((await download.closed()).length < stored.length);
    assert.deepEqual(
      server.log.filter((line) => line.level === "error").map((line) => JSON.stringify(line)),
      [],
    );
  });

  it("with nothing running needs no time, and what was acknowledged is there after the next start", async (t) => {
    const server = await start(t);
    await pushBlob(server, randomBytes(100_000));
    await sleep(10);
    server.kill("SIGTERM");
    assert.deepEqual(await server.ended, { code: 0, signal: null });
    assert.ok(server.log.some((line) => line.msg === "stopped"));
  });
});

it("graceful stop: under npm, outside a terminal, a SIGTERM to npm stops the server as well", async (t) => {
  const folder = await temporaryFolder();
  t.after(() => folder.end());
  const root = join(import.meta.dirname, "../..");
  const npm = spawn("npm", ["start", "--", `--data=${folder.path}`, "--listen=127.0.0.1:0", "--log.format=json"], {
    cwd: root,
    stdio: ["ignore", "pipe", "inherit"],
    env: { PATH: `${join(root, "node_modules/.bin")}:${process.env["PATH"]}`, HOME: folder.path },
  });
  let shown = "";
  let pid = 0;
  npm.stdout.on("data", (piece: Buffer) => (shown += piece.toString("utf8")));
  while (!shown.includes('"msg":"ready"')) {
    assert.equal(npm.exitCode, null, shown);
    await sleep(50);
  }
  pid = Number(/"pid":(\d+)/.exec(shown)?.[1] ?? (await readFile(join(folder.path, "lock-owner"), "utf8")).match(/process (\d+)/)![1]);
  t.after(() => {
    if (isAlive(pid)) process.kill(pid, "SIGKILL");
  });
  npm.kill("SIGTERM");
  const deadline = performance.now() + 60_000;
  while (isAlive(pid)) {
    assert.ok(performance.now() < deadline, "the server lives on");
    await sleep(50);
  }
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
