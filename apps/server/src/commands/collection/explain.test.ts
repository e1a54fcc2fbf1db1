// Each candidate is explained as the collector then treats it, whatever holds it, and over many pages. Not here: the command on a whole
// server (test/flows/collection-command.test.ts).
import assert from "node:assert/strict";
import { after, before, beforeEach, it } from "node:test";
import { digestOf } from "@berth/oci/digest";
import { parseManifest } from "@berth/oci/manifest";
import { createTestClock, type TestClock } from "../../access/access.testing.ts";
import type { Grant } from "../../access/caller.ts";
import { createMemoryBlobs, createMemoryStore } from "../../content/blobs/memory.ts";
import {
  blobOf,
  createContent,
  createGrants,
  putOf,
  TEST_TIMES,
  upload,
  type Content,
  inRepository,
} from "../../content/content.testing.ts";
import { forEachDatabase, type TestDatabase } from "../../platform/database/databases.testing.ts";
import { explain, type Explained } from "./explain.ts";

const CLEAR =
  "delete from tag; delete from manifest_child; delete from manifest_sparse_blob; delete from manifest_blob; delete from manifest; " +
  "delete from repository_blob; delete from blob_inline; delete from blob; delete from upload; delete from reclaim";

forEachDatabase("explanations of collection", (create) => {
  let test: TestDatabase;
  let clock: TestClock;
  let content: Content;
  let one: Grant<"push">;
  let two: Grant<"push">;
  let id: number;
  let remove: Grant<"delete">;

  const config = blobOf("config", 1);
  const layer = blobOf("a layer ");

  before(async () => {
    test = await create();
    const grants = await createGrants(test.database);
    [one, two, remove] = [grants("push", "test/one"), grants("push", "test/two"), grants("delete", "test/one")];
  });
  after(() => test.end());
  beforeEach(async () => {
    await test.database.script(CLEAR);
    clock = createTestClock();
    content = createContent(test.database, createMemoryStore({ processId: "p", memory: createMemoryBlobs() }), clock);
    id = (await content.repositories.ensure(one)).id;
  });

  async function all(digest?: string, limit = 10_000): Promise<Explained[]> {
    return Array.fromAsync(explain(test.database, { now: clock.now(), limit, digest }));
  }
  const verdicts = async (digest?: string): Promise<string[]> =>
    (await all(digest)).map((each) => `${each.verdict} ${each.kind}: ${each.reason}`);

  it("follows a blob from its lease to its bytes", async () => {
    await upload(content, one, layer);
    assert.deepEqual(await verdicts(), ["kept blob: lease"]);
    clock.advance(TEST_TIMES.leaseMs + 1);
    const [due] = await all();
    assert.ok(due?.kind === "blob");
    assert.deepEqual(
      [due.verdict, due.reason, due.repository, due.digest, due.sizeBytes, due.otherRepositories],
      ["taken", "unreferenced", "test/one", layer.digest, layer.bytes.length, 0],
    );
    assert.equal((await content.garbage.collectLinks(10)).unlinked, 1);
    assert.deepEqual(await verdicts(), ["kept key: grace"]);
    clock.advance(TEST_TIMES.graceMs + 1);
    assert.deepEqual(await verdicts(), ["taken key: unreferenced"]);
    assert.equal((await content.garbage.reclaimBytes(10)).deleted, 1);
    assert.deepEqual(await verdicts(), []);
  });

  it("names the manifest that holds a blob, its tags, and the indexes that list it", async () => {
    for (const blob of [config, layer]) await upload(content, one, blob);
    const image = putOf([config, layer], ["v2", "v1"]);
    await content.manifests.put(inRepository(one, id), image);
    assert.deepEqual(await verdicts(), [], "no lease: not a candidate");
    const index = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: "application/vnd.oci.image.index.v1+json",
        manifests: [{ mediaType: "application/vnd.oci.image.manifest.v1+json", digest: image.digest, size: image.bytes.length }],
      }),
    );
    const parsed = parseManifest(index, "application/vnd.oci.image.index.v1+json");
    const condition = { kind: "none" } as const;
    await content.manifests.put(inRepository(one, id), {
      digest: digestOf(index),
      bytes: index,
      parsed,
      mayBeSparse: false,
      tags: [],
      condition,
    });
    const [held] = await all(layer.digest);
    assert.ok(held?.kind === "blob");
    assert.deepEqual([held.verdict, held.reason, held.leasedUntil], ["kept", "manifest", undefined]);
    assert.deepEqual(held.heldBy, { manifest: image.digest, tags: ["v1", "v2"], indexes: [digestOf(index)] });

    // The lease has ended on a link that is held: the collector finds the edge and only clears the lease.
    await test.database.script("update repository_blob set leased_until = 1");
    assert.deepEqual(await verdicts(), ["kept blob: manifest", "kept blob: manifest"]);
    assert.equal((await content.garbage.collectLinks(10)).unlinked, 0);
    await test.database.script(
      "delete from manifest_child; delete from manifest_sparse_blob; delete from manifest where media_type like '%index%'",
    );
    await content.manifests.delete(inRepository(remove, id), image.digest);
    assert.deepEqual(await verdicts(), ["kept blob: lease", "kept blob: lease"]);
  });

  it("reports what other repositories have, and lists one blob in all of them", async () => {
    await upload(content, one, layer);
    clock.advance(TEST_TIMES.leaseMs + 1);
    await upload(content, two, layer);
    const links = (await all()).filter((each) => each.kind === "blob");
    assert.deepEqual(
      links.map((each) => [each.repository, each.verdict, each.otherRepositories, each.otherRepository]),
      [
        ["test/one", "taken", 1, "test/two"],
        ["test/two", "kept", 1, "test/one"],
      ],
    );
    assert.deepEqual(await all(layer.digest), links);
    assert.deepEqual(await all(config.digest), []);
    assert.equal((await all(undefined, 2)).length, 2);
  });

  it("reports open, written and expired uploads apart", async () => {
    const begin = () =>
      content.uploads.begin(inRepository(one, id), { algorithm: "sha256", record: (upload) => content.store.begin(upload) });
    const open = await begin();
    assert.deepEqual(await verdicts(), ["kept upload: open"]);
    clock.advance(1_000_000);
    assert.deepEqual(await verdicts(), ["taken upload: expired"]);
    assert.equal(await content.sessions.expire(10), 1);
    assert.deepEqual(await verdicts(), []);
    const written = await begin();
    assert.notEqual(written.id, open.id);
    await test.database.script(`update upload set lock_token = 't', locked_until = ${clock.now() + 50}, expires_at = ${clock.now() - 1}`);
    assert.deepEqual(await verdicts(), ["kept upload: writer"]);
    assert.equal(await content.sessions.expire(10), 0);
  });

  it("loses nothing between two pages of equal times", async () => {
    await test.database.script(`
      insert into blob (digest, size_bytes, storage_key, created_at)
        with recursive n (i) as (select 1 union all select i + 1 from n where i < 1200) select 'many-' || i, 10, 'key-' || i, 0 from n;
      insert into repository_blob (repository_id, blob_id, leased_until) select ${id}, id, 5 from blob where digest like 'many-%';
      insert into reclaim (storage_key, size_bytes, due_at, attempts) select 'old-' || id, 1, 7, 0 from blob;
      insert into upload (id, repository_id, algorithm, record, offset_bytes, started_at, expires_at)
        select 'upload-' || id, ${id}, 'sha256', '{}', 0, 0, 9 from blob;`);
    const seen = new Set((await all()).map((each) => (each.kind === "blob" ? each.digest : each.kind === "key" ? each.key : each.id)));
    assert.equal(seen.size, 3600);
  });
});
