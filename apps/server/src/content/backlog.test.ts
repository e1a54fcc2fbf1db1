// The backlog equals what the collector then does: each blob's bytes are counted once, over many pages, and nothing is counted that is not
// due.
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { createTestClock } from "../access/access.testing.ts";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import { countBacklog } from "./backlog.ts";
import { createMemoryBlobs, createMemoryStore } from "./blobs/memory.ts";
import { createContent, createGrants, putOf, blobOf, TEST_TIMES, upload } from "./content.testing.ts";

forEachDatabase("the backlog of collection", (create) => {
  let test: TestDatabase;
  before(async () => {
    test = await create();
  });
  after(() => test.end());

  it("counts what becomes free, once, and in pages", async () => {
    const clock = createTestClock();
    const content = createContent(test.database, createMemoryStore({ processId: "p", memory: createMemoryBlobs() }), clock);
    const grants = await createGrants(test.database);
    const [one, two] = [grants("push", "test/one"), grants("push", "test/two")];
    let pauses = 0;
    const count = () =>
      countBacklog(test.database, clock.now(), async () => {
        pauses++;
        return true;
      });
    const [config, shared, kept] = [blobOf("config", 1), blobOf("in both "), blobOf("kept in two ")];
    for (const blob of [config, shared, kept]) await upload(content, one, blob);
    for (const blob of [config, shared, kept]) await upload(content, two, blob);
    await content.manifests.put((await content.repositories.find(two))!, putOf([config, kept]));
    // The second upload of the same bytes is needless and due at once.
    clock.advance(1);
    await content.garbage.reclaimBytes(10);
    assert.deepEqual(await count(), { links: 0, linkBytes: 0, keys: 0, keyBytes: 0, oldestDueAt: undefined }, "all are leased");
    const dueAt = clock.now() - 1 + TEST_TIMES.leaseMs;
    clock.advance(TEST_TIMES.leaseMs + 1);
    // Three links of the first repository and one of the second; a blob that the second's manifest holds frees nothing in the first.
    assert.deepEqual(await count(), { links: 4, linkBytes: shared.bytes.length, keys: 0, keyBytes: 0, oldestDueAt: dueAt });

    const id = (await content.repositories.find(one))!.id;
    // More than two pages of equal leases, none of which may be skipped between two pages.
    await test.database.script(`
      insert into blob (digest, size_bytes, storage_key, created_at)
        with recursive n (i) as (select 1 union all select i + 1 from n where i < 1200) select 'many-' || i, 10, 'key-' || i, 0 from n;
      insert into repository_blob (repository_id, blob_id, leased_until) select ${id}, id, 5 from blob where digest like 'many-%';`);
    assert.deepEqual(await count(), { links: 1204, linkBytes: shared.bytes.length + 12_000, keys: 0, keyBytes: 0, oldestDueAt: 5 });
    assert.equal(pauses, 2);

    let freed = 0;
    for (let examined = 1; examined > 0;) {
      const batch = await content.garbage.collectLinks(500);
      examined = batch.examined;
      freed += batch.bytes;
    }
    assert.equal(freed, shared.bytes.length + 12_000);
    assert.equal((await count()).keys, 0, "readers may end first");
    clock.advance(TEST_TIMES.graceMs + 1);
    const { keys, keyBytes, links } = await count();
    assert.deepEqual([links, keys, keyBytes], [0, 1201, shared.bytes.length + 12_000]);
    const early = await countBacklog(test.database, clock.now(), async () => false);
    assert.equal(early.keys, 500, "ends after the page in which it is told to");
  });
});
