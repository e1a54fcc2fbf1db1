// Pushes and deletions of one tag whose statements interleave: what was acknowledged exists, what was refused does not, conditions are
// checked against locked rows, and the history lists the changes in their real order.
// Not here: the same over HTTP with processes that are killed (test/replicas, test/failure).
import assert from "node:assert/strict";
import { afterEach, beforeEach, it } from "node:test";
import type { Tag } from "@berth/oci/reference";
import { createTestClock } from "../access/access.testing.ts";
import type { Grant } from "../access/caller.ts";
import type { Database } from "../platform/database/database.ts";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import { createMemoryBlobs, createMemoryStore, type MemoryBlobs } from "./blobs/memory.ts";
import { blobOf, createContent, createGrants, putOf, upload, type Content, inRepository } from "./content.testing.ts";
import { holdAt, interceptDatabase, type Hook } from "./intercept.testing.ts";
import type { ManifestPut } from "./manifests.ts";
import { createRandom } from "./schedule.testing.ts";
import type { TagCondition } from "./tags.ts";

const TAG = "v1" as Tag;
const REPOSITORY = "test/one";
const config = blobOf("config", 1);
const layer = blobOf("layer ");

forEachDatabase("a tag", (create, dialect) => {
  // On SQLite one transaction runs at a time, so operations there meet before the transaction begins.
  const inside = dialect === "postgres";
  const clock = createTestClock();
  let test: TestDatabase;
  let memory: MemoryBlobs;
  let content: Content;
  let push: Grant<"push">;
  let del: Grant<"delete">;
  let id: number;
  let processes = 0;

  const replicaOn = (database: Database): Content =>
    createContent(database, createMemoryStore({ processId: `p${++processes}`, memory }), clock);
  const imageNamed = (note: string, tags: readonly string[] = [TAG], condition: TagCondition = { kind: "none" }): ManifestPut => ({
    ...putOf([config, layer], tags, note),
    condition,
  });
  const named = async (): Promise<string | undefined> => (await content.manifests.findByTag(inRepository(push, id), TAG))?.digest;
  /** The digests that the tag named, newest first. */
  const history = async (): Promise<(string | undefined)[]> =>
    (await content.tags.listHistory(inRepository(push, id), TAG, undefined, 1000)).map((change) => change.digest);
  /** A replica with hooks: for its transactions' statements, or only for their begin and end. */
  async function intercepted(hook: Hook): Promise<Content> {
    return replicaOn(interceptDatabase(await test.open(), hook, inside));
  }
  /** Resolves when some transaction waits for another's lock. */
  async function untilSomebodyWaits(): Promise<void> {
    for (;;) {
      const rows = await test.database.session((run) =>
        run("select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"),
      );
      if (rows.length > 0) return;
    }
  }

  beforeEach(async () => {
    test = await create();
    memory = createMemoryBlobs();
    content = replicaOn(test.database);
    const grantFor = await createGrants(test.database);
    push = grantFor("push", REPOSITORY);
    del = grantFor("delete", REPOSITORY);
    id = (await content.repositories.ensure(push)).id;
    for (const blob of [config, layer]) await upload(content, push, blob);
    // An image holds the blobs, so that concurrent pushes do not wait for each other's leases.
    await content.manifests.put(inRepository(push, id), imageNamed("before", ["before"]));
  });
  afterEach(() => test.end());

  it("is set by a push that was acknowledged, however often others make and delete it meanwhile", async () => {
    const mine = imageNamed("mine");
    const other = imageNamed("other");
    for (const times of [1, 2, 12]) {
      let left = times;
      const others = async (): Promise<void> => {
        if (left-- <= 0) return;
        await content.manifests.put(inRepository(push, id), other);
        await content.tags.delete(inRepository(del, id), TAG);
      };
      let made = 0;
      let deleted = 0;
      const replica = await intercepted(async (step, phase) => {
        if (phase !== "before") return;
        if (!inside) return step === "begin" ? others() : undefined;
        // The tag is created between the first read and the insertion, and deleted before the next read.
        if (step === "tags.insert" && made < times) {
          made++;
          await content.manifests.put(inRepository(push, id), other);
        }
        if (step === "tags.lock" && made > deleted) {
          deleted++;
          await content.tags.delete(inRepository(del, id), TAG);
        }
      });
      await replica.manifests.put(inRepository(push, id), mine);
      assert.equal(await named(), mine.digest, `${times} times`);
      if (inside) assert.equal(made, times);
      const changes = await history();
      assert.equal(changes[0], mine.digest);
      assert.equal(changes.filter((digest) => digest === mine.digest).length, 1);
      await content.tags.delete(inRepository(del, id), TAG);
      assert.deepEqual((await history()).slice(0, 2), [undefined, mine.digest]);
      await test.database.script("delete from tag_history");
    }
  });

  it("is not there, nor in its history, where the push had to give up", async () => {
    const mine = imageNamed("mine");
    const other = imageNamed("other");
    let isThere = false;
    const replica = await intercepted(async (step, phase) => {
      if (!inside || phase !== "before") return;
      if (step === "tags.insert") {
        await content.manifests.put(inRepository(push, id), other);
        isThere = true;
      }
      if (step === "tags.lock" && isThere) {
        await content.tags.delete(inRepository(del, id), TAG);
        isThere = false;
      }
    });
    // On SQLite no other operation can interfere that often.
    if (!inside) return;
    await assert.rejects(replica.manifests.put(inRepository(push, id), mine), { code: "UNAVAILABLE" });
    assert.equal((await history()).includes(mine.digest), false);
    assert.equal(await content.manifests.findByDigest(inRepository(push, id), mine.digest), undefined);
  });

  it("is judged by what it names when it is locked, and not by what it named before", async () => {
    const [first, second, mine] = [imageNamed("first"), imageNamed("second"), imageNamed("mine")];
    const conditions: readonly [TagCondition, boolean][] = [
      [{ kind: "none-match", digests: "*" }, false],
      [{ kind: "none-match", digests: [first.digest] }, true],
      [{ kind: "none-match", digests: [second.digest] }, false],
      [{ kind: "match", digests: "*" }, true],
      [{ kind: "match", digests: [first.digest] }, false],
      [{ kind: "match", digests: [second.digest] }, true],
    ];
    for (const [condition, isSet] of conditions) {
      const shown = JSON.stringify(condition);
      await content.manifests.put(inRepository(push, id), first);
      const held = holdAt(inside ? "tags.update" : "commit", "after");
      const mover = await intercepted(held.hook);
      const moving = mover.manifests.put(inRepository(push, id), second);
      await held.reached;
      const judged = content.manifests.put(inRepository(push, id), { ...mine, condition }).then(
        () => true,
        (error: { code?: string }) => {
          assert.equal(error.code, "PRECONDITION_FAILED", shown);
          return false;
        },
      );
      if (inside) await untilSomebodyWaits();
      held.letGo();
      await moving;
      assert.equal(await judged, isSet, shown);
      assert.equal(await named(), isSet ? mine.digest : second.digest, shown);
      await content.manifests.delete(inRepository(del, id), mine.digest).catch(() => undefined);
    }
  });

  it("that is made while a condition wants it absent is not overwritten", async () => {
    const [first, mine] = [imageNamed("first"), imageNamed("mine", [TAG], { kind: "none-match", digests: "*" })];
    let isMet = false;
    const replica = await intercepted(async (step, phase) => {
      if (isMet || phase !== "before" || step !== (inside ? "tags.insert" : "begin")) return;
      isMet = true;
      await content.manifests.put(inRepository(push, id), first);
    });
    await assert.rejects(replica.manifests.put(inRepository(push, id), mine), {
      code: "PRECONDITION_FAILED",
      detail: { tag: TAG, current: first.digest },
    });
    assert.equal(await named(), first.digest);
    assert.deepEqual(await history(), [first.digest]);
  });

  it("has a history of what was acknowledged, each change once and in its order", async () => {
    const seed = Number(process.env["BERTH_TEST_SEED"] ?? 1);
    const random = createRandom(seed);
    const images = Array.from({ length: 4 }, (_, i) => imageNamed(`image ${i}`));
    const replicas = await Promise.all([1, 2, 3].map(async () => replicaOn(await test.open())));
    let deletions = 0;
    await Promise.all(
      replicas.flatMap((replica) =>
        Array.from({ length: 3 }, async () => {
          for (let i = 0; i < 15; i++) {
            const kind = random.below(4);
            if (kind === 0) {
              const isDeleted = await replica.tags.delete(inRepository(del, id), TAG).then(
                () => true,
                (error: { code?: string }) => {
                  assert.equal(error.code, "MANIFEST_UNKNOWN");
                  return false;
                },
              );
              if (isDeleted) deletions++;
            } else await replica.manifests.put(inRepository(push, id), images[random.below(images.length)]!);
          }
        }),
      ),
    );
    const changes = await history();
    assert.equal(changes[0], await named(), `seed ${seed}`);
    assert.equal(changes.filter((digest) => digest === undefined).length, deletions, `seed ${seed}`);
    changes.forEach((digest, i) => assert.notEqual(digest, changes[i + 1], `seed ${seed}: entry ${i} changes nothing`));
    // The oldest entry is no deletion.
    assert.notEqual(changes.at(-1), undefined);
  });

  it("has times in its history that go with their order, whoever had to wait", async () => {
    const held = holdAt(inside ? "tags.lock" : "begin");
    const slow = await intercepted(held.hook);
    const late = slow.manifests.put(inRepository(push, id), imageNamed("late"));
    await held.reached;
    clock.advance(5_000);
    await content.manifests.put(inRepository(push, id), imageNamed("early"));
    held.letGo();
    await late;
    const [newest, oldest] = await content.tags.listHistory(inRepository(push, id), TAG, undefined, 2);
    assert.equal(newest?.digest, imageNamed("late").digest);
    assert.ok(newest.at >= oldest!.at, `${newest.at.toISOString()} follows ${oldest!.at.toISOString()}`);
  });

  it("lets pushes of the same tags in different orders pass each other", async () => {
    const names = ["a", "b", "c", "d"];
    const replicas = await Promise.all([1, 2].map(async () => replicaOn(await test.open())));
    for (let round = 0; round < 5; round++) {
      const puts = replicas.map((replica, i) =>
        replica.manifests.put(inRepository(push, id), imageNamed(`${i} in ${round}`, i === 0 ? names : names.toReversed())),
      );
      await Promise.all(puts);
      const rows = await Promise.all(
        names.map(async (name) => (await content.manifests.findByTag(inRepository(push, id), name as Tag))?.digest),
      );
      assert.equal(new Set(rows).size, 1, "all of one push, or all of the other");
    }
  });
});
