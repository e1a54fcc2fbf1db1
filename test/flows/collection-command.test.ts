// `gc --dry-run` as an operator runs it, beside a running registry: it predicts what the server's own collection then does. Not here: every
// case (commands/collection/explain.test.ts).
import assert from "node:assert/strict";
import { chmod } from "node:fs/promises";
import { join } from "node:path";
import { after, before, it } from "node:test";
import { expectCode } from "./program.testing.ts";
import { expectStatus, startTestRegistry, temporaryFolder, type PushedImage } from "./registry.testing.ts";

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
before(async () => {
  folder = await temporaryFolder();
});
after(() => folder.end());

it("collection command: explains a serving registry's candidates, and one blob", async () => {
  const data = join(folder.path, "data");
  const registry = await startTestRegistry({ data, "gc.leaseSeconds": "1h" });
  try {
    const kept = await registry.pushImage("library/app", "v1", 50_000);
    const gone = await registry.pushImage("library/app", "v2", 60_000);
    await expectStatus(await registry.send("DELETE", `/v2/library/app/manifests/${gone.digest}`), 202);
    const lines = async (...args: string[]): Promise<Record<string, unknown>[]> =>
      (await expectCode(0, ["gc", "--dry-run", "--json", "--data", data, ...args])).stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as Record<string, unknown>);
    const all = await lines();
    const layer = all.find((line) => line["digest"] === gone.layerDigest);
    assert.deepEqual([layer?.["event"], layer?.["verdict"], layer?.["reason"]], ["blob", "kept", "lease"]);
    assert.ok(!all.some((line) => line["digest"] === kept.layerDigest), "a blob with a manifest is no candidate");
    assert.deepEqual(all.at(-1)?.["taken"], { uploads: 0, blobs: 0, keys: 0 });
    const [held, result] = await lines("--digest", kept.layerDigest);
    assert.deepEqual([held?.["reason"], held?.["heldBy"]], ["manifest", { manifest: kept.digest, tags: ["v1"], indexes: [] }]);
    assert.deepEqual(result?.["kept"], { uploads: 0, blobs: 1, keys: 0 });
    const { stdout } = await expectCode(0, ["gc", "--dry-run", "--limit", "1", "--data", data]);
    assert.match(
      stdout,
      /^kept blob library\/app@sha256:\S+ \(\S+ \S+\): leased until \S+\nkept without a tag: 0 manifests, .*\ntaken: .*; there may be more\n$/,
    );
    const unknown = `sha256:${"0".repeat(64)}`;
    const { stdout: nothing } = await expectCode(0, ["gc", "--dry-run", "--digest", unknown, "--data", data]);
    assert.equal(nothing.split("\n")[0], `no repository has ${unknown}`);
    for (const wrong of [
      ["--limit", "0"],
      ["--digest", "latest"],
    ])
      await expectCode(64, ["gc", "--dry-run", "--data", data, ...wrong]);
    await expectStatus(await registry.send("GET", "/v2/library/app/manifests/v1"), 200);
  } finally {
    await registry.stop();
  }
});

it("collection command: says what the next round would take, which then takes it", async () => {
  const data = join(folder.path, "taken");
  const registry = await startTestRegistry({ data, "gc.leaseSeconds": "1s", "gc.graceSeconds": "0s", "gc.intervalSeconds": "1h" });
  let image: PushedImage;
  try {
    image = await registry.pushImage("library/app", "v1", 60_000);
    await expectStatus(await registry.send("DELETE", `/v2/library/app/manifests/${image.digest}`), 202);
  } finally {
    await registry.stop();
  }
  const explain = async (): Promise<string> => (await expectCode(0, ["gc", "--dry-run", "--data", data])).stdout;
  let text: string;
  // Until the lease has ended.
  do text = await explain();
  while (text.includes("leased until"));
  assert.match(text, new RegExp(`taken blob library/app@${image.layerDigest} .*: nothing holds it since .*; its bytes go`));
  // In batches, with pauses during which nothing else keeps the process alive.
  const settings = ["--auth.secretKey", "09".repeat(32), "--gc.graceSeconds", "0s", "--gc.batchSize", "1"];
  // Messages beside the result are not part of it.
  await chmod(data, 0o755);
  const { stdout, stderr } = await expectCode(0, ["gc", "--data", data, "--log.level", "info", ...settings]);
  assert.match(stderr, /other users of this machine had rights to these/);
  const round = JSON.parse(stdout) as { unlinked: number };
  assert.ok(round.unlinked > 1);
  assert.equal(round.unlinked, text.match(/^taken blob/gm)?.length);
});
