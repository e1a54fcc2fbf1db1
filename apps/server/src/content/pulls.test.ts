// Counted pulls on every engine: sums of several processes, the latest time, manifests deleted meanwhile, an unreachable database. Not
// here: which requests count (test/flows/pull-counts.test.ts).
import assert from "node:assert/strict";
import { after, before, beforeEach, it } from "node:test";
import { createTestClock } from "../access/access.testing.ts";
import type { Database } from "../platform/database/database.ts";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import { statement } from "../platform/database/statement.ts";
import { createMemoryBlobs, createMemoryStore } from "./blobs/memory.ts";
import { blobOf, createContent, createGrants, putOf, upload, type Content, inRepository } from "./content.testing.ts";
import { createPullCounter } from "./pulls.ts";

const all = statement<Record<never, never>>()("test.pulls", (db) =>
  db
    .selectFrom("manifest")
    .innerJoin("repository", "repository.id", "manifest.repository_id")
    .innerJoin("manifest_pull", "manifest_pull.manifest_id", "manifest.id")
    .innerJoin("repository_pull", "repository_pull.repository_id", "repository.id")
    .select([
      "manifest.id",
      "manifest_pull.pulls",
      "manifest_pull.pulled_at",
      "repository_pull.pulls as of_repository",
      "repository_pull.pulled_at as repository_at",
    ])
    .orderBy("manifest.id"),
);
const fail = (error: unknown): never => {
  throw error;
};

forEachDatabase("pulls", (create) => {
  let test: TestDatabase;
  let content: Content;
  let grants: Awaited<ReturnType<typeof createGrants>>;
  let count = 0;
  const clock = createTestClock();

  before(async () => {
    test = await create();
    content = createContent(test.database, createMemoryStore({ processId: "one", memory: createMemoryBlobs() }), clock);
    grants = await createGrants(test.database);
  });
  after(() => test.end());
  beforeEach(async () => {
    await test.database.script("delete from manifest_pull; delete from repository_pull");
  });

  /** The ids of two manifests of a new repository. */
  async function pushTwo(): Promise<{ name: string; ids: number[]; digests: ReturnType<typeof putOf>["digest"][] }> {
    const name = `test/app${++count}`;
    const grant = grants("push", name);
    const repositoryId = (await content.repositories.ensure(grant)).id;
    const puts = ["one", "two"].map((tag) => putOf([blobOf("config "), blobOf("layer ")], [tag], `${name} ${tag}`));
    for (const blob of [blobOf("config "), blobOf("layer ")]) await upload(content, grant, blob);
    const ids: number[] = [];
    for (const put of puts) {
      await content.manifests.put(inRepository(grant, repositoryId), put);
      ids.push((await content.manifests.findByDigest(inRepository(grant, repositoryId), put.digest))!.id);
    }
    return { name, ids, digests: puts.map(({ digest }) => digest) };
  }

  it("of several processes add up, and the latest time counts, in whatever order they are written", async () => {
    const { ids } = await pushTwo();
    const [one, other] = [createPullCounter(test.database, clock, fail), createPullCounter(await test.open(), clock, fail)];
    const startedAt = clock.now();
    one.note(ids[0]!);
    one.note(ids[0]!);
    clock.advance(1000);
    other.note(ids[0]!);
    other.note(ids[1]!);
    await other.flush();
    await one.flush();
    // Nothing is written twice.
    await Promise.all([one.flush(), other.flush()]);
    const at = startedAt + 1000;
    assert.deepEqual(await test.database.all(all, {}), [
      { id: ids[0], pulls: 3, pulled_at: at, of_repository: 4, repository_at: at },
      { id: ids[1], pulls: 1, pulled_at: at, of_repository: 4, repository_at: at },
    ]);
  });

  it("of what is gone are left out, and go with it", async () => {
    const { name, ids, digests } = await pushTwo();
    const counter = createPullCounter(test.database, clock, fail);
    for (const id of ids) counter.note(id);
    await counter.flush();
    const grant = grants("delete", name);
    await content.manifests.delete((await content.repositories.find(grant))!, digests[0]!);
    for (const id of [...ids, 999_999_999]) counter.note(id);
    await counter.flush();
    const rows = await test.database.all(all, {});
    assert.deepEqual(
      rows.map(({ id, pulls, of_repository }) => [id, pulls, of_repository]),
      [[ids[1], 2, 3]],
    );
  });

  it("stay counted while the database is away, up to a bound", async () => {
    const { ids } = await pushTwo();
    let isAway = true;
    const moody: Database = {
      ...test.database,
      transaction: async (...args) => {
        if (isAway) throw new Error("away");
        return test.database.transaction(...args);
      },
    };
    const counter = createPullCounter(moody, clock, fail);
    counter.note(ids[0]!);
    await assert.rejects(counter.flush(), /away/);
    counter.note(ids[0]!);
    for (let id = 1_000_000; id < 1_060_000; id++) counter.note(id);
    assert.equal(counter.uncounted, 10_001);
    isAway = false;
    await counter.flush();
    const rows = await test.database.all(all, {});
    assert.deepEqual(
      rows.map(({ id, pulls }) => [id, pulls]),
      [[ids[0], 2]],
    );
  });

  it("are written when the process stops", async () => {
    const { ids } = await pushTwo();
    const counter = createPullCounter(test.database, clock, fail);
    counter.start();
    counter.note(ids[1]!);
    await counter.stop();
    assert.equal((await test.database.all(all, {})).length, 1);
  });
});
