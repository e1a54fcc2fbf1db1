// Untagged content is counted once, with what it alone holds, over many pages. Not here: the command (test/flows).
import assert from "node:assert/strict";
import { after, before, beforeEach, it } from "node:test";
import { digestOf } from "@berth/oci/digest";
import { parseManifest } from "@berth/oci/manifest";
import { createTestClock } from "../../access/access.testing.ts";
import type { Grant } from "../../access/caller.ts";
import { createMemoryBlobs, createMemoryStore } from "../../content/blobs/memory.ts";
import { blobOf, createContent, createGrants, putOf, upload, type Content, inRepository } from "../../content/content.testing.ts";
import { forEachDatabase, type TestDatabase } from "../../platform/database/databases.testing.ts";
import { countUntagged } from "./untagged.ts";

const INDEX = "application/vnd.oci.image.index.v1+json";
const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const EVERYTHING = Number.POSITIVE_INFINITY;

forEachDatabase("manifests without a tag", (create) => {
  let test: TestDatabase;
  let content: Content;
  let push: Grant<"push">;
  let id: number;

  const [config, base, first, second] = [blobOf("config", 1), blobOf("base "), blobOf("first "), blobOf("second ")];

  before(async () => {
    test = await create();
    push = (await createGrants(test.database))("push", "test/one");
  });
  after(() => test.end());
  beforeEach(async () => {
    await test.database.script(
      "delete from tag; delete from manifest_child; delete from manifest_sparse_blob; delete from manifest_blob; delete from manifest",
    );
    content = createContent(test.database, createMemoryStore({ processId: "p", memory: createMemoryBlobs() }), createTestClock());
    id = (await content.repositories.ensure(push)).id;
    for (const blob of [config, base, first, second]) await upload(content, push, blob);
  });

  async function putIndex(listed: readonly { digest: string; size: number; mediaType: string }[], tag?: string) {
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests: listed }));
    const put = {
      digest: digestOf(bytes),
      bytes,
      parsed: parseManifest(bytes, INDEX),
      mayBeSparse: false,
      condition: { kind: "none" } as const,
    };
    await content.manifests.put(inRepository(push, id), { ...put, tags: (tag === undefined ? [] : [tag]) as never });
    return { digest: put.digest, size: bytes.length, mediaType: INDEX };
  }
  const count = (most = EVERYTHING) => countUntagged(test.database, most);

  it("counts an image that its tag has left, with what it alone holds", async () => {
    const old = putOf([config, base, first], ["latest"]);
    await content.manifests.put(inRepository(push, id), old);
    assert.deepEqual(await count(), { manifests: 0, bytes: 0, isComplete: true });
    await content.manifests.put(inRepository(push, id), putOf([config, base, second], ["latest"]));
    const bytes = old.bytes.length + first.bytes.length;
    assert.deepEqual(await count(), { manifests: 1, bytes, isComplete: true });
    // Two manifests that hold the same blob count it once.
    const again = putOf([config, base, first], [], "again");
    await content.manifests.put(inRepository(push, id), again);
    assert.deepEqual(await count(), { manifests: 2, bytes: bytes + again.bytes.length, isComplete: true });
    assert.deepEqual(await count(2), { manifests: 1, bytes, isComplete: false });
  });

  it("counts what an index lists as it counts the index", async () => {
    const image = putOf([config, base]);
    await content.manifests.put(inRepository(push, id), image);
    const listed = { digest: image.digest, size: image.bytes.length, mediaType: MANIFEST };
    const alone = image.bytes.length + config.bytes.length + base.bytes.length;
    assert.deepEqual(await count(), { manifests: 1, bytes: alone, isComplete: true });
    const index = await putIndex([listed]);
    assert.deepEqual(await count(), { manifests: 2, bytes: alone + index.size, isComplete: true });
    await putIndex([index], "nested");
    assert.equal((await count()).manifests, 0);
  });

  it("leaves out what refers to another", async () => {
    const image = putOf([config], ["v1"]);
    await content.manifests.put(inRepository(push, id), image);
    await content.manifests.put(inRepository(push, id), putOf([config, first]));
    await test.database.script("update manifest set subject_digest = 'sha256:1' where id not in (select manifest_id from tag)");
    assert.equal((await count()).manifests, 0);
  });

  it("goes through many pages", async () => {
    await test.database.script(`
      insert into manifest (repository_id, digest, media_type, size_bytes, created_at, bytes)
        with recursive n (i) as (select 1 union all select i + 1 from n where i < 1234)
        select ${id}, 'sha256:' || i, 'x', 10, 0, '' from n;`);
    assert.deepEqual(await count(), { manifests: 1234, bytes: 12_340, isComplete: true });
    assert.deepEqual(await count(600), { manifests: 600, bytes: 6000, isComplete: false });
  });
});
