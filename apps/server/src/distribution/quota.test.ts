// The port of quotas, with the real flow of uploads, mounts and manifests: new bytes are taken once, in the transaction that stores them;
// failures leave nothing; and concurrent pushers do not exceed a limit. On both databases, with both ledgers. Not here: any quota of a
// feature.
import assert from "node:assert/strict";
import { after, before, beforeEach, it } from "node:test";
import { RegistryError } from "@berth/oci/errors";
import { createTestClock } from "../access/access.testing.ts";
import type { Grant } from "../access/caller.ts";
import { createReadTraits } from "../access/project-traits.ts";
import { createMemoryBlobs, createMemoryStore } from "../content/blobs/memory.ts";
import { blobOf, bodyOf, createContent, createGrants, putOf, TEST_TIMES, upload, type Content } from "../content/content.testing.ts";
import { findRegistryUsage } from "../content/usage.ts";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import { MINUTE_MS } from "../platform/clock.ts";
import { fakeLedger, quotaTrait, tableLedger, type TestLedger } from "./quotas.testing.ts";

const TRAITS = createReadTraits([quotaTrait])({ traits: JSON.stringify({ [quotaTrait.name]: 1 }), traits_revision: 1 });

for (const [kind, makeLedger] of [
  ["a ledger of tables", tableLedger],
  ["a fake ledger", fakeLedger],
] as const) {
  forEachDatabase(`${kind} of quotas`, (create) => {
    const isReal = makeLedger === tableLedger;
    const clock = createTestClock();
    let test: TestDatabase;
    let ledger: TestLedger;
    let content: Content;
    let grantFor: Awaited<ReturnType<typeof createGrants>>;
    let push: Grant<"push">;
    let count = 0;

    before(async () => {
      test = await create();
      ledger = await makeLedger(test.database, clock);
      grantFor = await createGrants(test.database, TRAITS);
      const store = createMemoryStore({ processId: "p1", memory: createMemoryBlobs() });
      content = createContent(test.database, store, clock, TEST_TIMES, undefined, undefined, { quota: ledger.ledger });
    });
    beforeEach(() => {
      push = grantFor("push", `test/r${++count}`);
    });
    after(() => test.end());

    const limit = (bytes: number): Promise<void> => ledger.limit(push.projectId, bytes);
    const used = (): Promise<number> => ledger.used(push.projectId);
    const own = (): string => `${kind} ${count} `;
    const isExceeded = (error: unknown): boolean =>
      error instanceof RegistryError &&
      error.code === "DENIED" &&
      /quota of project test is exceeded: \d+ of \d+ bytes/.test(error.message);

    it("takes what is new, and nothing for what is there", async () => {
      const [config, layer] = [blobOf(`${own()}config`, 1), blobOf(`${own()}layer `)];
      const image = putOf([config, layer], ["v1"], own());
      await limit(100_000);
      for (let i = 0; i < 2; i++) {
        for (const blob of [config, layer]) await upload(content, push, blob);
        await content.repositories.writing(push, (repository) => content.manifests.put(repository, image));
        if (isReal) assert.equal(await used(), config.bytes.length + layer.bytes.length + image.bytes.length);
      }
      const other = grantFor("push", `test/mounted${count}`);
      const source = (await content.repositories.find(grantFor("pull", push.repository)))!;
      const before = await used();
      for (let i = 0; i < 2; i++) {
        assert.equal(
          await content.repositories.writing(other, (repository) => content.blobs.mount(repository, source, layer.digest)),
          true,
        );
        if (isReal) assert.equal(await used(), before + layer.bytes.length);
      }
      assert.equal(await ledger.reservations(), 0);
    });

    it("refuses what does not fit, by every way in, and keeps nothing of it", async () => {
      const [config, layer] = [blobOf(`${own()}c`, 1), blobOf(`${own()}layer `)];
      await limit(100_000);
      for (const blob of [config, layer]) await upload(content, push, blob);
      await limit(10);
      const found = await findRegistryUsage(test.database);
      const small = blobOf(`${own()}0123456`.slice(-30), 1);
      const large = blobOf(`${own()}too large `);
      await assert.rejects(upload(content, push, small), isExceeded, "a small blob");
      await assert.rejects(upload(content, push, large), isExceeded, "a large blob");
      const stream = { body: bodyOf(large.bytes), startBytes: undefined, lengthBytes: undefined };
      await assert.rejects(content.sessions.pushWhole(push, large.digest, stream), isExceeded, "a stream of no known length");
      const { id } = await content.sessions.begin(push, "sha256");
      const chunk = { body: bodyOf(large.bytes), startBytes: 0, lengthBytes: large.bytes.length };
      await assert.rejects(content.sessions.append(push, id, chunk), isExceeded, "a chunk");
      await content.sessions.cancel(push, id);
      const put = putOf([config, layer], ["v1"], own());
      await assert.rejects(
        content.repositories.writing(push, (repository) => content.manifests.put(repository, put)),
        isExceeded,
        "a manifest",
      );
      const other = grantFor("push", `test/mounted${count}`);
      const source = (await content.repositories.find(grantFor("pull", push.repository)))!;
      await assert.rejects(
        content.repositories.writing(other, (repository) => content.blobs.mount(repository, source, layer.digest)),
        isExceeded,
        "a mount",
      );
      assert.deepEqual(await findRegistryUsage(test.database), found);
      assert.equal(await used(), 0);
      assert.equal(await ledger.reservations(), 0);
    });

    it("gives back what a failing transaction took, and what its upload had set aside", async () => {
      const wrong = blobOf(`${own()}wrong `);
      await limit(100_000);
      const chunk = { body: bodyOf(wrong.bytes), startBytes: undefined, lengthBytes: wrong.bytes.length };
      await assert.rejects(content.sessions.pushWhole(push, blobOf("another").digest, chunk), { code: "DIGEST_INVALID" });
      // Refused after the ledger has taken them.
      const ended: Grant<"push"> = Object.assign(Object.create(null), push, {
        renew: (tx?: unknown) => {
          if (tx !== undefined) throw new RegistryError("DENIED", { message: "the right has ended" });
          return ended;
        },
      });
      const config = blobOf(`${own()}config`, 1);
      for (const blob of [wrong, config]) await assert.rejects(upload(content, ended, blob), { message: "the right has ended" });
      await upload(content, push, config);
      const taken = await used();
      const put = putOf([config], ["v1"], own());
      await assert.rejects(
        content.repositories.writing(ended, (repository) => content.manifests.put(repository, put)),
        { message: "the right has ended" },
      );
      assert.equal(await used(), taken);
      assert.equal(taken, isReal ? config.bytes.length : 0);
      assert.equal(await ledger.reservations(), 0);
    });

    it("asks nothing of projects without a quota", async () => {
      await limit(0);
      const free = (await createGrants(test.database))("push", `test/free${count}`);
      await upload(content, free, blobOf(`${own()}free `));
      assert.equal(await used(), 0);
    });

    // The fake forgets what it allowed, and reserves nothing: tests of those need the real one.
    if (!isReal) return;

    it("is not passed by eight pushers at once", async () => {
      const each = blobOf(`${own()}0 `).bytes.length;
      await limit(3 * each + 1);
      const blobs = Array.from({ length: 8 }, (_, i) => blobOf(`${own()}${i} `));
      const before = await findRegistryUsage(test.database);
      const outcomes = await Promise.allSettled(blobs.map((blob) => upload(content, push, blob)));
      const refused = outcomes.filter((outcome) => outcome.status === "rejected");
      for (const { reason } of refused) assert.ok(isExceeded(reason), String(reason));
      const stored = ((await findRegistryUsage(test.database)).bytes - before.bytes) / each;
      assert.equal(stored, 8 - refused.length);
      assert.ok(stored <= 3, `${stored} were stored`);
      assert.equal(await used(), stored * each);
      assert.equal(await ledger.reservations(), 0);
      // A push that was refused only because of others' reservations succeeds now.
      for (const blob of blobs) await upload(content, push, blob).catch((error: unknown) => assert.ok(isExceeded(error)));
      assert.equal(await used(), 3 * each);
    });

    it("keeps room for an upload that goes on, until its time", async () => {
      const first = blobOf(`${own()}first `);
      const second = blobOf(`${own()}second `);
      await limit(first.bytes.length + 10);
      const { id } = await content.sessions.begin(push, "sha256");
      await content.sessions.append(push, id, { body: bodyOf(first.bytes), startBytes: 0, lengthBytes: first.bytes.length });
      assert.equal(await ledger.reservations(), 1);
      await assert.rejects(upload(content, push, second), isExceeded);
      await content.sessions.finish(push, id, first.digest, undefined);
      assert.equal(await ledger.reservations(), 0);
      assert.equal(await used(), first.bytes.length);

      await limit(second.bytes.length + 10);
      const abandoned = await content.sessions.begin(push, "sha256");
      await content.sessions.append(push, abandoned.id, { body: bodyOf(first.bytes), startBytes: 0, lengthBytes: first.bytes.length });
      await assert.rejects(upload(content, push, second), isExceeded);
      clock.advance(16 * MINUTE_MS);
      await upload(content, push, second);
    });
  });
}
