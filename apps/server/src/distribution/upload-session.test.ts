// Upload sessions that several processes share: over one database and one store, with claims that are lost at the worst moment.
// Not here: HTTP (test/flows), random schedules (schedules.test.ts), the stores by themselves (content/blobs).
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { digestOf } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import { createTestClock, type TestClock } from "../access/access.testing.ts";
import type { Grant } from "../access/caller.ts";
import type { BlobStoreFixture } from "../content/blobs/blob-store.contract.ts";
import { forEachBlobStore } from "../content/blobs/blob-stores.testing.ts";
import {
  createContent,
  createGrants,
  readBlob,
  TEST_TIMES,
  TEST_UPLOAD_AGE_MS,
  type Content,
  inRepository,
} from "../content/content.testing.ts";
import type { BlobStore } from "../content/blobs/blob-store.ts";
import { LARGE_BYTES } from "../content/blobs/segments.ts";
import { holdAt, interceptDatabase, interceptStore, type Held, type Hook } from "../content/intercept.testing.ts";
import { UPLOAD_LOCK_MS } from "../content/uploads.ts";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import type { Chunk } from "./small-uploads.ts";

const passing: Hook = async () => undefined;

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "done";
  } catch (error) {
    if (error instanceof RegistryError) return error.code;
    throw error;
  }
}

function chunkOf(bytes: Uint8Array, startBytes?: number): Chunk {
  return {
    startBytes,
    lengthBytes: bytes.length,
    body: (async function* () {
      yield bytes;
    })(),
  };
}

/** A body that stops in its middle until it is let go. */
function stallingChunk(bytes: Uint8Array): { readonly chunk: Chunk; readonly reached: Promise<void>; letGo(): void } {
  const reached = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  async function* body(): AsyncGenerator<Uint8Array> {
    yield bytes.subarray(0, 1);
    reached.resolve();
    await go.promise;
    yield bytes.subarray(1);
  }
  return { chunk: { startBytes: undefined, lengthBytes: bytes.length, body: body() }, reached: reached.promise, letGo: () => go.resolve() };
}

forEachDatabase("upload sessions of several processes", (create) => {
  forEachBlobStore((storeName, createFixture) => {
    if (typeof createFixture !== "function") {
      it(`over ${storeName}`, { skip: createFixture.skip }, () => undefined);
      return;
    }
    describe(`over ${storeName}`, () => {
      let test: TestDatabase;
      let fixture: BlobStoreFixture;
      let clock: TestClock;
      let push: Grant<"push">;
      let repositoryId: number;
      let started = 0;

      before(async () => {
        test = await create();
        fixture = await createFixture();
        clock = createTestClock();
        push = (await createGrants(test.database))("push", "test/one");
        repositoryId = (await (await start()).repositories.ensure(push)).id;
      });
      after(async () => {
        await test.end();
        await fixture.remove();
      });

      /** Another process. */
      async function start(hook: Hook = passing, removeLeftovers?: BlobStore["removeLeftovers"]): Promise<Content> {
        const opened = fixture.open(`process-${++started}`);
        const store = interceptStore(removeLeftovers === undefined ? opened : { ...opened, removeLeftovers }, hook);
        return createContent(
          interceptDatabase(await test.open(), hook, true),
          store,
          clock,
          TEST_TIMES,
          removeLeftovers && (() => undefined),
        );
      }

      async function assertStored(content: Content, bytes: Uint8Array): Promise<void> {
        const found = await content.blobs.find(inRepository(push, repositoryId), digestOf(bytes));
        assert.ok(found);
        assert.deepEqual(await readBlob(content, found), Buffer.from(bytes));
      }

      /** Nothing but bound blobs: what was settled in the background is given its time. */
      async function assertNothingLeft(content: Content): Promise<void> {
        clock.advance(10 * TEST_UPLOAD_AGE_MS);
        await content.sessions.expire(100);
        await content.garbage.collectLinks(100);
        clock.advance(10 * TEST_UPLOAD_AGE_MS);
        await content.garbage.reclaimBytes(100);
        // A minute: only what stays for ever takes so long.
        const giveUpAt = performance.now() + 60_000;
        while ((await fixture.leftovers()).length > 0 && performance.now() < giveUpAt)
          await new Promise((resolve) => setTimeout(resolve, 20));
        assert.deepEqual(await fixture.leftovers(), []);
      }

      // Over what lies in the database, and different in each test.
      const content = (fill: string): Buffer => Buffer.from(`${fill} `.repeat(20_000));

      it("go on with one process what another began, and end with a third", async () => {
        const [a, b, c] = [await start(), await start(), await start()];
        const bytes = content("three processes");
        const { id } = await a.sessions.begin(push, "sha256");
        await b.sessions.append(push, id, chunkOf(bytes.subarray(0, 30), 0));
        await c.sessions.append(push, id, chunkOf(bytes.subarray(30, 1000), 30));
        assert.equal((await a.sessions.append(push, id, chunkOf(bytes.subarray(1000, 200_000), 1000))).offsetBytes, 200_000);
        assert.equal(await codeOf(b.sessions.append(push, id, chunkOf(bytes, 10))), "RANGE_INVALID");
        await c.sessions.finish(push, id, digestOf(bytes), chunkOf(bytes.subarray(200_000)));
        await assertStored(a, bytes);
        await assertNothingLeft(b);
      });

      it("keep a writer out that lost its claim, while it writes and when it would commit", async () => {
        const [slow, quick] = [await start(), await start()];
        const bytes = content("a lost claim");
        const { id } = await slow.sessions.begin(push, "sha256");
        const stalled = stallingChunk(content("what came too late"));
        const late = codeOf(slow.sessions.append(push, id, stalled.chunk));
        await stalled.reached;
        assert.equal(await codeOf(quick.sessions.append(push, id, chunkOf(bytes))), "CONFLICT");
        clock.advance(UPLOAD_LOCK_MS + 1);
        await quick.sessions.append(push, id, chunkOf(bytes));
        stalled.letGo();
        assert.equal(await late, "CONFLICT");
        await quick.sessions.finish(push, id, digestOf(bytes), undefined);
        await assertStored(slow, bytes);
        await assertNothingLeft(slow);
      });

      for (const step of ["uploads.record", "store.finish", "begin"]) {
        it(`let one of two finish when the first is held at ${step} and loses its claim`, async () => {
          const at: { held?: Held } = {};
          const slow = await start((where, phase) => at.held?.hook(where, phase) ?? Promise.resolve());
          const quick = await start();
          const bytes = content(`held at ${step}`);
          const { id } = await quick.sessions.begin(push, "sha256");
          await quick.sessions.append(push, id, chunkOf(bytes.subarray(0, 100_000)));
          const held = (at.held = holdAt(step));
          const finish = (process: Content) =>
            codeOf(process.sessions.finish(push, id, digestOf(bytes), chunkOf(bytes.subarray(100_000), 100_000)));
          const late = finish(slow);
          await held.reached;
          clock.advance(UPLOAD_LOCK_MS + 1);
          const inTime = await finish(quick);
          held.letGo();
          // From `record` on the session holds all bytes: the second client learns where it stands, and asks again.
          if (inTime === "RANGE_INVALID") await quick.sessions.finish(push, id, digestOf(bytes), undefined);
          else assert.equal(inTime, "done");
          assert.notEqual(await late, "done");
          await assertStored(quick, bytes);
          await assertNothingLeft(quick);
        });
      }

      it("finish once when two finish at once", async () => {
        const processes = [await start(), await start(), await start()];
        const bytes = content("finished at once");
        const { id } = await processes[0]!.sessions.begin(push, "sha256");
        await processes[1]!.sessions.append(push, id, chunkOf(bytes));
        const outcomes = await Promise.all(
          processes.map((process) => codeOf(process.sessions.finish(push, id, digestOf(bytes), undefined))),
        );
        // Who comes after the end hears that it is done; who comes while another ends it, that it is under way.
        assert.ok(outcomes.includes("done"), outcomes.join(" "));
        assert.ok(
          outcomes.every((outcome) => ["done", "CONFLICT"].includes(outcome)),
          outcomes.join(" "),
        );
        await assertStored(processes[2]!, bytes);
        await assertNothingLeft(processes[2]!);
      });

      it("are finished again for who did not hear the answer, with and without the last bytes, and not for other content", async () => {
        const [a, b] = [await start(), await start()];
        for (const bytes of [content("asked twice"), Buffer.from("small and asked twice")]) {
          const { id } = await a.sessions.begin(push, "sha256");
          await a.sessions.append(push, id, chunkOf(bytes.subarray(0, 10)));
          await a.sessions.finish(push, id, digestOf(bytes), chunkOf(bytes.subarray(10), 10));
          const again = stallingChunk(bytes.subarray(10));
          again.letGo();
          await b.sessions.finish(push, id, digestOf(bytes), again.chunk);
          assert.equal((await again.chunk.body[Symbol.asyncIterator]().next()).done, true, "the body was not read to its end");
          await a.sessions.finish(push, id, digestOf(bytes), undefined);
          assert.equal(await codeOf(b.sessions.finish(push, id, digestOf(Buffer.from("other")), undefined)), "BLOB_UPLOAD_UNKNOWN");
          assert.equal(await codeOf(b.sessions.append(push, id, chunkOf(bytes))), "BLOB_UPLOAD_UNKNOWN");
          await assertStored(b, bytes);
        }
        await assertNothingLeft(a);
      });

      it("are finished again no sooner than the first end is durable", async () => {
        const a = await start();
        const opened = await test.open();
        const [reached, go] = [Promise.withResolvers<string>(), Promise.withResolvers<void>()];
        const sync = async (): Promise<void> => {
          reached.resolve("waits for the disk");
          await go.promise;
          await opened.sync();
        };
        const b = createContent({ ...opened, sync }, fixture.open(`process-${++started}`), clock, TEST_TIMES);
        const bytes = content("durable when asked twice");
        const { id } = await a.sessions.begin(push, "sha256");
        await a.sessions.finish(push, id, digestOf(bytes), chunkOf(bytes));
        const again = b.sessions.finish(push, id, digestOf(bytes), undefined);
        assert.equal(await Promise.race([reached.promise, again.then(() => "answered")]), "waits for the disk");
        go.resolve();
        await again;
        await assertNothingLeft(a);
      });

      it("finish what is small at once, whether it came before, with the end, or both, and in one request without a session", async () => {
        const [a, b] = [await start(), await start()];
        for (const [before, last] of [
          ["", "whole with the end"],
          ["whole before the end", ""],
          ["some before, ", "some with the end"],
        ] as const) {
          const bytes = Buffer.from(before + last);
          const { id } = await a.sessions.begin(push, "sha256");
          if (before !== "") await a.sessions.append(push, id, chunkOf(Buffer.from(before)));
          await b.sessions.finish(push, id, digestOf(bytes), last === "" ? undefined : chunkOf(Buffer.from(last)));
          await assertStored(a, bytes);
          assert.equal(await codeOf(a.sessions.get(push, id)), "BLOB_UPLOAD_UNKNOWN");
        }
        const whole = Buffer.from("one request");
        await a.sessions.pushWhole(push, digestOf(whole), chunkOf(whole));
        await assertStored(b, whole);
        assert.equal(await codeOf(a.sessions.pushWhole(push, digestOf(whole), chunkOf(Buffer.from("other")))), "DIGEST_INVALID");
        assert.equal(await codeOf(a.sessions.pushWhole(push, digestOf(whole), { ...chunkOf(whole), lengthBytes: 5 })), "SIZE_INVALID");
        assert.equal(await a.uploads.countOpen(10), 0);
        await assertNothingLeft(a);
      });

      it("finish nothing small that is not there, not whole, removed, or written to", async () => {
        const [a, b] = [await start(), await start()];
        const bytes = Buffer.from("small and refused");
        const finish = (id: string) => codeOf(a.sessions.finish(push, id, digestOf(bytes), chunkOf(bytes)));
        const cancelled = await a.sessions.begin(push, "sha256");
        await a.sessions.cancel(push, cancelled.id);
        assert.equal(await finish(cancelled.id), "BLOB_UPLOAD_UNKNOWN");
        const wrong = await a.sessions.begin(push, "sha256");
        assert.equal(await codeOf(a.sessions.finish(push, wrong.id, digestOf(Buffer.from("x")), chunkOf(bytes))), "DIGEST_INVALID");
        assert.equal(await codeOf(a.sessions.get(push, wrong.id)), "BLOB_UPLOAD_UNKNOWN");
        const elsewhere = await a.sessions.begin(push, "sha256");
        assert.equal(await codeOf(a.sessions.finish(push, elsewhere.id, digestOf(bytes), chunkOf(bytes, 3))), "RANGE_INVALID");
        assert.equal(
          await codeOf(a.sessions.finish(push, elsewhere.id, digestOf(bytes), { ...chunkOf(bytes), lengthBytes: 30 })),
          "SIZE_INVALID",
        );
        assert.equal((await a.sessions.get(push, elsewhere.id)).offsetBytes, 0);
        const stalled = stallingChunk(content("another writes"));
        const other = b.sessions.append(push, elsewhere.id, stalled.chunk);
        await stalled.reached;
        assert.equal(await finish(elsewhere.id), "CONFLICT");
        stalled.letGo();
        await other;
        await b.sessions.finish(push, elsewhere.id, digestOf(content("another writes")), undefined);
        assert.equal(await a.blobs.find(inRepository(push, repositoryId), digestOf(bytes)), undefined);
        await assertNothingLeft(a);
      });

      it("finish nothing small that grew since it was read", async () => {
        const held = holdAt("uploads.find", "after");
        const [slow, quick] = [await start(held.hook), await start()];
        const [first, second] = [Buffer.from("what was read"), Buffer.from(" and what came")];
        const { id } = await quick.sessions.begin(push, "sha256");
        await quick.sessions.append(push, id, chunkOf(first));
        const finished = codeOf(slow.sessions.finish(push, id, digestOf(first), undefined));
        await held.reached;
        await quick.sessions.append(push, id, chunkOf(second));
        held.letGo();
        assert.equal(await finished, "DIGEST_INVALID");
        assert.equal(await quick.blobs.find(inRepository(push, repositoryId), digestOf(first)), undefined);
        await assertNothingLeft(quick);
      });

      it("never take one process's hash for bytes that another wrote in their place", async () => {
        let isFailing = false;
        const a = await start(async (step, phase) => {
          if (isFailing && step === "uploads.advance" && phase === "before") throw new RegistryError("UNAVAILABLE");
        });
        const b = await start();
        const [good, bad] = [content("good"), content("evil")];
        const { id } = await a.sessions.begin(push, "sha256");
        isFailing = true;
        assert.equal(await codeOf(a.sessions.append(push, id, chunkOf(good))), "UNAVAILABLE");
        await b.sessions.append(push, id, chunkOf(bad));
        assert.equal(await codeOf(a.sessions.finish(push, id, digestOf(good), undefined)), "DIGEST_INVALID");
        assert.equal(await b.blobs.find(inRepository(push, repositoryId), digestOf(good)), undefined);
        await assertNothingLeft(b);
      });

      it("give no session to a writer while it is removed, however long that takes", async () => {
        for (const end of ["cancel", "expire"] as const) {
          const held = holdAt("store.abort");
          const [slow, late] = [await start(held.hook), await start()];
          const bytes = content(`removed by ${end}`);
          const { id } = await late.sessions.begin(push, "sha256");
          await late.sessions.append(push, id, chunkOf(bytes));
          if (end === "expire") clock.advance(TEST_UPLOAD_AGE_MS + 1);
          const removed = end === "cancel" ? slow.sessions.cancel(push, id) : slow.sessions.expire(10);
          await held.reached;
          clock.advance(UPLOAD_LOCK_MS + 1);
          assert.equal(await codeOf(late.sessions.get(push, id)), "BLOB_UPLOAD_UNKNOWN");
          assert.equal(await codeOf(late.sessions.finish(push, id, digestOf(bytes), undefined)), "BLOB_UPLOAD_UNKNOWN");
          held.letGo();
          await removed;
          await assertNothingLeft(late);
        }
      });

      it("remove what was finished after the session had ended", async () => {
        // Nothing is copied in memory: there is nothing to come too late.
        if (storeName === "memory") return;
        const held = holdAt("store.finish");
        const [slow, quick] = [await start(held.hook), await start()];
        // Two segments, which each finish copies into a blob of its own: a small first one would be copied into the second.
        const bytes = Buffer.alloc(LARGE_BYTES + 100_000, "two segments ");
        const { id } = await quick.sessions.begin(push, "sha256");
        await quick.sessions.append(push, id, chunkOf(bytes.subarray(0, LARGE_BYTES)));
        await quick.sessions.append(push, id, chunkOf(bytes.subarray(LARGE_BYTES)));
        const late = codeOf(slow.sessions.finish(push, id, digestOf(bytes), undefined));
        await held.reached;
        clock.advance(UPLOAD_LOCK_MS + 1);
        // The other one ends the session without a word of the segments, as one does that dies before it clears up.
        const claimed = await quick.uploads.claim(inRepository(push, repositoryId), id);
        assert.equal(await quick.uploads.markEnded(claimed), true);
        await quick.uploads.drop(claimed);
        held.letGo();
        assert.equal(await late, "CONFLICT");
        await assertNothingLeft(quick);
      });

      it("leave nothing when the process ends between the commit and what it would clear up", async () => {
        // Nothing outlives the process whose memory it is.
        if (storeName === "memory") return;
        const [a, b] = [await start(), await start()];
        const bytes = content("ended after the commit");
        const { id } = await a.sessions.begin(push, "sha256");
        await a.sessions.append(push, id, chunkOf(bytes.subarray(0, 100_000)));
        const ending = await start(passing, async () => {
          throw new RegistryError("UNAVAILABLE");
        });
        await ending.sessions.finish(push, id, digestOf(bytes), chunkOf(bytes.subarray(100_000)));
        assert.equal(await codeOf(b.sessions.get(push, id)), "BLOB_UPLOAD_UNKNOWN");
        clock.advance(UPLOAD_LOCK_MS + 1);
        await b.sessions.expire(100);
        await b.store.sweep(new Date(Date.now() + 60_000));
        await assertStored(b, bytes);
        await assertNothingLeft(b);
      });

      it("leave alone a session that went on after the collector had listed it", async () => {
        const held = holdAt("uploads.expired", "after");
        const [collector, client] = [await start(held.hook), await start()];
        const bytes = content("back in time");
        const { id } = await client.sessions.begin(push, "sha256");
        clock.advance(TEST_UPLOAD_AGE_MS + 1);
        const expired = collector.sessions.expire(10);
        await held.reached;
        await client.sessions.append(push, id, chunkOf(bytes));
        held.letGo();
        assert.equal(await expired, 0);
        await client.sessions.finish(push, id, digestOf(bytes), undefined);
        await assertStored(collector, bytes);
      });

      it("remove the other sessions when one cannot be", async () => {
        let first: string | undefined;
        const failing = await start(async (step, phase) => {
          if (step !== "store.abort" || phase !== "before" || first !== undefined) return;
          first = step;
          throw new RegistryError("UNAVAILABLE");
        });
        for (let i = 0; i < 3; i++) {
          const { id } = await failing.sessions.begin(push, "sha256");
          await failing.sessions.append(push, id, chunkOf(content(`number ${i}`)));
        }
        clock.advance(TEST_UPLOAD_AGE_MS + 1);
        assert.equal(await codeOf(failing.sessions.expire(10)), "UNAVAILABLE");
        // Its claim has not run out yet.
        assert.equal(await failing.sessions.expire(10), 0);
        clock.advance(UPLOAD_LOCK_MS + 1);
        assert.equal(await failing.sessions.expire(10), 1);
        await assertNothingLeft(failing);
      });
    });
  });
});
