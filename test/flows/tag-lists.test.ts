// Lists of tags in every order, of some of them, and how many there are, through the API; also of tags that a program of the release before has set.
// Not here: what a tag shows (manifests-api.test.ts), the order of versions (packages/oci).
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ENGINES } from "./engines.testing.ts";
import { expectStatus, startTestRegistry, type TestRegistry } from "./registry.testing.ts";

const INDEX = "application/vnd.oci.image.index.v1+json";
const APP = "/api/v1/projects/library/repositories/app";

interface Page {
  readonly items: { name: string; sizeBytes: number | null; pushedAt: string }[];
  readonly next: string | null;
  readonly total: number | null;
}

async function readPage(registry: TestRegistry, query: string): Promise<Page> {
  return (await (await expectStatus(await registry.send("GET", `${APP}/tags?${query}`), 200)).json()) as Page;
}

/** All names of a list, two at a time. */
async function namesOf(registry: TestRegistry, query: string): Promise<string[]> {
  const names: string[] = [];
  for (let after = ""; ;) {
    const page = await readPage(registry, `${query}&limit=2${after === "" ? "" : `&after=${encodeURIComponent(after)}`}`);
    names.push(...page.items.map(({ name }) => name));
    if (page.next === null) return names;
    after = page.next;
  }
}

/** An index whose content has a size of its own. */
async function pushTag(registry: TestRegistry, tag: string, size: number): Promise<void> {
  const child = { mediaType: "application/vnd.oci.image.manifest.v1+json", digest: `sha256:${String(size).padStart(64, "0")}`, size };
  const body = JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests: [child] });
  const sent = await registry.send("PUT", `/v2/library/app/manifests/${tag}`, { body, headers: { "content-type": INDEX } });
  await expectStatus(sent, 201);
}

for (const engine of ENGINES) {
  describe(`lists of tags on ${engine.name}`, { skip: engine.skip }, () => {
    it("come by name, version, push and size, in both directions, page by page", async (t) => {
      const registry = await startTestRegistry((await engine.make(t)).settings);
      t.after(() => registry.stop());
      const sizes: [string, number][] = [
        ["v1.10.0", 300],
        ["latest", 900],
        ["1.9", 500],
        ["v1.10.0-rc.1", 100],
        ["2", 700],
        ["stable", 200],
      ];
      for (const [tag, size] of sizes) await pushTag(registry, tag, size);
      const names = sizes.map(([tag]) => tag);
      const orders: Record<string, string[]> = {
        name: names.toSorted(),
        version: ["latest", "stable", "1.9", "v1.10.0-rc.1", "v1.10.0", "2"],
        size: sizes.toSorted(([, a], [, b]) => a - b).map(([tag]) => tag),
      };
      for (const [sort, ascending] of Object.entries(orders)) {
        assert.deepEqual(await namesOf(registry, `sort=${sort}&order=ascending`), ascending, sort);
        assert.deepEqual(await namesOf(registry, `sort=${sort}&order=descending`), ascending.toReversed(), sort);
      }
      assert.deepEqual(await namesOf(registry, "sort=version"), orders["version"]!.toReversed());
      assert.deepEqual(await namesOf(registry, "sort=version&prefix=v"), ["v1.10.0", "v1.10.0-rc.1"]);
      // Pushes of one millisecond are in the order of names: what is held is the order of times.
      const pushed = (await readPage(registry, "sort=pushed")).items.map(({ pushedAt }) => pushedAt);
      assert.deepEqual(pushed, pushed.toSorted().toReversed());
      assert.deepEqual(new Set(await namesOf(registry, "sort=pushed&order=ascending")), new Set(names));

      const all = await readPage(registry, "sort=size");
      assert.equal(all.total, names.length);
      assert.equal((await readPage(registry, "limit=1")).total, names.length);
      assert.equal((await readPage(registry, "prefix=v")).total, null);
      assert.deepEqual(await namesOf(registry, `sort=size&mediaType=${encodeURIComponent(INDEX)}`), orders["size"]!.toReversed());
      assert.deepEqual(await namesOf(registry, "mediaType=text/plain&sort=version"), []);
      assert.deepEqual(await namesOf(registry, "artifactType=text/plain"), []);

      for (const after of ["latest", "x/latest", "1e3/latest"]) {
        const refused = await registry.send("GET", `${APP}/tags?sort=size&after=${encodeURIComponent(after)}`);
        assert.match(await refused.text(), /PAGE_INVALID/, after);
      }
      // The size of the index itself counts too: those of one digit less are shorter by nothing here.
      const bySize = new Map(all.items.map(({ name, sizeBytes }) => [name, sizeBytes!]));
      assert.equal(bySize.get("latest")! - bySize.get("v1.10.0-rc.1")!, 800);
    });

    it("show a manifest as it was pushed, and what of it is its own", async (t) => {
      const registry = await startTestRegistry((await engine.make(t)).settings);
      t.after(() => registry.stop());
      const first = await registry.pushImage("library/app", "v1", 1000);
      const second = await registry.pushImage("library/app", "v2", 2000);
      const read = async (path: string) => (await (await expectStatus(await registry.send("GET", `${APP}/${path}`), 200)).json()) as never;
      const { content, digest } = (await read("manifests/v1/content")) as { content: string; digest: string };
      assert.deepEqual([content, digest], [first.manifest, first.digest]);
      const shared = first.configDigest === second.configDigest;
      const { uniqueSizeBytes, contentSizeBytes } = (await read("manifests/v2")) as { uniqueSizeBytes: number; contentSizeBytes: number };
      const ownBlobs = second.layer.length + (shared ? 0 : contentSizeBytes - second.layer.length - Buffer.byteLength(second.manifest));
      assert.equal(uniqueSizeBytes, Buffer.byteLength(second.manifest) + ownBlobs);
      await expectStatus(await registry.send("DELETE", `${APP}/manifests/${first.digest}`), 204);
      const { uniqueSizeBytes: alone } = (await read("manifests/v2")) as { uniqueSizeBytes: number };
      assert.equal(alone, contentSizeBytes);
    });
  });
}
