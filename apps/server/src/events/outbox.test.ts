// The outbox on every engine: what is recorded with a commit, in which order, by whom; that jobs follow from all of it once, whoever dispatches
// and wherever one ends. Not here: processes that are killed (test/failure).
import assert from "node:assert/strict";
import { it } from "node:test";
import type { RepositoryName, Tag } from "@berth/oci/reference";
import { createTestClock } from "../access/access.testing.ts";
import type { Actor } from "../access/actor.ts";
import type { ContentChange } from "../content/changes.ts";
import { createContent, createGrants, imageOf, blobOf, putOf, TEST_TIMES, upload, type Content } from "../content/content.testing.ts";
import { createMemoryBlobs, createMemoryStore } from "../content/blobs/memory.ts";
import type { Database } from "../platform/database/database.ts";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import { statement } from "../platform/database/statement.ts";
import { createOutbox, type Event, type Outbox, type Reactions } from "./outbox.ts";

const ALICE: Actor = { kind: "user", accountId: 7, name: "alice", origin: { requestId: "r1", address: "192.0.2.1" } };
const allJobs = statement<Record<never, never>>()("test.jobs", (db) => db.selectFrom("job").select(["kind", "subject"]).orderBy("id"));
const created = (repositoryId: number): ContentChange => ({
  kind: "repository.created",
  repository: `p/r${repositoryId}` as RepositoryName,
  repositoryId,
  projectId: 1,
});

forEachDatabase("the outbox", (create, dialect) => {
  async function withOutbox(
    work: (site: { test: TestDatabase; seen: Event<ContentChange>[]; outbox: Outbox<ContentChange> }) => Promise<void>,
  ): Promise<void> {
    const test = await create();
    try {
      const { outbox, seen } = outboxOf(test.database);
      await work({ test, outbox, seen });
    } finally {
      await test.end();
    }
  }

  /** One that wants everything, and asks for a job for each. */
  function outboxOf(database: Database): { outbox: Outbox<ContentChange>; seen: Event<ContentChange>[] } {
    const seen: Event<ContentChange>[] = [];
    const react = (event: Event<ContentChange>) => {
      seen.push(event);
      return [{ kind: event.change.kind, subject: String(event.id), payload: event.change }];
    };
    const kinds = ["manifest.pushed", "manifest.deleted", "tag.moved", "tag.deleted", "repository.created", "repository.deleted"] as const;
    const reactions: Reactions<ContentChange> = Object.fromEntries(kinds.map((kind) => [kind, react]));
    return { outbox: createOutbox(database, createTestClock(), reactions), seen };
  }

  it("says what happened to content, in its order, and by whom", () =>
    withOutbox(async ({ test: { database }, outbox, seen }) => {
      const store = createMemoryStore({ processId: "one", memory: createMemoryBlobs() });
      const content: Content = createContent(database, store, createTestClock(), TEST_TIMES, undefined, outbox);
      const grants = await createGrants(database);
      const [one, other] = [
        [blobOf("config "), blobOf("layer ")],
        [blobOf("config "), blobOf("another ")],
      ];
      const push = grants("push", "test/app");
      const id = await content.repositories.ensureId(push);
      for (const blob of [...one, other[1]!]) await upload(content, push, blob);
      const first = putOf(one, ["latest"]);
      const second = putOf(other, ["latest", "v2"]);
      await content.manifests.put(push, id, first);
      await content.manifests.put(push, id, second);
      // The same again moves nothing.
      await content.manifests.put(push, id, second);
      await content.tags.delete(grants("delete", "test/app"), id, "v2" as Tag);
      await content.manifests.delete(grants("delete", "test/app"), id, first.digest);
      await content.repositories.delete(grants("delete", "test/app"));
      assert.equal(imageOf(one).digest, first.digest);

      assert.equal(await outbox.dispatch(), false);
      assert.deepEqual(
        seen.map(({ change }) => {
          const { repository, repositoryId, projectId, ...rest } = change;
          assert.deepEqual([repository, repositoryId, projectId], ["test/app", id, push.projectId]);
          return rest;
        }),
        [
          { kind: "repository.created" },
          { kind: "manifest.pushed", digest: first.digest, mediaType: first.parsed.mediaType },
          { kind: "tag.moved", tag: "latest", to: first.digest },
          { kind: "manifest.pushed", digest: second.digest, mediaType: second.parsed.mediaType },
          { kind: "tag.moved", tag: "latest", from: first.digest, to: second.digest },
          { kind: "tag.moved", tag: "v2", to: second.digest },
          { kind: "manifest.pushed", digest: second.digest, mediaType: second.parsed.mediaType },
          { kind: "tag.deleted", tag: "v2" },
          { kind: "manifest.deleted", digest: first.digest },
          { kind: "repository.deleted" },
        ],
      );
      assert.deepEqual(seen[0]?.actor, { kind: "anonymous", accountId: null, name: "" });
    }));

  it("holds a change if and only if its transaction is committed, and never gives an id twice", () =>
    withOutbox(async ({ test: { database }, outbox, seen }) => {
      await database.transaction((tx) => outbox.record(tx, ALICE, [created(1), created(2)]));
      await assert.rejects(
        database.transaction(async (tx) => {
          await outbox.record(tx, ALICE, [created(3)]);
          throw new Error("taken back");
        }),
        /taken back/,
      );
      assert.equal(await outbox.dispatch(), false);
      await database.transaction((tx) => outbox.record(tx, ALICE, [created(4)]));
      assert.equal(await outbox.dispatch(), false);
      assert.deepEqual(
        seen.map(({ change }) => change.repositoryId),
        [1, 2, 4],
      );
      const ids = seen.map(({ id }) => id);
      assert.deepEqual(
        ids,
        ids.toSorted((one, two) => one - two),
      );
      assert.equal(new Set(ids).size, 3);
      assert.deepEqual(seen[2]?.actor, ALICE);
    }));

  it("leaves out what nobody wants, and lets go of what another version wanted", () =>
    withOutbox(async ({ test: { database }, outbox }) => {
      const indifferent = createOutbox<ContentChange>(database, createTestClock(), {});
      assert.equal(indifferent.wants("tag.moved"), false);
      await database.transaction((tx) => indifferent.record(tx, ALICE, [created(1)]));
      await database.transaction((tx) => outbox.record(tx, ALICE, [created(2)]));
      assert.equal(await indifferent.dispatch(), false);
      assert.equal(await outbox.dispatch(), false);
      assert.deepEqual(await database.all(allJobs, {}), []);
    }));

  it("asks for each job once where several dispatch at once and some fail on the way", () =>
    withOutbox(async ({ test, outbox }) => {
      const COUNT = 450;
      for (let at = 0; at < COUNT; at += 50) {
        const changes = Array.from({ length: 50 }, (_, n) => created(at + n));
        await test.database.transaction((tx) => outbox.record(tx, ALICE, changes));
      }
      let left = 3;
      const failing = outboxOf(await test.open());
      const reactions: Reactions<ContentChange> = {
        "repository.created": ({ id, change }) => {
          if (change.repositoryId === 120 && left-- > 0) throw new Error("it ended here");
          return [{ kind: change.kind, subject: String(id), payload: change }];
        },
      };
      const halting = createOutbox(await test.open(), createTestClock(), reactions);
      async function drain(one: Outbox<ContentChange>): Promise<void> {
        for (;;) {
          try {
            if (!(await one.dispatch())) return;
          } catch (error) {
            assert.match((error as Error).message, /it ended here/);
          }
        }
      }
      await Promise.all([drain(halting), drain(failing.outbox), drain(halting)]);
      while (await outbox.dispatch());
      const jobs = await test.database.all(allJobs, {});
      assert.equal(jobs.length, COUNT, dialect);
      assert.equal(new Set(jobs.map(({ subject }) => subject)).size, COUNT);
    }));
});
