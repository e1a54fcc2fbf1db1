// The backlog's row on every engine: counted, lessened by what was done, and not counted again soon after a long count.
// Not here: the counting page by page (backlog.test.ts).
import assert from "node:assert/strict";
import { it } from "node:test";
import { createTestClock } from "../access/access.testing.ts";
import type { Database } from "../platform/database/database.ts";
import { forEachDatabase } from "../platform/database/databases.testing.ts";
import type { Backlog } from "./backlog.ts";
import { findBacklog, noteCollected, refreshBacklog } from "./backlog-count.ts";
import { createMemoryBlobs, createMemoryStore } from "./blobs/memory.ts";
import { blobOf, createContent, createGrants, TEST_TIMES, upload } from "./content.testing.ts";

const none: Backlog = { links: 0, linkBytes: 0, keys: 0, keyBytes: 0, oldestDueAt: undefined };
const goOn = async (): Promise<boolean> => true;

forEachDatabase("the kept backlog", (create) => {
  async function withThreeDeadLinks(
    work: (site: { database: Database; clock: ReturnType<typeof createTestClock>; counted: Backlog }) => Promise<void>,
  ) {
    const test = await create();
    try {
      const clock = createTestClock();
      const content = createContent(test.database, createMemoryStore({ processId: "p", memory: createMemoryBlobs() }), clock);
      const grant = (await createGrants(test.database))("push", "test/one");
      const blobs = ["one ", "two ", "three "].map((text) => blobOf(text));
      for (const blob of blobs) await upload(content, grant, blob);
      clock.advance(TEST_TIMES.leaseMs + 1);
      const linkBytes = blobs.reduce((sum, blob) => sum + blob.bytes.length, 0);
      await work({ database: test.database, clock, counted: { ...none, links: 3, linkBytes, oldestDueAt: clock.now() - 1 } });
    } finally {
      await test.end();
    }
  }

  it("is unknown at first, then what was counted, and less by what was done", () =>
    withThreeDeadLinks(async ({ database, clock, counted }) => {
      assert.equal(await findBacklog(database), undefined);
      await noteCollected(database, { links: 1 });
      await refreshBacklog(database, clock, goOn);
      assert.deepEqual(await findBacklog(database), counted);
      await noteCollected(database, { links: 1, linkBytes: 4 });
      assert.deepEqual(await findBacklog(database), { ...counted, links: 2, linkBytes: counted.linkBytes - 4 });
      await noteCollected(database, { links: 2, linkBytes: counted.linkBytes - 4 });
      assert.deepEqual(await findBacklog(database), none);
    }));

  it("is counted again when it is old, or when more was done than was known of", () =>
    withThreeDeadLinks(async ({ database, clock, counted }) => {
      await refreshBacklog(database, clock, goOn);
      await noteCollected(database, { links: 1 });
      await refreshBacklog(database, clock, goOn);
      assert.equal((await findBacklog(database))?.links, 2, "still good");
      clock.advance(30_001);
      await refreshBacklog(database, clock, goOn);
      assert.equal((await findBacklog(database))?.links, 3);
      await noteCollected(database, { links: 5, keys: 1 });
      assert.equal((await findBacklog(database))?.links, 0);
      await refreshBacklog(database, clock, goOn);
      assert.deepEqual(await findBacklog(database), counted);
    }));

  it("is good for longer where the count took long, and for no longer than that under a clock that was put back", () =>
    withThreeDeadLinks(async ({ database, clock }) => {
      const links = async (): Promise<number | undefined> => (await findBacklog(database))?.links;
      // Ten seconds for the only page, which ends the look at the clock.
      const slowly = { ...clock, now: () => (clock.advance(5000), clock.now()) };
      await refreshBacklog(database, slowly, goOn);
      await noteCollected(database, { links: 3 });
      clock.advance(200_000);
      await refreshBacklog(database, clock, goOn);
      assert.equal(await links(), 0, "a count of five seconds is good for four minutes");
      clock.advance(60_000);
      await refreshBacklog(database, clock, goOn);
      assert.equal(await links(), 3);
      clock.advance(-3 * 3_600_000);
      await refreshBacklog(database, clock, goOn);
      assert.equal(await links(), 0, "nothing was due three hours ago");
    }));
});
