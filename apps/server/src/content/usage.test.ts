// Usage counters by name, on every engine: filled while others write, folded exactly once, right after bulk loads. Random schedules also
// compare them with a recount (distribution/schedules.test.ts). Not here: who may see them (features/repositories, features/projects).
import assert from "node:assert/strict";
import { afterEach, beforeEach, it } from "node:test";
import { createTestClock } from "../access/access.testing.ts";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import { migrate } from "../platform/database/migrate.ts";
import { migrations } from "../platform/database/migrations/all.ts";
import type { Migration } from "../platform/database/migrations/migration.ts";
import { createMemoryBlobs, createMemoryStore } from "./blobs/memory.ts";
import { blobOf, createContent, createGrants, putOf, TEST_TIMES, upload, type Content, inRepository } from "./content.testing.ts";
import { findProjectUsages, findRegistryUsage, foldUsage } from "./usage.ts";
import { checkUsage } from "./usage.testing.ts";

/** The steps with those of usage last, so that this program writes to all other tables as a program before the triggers did. */
const USAGE_LAST: readonly Migration[] = [
  ...migrations.filter(({ name }) => !name.startsWith("usage")),
  ...migrations.filter(({ name }) => name.startsWith("usage")),
].map((step, at) => ({ ...step, id: at + 1 }));

forEachDatabase("usage", (create, dialect) => {
  let test: TestDatabase;
  let content: Content;
  let grants: Awaited<ReturnType<typeof createGrants>>;
  let projectId: number;
  const clock = createTestClock();
  const layer = blobOf("a layer of usage ");
  const config = blobOf("c", 30);

  beforeEach(async () => {
    test = await create({ migrated: false });
    await migrate(test.database, clock, undefined, USAGE_LAST);
    content = createContent(test.database, createMemoryStore({ processId: "usage", memory: createMemoryBlobs() }), clock);
    grants = await createGrants(test.database);
    projectId = (grants("push", "test/x") as unknown as { projectId: number }).projectId;
  });
  afterEach(() => test.end());

  const foldAll = async (limit = 1000): Promise<number> => {
    let folded = 0;
    for (let each = 1; each > 0; folded += each) each = await foldUsage(test.database, limit);
    return folded;
  };
  const ofProject = async () => (await findProjectUsages(test.database, [projectId])).get(projectId);

  async function push(repository: string, tags: readonly string[], note = ""): Promise<ReturnType<typeof putOf>> {
    const grant = grants("push", repository);
    const id = (await content.repositories.ensure(grant)).id;
    for (const blob of [config, layer]) await upload(content, grant, blob);
    const put = putOf([config, layer], tags, note);
    await content.manifests.put(inRepository(grant, id), put);
    return put;
  }

  it("counts what is pushed, mounted and deleted, the same before and after folding", async () => {
    const one = await push("test/one", ["a", "b"]);
    const two = await push("test/two", ["a"], "another");
    const both = layer.bytes.length + config.bytes.length;
    const expected = { repositories: 2, manifests: 2, tags: 3, blobs: 4, bytes: 2 * both + one.bytes.length + two.bytes.length };
    for (const isFolded of [false, true]) {
      if (isFolded) assert.equal((await foldAll()) > 0, dialect === "postgres");
      assert.deepEqual(await ofProject(), expected);
      assert.deepEqual(await findRegistryUsage(test.database), { blobs: 2, bytes: both });
    }
    // Pushed again, with a tag that moves and a new one: only the new one counts.
    await push("test/one", ["a", "c"]);
    assert.deepEqual(await ofProject(), { ...expected, tags: 4 });
    await content.manifests.delete((await content.repositories.find(grants("delete", "test/one")))!, one.digest);
    assert.deepEqual(await ofProject(), { ...expected, manifests: 1, tags: 1, bytes: expected.bytes - one.bytes.length });
    clock.advance(TEST_TIMES.leaseMs + 1);
    await content.garbage.collectLinks(100);
    const left = { repositories: 2, manifests: 1, tags: 1, blobs: 2, bytes: both + two.bytes.length };
    assert.deepEqual(await ofProject(), left);
    await foldAll();
    assert.deepEqual(await ofProject(), left);
    await checkUsage(test.database);
  });

  it("counts rows that a bulk load brings, and those that one statement takes", async () => {
    await push("test/one", []);
    const id = (await content.repositories.ensure(grants("push", "test/one"))).id;
    const values = Array.from({ length: 500 }, (_, i) => `(${id}, 't${i}', (select max(id) from manifest), 1)`).join(",");
    await test.database.script(`insert into tag (repository_id, name, manifest_id, updated_at) values ${values}`);
    assert.equal((await ofProject())?.tags, 500);
    await foldAll();
    await test.database.script("delete from tag where name < 't3'");
    await checkUsage(test.database);
  });

  it("fills the counters of an older database, beside writers that go on", async () => {
    for (let i = 0; i < 5; i++) await push(`test/r${i}`, [`t${i}`], String(i));
    await migrate(test.database, clock, USAGE_LAST.length - 2, USAGE_LAST);
    await push("test/r0", ["meanwhile"], "by the older program");
    await migrate(test.database, clock, USAGE_LAST.length - 1, USAGE_LAST);
    // Between the triggers and the count, and concurrently with it.
    await push("test/r1", ["between"], "with triggers only");
    let isOver = false;
    const writer = (async () => {
      for (let i = 0; !isOver; i++) {
        const put = await push(`test/r${i % 7}`, [`w${i % 3}`], `writer ${i}`);
        if (i % 2 === 0) {
          const grant = grants("push", `test/r${i % 7}`);
          const id = (await content.repositories.ensure(grant)).id;
          await content.manifests.delete(inRepository(grants("delete", grant.repository), id), put.digest);
        }
        // On SQLite all of it happens in one turn of the event loop.
        await new Promise((resolve) => void setImmediate(resolve));
      }
    })();
    try {
      const other = await test.open();
      await migrate(other, clock, undefined, USAGE_LAST);
      await checkUsage(other);
      for (let i = 0; i < 20; i++) {
        await foldUsage(other, 7);
        await checkUsage(other);
      }
    } finally {
      isOver = true;
      await writer;
    }
    await foldAll();
    await checkUsage(test.database);
    assert.equal((await ofProject())?.repositories, (await content.repositories.listNames(projectId, "", "~", 100)).length);
  });

  if (dialect === "postgres") {
    it("folds each change once, whoever folds beside, and keeps no row that says nothing", async () => {
      const replicas = [test.database, await test.open(), await test.open()];
      for (let i = 0; i < 30; i++) await push(`test/r${i % 4}`, [`t${i}`], String(i));
      const pushing = (async () => {
        for (let i = 0; i < 30; i++) await push(`test/r${i % 4}`, [`u${i}`], String(i));
      })();
      const folded = await Promise.all(
        replicas.map(async (replica) => {
          let count = 0;
          for (let i = 0; i < 40; i++) {
            count += await foldUsage(replica, 3);
            await checkUsage(replica);
          }
          return count;
        }),
      );
      await pushing;
      assert.ok(folded.filter((count) => count > 0).length > 1, `one alone folded: ${folded.join(" ")}`);
      await foldAll();
      await checkUsage(test.database);
    });
  }
});
