// The collector's loop says what waits before it begins and what is left when it ends, and a long count is not made again soon.
import assert from "node:assert/strict";
import { it } from "node:test";
import { createTestClock } from "../access/access.testing.ts";
import type { Backlog } from "../content/backlog.ts";
import { countBacklog } from "../content/backlog.ts";
import { createMemoryBlobs, createMemoryStore } from "../content/blobs/memory.ts";
import { blobOf, createContent, createGrants, TEST_TIMES, upload } from "../content/content.testing.ts";
import { createSqliteForTest } from "../platform/database/databases.testing.ts";
import { createBacklogCount } from "./backlog-count.ts";
import { createCollector } from "./collector.ts";

const none: Backlog = { links: 0, linkBytes: 0, keys: 0, keyBytes: 0, oldestDueAt: undefined };

it("backlog count: reports the backlog before a round and after it", async () => {
  const test = await createSqliteForTest();
  try {
    const clock = createTestClock();
    const store = createMemoryStore({ processId: "p", memory: createMemoryBlobs() });
    const content = createContent(test.database, store, clock);
    const grant = (await createGrants(test.database))("push", "test/one");
    const blobs = ["one ", "two ", "three "].map((text) => blobOf(text));
    for (const blob of blobs) await upload(content, grant, blob);
    clock.advance(TEST_TIMES.leaseMs + 1);
    const told: Backlog[] = [];
    let unlinked = 0;
    const { promise: isReported, resolve } = Promise.withResolvers<void>();
    const collector = createCollector({
      garbage: content.garbage,
      countBacklog: (pause) => countBacklog(test.database, clock.now(), pause),
      uploads: content.sessions,
      store,
      clock,
      intervalMs: 3_600_000,
      batchSize: 2,
      sweepAgeMs: 1,
      onUnlinked: (links) => {
        unlinked += links;
      },
      onReclaimed: () => undefined,
      onBacklog: (backlog) => {
        told.push(backlog);
        if (told.length === 2) resolve();
      },
      onError: (error) => {
        throw error;
      },
    });
    collector.start();
    await isReported;
    await collector.stop();
    const linkBytes = blobs.reduce((sum, blob) => sum + blob.bytes.length, 0);
    assert.deepEqual(told, [{ ...none, links: 3, linkBytes, oldestDueAt: clock.now() - 1 }, none]);
    assert.equal(unlinked, 3);
  } finally {
    await test.end();
  }
});

it("backlog count: lessens what it counted, and counts again when that is old or was too little", async () => {
  const clock = createTestClock();
  let counts = 0;
  let tookMs = 10;
  let waiting: Backlog = { links: 500, linkBytes: 5000, keys: 0, keyBytes: 0, oldestDueAt: 1 };
  const backlog = createBacklogCount(clock, async () => {
    counts++;
    clock.advance(tookMs);
    return waiting;
  });
  await backlog.refresh();
  backlog.noteLinks({ examined: 200, unlinked: 200, blobs: 200, bytes: 2000 }, false);
  assert.deepEqual(backlog.latest(), { ...waiting, links: 300, linkBytes: 3000 });
  await backlog.refresh();
  assert.equal(counts, 1, "still good");
  clock.advance(30_001);
  tookMs = 10_000;
  await backlog.refresh();
  assert.deepEqual([counts, backlog.latest().links], [2, 500]);
  clock.advance(400_000);
  await backlog.refresh();
  assert.equal(counts, 2, "a count of ten seconds is good for minutes");
  clock.advance(200_000);
  await backlog.refresh();
  assert.equal(counts, 3);
  // More came due than was known: the next look counts.
  waiting = { ...none, keys: 100, keyBytes: 1000, oldestDueAt: 2 };
  backlog.noteKeys({ examined: 200, deleted: 200, bytes: 1 }, false);
  assert.equal(backlog.latest().keys, 0);
  await backlog.refresh();
  assert.deepEqual([counts, backlog.latest()], [4, waiting]);
  backlog.noteKeys({ examined: 100, deleted: 100, bytes: 1000 }, true);
  assert.deepEqual(backlog.latest(), none);
});
