// A repository is deleted while replicas that have it cached push to it and pull from it: acknowledged content is kept or was deleted with
// it, never half of it. Not here: permissions (features/repositories).
import assert from "node:assert/strict";
import { afterEach, beforeEach, it } from "node:test";
import { RegistryError } from "@berth/oci/errors";
import type { RepositoryName, Tag } from "@berth/oci/reference";
import { createTestClock } from "../access/access.testing.ts";
import type { Authorizer } from "../access/authorize.ts";
import type { Caller } from "../access/caller.ts";
import { createMemoryBlobs, createMemoryStore, type MemoryBlobs } from "../content/blobs/memory.ts";
import {
  blobOf,
  bodyOf,
  countContent,
  createContent,
  createGrants,
  putOf,
  TEST_TIMES,
  upload,
  type Content,
} from "../content/content.testing.ts";
import { createRepositoryRemoval } from "../content/repository-removal.ts";
import { DELETIONS } from "../tables.ts";
import { createRandom } from "../content/schedule.testing.ts";
import { findProjectUsages } from "../content/usage.ts";
import { checkUsage } from "../content/usage.testing.ts";
import type { Database } from "../platform/database/database.ts";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import { createMount, type Mount } from "./mount.ts";
import { createPull, type Pull } from "./pull.ts";
import { createPush, type Push } from "./push.ts";

const NAME = "test/one" as RepositoryName;
const NOBODY = { kind: "anonymous" } as Caller;
const config = blobOf("c", 30);
const layers = ["first layer ", "second layer ", "third layer "].map((text) => blobOf(text));

interface Replica {
  readonly content: Content;
  readonly pull: Pull;
  readonly push: Push;
  readonly mount: Mount;
}

forEachDatabase("deletion of a repository", (create) => {
  let test: TestDatabase;
  let memory: MemoryBlobs;
  let grants: Awaited<ReturnType<typeof createGrants>>;
  let one: Replica;
  let other: Replica;
  const clock = createTestClock();

  function replicaOn(database: Database, processId: string): Replica {
    const content = createContent(database, createMemoryStore({ processId, memory }), clock);
    const authorizer = {
      authorize: async (_caller: Caller, action: "pull", repository: string) => grants(action, repository),
      allowed: async () => new Set(["pull"]),
    } as unknown as Authorizer;
    return {
      content,
      pull: createPull({ ...content, authorizer, ports: {} }),
      push: createPush({ ...content, authorizer, acceptSparseImages: false }),
      mount: createMount({ ...content, authorizer }),
    };
  }

  beforeEach(async () => {
    test = await create();
    memory = createMemoryBlobs();
    grants = await createGrants(test.database);
    one = replicaOn(test.database, "one");
    other = replicaOn(await test.open(), "other");
  });
  afterEach(() => test.end());

  async function pushImage({ content, push }: Replica, tag: string, which: readonly number[] = [0, 1], note = ""): Promise<void> {
    const grant = grants("push", NAME);
    const blobs = [config, ...which.map((i) => layers[i]!)];
    for (const blob of blobs) await upload(content, grant, blob);
    const put = putOf(blobs, [], note);
    await push.putManifest(grant, {
      reference: { kind: "tag", tag: tag as Tag },
      tags: [],
      contentType: put.parsed.mediaType,
      bytes: put.bytes,
      condition: { kind: "none" },
      algorithm: "sha256",
    });
  }
  const resolve = async ({ pull }: Replica, tag: string) => pull.resolveManifest(NOBODY, NAME, { kind: "tag", tag: tag as Tag });
  const remove = ({ content }: Replica) => content.repositories.delete(grants("delete", NAME));
  const isCode =
    (...codes: string[]) =>
    (error: unknown) =>
      error instanceof RegistryError && codes.includes(error.code);

  async function removeAll(database: Database): Promise<number> {
    let rounds = 0;
    const removeSome = createRepositoryRemoval(database, clock, TEST_TIMES, DELETIONS.repository);
    for (; rounds < 10_000; rounds++) {
      if (await removeSome()) continue;
      // Only sessions are left: the collector removes them.
      if ((await one.content.sessions.expire(100)) === 0) return rounds;
    }
    throw new Error("no end of removal");
  }
  async function collectAll(): Promise<void> {
    await removeAll(test.database);
    clock.advance(10 * TEST_TIMES.leaseMs);
    await one.content.garbage.collectLinks(1000);
    await removeAll(test.database);
    clock.advance(TEST_TIMES.graceMs + 1);
    await one.content.garbage.reclaimBytes(1000);
  }

  it("hides everything at once on a replica that remembers it, and lets the next push begin anew there", async () => {
    await pushImage(one, "latest");
    await pushImage(other, "v1", [0], "other");
    assert.ok(await resolve(other, "latest"));
    await remove(one);
    for (const replica of [other, one]) {
      await assert.rejects(resolve(replica, "latest"), isCode("MANIFEST_UNKNOWN"));
      await assert.rejects(async () => replica.pull.resolveBlob(NOBODY, NAME, layers[0]!.digest), isCode("BLOB_UNKNOWN"));
      await assert.rejects(replica.push.deleteManifest(NOBODY, NAME, { kind: "tag", tag: "v1" as Tag }), isCode("NAME_UNKNOWN"));
      assert.deepEqual(await replica.content.repositories.listAllNames("", 10), []);
      assert.deepEqual(await replica.content.repositories.listHolding(layers[0]!.digest, 10), []);
      assert.equal((await replica.mount.mount(NOBODY, grants("push", "test/two"), layers[0]!.digest, NAME)).isMounted, false);
    }
    await assert.rejects(remove(other), isCode("NAME_UNKNOWN"));
    await pushImage(other, "latest", [2]);
    assert.equal((await resolve(one, "latest")).digest, putOf([config, layers[2]!]).digest);
    await assert.rejects(resolve(one, "v1"), isCode("MANIFEST_UNKNOWN"));
    await checkUsage(test.database);
    await collectAll();
    assert.deepEqual(
      await one.content.repositories.listAllNames("", 10),
      [NAME, "test/two"].filter((name) => name === NAME),
    );
    assert.deepEqual(
      { ...(await countContent(test.database)), blob_inline: 0 },
      { repository_blob: 2, blob: 2, blob_inline: 0, manifest: 1, manifest_blob: 2, tag: 1, upload: 0, reclaim: 0 },
    );
    for (const blob of [config, layers[2]!]) assert.ok(await other.pull.resolveBlob(NOBODY, NAME, blob.digest));
    const { projectId } = grants("pull", NAME);
    assert.equal((await findProjectUsages(test.database, [projectId])).get(projectId)?.repositories, 1);
    await checkUsage(test.database);
  });

  it("refuses a push that had begun, whichever step comes after the deletion, and never makes half an image", async () => {
    const grant = grants("push", NAME);
    const chunk = { body: bodyOf(layers[0]!.bytes), startBytes: undefined, lengthBytes: layers[0]!.bytes.length };
    for (const isTakenAway of [false, true]) {
      await pushImage(other, "latest");
      const session = await other.content.sessions.begin(grant, "sha256");
      await remove(one);
      if (isTakenAway) await collectAll();
      await assert.rejects(other.content.sessions.finish(grant, session.id, layers[0]!.digest, chunk), isCode("BLOB_UPLOAD_UNKNOWN"));
      const put = putOf([config, layers[0]!, layers[1]!]);
      const manifest = {
        reference: { kind: "digest", digest: put.digest } as const,
        tags: [],
        contentType: put.parsed.mediaType,
        bytes: put.bytes,
        condition: { kind: "none" } as const,
        algorithm: "sha256" as const,
      };
      await assert.rejects(other.push.putManifest(grant, manifest), isCode("MANIFEST_BLOB_UNKNOWN"));
      await collectAll();
      assert.equal((await countContent(test.database)).manifest, 0);
    }
    await checkUsage(test.database);
  });

  it("takes a push of what the deleted repository had for one to the new repository, also where the replica remembers the old one", async () => {
    for (const isTakenAway of [false, true]) {
      await pushImage(other, "latest");
      await remove(one);
      if (isTakenAway) await collectAll();
      // The same image under the same tag: in the old repository no row would change.
      await pushImage(other, "latest");
      for (const replica of [one, other]) {
        assert.equal((await resolve(replica, "latest")).digest, putOf([config, layers[0]!, layers[1]!]).digest);
        for (const blob of [config, layers[0]!]) assert.ok(await replica.pull.resolveBlob(NOBODY, NAME, blob.digest));
      }
      await collectAll();
      assert.ok(await resolve(one, "latest"));
      await checkUsage(test.database);
      await remove(one);
      await collectAll();
    }
  });

  it("takes away a thousand tags in batches, on whatever replica, and what another repository shares stays", async () => {
    await pushImage(one, "latest");
    const id = (await one.content.repositories.find(grants("pull", NAME)))!.id;
    const values = Array.from({ length: 1700 }, (_, i) => `(${id}, 't${i}', (select max(id) from manifest), 1)`).join(",");
    await test.database.script(`insert into tag (repository_id, name, manifest_id, updated_at) values ${values}`);
    const two = grants("push", "test/two");
    await upload(one.content, two, layers[0]!);
    await remove(one);
    assert.deepEqual((await findProjectUsages(test.database, [two.projectId])).get(two.projectId), {
      repositories: 1,
      manifests: 0,
      tags: 0,
      blobs: 1,
      bytes: layers[0]!.bytes.length,
    });
    // Interrupted after two batches, and continued elsewhere.
    for (let i = 0; i < 2; i++) await createRepositoryRemoval(test.database, clock, TEST_TIMES, DELETIONS.repository)();
    const left = (await countContent(test.database)).tag!;
    assert.ok(left > 0 && left < 1701, `${left} tags are left`);
    const replicas = [test.database, await test.open()];
    await Promise.all(replicas.map(removeAll));
    await removeAll(test.database);
    assert.equal((await countContent(test.database)).tag, 0);
    assert.equal((await countContent(test.database)).repository_blob, 1);
    assert.ok(await one.content.blobs.find((await one.content.repositories.find(two))!, layers[0]!.digest));
    await checkUsage(test.database);
  });

  it("lets no repository wait for those that wait for the end of an upload", async () => {
    const waiting = 25;
    for (let i = 0; i < waiting; i++) {
      const grant = grants("push", `test/waiting-${i}`);
      await one.content.sessions.begin(grant, "sha256");
      await one.content.repositories.delete(grants("delete", `test/waiting-${i}`));
    }
    await pushImage(one, "v1", [0], "behind them");
    await remove(one);
    const removeSome = createRepositoryRemoval(test.database, clock, TEST_TIMES, DELETIONS.repository);
    let steps = 0;
    while (await removeSome()) assert.ok(++steps < 100, "no end while they wait");
    assert.equal((await countContent(test.database)).tag, 0);
    assert.equal((await countContent(test.database)).upload, waiting);
    await collectAll();
    assert.equal((await countContent(test.database)).upload, 0);
  });

  it("keeps every image that was acknowledged after the last deletion, whole, however they race", async () => {
    const replicas = [one, other, replicaOn(await test.open(), "third")];
    for (let seed = 1; seed <= 6; seed++) {
      const random = createRandom(seed);
      const acknowledged: { tag: string; startedAt: number; which: number[] }[] = [];
      let time = 0;
      let lastDeletionEndedAt = 0;
      const pause = () => new Promise((done) => setTimeout(done, random.below(4)));
      async function pusher(name: string): Promise<void> {
        for (let i = 0; i < 6; i++) {
          await pause();
          const which = [random.below(3), 1 + random.below(2)].filter((each, at, all) => all.indexOf(each) === at);
          const startedAt = ++time;
          const tag = `${name}-${i}`;
          try {
            await pushImage(random.pick(replicas), tag, which, `${seed} ${tag}`);
            acknowledged.push({ tag, startedAt, which });
          } catch (error) {
            // Answers to a push during which a deletion happened.
            if (!isCode("BLOB_UPLOAD_UNKNOWN", "MANIFEST_BLOB_UNKNOWN", "CONFLICT")(error)) throw error;
          }
        }
      }
      async function deleter(): Promise<void> {
        for (let i = 0; i < 4; i++) {
          await pause();
          await remove(random.pick(replicas)).catch((error: unknown) => {
            if (!isCode("NAME_UNKNOWN")(error)) throw error;
          });
          lastDeletionEndedAt = ++time;
          await createRepositoryRemoval(random.pick(replicas).content.database, clock, TEST_TIMES, DELETIONS.repository)();
          await checkUsage(test.database);
        }
      }
      await Promise.all([pusher("a"), pusher("b"), deleter(), pusher("c")]);
      await pushImage(other, "last", [0, 1, 2], `${seed} last`);
      await removeAll(test.database);
      let kept = 0;
      for (const { tag, startedAt, which } of acknowledged) {
        const found = await resolve(random.pick(replicas), tag).catch(() => undefined);
        if (startedAt > lastDeletionEndedAt) assert.ok(found, `seed ${seed}: image ${tag} is gone`);
        if (found === undefined) continue;
        kept++;
        for (const blob of [config, ...which.map((i) => layers[i]!)])
          assert.ok(await random.pick(replicas).pull.resolveBlob(NOBODY, NAME, blob.digest), `seed ${seed}: image ${tag} lost a blob`);
      }
      assert.ok(kept <= acknowledged.length);
      assert.ok(await resolve(one, "last"));
      await checkUsage(test.database);
      await remove(one);
      await collectAll();
      const counts = await countContent(test.database);
      assert.deepEqual(
        Object.entries(counts).filter(([, count]) => count > 0),
        [],
        `seed ${seed}: something is left`,
      );
      assert.equal(memory.blobs.size, 0);
      await checkUsage(test.database);
    }
  });
});
