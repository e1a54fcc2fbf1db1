// TLS end to end, and the headers of a proxy with TLS in front: certificates change while the server runs, and X-Forwarded-* counts only
// from trusted proxies. Certificates are made here with openssl.
import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFile, rename } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import { connect as connectTcp } from "node:net";
import { join } from "node:path";
import { describe, it } from "node:test";
import { connect, type TLSSocket } from "node:tls";
import { promisify } from "node:util";
import { ADMIN_PASSWORD, startTestRegistry, temporaryFolder } from "./registry.testing.ts";
import { startServerProcess } from "./server-process.testing.ts";

const run = promisify(execFile);
const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;
const AUTH = { authorization: `Basic ${Buffer.from(`admin:${ADMIN_PASSWORD}`).toString("base64")}` };

async function makePair(folder: string, name: string, commonName: string): Promise<void> {
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", join(folder, `${name}.key`)];
  const subject = ["-subj", `/CN=${commonName}`, "-addext", "subjectAltName=IP:127.0.0.1,DNS:registry.test"];
  await run("openssl", ["req", "-x509", ...key, "-out", join(folder, `${name}.crt`), ...subject, "-days", "1"]);
}

describe("TLS", { skip: hasOpenssl ? false : "cannot run here: openssl is not installed" }, () => {
  it("serves both planes; a replaced certificate is served to new connections, and running ones go on", async (t) => {
    const folder = await temporaryFolder();
    t.after(() => folder.end());
    await makePair(folder.path, "tls", "one");
    await makePair(folder.path, "next", "two");
    const file = (name: string): string => join(folder.path, name);
    const ca = [await readFile(file("tls.crt")), await readFile(file("next.crt"))];
    const server = await startServerProcess({
      "http.tls.certificateFile": file("tls.crt"),
      "http.tls.keyFile": file("tls.key"),
      "http.shutdownGraceSeconds": "1s",
    });
    t.after(() => server.clean());
    assert.match(server.origin, /^https:/);
    const port = Number(new URL(server.origin).port);

    async function ask(path: string, headers: Record<string, string>): Promise<{ status: number; challenge: string | undefined }> {
      const outgoing = request({ host: "127.0.0.1", port, path, headers, ca, agent: false });
      outgoing.end();
      const [answer] = (await once(outgoing, "response")) as [IncomingMessage];
      answer.resume();
      await once(answer, "end");
      return { status: answer.statusCode!, challenge: answer.headers["www-authenticate"] };
    }
    assert.deepEqual(await ask("/v2/", AUTH), { status: 200, challenge: undefined });
    assert.equal((await ask("/api/v1/users/me", AUTH)).status, 200);
    const challenged = await ask("/v2/", { host: "registry.test:444" });
    assert.deepEqual(challenged, { status: 401, challenge: 'Bearer realm="https://registry.test:444/token",service="berth"' });
    // The cipher whose hash the processor computes itself, whatever the client prefers.
    const socket = connect({ host: "127.0.0.1", port, ca, ciphers: "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256" });
    await once(socket, "secureConnect");
    assert.equal(socket.getCipher().standardName, "TLS_AES_128_GCM_SHA256");
    socket.destroy();
    // An untrusted proxy cannot change that.
    assert.match(
      (await ask("/v2/", { "x-forwarded-proto": "http", "x-forwarded-host": "evil.test" })).challenge!,
      /realm="https:\/\/127\.0\.0\.1/,
    );

    async function open(): Promise<{ name: string; socket: TLSSocket }> {
      const socket = connect({ host: "127.0.0.1", port, ca });
      socket.on("error", () => undefined);
      await once(socket, "secureConnect");
      return { name: String(socket.getPeerCertificate().subject.CN), socket };
    }
    const old = await open();
    assert.equal(old.name, "one");
    await rename(file("next.key"), file("tls.key"));
    await rename(file("next.crt"), file("tls.crt"));
    await server.logged((line) => line.msg === "the TLS certificate was loaded again");
    const fresh = await open();
    assert.equal(fresh.name, "two");
    fresh.socket.destroy();
    old.socket.write(`GET /v2/ HTTP/1.1\r\nhost: x\r\nauthorization: ${AUTH.authorization}\r\n\r\n`);
    const [piece] = (await once(old.socket, "data")) as [Buffer];
    assert.match(piece.toString("latin1"), /^HTTP\/1\.1 200 /);

    // Plain HTTP is answered and closed, and a handshake that never ends does not delay the stop.
    const plain = connectTcp(port, "127.0.0.1");
    plain.on("error", () => undefined);
    plain.write("GET /v2/ HTTP/1.1\r\nhost: x\r\n\r\n");
    await once(plain.resume(), "close");
    const stuck = connectTcp(port, "127.0.0.1");
    stuck.on("error", () => undefined);
    await once(stuck, "connect");
    const idle = await open();
    server.kill("SIGTERM");
    const ends = [once(stuck, "close"), once(idle.socket, "close"), once(old.socket, "close")];
    stuck.resume();
    idle.socket.resume();
    old.socket.resume();
    await Promise.all(ends);
    assert.deepEqual(await server.ended, { code: 0, signal: null });
    assert.deepEqual(
      server.log.filter((line) => line.level === "error"),
      [],
    );
  });
});

describe("trusted proxies", () => {
  const forwarded = { "x-forwarded-proto": "https", "x-forwarded-host": "registry.example:8443", "x-forwarded-for": "192.0.2.7" };
  const realmFor = async (settings: Record<string, string>, headers: Record<string, string>, path = "/v2/"): Promise<string> => {
    const registry = await startTestRegistry(settings);
    try {
      const answer = await registry.send("GET", path, { anonymous: true, headers });
      await answer.body?.cancel();
      return /realm="([^"]*)"/.exec(answer.headers.get("www-authenticate")!)![1]!.replace(registry.origin, "ORIGIN");
    } finally {
      await registry.stop();
    }
  };

  const cases: [string, Record<string, string>, Record<string, string>, string][] = [
    ["nobody is trusted by default", {}, forwarded, "ORIGIN/token"],
    ["another network is not trusted", { "http.trustedProxies": "10.0.0.0/8,::1/128" }, forwarded, "ORIGIN/token"],
    ["a trusted one is believed", { "http.trustedProxies": "127.0.0.0/8" }, forwarded, "https://registry.example:8443/token"],
    [
      "of several values, the nearest proxy's is",
      { "http.trustedProxies": "127.0.0.1" },
      { ...forwarded, "x-forwarded-host": "evil.test, registry.example" },
      "https://registry.example/token",
    ],
    [
      "a host that is none is not",
      { "http.trustedProxies": "127.0.0.1" },
      { ...forwarded, "x-forwarded-host": 'evil.test",x="' },
      "https://HOST/token",
    ],
    [
      "a scheme that is none is not",
      { "http.trustedProxies": "127.0.0.1" },
      { ...forwarded, "x-forwarded-proto": "javascript" },
      "http://registry.example:8443/token",
    ],
    [
      "the configured address is before everything",
      { "http.trustedProxies": "127.0.0.1", "http.publicUrl": "https://public.test" },
      forwarded,
      "https://public.test/token",
    ],
    ["the configured realm even more", { "auth.realm": "https://tokens.test/auth" }, forwarded, "https://tokens.test/auth"],
  ];
  for (const [what, settings, headers, expected] of cases) {
    it(what, async () => {
      const realm = await realmFor(settings, headers);
      assert.equal(realm.replace(/https:\/\/127\.0\.0\.1:\d+/, "https://HOST"), expected);
    });
  }

  it("a client that an unknown proxy sends is told why its challenge leads nowhere, and one that comes directly is not", async (t) => {
    const registry = await startTestRegistry();
    t.after(() => registry.stop());
    const messageOf = async (headers: Record<string, string>) => {
      const answer = await registry.send("POST", "/v2/library/app/blobs/uploads/", { anonymous: true, headers });
      assert.equal(answer.status, 401);
      const { errors } = (await answer.json()) as { errors: [{ message: string; detail: { scope: string } }] };
      assert.equal(errors[0].detail.scope, "repository:library/app:pull,push");
      return errors[0].message;
    };
    assert.match(await messageOf({}), /^no credentials came/);
    assert.match(
      await messageOf(forwarded),
      /^no credentials came.*; the registry does not believe .* http\.trustedProxies or http\.publicUrl$/,
    );
  });

  it("who speaks plain HTTP to it is told so, and the next one is served", async (t) => {
    const folder = await temporaryFolder();
    t.after(() => folder.end());
    await makePair(folder.path, "tls", "one");
    const registry = await startTestRegistry({
      "http.tls.certificateFile": join(folder.path, "tls.crt"),
      "http.tls.keyFile": join(folder.path, "tls.key"),
    });
    t.after(() => registry.stop());
    for (const head of [
      "GET /v2/ HTTP/1.1\r\nhost: x\r\n\r\n",
      "POST /v2/a/b/blobs/uploads/ HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello",
    ]) {
      const socket = connectTcp(Number(new URL(registry.origin).port), "127.0.0.1");
      socket.write(head);
      let got = "";
      socket.on("data", (piece: Buffer) => (got += piece.toString("latin1")));
      await once(socket, "close");
      assert.match(got, /^HTTP\/1\.1 400 Bad Request\r\ncontent-type: text\/plain[^]*This port speaks HTTPS/);
    }
    // Anything else is only closed.
    const socket = connectTcp(Number(new URL(registry.origin).port), "127.0.0.1");
    socket.write("\0\0nothing that anybody speaks\r\n\r\n");
    await once(socket.resume(), "close");
    const outgoing = request({
      host: "127.0.0.1",
      port: Number(new URL(registry.origin).port),
      path: "/healthz",
      rejectUnauthorized: false,
    });
    outgoing.end();
    const [answer] = (await once(outgoing, "response")) as [IncomingMessage];
    assert.equal(answer.resume().statusCode, 200);
  });

  it("failed logins are counted by the client that the proxy names, not by the proxy", async (t) => {
    const registry = await startTestRegistry({ "http.trustedProxies": "127.0.0.1" });
    t.after(() => registry.stop());
    const wrong = (i: number): string => `Basic ${Buffer.from(`admin:wrong-password-${i}`).toString("base64")}`;
    const tryFrom = async (address: string, authorization: string): Promise<number> => {
      const answer = await registry.send("GET", "/token", { headers: { authorization, "x-forwarded-for": address } });
      await answer.body?.cancel();
      return answer.status;
    };
    for (let i = 0; i < 5; i++) assert.equal(await tryFrom("192.0.2.7", wrong(i)), 401);
    assert.equal(await tryFrom("192.0.2.7", AUTH.authorization), 429);
    // A client that forges a hop in front of its own address is still found.
    assert.equal(await tryFrom("192.0.2.9, 192.0.2.7", AUTH.authorization), 429);
    assert.equal(await tryFrom("192.0.2.8", AUTH.authorization), 200);
  });
});
