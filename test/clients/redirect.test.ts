// Pulls that bypass Berth: with storage.redirect=always a layer's bytes come from Ceph by a signed address, also for a private repository.
// Not here: the form of the address (the blob store's tests).
import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { get, type IncomingMessage } from "node:http";
import { join } from "node:path";
import { after, before, describe, it, type TestContext } from "node:test";
import { startContainerd } from "../tools/daemons.ts";
import { requireTool, skipOrThrow, type ToolName } from "../tools/install.ts";
import { temporaryFolder } from "../tools/processes.ts";
import { type S3Server, startCephRgw } from "../tools/servers.ts";
import { type Berth, startBerth } from "./berth.ts";
import { type Commands, commandsInNewHome } from "./command.ts";
import { LAYOUT_TAG, type Layout, readLayout, writeHugeImage } from "./images.ts";
import { cephSettings } from "./storage.ts";

/** Several parts of a multipart upload, and more than fits into any buffer on the way. */
const LAYER_BYTES = 96 * 1024 * 1024;
const REPOSITORY = "vault/redirect/large";

describe("pulls that are redirected to Ceph", () => {
  let ceph: S3Server | undefined;
  let berth: Berth | undefined;
  let unavailable: unknown;
  let folder = "";
  let publicEndpoint = "";
  let image: Layout;

  before(async () => {
    folder = await temporaryFolder("redirect");
    try {
      ceph = await startCephRgw();
      // Another host name than the registry's: clients written in Go send the registry's token along to any port of the same host, and S3
      // refuses two kinds of credentials at once.
      publicEndpoint = ceph.target.endpoint.replace("127.0.0.1", "localhost");
      berth = await startBerth({ ...cephSettings(ceph.target), "storage.s3.publicEndpoint": publicEndpoint, "storage.redirect": "always" });
      image = await writeHugeImage(join(folder, "source"), LAYER_BYTES);
      await berth.push(image, REPOSITORY, "v1");
    } catch (error) {
      unavailable = error;
    }
  });
  after(async () => {
    await berth?.stop();
    await ceph?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  /** Runs the pull, which must have followed a redirect. */
  async function pulls(
    t: TestContext,
    tool: ToolName,
    pull: (binary: string, commands: Commands, running: Berth) => Promise<void>,
  ): Promise<void> {
    if (berth === undefined) return skipOrThrow(t, unavailable);
    const binary = await requireTool(t, tool);
    if (binary === undefined) return;
    const commands = await commandsInNewHome(`redirect-${tool}`);
    const redirects = await berth.count("blob-get", 307);
    try {
      await pull(binary, commands, berth);
      assert.ok((await berth.count("blob-get", 307)) > redirects, "no layer was redirected");
    } catch (error) {
      skipOrThrow(t, error);
    } finally {
      await commands.end();
    }
  }

  it("answers a layer with an address of Ceph", async (t) => {
    if (berth === undefined || ceph === undefined) return skipOrThrow(t, unavailable);
    const { bytes } = await berth.manifest(REPOSITORY, "v1");
    const { layers } = JSON.parse(bytes.toString()) as { layers: { digest: string; size: number }[] };
    const path = `${REPOSITORY}/blobs/${layers[0]?.digest}`;
    const answer = await berth.ask(path);
    assert.equal(answer.status, 307);
    const location = answer.headers.get("location") ?? "";
    assert.ok(location.startsWith(`${publicEndpoint}/${ceph.target.bucket}/`), location);
    // Ceph asks for no credentials beside the address, and answers ranges, by which clients resume.
    const range = await fetch(location, { headers: { range: "bytes=0-99" } });
    assert.equal(range.status, 206);
    assert.equal((await range.arrayBuffer()).byteLength, 100);
    assert.equal((await fetch(location.replace(/X-Amz-Signature=\w{8}/, "X-Amz-Signature=00000000"))).status, 403);
    // Only clients that may pull get an address.
    assert.equal((await berth.ask(path, { user: "anonymous" })).status, 401);
  });

  it("sends the bytes itself where the store has the host name by which it was asked", async (t) => {
    if (berth === undefined) return skipOrThrow(t, unavailable);
    const { bytes } = await berth.manifest(REPOSITORY, "v1");
    const { layers } = JSON.parse(bytes.toString()) as { layers: { digest: string; size: number }[] };
    const { name, password } = berth.users.guest;
    const [layer] = layers;
    for (const [host, status] of [
      [new URL(publicEndpoint).host, 200],
      [berth.host, 307],
    ] as const) {
      const answer = await new Promise<IncomingMessage>((resolve, reject) => {
        const headers = { host, authorization: `Basic ${Buffer.from(`${name}:${password}`).toString("base64")}` };
        get(`http://${berth!.host}/v2/${REPOSITORY}/blobs/${layer?.digest}`, { headers }, resolve).on("error", reject);
      });
      assert.equal(answer.statusCode, status, host);
      let sizeBytes = 0;
      for await (const piece of answer) sizeBytes += (piece as Buffer).length;
      assert.equal(sizeBytes, status === 200 ? layer?.size : 0);
    }
  });

  it("skopeo follows", (t) =>
    pulls(t, "skopeo", async (skopeo, { home, run }, { host, users }) => {
      const credentials = ["--src-creds", `${users.guest.name}:${users.guest.password}`];
      const target = join(home, "back");
      await run(
        skopeo,
        "copy",
        "--preserve-digests",
        "--src-tls-verify=false",
        ...credentials,
        `docker://${host}/${REPOSITORY}:v1`,
        `oci:${target}:${LAYOUT_TAG}`,
      );
      assert.deepEqual((await readLayout(target)).content, image.content);
    }));

  it("crane follows", (t) =>
    pulls(t, "crane", async (crane, { home, run }, { host, users }) => {
      await run(crane, "auth", "login", "--insecure", host, "-u", users.guest.name, "-p", users.guest.password);
      await run(crane, "pull", "--insecure", "--format=oci", `${host}/${REPOSITORY}:v1`, join(home, "back"));
      assert.deepEqual((await readLayout(join(home, "back"))).content, image.content);
    }));

  it("oras follows", (t) =>
    pulls(t, "oras", async (oras, { home, run }, { host, users }) => {
      const credentials = ["--from-username", users.guest.name, "--from-password", users.guest.password];
      const target = join(home, "back");
      await run(oras, "cp", "--from-plain-http", ...credentials, `${host}/${REPOSITORY}:v1`, "--to-oci-layout", `${target}:${LAYOUT_TAG}`);
      assert.deepEqual((await readLayout(target)).content, image.content);
    }));

  it("regctl follows", (t) =>
    pulls(t, "regctl", async (regctl, { home, run }, { host, users }) => {
      const settings = ["--host", `reg=${host},tls=disabled,user=${users.guest.name},pass=${users.guest.password}`];
      const target = join(home, "back");
      await run(regctl, ...settings, "image", "copy", `${host}/${REPOSITORY}:v1`, `ocidir://${target}:${LAYOUT_TAG}`);
      assert.deepEqual((await readLayout(target)).content, image.content);
    }));

  it("containerd follows", (t) =>
    pulls(t, "ctr2", async (_ctr, _commands, { host, users }) => {
      const containerd = await startContainerd(2);
      try {
        const { name, password } = users.guest;
        await containerd.ctr("content", "fetch", "--plain-http", "--user", `${name}:${password}`, `${host}/${REPOSITORY}:v1`);
        const held = (await containerd.ctr("content", "ls", "-q")).split("\n");
        assert.deepEqual(
          image.content.filter((digest) => !held.includes(digest)),
          [],
        );
      } finally {
        await containerd.stop();
      }
    }));
});
