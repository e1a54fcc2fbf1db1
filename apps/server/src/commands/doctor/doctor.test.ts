// Doctor finds each kind of damage, repairs what it may, and reports nothing for a healthy registry, also while that is busy. Not here: the
// command on a whole server (test/flows/backup-restore.test.ts).
import assert from "node:assert/strict";
import { after, before, beforeEach, it } from "node:test";
import { digestOf } from "@berth/oci/digest";
import { createTestClock, type TestClock } from "../../access/access.testing.ts";
import type { Grant } from "../../access/caller.ts";
import { countBacklog } from "../../content/backlog.ts";
import type { StorageKey } from "../../content/blobs/blob-store.ts";
import { createMemoryBlobs, createMemoryStore, type MemoryBlobs } from "../../content/blobs/memory.ts";
import {
  blobOf,
  createContent,
  createGrants,
  putOf,
  TEST_TIMES,
  upload,
  type Content,
  type TestBlob,
  inRepository,
} from "../../content/content.testing.ts";
import { forEachDatabase, type TestDatabase } from "../../platform/database/databases.testing.ts";
import type { DatabaseReader } from "../../platform/database/database-reader.ts";
import { createRateLimiter } from "../../platform/rate-limiter.ts";
import { foldUsage } from "../../content/usage.ts";
import { checkUsage } from "../../content/usage.testing.ts";
import { StartupError } from "../../platform/startup-error.ts";
import { examine, type DoctorParts, type DoctorResult, type Problem } from "./doctor.ts";

const CLEAR =
  "delete from tag; delete from manifest_child; delete from manifest_sparse_blob; delete from manifest_blob; delete from manifest; " +
  "delete from repository_blob; delete from blob_inline; delete from blob; delete from upload; delete from reclaim";

forEachDatabase("doctor", (create, dialect) => {
  let test: TestDatabase;
  let reader: DatabaseReader;
  let clock: TestClock;
  let memory: MemoryBlobs;
  let content: Content;
  let push: Grant<"push">;
  let id: number;
  let grants: Awaited<ReturnType<typeof createGrants>>;
  let stores = 0;

  const config = blobOf("config", 1);
  const layer = blobOf("a layer ");
  const other = blobOf("another layer ");

  before(async () => {
    test = await create();
    reader = await test.openReader();
    grants = await createGrants(test.database);
  });
  after(async () => {
    await reader.close();
    await test.end();
  });
  beforeEach(async () => {
    await test.database.script(CLEAR);
    clock = createTestClock();
    clock.advance(Date.now() - clock.now());
    memory = createMemoryBlobs();
    content = createContent(test.database, createMemoryStore({ processId: `doctor-${++stores}`, memory }), clock);
    push = grants("push", "test/one");
    id = (await content.repositories.ensure(push)).id;
    for (const blob of [config, layer, other]) await upload(content, push, blob);
    await content.manifests.put(inRepository(push, id), putOf([config, layer, other], ["v1"]));
  });

  async function look(changes: Partial<DoctorParts> = {}): Promise<DoctorResult & { told: Problem[] }> {
    const told: Problem[] = [];
    const result = await examine({
      executor: reader.live,
      repairs: undefined,
      store: content.store,
      clock,
      times: TEST_TIMES,
      isDeep: false,
      rateLimiter: createRateLimiter(0),
      fromId: 0,
      orphanAgeMs: 100_000,
      onProblem: (problem) => told.push(problem),
      onProgress: () => undefined,
      ...changes,
    });
    assert.equal(result.found, told.length);
    assert.equal(result.repaired, told.filter((problem) => problem.isRepaired).length);
    return { ...result, told };
  }
  const kinds = (result: { told: Problem[] }) => result.told.map((problem) => `${problem.kind} ${problem.subject}`).toSorted();
  const repair = (changes: Partial<DoctorParts> = {}) => look({ repairs: test.database, ...changes });
  const keyOf = (blob: TestBlob): StorageKey => [...memory.blobs].find(([, { bytes }]) => bytes.equals(blob.bytes))![0];
  function change(blob: TestBlob, to: (bytes: Buffer) => Buffer): StorageKey {
    const key = keyOf(blob);
    memory.blobs.set(key, { uploadId: memory.blobs.get(key)!.uploadId, bytes: to(memory.blobs.get(key)!.bytes) });
    return key;
  }
  const flip = (bytes: Buffer): Buffer => {
    const copy = Buffer.from(bytes);
    copy[3]! ^= 1;
    return copy;
  };

  it("finds nothing in a registry that is well", async () => {
    await content.sessions.begin(push, "sha256");
    await upload(content, push, blobOf("leased layer "));
    for (const isDeep of [false, true]) {
      const result = await look({ isDeep });
      assert.deepEqual(result.told, []);
      assert.deepEqual([result.blobs, result.keys, result.links], [4, 3, 4]);
      assert.equal(result.readBytes, isDeep ? result.blobBytes : 0);
      assert.equal(result.manifests, isDeep ? 1 : 0);
    }
  });

  it("finds bytes that are gone or cut off, and marks them so that a push heals them", async () => {
    memory.blobs.delete(keyOf(layer));
    change(other, (bytes) => bytes.subarray(1));
    const expected = [`blob-missing ${layer.digest}`, `blob-wrong-size ${other.digest}`].toSorted();
    const seen = await look();
    assert.deepEqual(kinds(seen), expected);
    assert.deepEqual(seen.told[0]!.repositories, ["test/one"]);
    assert.ok(await content.blobs.find(inRepository(push, id), layer.digest), "looking changed something");
    // One blob that exists, because otherwise it would count as a wrong store.
    await upload(content, push, blobOf("a third layer "));
    assert.deepEqual(kinds(await repair()), expected);
    for (const blob of [layer, other]) {
      assert.equal(await content.blobs.find(inRepository(push, id), blob.digest), undefined);
    }
    assert.deepEqual(kinds(await look()), [`blob-damaged ${layer.digest}`, `blob-damaged ${other.digest}`].toSorted());
    for (const blob of [layer, other]) await upload(content, push, blob);
    assert.deepEqual(kinds(await look({ isDeep: true })), []);
  });

  it("finds bit rot only when it reads, in the store and in the database, and takes back a mark that was wrong", async () => {
    const key = change(layer, flip);
    const bytes = dialect === "sqlite" ? "x'636f6e666968'" : "'\\x636f6e666968'";
    await test.database.script(`update blob_inline set bytes = ${bytes}`);
    assert.deepEqual(kinds(await look()), []);
    const expected = [`blob-rotten ${layer.digest}`, `blob-rotten ${config.digest}`].toSorted();
    assert.deepEqual(kinds(await repair({ isDeep: true })), expected);
    assert.equal(await content.blobs.find(inRepository(push, id), layer.digest), undefined);
    memory.blobs.set(key, { uploadId: "x", bytes: layer.bytes });
    // Without reading the bytes nothing proves that they are intact.
    assert.equal((await repair()).problems["blob-damaged"], 2);
    assert.deepEqual(kinds(await repair({ isDeep: true })), [`blob-damaged ${config.digest}`, `blob-well ${layer.digest}`].toSorted());
    assert.ok(await content.blobs.find(inRepository(push, id), layer.digest));
    await upload(content, push, config);
    assert.deepEqual(kinds(await look({ isDeep: true })), []);
  });

  it("hands old bytes without a row to the collector, and leaves recent ones and those of uploads alone", async () => {
    const orphan = blobOf("orphan ");
    const session = await content.uploads.begin(inRepository(push, id), {
      algorithm: "sha256",
      record: (upload) => content.store.begin(upload),
    });
    async function store(uploadId: string): Promise<StorageKey> {
      const body = (async function* () {
        yield orphan.bytes;
      })();
      const { record } = await content.store.append(uploadId, content.store.begin(uploadId), body, {
        offsetBytes: 0,
        onBytes: () => undefined,
      });
      const { key } = await content.store.finish(uploadId, record, { sizeBytes: orphan.bytes.length, digest: orphan.digest });
      await content.store.removeLeftovers(uploadId, record, key);
      return key;
    }
    const key = await store("0123456789abcdef");
    const underWay = await store(session.id);
    const recent = await repair();
    assert.deepEqual([recent.told, recent.recentKeys], [[], 1]);
    clock.advance(200_000);
    assert.deepEqual(kinds(await look()), [`key-orphan ${key}`]);
    assert.equal((await countBacklog(test.database, clock.now() + TEST_TIMES.graceMs, async () => true)).keys, 0);
    assert.deepEqual(kinds(await repair()), [`key-orphan ${key}`]);
    assert.deepEqual(kinds(await repair()), []);
    clock.advance(TEST_TIMES.graceMs + 1);
    assert.equal((await content.garbage.reclaimBytes(10)).deleted, 1);
    assert.deepEqual([memory.blobs.has(key), memory.blobs.has(underWay), memory.blobs.has(keyOf(layer))], [false, true, true]);
  });

  it("finds links that nothing holds and nothing ends, leases that nobody looks after, and keys that nobody deletes", async () => {
    const kept = blobOf("kept for ever ");
    await upload(content, push, kept);
    await test.database.script("update repository_blob set leased_until = null");
    assert.deepEqual(kinds(await repair()), [`link-kept ${kept.digest}`]);
    assert.deepEqual(kinds(await look()), []);
    clock.advance(TEST_TIMES.leaseMs + 1);
    assert.equal((await content.garbage.collectLinks(10)).unlinked, 1);

    await test.database.script("update repository_blob set leased_until = 1");
    assert.equal((await look()).problems["lease-late"], 3);
    await content.garbage.collectLinks(10);
    assert.deepEqual(kinds(await look()), []);
    clock.advance(2 * 86_400_000);
    assert.deepEqual(kinds(await look()), ["reclaim-late reclaim"]);
  });

  it("compares manifests with their edges and their digests", async () => {
    const child = putOf([config, layer], [], "child");
    await content.manifests.put(inRepository(push, id), child);
    await test.database.script(
      `delete from manifest_blob where blob_id = (select id from blob where digest = '${other.digest}');` +
        `insert into manifest_child (manifest_id, repository_id, child_digest) select max(id), ${id}, '${layer.digest}' from manifest`,
    );
    assert.deepEqual((await look({ isDeep: true })).problems, { "edge-missing": 1, "edge-surplus": 1, "link-kept": 1 });
    await test.database.script(
      `update manifest set digest = '${digestOf(Buffer.from("x"))}' where digest = '${child.digest}'; delete from manifest_child`,
    );
    assert.equal((await look({ isDeep: true })).problems["manifest-rotten"], 1);
    const two = (await content.repositories.ensure(grants("push", "test/two"))).id;
    await test.database.script(`update tag set repository_id = ${two}`);
    assert.equal((await look()).problems["edge-crossed"], 1);
  });

  it("recounts usage, and puts it right beside a writer", async () => {
    await upload(content, push, blobOf("counted "));
    await test.database.script(
      "insert into usage_change (project_id, repository_id, repositories, manifests, tags, blobs, bytes, updated_at) " +
        `select project_id, id, 0, 0, 3, -1, 7, 0 from repository where name = 'test/one';
        insert into usage_change (project_id, repository_id, repositories, manifests, tags, blobs, bytes, updated_at) values (0, 0, 0, 0, 0, 5, 5, 0);
        insert into usage_change (project_id, repository_id, repositories, manifests, tags, blobs, bytes, updated_at)
        select id, 999999, 1, 0, 0, 0, 0, 0 from project`,
    );
    while ((await foldUsage(test.database, 100)) > 0);
    const expected = ["repository test/one", "repository that is gone, number 999999", "the whole registry"];
    const seen = await look();
    assert.deepEqual(kinds(seen), expected.map((each) => `usage-wrong ${each}`).toSorted());
    assert.match(
      seen.told.find(({ subject }) => subject.endsWith("one"))!.detail,
      /^tags: kept 4, counted 1; blobs: kept \d, counted \d; bytes/,
    );
    let isOver = false;
    const busy = (async () => {
      for (let i = 0; !isOver; i++) {
        await upload(content, push, blobOf(`beside ${i} `));
        await new Promise((resolve) => void setImmediate(resolve));
      }
    })();
    try {
      const repaired = await repair();
      assert.equal(repaired.problems["usage-wrong"], 3);
      assert.deepEqual((await look()).problems["usage-wrong"], undefined);
    } finally {
      isOver = true;
      await busy;
    }
    await checkUsage(test.database);
    // The counter of a project alone.
    await test.database.script(
      "insert into usage_change (project_id, repository_id, repositories, manifests, tags, blobs, bytes, updated_at) " +
        "select id, 0, 1, 0, 0, 0, 0, 0 from project",
    );
    assert.deepEqual(kinds(await repair()), ["usage-wrong project test"]);
    await checkUsage(test.database);
    assert.deepEqual(kinds(await look({ isDeep: true })), []);
  });

  it("repairs nothing where the store has none of the first blobs, which is rather the wrong store", async () => {
    const wrong = createMemoryStore({ processId: "wrong", memory: createMemoryBlobs() });
    assert.equal((await look({ store: wrong })).problems["blob-missing"], 2);
    await assert.rejects(repair({ store: wrong }), StartupError);
    assert.ok(await content.blobs.find(inRepository(push, id), layer.digest));
  });

  it("goes on behind a blob, and is no faster than its rateLimiter", async () => {
    change(layer, flip);
    let last = 0;
    for await (const row of blobIds()) last = row;
    assert.deepEqual(kinds(await look({ isDeep: true, fromId: last })), []);
    const paced: number[] = [];
    const result = await look({ isDeep: true, rateLimiter: async (bytes) => void paced.push(bytes) });
    // The bytes of blobs, then those of the manifest.
    assert.ok(paced.reduce((sum, bytes) => sum + bytes, 0) > result.readBytes);
    async function* blobIds() {
      for (const blob of [config, layer, other]) yield (await content.blobs.find(inRepository(push, id), blob.digest))!.id;
    }
  });

  it("takes nothing for damage that comes and goes while it looks", async () => {
    const busy = createContent(await test.open(), content.store, clock, { leaseMs: 20, graceMs: 0 });
    const turn = () => new Promise((resolve) => void setImmediate(resolve));
    let isOver = false;
    let rounds = 0;
    const work = (async () => {
      while (!isOver) {
        for (let i = 0; i < 5; i++) await upload(busy, push, blobOf(`passing layer ${rounds++} `));
        clock.advance(10);
        await busy.garbage.collectLinks(100);
        await busy.garbage.reclaimBytes(100);
        await turn();
      }
    })();
    // The error is checked at the end; until then it must end the loop that waits for the work.
    work.catch(() => (isOver = true));
    try {
      for (let i = 0; !isOver && (i < 30 || rounds < 60); i++) {
        const result = await look({ isDeep: i % 2 === 1, repairs: i % 3 === 0 ? test.database : undefined });
        assert.deepEqual(result.told, []);
        // On SQLite everything above happens in one turn of the event loop.
        await turn();
      }
    } finally {
      isOver = true;
      await work;
    }
  });
});
