// The lasting properties of a stored manifest: its media type, and bytes that a push heals. Not here: tags (tags.test.ts), what holds blobs
// (named-blobs.test.ts, garbage.test.ts).
import assert from "node:assert/strict";
import { after, before, beforeEach, it } from "node:test";
import { digestOf } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import { parseManifest } from "@berth/oci/manifest";
import { DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST } from "@berth/oci/media-types";
import type { Tag } from "@berth/oci/reference";
import { createTestClock } from "../access/access.testing.ts";
import type { Grant } from "../access/caller.ts";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import { createMemoryBlobs, createMemoryStore } from "./blobs/memory.ts";
import { blobOf, createContent, createGrants, upload, type Content, inRepository } from "./content.testing.ts";
import type { ManifestPut } from "./manifests.ts";

forEachDatabase("a manifest that is stored", (create) => {
  let test: TestDatabase;
  let content: Content;
  let push: Grant<"push">;
  let id: number;
  let repositories = 0;
  let grantFor: Awaited<ReturnType<typeof createGrants>>;
  const config = blobOf("config", 1);
  const layer = blobOf("layer ");
  const descriptors = [config, layer].map(({ bytes, digest }) => ({ mediaType: "application/x", digest, size: bytes.length }));

  before(async () => {
    test = await create();
    content = createContent(test.database, createMemoryStore({ processId: "one", memory: createMemoryBlobs() }), createTestClock());
    grantFor = await createGrants(test.database);
  });
  after(() => test.end());
  beforeEach(async () => {
    // Each test has a repository of its own.
    push = grantFor("push", `test/r${++repositories}`);
    id = (await content.repositories.ensure(push)).id;
    await upload(content, push, config);
    await upload(content, push, layer);
  });

  /** An image without a media type inside, so that only its Content-Type says what it is. */
  const image = Buffer.from(JSON.stringify({ schemaVersion: 2, config: descriptors[0], layers: [descriptors[1]] }));
  const index = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [] }));

  function put(bytes: Buffer, mediaType: string, tag: string, repositoryId = id, grant = push): Promise<unknown> {
    const parsed = parseManifest(bytes, mediaType);
    const whole: ManifestPut = {
      digest: digestOf(bytes),
      bytes,
      parsed,
      tags: [tag as Tag],
      condition: { kind: "none" },
      mayBeSparse: false,
    };
    return content.manifests.put(inRepository(grant, repositoryId), whole);
  }

  const typeOf = async (bytes: Buffer, repositoryId = id): Promise<string | undefined> =>
    (await content.manifests.findByDigest(inRepository(push, repositoryId), digestOf(bytes)))?.mediaType;

  for (const [bytes, first, second] of [
    [image, OCI_MANIFEST, DOCKER_MANIFEST],
    [image, DOCKER_MANIFEST, OCI_MANIFEST],
    [index, OCI_INDEX, DOCKER_LIST],
  ] as const) {
    it(`as ${first} is not taken as ${second}`, async () => {
      await put(bytes, first, "one");
      await assert.rejects(put(bytes, second, "two"), (error) => {
        assert.ok(error instanceof RegistryError);
        assert.deepEqual([error.code, error.status], ["MANIFEST_INVALID", 400]);
        assert.ok(error.message.includes(first));
        assert.deepEqual(error.detail, { digest: digestOf(bytes), mediaType: second, storedMediaType: first });
        return true;
      });
      assert.equal(await typeOf(bytes), first);
      assert.equal(await content.manifests.findByTag(inRepository(push, id), "two" as Tag), undefined);
      // With the same type it may be pushed as often as one likes.
      await put(bytes, first, "two");
      assert.equal((await content.manifests.findByTag(inRepository(push, id), "two" as Tag))?.mediaType, first);
    });
  }

  it("has the type of one of those who push it at once", async () => {
    const types = [OCI_MANIFEST, DOCKER_MANIFEST, OCI_MANIFEST, DOCKER_MANIFEST];
    const done = await Promise.allSettled(types.map((type, i) => put(image, type, `t${i}`)));
    const stored = await typeOf(image);
    types.forEach((type, i) => assert.equal(done[i]!.status, type === stored ? "fulfilled" : "rejected", `${type}, stored ${stored}`));
  });

  it("is another one in another repository, and after its deletion", async () => {
    await put(image, OCI_MANIFEST, "one");
    const other = grantFor("push", `${push.repository}-other`);
    const otherId = (await content.repositories.ensure(other)).id;
    await upload(content, other, config);
    await upload(content, other, layer);
    await put(image, DOCKER_MANIFEST, "one", otherId, other);
    assert.deepEqual([await typeOf(image), await typeOf(image, otherId)], [OCI_MANIFEST, DOCKER_MANIFEST]);
    await content.manifests.delete(inRepository(grantFor("delete", push.repository), id), digestOf(image));
    await put(image, DOCKER_MANIFEST, "one");
    assert.equal(await typeOf(image), DOCKER_MANIFEST);
  });

  it("heals when it is pushed again, but not as something else", async () => {
    await put(image, DOCKER_MANIFEST, "one");
    const damage = test.database.dialect === "sqlite" ? "x'7b7d'" : "'\\x7b7d'::bytea";
    await test.database.script(`update manifest set bytes = ${damage} where repository_id = ${id}`);
    const read = async (): Promise<Uint8Array> =>
      content.manifests.readBytes((await content.manifests.findByTag(inRepository(push, id), "one" as Tag))!);
    const isDamaged = (error: unknown): boolean => error instanceof RegistryError && error.code === "BLOB_DAMAGED";
    await assert.rejects(read(), isDamaged);
    await assert.rejects(put(image, OCI_MANIFEST, "one"), (error) => error instanceof RegistryError && error.code === "MANIFEST_INVALID");
    await assert.rejects(read(), isDamaged);
    await put(image, DOCKER_MANIFEST, "one");
    assert.deepEqual(Buffer.from(await read()), image);
  });

  it("goes only where no tag names it, for whoever wants that", async () => {
    await put(image, OCI_MANIFEST, "v1");
    const remove = grantFor("delete", push.repository);
    const untagged = () => content.manifests.delete(inRepository(remove, id), digestOf(image), { isUntagged: true });
    await assert.rejects(untagged(), (error) => error instanceof RegistryError && error.code === "PRECONDITION_FAILED");
    assert.equal(await typeOf(image), OCI_MANIFEST);
    await content.tags.delete(inRepository(remove, id), "v1" as Tag);
    await untagged();
    assert.equal(await typeOf(image), undefined);
  });
});
