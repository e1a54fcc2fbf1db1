// The certificate: a running server reloads it when its files change, also behind a swapped symlink, and keeps the old pair if the new one
// is wrong.
import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { connect } from "node:tls";
import { promisify } from "node:util";
import { createLog } from "./log.ts";
import { StartupError } from "./startup-error.ts";
import { openKeyPair } from "./tls.ts";

const run = promisify(execFile);
const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;

/** Creates a self-signed pair for `name` in `directory`. */
async function makePair(directory: string, name: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", join(directory, "tls.key")];
  await run("openssl", ["req", "-x509", ...key, "-out", join(directory, "tls.crt"), "-subj", `/CN=${name}`, "-days", "1"]);
}

async function setUp(t: TestContext) {
  const directory = await mkdtemp(join(tmpdir(), "berth-tls-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  let text = "";
  const { logger } = createLog({ level: "info", format: "json", stream: { write: (line) => void (text += line) } });
  return { directory, logger, log: () => text };
}

/** The name in the certificate that the server on the port presents. */
async function servedName(port: number): Promise<string> {
  const socket = connect({ port, host: "127.0.0.1", rejectUnauthorized: false });
  await once(socket, "secureConnect");
  const name = String(socket.getPeerCertificate().subject.CN);
  socket.destroy();
  return name;
}

describe("TLS", { skip: hasOpenssl ? false : "cannot run here: openssl is not installed" }, () => {
  it("is served anew after a Kubernetes secret was swapped, and kept when the swap is bad", async (t) => {
    const { directory, logger, log } = await setUp(t);
    await makePair(join(directory, "v1"), "one");
    await makePair(join(directory, "v2"), "two");
    await mkdir(join(directory, "bad"));
    await writeFile(join(directory, "bad", "tls.crt"), "not a certificate");
    await writeFile(join(directory, "bad", "tls.key"), "not a key");
    // As Kubernetes mounts a secret: names -> ..data/names, and ..data -> a directory that is replaced by a rename.
    const point = async (version: string) => {
      await symlink(version, join(directory, "..tmp"));
      await rename(join(directory, "..tmp"), join(directory, "..data"));
    };
    await point("v1");
    for (const name of ["tls.crt", "tls.key"]) await symlink(join("..data", name), join(directory, name));

    const pair = await openKeyPair({
      certificateFile: join(directory, "tls.crt"),
      keyFile: join(directory, "tls.key"),
      logger,
      pollMs: 3_600_000,
    });
    t.after(() => pair.close());
    const server = createServer(pair.current());
    pair.attach(server);
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    t.after(() => server.close());
    const { port } = server.address() as AddressInfo;
    assert.equal(await servedName(port), "one");

    await point("v2");
    await pair.poll();
    assert.equal(await servedName(port), "two");

    await point("bad");
    await pair.poll();
    await pair.poll();
    assert.equal(await servedName(port), "two");
    assert.equal(log().split("cannot be used").length - 1, 1, "a bad pair is reported once");

    await point("v1");
    await pair.poll();
    assert.equal(await servedName(port), "one");
    assert.ok(pair.expiresAt().getTime() > Date.now());
  });

  it("polls by itself", async (t) => {
    const { directory, logger, log } = await setUp(t);
    await makePair(directory, "one");
    const pair = await openKeyPair({ certificateFile: join(directory, "tls.crt"), keyFile: join(directory, "tls.key"), logger, pollMs: 5 });
    t.after(() => pair.close());
    const before = pair.current().cert;
    await makePair(directory, "two");
    const { promise, resolve } = Promise.withResolvers<void>();
    // The poll's timer does not keep the process alive; this one does until the pair has changed or the test times out.
    const watch = setInterval(() => {
      if (!pair.current().cert.equals(before) && log().includes("loaded again")) resolve();
    }, 5);
    await promise;
    clearInterval(watch);
  });

  it("refuses to start with a missing file or a key of another certificate", async (t) => {
    const { directory, logger } = await setUp(t);
    await makePair(join(directory, "a"), "a");
    await makePair(join(directory, "b"), "b");
    const open = (certificateFile: string, keyFile: string) =>
      openKeyPair({ certificateFile: join(directory, certificateFile), keyFile: join(directory, keyFile), logger });
    for (const [cert, key, words] of [
      ["a/none", "a/tls.key", "ENOENT"],
      ["a/tls.crt", "a/none", "ENOENT"],
      ["a/tls.crt", "b/tls.key", "is not that of the certificate"],
      ["a/tls.key", "a/tls.key", "holds no certificate in PEM form"],
      ["a/tls.crt", "a/tls.crt", "holds no private key in PEM form"],
    ] as const) {
      await assert.rejects(open(cert, key), (error: unknown) => {
        return error instanceof StartupError && [cert, key, words].every((each) => error.message.includes(each));
      });
    }
  });
});
