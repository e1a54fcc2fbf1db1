// Deleting a manifest deletes all its tags, however many, and only them, and adds an entry to the history of each. Not here: conditions of
// a tag (test/flows), races (distribution/schedules.test.ts).
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import type { Tag } from "@berth/oci/reference";
import { createTestClock } from "../access/access.testing.ts";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import { createMemoryBlobs, createMemoryStore } from "./blobs/memory.ts";
import { blobOf, createContent, createGrants, putOf, upload, inRepository } from "./content.testing.ts";

/** More than two of the batches in which tags are deleted. */
const TAGS = 2_100;

forEachDatabase("tags", (create) => {
  let test: TestDatabase;
  before(async () => {
    test = await create();
  });
  after(() => test.end());

  it("go with their manifest", async () => {
    const content = createContent(test.database, createMemoryStore({ processId: "p1", memory: createMemoryBlobs() }), createTestClock());
    const grantFor = await createGrants(test.database);
    const push = grantFor("push", "test/one");
    const id = (await content.repositories.ensure(push)).id;
    const [config, layer] = [blobOf("config", 1), blobOf("layer ")];
    for (const blob of [config, layer]) await upload(content, push, blob);
    const names = Array.from({ length: TAGS }, (_, index) => `t${String(index).padStart(5, "0")}`);
    const unwanted = putOf([config, layer], names, "unwanted");
    await content.manifests.put(inRepository(push, id), unwanted);
    await content.manifests.put(inRepository(push, id), putOf([config, layer], ["kept"], "kept"));

    await content.manifests.delete(inRepository(grantFor("delete", "test/one"), id), unwanted.digest);

    assert.deepEqual(await content.tags.list(inRepository(push, id), "", 10), ["kept"]);
    for (const name of [names[0]!, names[1_500]!, names.at(-1)!]) {
      const changes = await content.tags.listHistory(inRepository(push, id), name as Tag, undefined, 10);
      assert.deepEqual(
        changes.map((change) => change.digest),
        [undefined, unwanted.digest],
        name,
      );
    }
  });
});
