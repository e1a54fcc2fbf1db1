// What the collector deletes and what it keeps, case by case, and the interleavings that its locks are for.
// Not here: random schedules (distribution/schedules.test.ts), the loop (distribution/collector.ts).
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { RegistryError } from "@berth/oci/errors";
import { createTestClock, type TestClock } from "../access/access.testing.ts";
import type { Grant } from "../access/caller.ts";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import { statement } from "../platform/database/statement.ts";
import { createMemoryBlobs, createMemoryStore, type MemoryBlobs } from "./blobs/memory.ts";
import type { BlobStore, StorageKey } from "./blobs/blob-store.ts";
import { PartialDeletion } from "./blobs/partial-deletion.ts";
import {
  blobOf,
  bodyOf,
  countContent,
  createContent,
  createGrants,
  putOf,
  readBlob,
  TEST_INLINE_MAX_BYTES,
  TEST_TIMES,
  TEST_UPLOAD_AGE_MS,
  upload,
  type Content,
  type TestBlob,
  inRepository,
} from "./content.testing.ts";
import { holdAt, interceptDatabase, type Hook } from "./intercept.testing.ts";

const { leaseMs, graceMs } = TEST_TIMES;
const CLEAR =
  "delete from tag; delete from manifest_blob; delete from manifest; delete from repository_blob; delete from blob_inline; delete from blob; delete from upload; delete from reclaim";

const findLease = statement<Record<never, never>>()("test.findLease", (db) => db.selectFrom("repository_blob").select("leased_until"));

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "done";
  } catch (error) {
    if (error instanceof RegistryError) return error.code;
    throw error;
  }
}

forEachDatabase("collection", (create, dialect) => {
  let test: TestDatabase;
  let clock: TestClock;
  let memory: MemoryBlobs;
  let content: Content;
  let push: Grant<"push">;
  let remove: Grant<"delete">;
  let id: number;
  let other: Grant<"push">;
  let otherId: number;
  let grantFor: Awaited<ReturnType<typeof createGrants>>;
  let processes = 0;

  const base = blobOf("base layer ");
  const config = blobOf("config", 1);
  const top = blobOf("top layer ");

  before(async () => {
    test = await create();
    grantFor = await createGrants(test.database);
  });
  after(() => test.end());
  beforeEach(async () => {
    await test.database.script(CLEAR);
    clock = createTestClock();
    memory = createMemoryBlobs();
    content = createContent(test.database, storeOf(), clock);
    push = grantFor("push", "test/one");
    remove = grantFor("delete", "test/one");
    id = (await content.repositories.ensure(push)).id;
    other = grantFor("push", "test/two");
    otherId = (await content.repositories.ensure(other)).id;
  });

  const storeOf = () => createMemoryStore({ processId: `p${++processes}`, memory });
  const find = (blob: TestBlob) => content.blobs.find(inRepository(push, id), blob.digest);
  /** Another replica whose steps call the hook. */
  const replica = async (hook: Hook): Promise<Content> => createContent(interceptDatabase(await test.open(), hook, true), storeOf(), clock);
  async function collect(): Promise<{ links: number; blobs: number; keys: number }> {
    const links = await content.garbage.collectLinks(100);
    const bytes = await content.garbage.reclaimBytes(100);
    return { links: links.unlinked, blobs: links.blobs, keys: bytes.deleted };
  }
  async function pushImage(blobs: readonly TestBlob[], tags: readonly string[] = [], note = ""): Promise<ReturnType<typeof putOf>> {
    for (const blob of blobs) await upload(content, push, blob);
    const put = putOf(blobs, tags, note);
    await content.manifests.put(inRepository(push, id), put);
    return put;
  }

  it("keeps what a manifest holds, however old", async () => {
    const put = await pushImage([config, base]);
    clock.advance(1000 * leaseMs);
    assert.deepEqual(await collect(), { links: 0, blobs: 0, keys: 0 });
    assert.deepEqual(await readBlob(content, (await find(base))!), base.bytes);
    assert.ok(await content.manifests.findByDigest(inRepository(push, id), put.digest));
  });

  it("holds again what has an edge though its lease ended, and takes the rest of the batch", async () => {
    // None of our operations leaves this; if one did, the edge's foreign key would stop the whole batch, and all collection, for ever.
    const loose = blobOf("named by no manifest ");
    await pushImage([config, base]);
    await upload(content, push, loose);
    await test.database.script("update repository_blob set leased_until = 1");
    clock.advance(leaseMs + 1);
    assert.equal((await collect()).links, 1);
    assert.equal((await collect()).links, 0);
    assert.deepEqual(await readBlob(content, (await find(base))!), base.bytes);
    assert.equal(await find(loose), undefined);
  });

  it("takes an uploaded blob that no manifest names when its lease has ended, and its bytes when readers have had their time", async () => {
    await upload(content, push, base);
    await upload(content, push, config);
    clock.advance(leaseMs);
    assert.deepEqual(await collect(), { links: 0, blobs: 0, keys: 0 });
    clock.advance(1);
    assert.deepEqual(await collect(), { links: 2, blobs: 2, keys: 0 });
    assert.equal(await find(base), undefined);
    assert.equal(memory.blobs.size, 1);
    clock.advance(graceMs + 1);
    assert.deepEqual(await collect(), { links: 0, blobs: 0, keys: 1 });
    assert.equal(memory.blobs.size, 0);
    assert.deepEqual(
      Object.values(await countContent(test.database)).filter((count) => count !== 0),
      [],
    );
  });

  it("keeps the bytes of a blob that another repository still has, by a mount or an upload of its own", async () => {
    await upload(content, push, base);
    assert.equal(
      await content.blobs.mount(inRepository(other, otherId), inRepository(grantFor("pull", "test/one"), id), base.digest),
      true,
    );
    await content.manifests.put(inRepository(other, otherId), putOf([base]));
    clock.advance(leaseMs + 1);
    assert.deepEqual(await collect(), { links: 1, blobs: 0, keys: 0 });
    assert.equal(await find(base), undefined);
    const kept = await content.blobs.find(inRepository(other, otherId), base.digest);
    assert.deepEqual(await readBlob(content, kept!), base.bytes);
    assert.equal(
      await content.blobs.mount(inRepository(push, id), inRepository(grantFor("pull", "test/three"), 1 << 30), base.digest),
      false,
    );
  });

  it("gives a whole lease from the deletion of the last manifest that held a blob", async () => {
    const first = await pushImage([config, base], [], "1");
    const second = await pushImage([config, base], [], "2");
    clock.advance(100 * leaseMs);
    await content.manifests.delete(inRepository(remove, id), first.digest);
    clock.advance(100 * leaseMs);
    assert.equal((await collect()).links, 0);
    await content.manifests.delete(inRepository(remove, id), second.digest);
    clock.advance(leaseMs);
    assert.equal((await collect()).links, 0);
    // Half of the lease has passed: this look-up renews it.
    assert.ok(await find(base));
    clock.advance(1);
    assert.equal((await collect()).links, 1);
    assert.ok(await find(base));
    assert.equal(await find(config), undefined);
    await content.manifests.put(inRepository(push, id), putOf([base]));
  });

  it("renews a lease on a look-up when half of it has passed, and not before", async () => {
    await upload(content, push, base);
    const leasedUntil = async () => (await test.database.first(findLease, {}))?.leased_until;
    const first = await leasedUntil();
    clock.advance(leaseMs / 2);
    await find(base);
    assert.equal(await leasedUntil(), first);
    clock.advance(1);
    await find(base);
    assert.equal(await leasedUntil(), clock.now() + leaseMs);
  });

  it("deletes a blob at once where the client asks, unless a manifest holds it", async () => {
    const put = await pushImage([config, base]);
    assert.equal(await codeOf(content.blobs.delete(inRepository(remove, id), base.digest)), "UNSUPPORTED");
    await content.manifests.delete(inRepository(remove, id), put.digest);
    await content.blobs.delete(inRepository(remove, id), base.digest);
    assert.equal(await find(base), undefined);
    assert.equal(await codeOf(content.blobs.delete(inRepository(remove, id), base.digest)), "BLOB_UNKNOWN");
    assert.equal(await codeOf(content.manifests.put(inRepository(push, id), putOf([base]))), "MANIFEST_BLOB_UNKNOWN");
    clock.advance(graceMs + 1);
    assert.equal((await collect()).keys, 1);
  });

  it("forgets the bytes that could be deleted, though others of the batch could not, and tries those again", async () => {
    const blobs = [base, config, top].map((blob) => blobOf(blob.bytes.toString("latin1") + "x".repeat(TEST_INLINE_MAX_BYTES)));
    for (const blob of blobs) await upload(content, push, blob);
    const stuck = (await find(blobs[1]!))!.key!;
    let isStuck = true;
    const store = storeOf();
    const failing: BlobStore = {
      ...store,
      async delete(keys) {
        await store.delete(keys.filter((key) => !isStuck || key !== stuck));
        if (isStuck && keys.includes(stuck)) throw new PartialDeletion([stuck], new Error("stuck"));
      },
    };
    const stubborn = createContent(test.database, failing, clock);
    clock.advance(leaseMs + 1);
    await stubborn.garbage.collectLinks(100);
    clock.advance(graceMs + 1);
    await assert.rejects(stubborn.garbage.reclaimBytes(100), PartialDeletion);
    assert.deepEqual([...memory.blobs.keys()], [stuck]);
    // The others are deleted; the one is not due for a while.
    assert.deepEqual(await stubborn.garbage.reclaimBytes(100), { examined: 0, deleted: 0, bytes: 0 });
    isStuck = false;
    clock.advance(3_600_000);
    assert.equal((await stubborn.garbage.reclaimBytes(100)).deleted, 1);
    assert.equal(memory.blobs.size, 0);
  });

  it("takes back a collected blob by a new upload, under a new key, before and after the old bytes are gone", async () => {
    await upload(content, push, base);
    const keys = () => [...memory.blobs.keys()];
    const [firstKey] = keys();
    clock.advance(leaseMs + 1);
    assert.equal((await collect()).blobs, 1);
    await upload(content, push, base);
    clock.advance(graceMs + 1);
    assert.equal((await collect()).keys, 1);
    assert.ok(!keys().includes(firstKey!));
    assert.deepEqual(await readBlob(content, (await find(base))!), base.bytes);
  });

  it("hands the needless bytes of a second upload to the collector", async () => {
    await upload(content, push, base);
    await upload(content, other, base);
    assert.equal(memory.blobs.size, 2);
    clock.advance(1);
    assert.equal((await collect()).keys, 1);
    assert.deepEqual(await readBlob(content, (await find(base))!), base.bytes);
    assert.equal(memory.segments.size, 0);
  });

  it("heals a blob whose bytes are missing, whether or not a reader noticed", async () => {
    for (const isNoticed of [true, false]) {
      const put = await pushImage([base], [], String(isNoticed));
      const row = (await find(base))!;
      memory.blobs.delete(row.key!);
      if (isNoticed) {
        await content.blobs.markDamaged(row);
        assert.equal(await find(base), undefined);
        assert.equal(await codeOf(content.manifests.put(inRepository(push, id), putOf([base], [], "another"))), "MANIFEST_BLOB_UNKNOWN");
      }
      await upload(content, push, base);
      const healed = (await find(base))!;
      assert.deepEqual(await readBlob(content, healed), base.bytes);
      // The mark is for the copy that was read, not for the one that replaced it.
      await content.blobs.markDamaged(row);
      assert.ok(await find(base));
      clock.advance(leaseMs + graceMs + 1);
      await collect();
      assert.deepEqual([...memory.blobs.keys()], [healed.key as StorageKey]);
      await content.manifests.delete(inRepository(remove, id), put.digest);
    }
  });

  it("removes sessions past their age with their bytes, and no session that goes on", async () => {
    const { sessions } = content;
    const big = Buffer.alloc(TEST_INLINE_MAX_BYTES + 100, 1);
    const [dead, small, alive] = await Promise.all([1, 2, 3].map(() => sessions.begin(push, "sha256")));
    const chunk = (bytes: Buffer) => ({ body: bodyOf(bytes), startBytes: undefined, lengthBytes: bytes.length });
    await sessions.append(push, dead!.id, chunk(big));
    await sessions.append(push, small!.id, chunk(Buffer.from("x")));
    clock.advance(TEST_UPLOAD_AGE_MS);
    await sessions.append(push, alive!.id, chunk(big));
    clock.advance(1);
    assert.equal(await sessions.expire(100), 2);
    assert.equal(await codeOf(sessions.get(push, dead!.id)), "BLOB_UPLOAD_UNKNOWN");
    assert.equal((await sessions.get(push, alive!.id)).offsetBytes, big.length);
    assert.equal(memory.segments.size, 1);
    await sessions.cancel(push, alive!.id);
    assert.equal(memory.segments.size, 0);
    assert.equal((await countContent(test.database))["upload"], 0);
  });

  it("keeps counts equal to a recount from the edges", async () => {
    const put = await pushImage([config, base, top], ["a", "b"]);
    await pushImage([config, top], ["c"]);
    await upload(content, other, base);
    assert.deepEqual(await countContent(test.database), {
      repository_blob: 4,
      blob: 3,
      blob_inline: 1,
      manifest: 2,
      manifest_blob: 5,
      tag: 3,
      upload: 0,
      reclaim: 2,
    });
    await content.manifests.delete(inRepository(remove, id), put.digest);
    clock.advance(leaseMs + 1);
    await collect();
    assert.deepEqual(await countContent(test.database), {
      repository_blob: 2,
      blob: 2,
      blob_inline: 1,
      manifest: 1,
      manifest_blob: 2,
      tag: 1,
      upload: 0,
      reclaim: 1,
    });
  });

  // Only PostgreSQL has two open transactions at once; on SQLite nothing can interleave.
  if (dialect === "sqlite") return;
  describe("interleaved transactions", () => {
    it("leads to collection when two deletions take a blob's last two holders at once", async () => {
      const [first, second] = [await pushImage([base], [], "1"), await pushImage([base], [], "2")];
      for (const step of ["manifests.dropBlobEdges", "manifests.lockLinks", "manifests.leaseUnheld"]) {
        const held = holdAt(step);
        const slow = (await replica(held.hook)).manifests.delete(inRepository(remove, id), first.digest);
        await held.reached;
        const quick = content.manifests.delete(inRepository(remove, id), second.digest);
        await Promise.race([quick, sleep(100)]);
        held.letGo();
        await Promise.all([slow, quick]);
        clock.advance(leaseMs + 1);
        assert.equal((await collect()).blobs, 1, `held at ${step}`);
        for (const note of ["1", "2"]) await pushImage([base], [], note);
      }
    });

    it("counts a lease from when a deletion has the links, however long it waited for them", async () => {
      for (const step of ["manifests.dropBlobEdges", "manifests.lockLinks"]) {
        const put = await pushImage([config, base]);
        const held = holdAt(step);
        const deleted = (await replica(held.hook)).manifests.delete(inRepository(remove, id), put.digest);
        await held.reached;
        clock.advance(2 * leaseMs);
        // A client that asks now is answered that the blob exists, and may rely on it for half a lease.
        assert.ok(await find(base));
        held.letGo();
        await deleted;
        clock.advance(leaseMs / 2);
        assert.equal((await collect()).links, 0, `held at ${step}`);
        await content.manifests.put(inRepository(push, id), put);
      }
    });

    it("counts the grace of bytes from when their row goes, however long the collector waited for it", async () => {
      for (const step of ["blobs.lockMany", "blobs.dropUnlinked"]) {
        await upload(content, push, base);
        clock.advance(leaseMs + 1);
        const held = holdAt(step);
        const collected = (await replica(held.hook)).garbage.collectLinks(10);
        await held.reached;
        clock.advance(2 * graceMs);
        held.letGo();
        assert.equal((await collected).blobs, 1);
        clock.advance(graceMs);
        assert.deepEqual(await collect(), { links: 0, blobs: 0, keys: 0 }, `held at ${step}`);
        clock.advance(1);
        assert.equal((await collect()).keys, 1);
      }
    });

    it("lets a push that crosses collection succeed whole or find the blob unknown", async () => {
      for (const step of ["manifests.insert", "manifests.putBlobEdges", "manifests.holdLinks"]) {
        await upload(content, push, base);
        clock.advance(leaseMs + 1);
        const held = holdAt(step);
        const pushed = codeOf((await replica(held.hook)).manifests.put(inRepository(push, id), putOf([base])));
        await held.reached;
        await collect();
        held.letGo();
        const isWhole = (await pushed) === "done";
        // Once the edge exists, the collector skips the link.
        assert.equal(isWhole, step === "manifests.holdLinks", `${step}: ${await pushed}`);
        clock.advance(leaseMs + 1);
        await collect();
        assert.equal((await find(base)) !== undefined, isWhole);
        if (isWhole) await content.manifests.delete(inRepository(remove, id), putOf([base]).digest);
      }
    });

    it("makes a push wait that comes while the collector decides, and then tells it the truth", async () => {
      for (const step of ["garbage.listHeld", "garbage.dropLinks", "blobs.lockMany", "blobs.dropUnlinked"]) {
        await upload(content, push, base);
        clock.advance(leaseMs + 1);
        const held = holdAt(step);
        const collected = (await replica(held.hook)).garbage.collectLinks(10);
        await held.reached;
        const put = codeOf(content.manifests.put(inRepository(push, id), putOf([base])));
        const looked = find(base);
        await Promise.race([Promise.all([put, looked]), sleep(100)]);
        held.letGo();
        assert.equal((await collected).blobs, 1);
        assert.equal(await put, "MANIFEST_BLOB_UNKNOWN", `held at ${step}`);
        assert.equal(await looked, undefined);
      }
    });

    it("keeps a blob that is mounted or uploaded again while its last link is collected", async () => {
      for (const step of ["blobs.lockMany", "blobs.dropUnlinked", "commit"]) {
        await upload(content, push, base);
        clock.advance(leaseMs + 1);
        const held = holdAt(step, step === "commit" ? "after" : "before");
        const collected = (await replica(held.hook)).garbage.collectLinks(10);
        await held.reached;
        const mounted = content.blobs.mount(inRepository(other, otherId), inRepository(grantFor("pull", "test/one"), id), base.digest);
        const uploaded = upload(content, push, base);
        await Promise.race([Promise.all([mounted, uploaded]), sleep(100)]);
        held.letGo();
        await Promise.all([collected, mounted, uploaded]);
        clock.advance(graceMs + 1);
        await content.garbage.reclaimBytes(10);
        assert.deepEqual(await readBlob(content, (await find(base))!), base.bytes, `held at ${step}`);
        if (await mounted) assert.ok(await content.blobs.find(inRepository(other, otherId), base.digest));
        for (const grant of [remove, grantFor("delete", "test/two")]) {
          await codeOf(content.blobs.delete(inRepository(grant, grant === remove ? id : otherId), base.digest));
        }
      }
    });
  });
});
