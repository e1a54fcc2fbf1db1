// The outbox on every engine: what is recorded with a commit, in which order, by whom; that reactions happen exactly once, whoever
// dispatches and wherever one ends. Not here: processes that are killed (test/failure).
import assert from "node:assert/strict";
import { it } from "node:test";
import { RegistryError } from "@berth/oci/errors";
import type { RepositoryName, Tag } from "@berth/oci/reference";
import { createTestClock } from "../access/access.testing.ts";
import type { Actor } from "../access/actor.ts";
import type { ContentChange } from "../content/changes.ts";
import {
  createContent,
  createGrants,
  imageOf,
  blobOf,
  putOf,
  TEST_TIMES,
  upload,
  type Content,
  inRepository,
} from "../content/content.testing.ts";
import { createMemoryBlobs, createMemoryStore } from "../content/blobs/memory.ts";
import type { Database } from "../platform/database/database.ts";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import { statement } from "../platform/database/statement.ts";
import { createJobStore, retryJob } from "./job-store.ts";
import { kindOf, runnerOf, until } from "./jobs.testing.ts";
import { createOutbox, REACTION, type Event, type Outbox, type Reactions } from "./outbox.ts";

const ALICE: Actor = {
  kind: "user",
  accountId: 7,
  name: "alice",
  origin: { requestId: "r1", address: "192.0.2.1" },
  via: { kind: "password" },
};
const allJobs = statement<Record<never, never>>()("test.jobs", (db) =>
  db.selectFrom("job").select(["id", "kind", "subject"]).orderBy("id"),
);
const allChanges = statement<Record<never, never>>()("test.changes", (db) => db.selectFrom("outbox").select("id"));
/** Corrupts the newest of four changes. */
const spoil = statement<{ text: string }>()("test.spoil", (db, p) =>
  db
    .updateTable("outbox")
    .set({ change: p.text })
    .where("id", "=", (eb) => eb.selectFrom("outbox as newest").select(({ fn }) => fn.max("newest.id").as("id"))),
);
const reactionOf = (outbox: Outbox<ContentChange>) =>
  kindOf(REACTION, (job) => outbox.react(job), { retry: { attempts: 2, firstDelayMs: 1000, maxDelayMs: 1000 } });
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

  /** An outbox that records everything, and requests a job for each change. */
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
      const id = (await content.repositories.ensure(push)).id;
      for (const blob of [...one, other[1]!]) await upload(content, push, blob);
      const first = putOf(one, ["latest"]);
      const second = putOf(other, ["latest", "v2"]);
      await content.manifests.put(inRepository(push, id), first);
      await content.manifests.put(inRepository(push, id), second);
      // Pushing the same again moves no tag.
      await content.manifests.put(inRepository(push, id), second);
      await content.tags.delete(inRepository(grants("delete", "test/app"), id), "v2" as Tag);
      await content.manifests.delete(inRepository(grants("delete", "test/app"), id), first.digest);
      await content.manifests.put(inRepository(push, id), putOf(other, ["v3"]));
      await content.manifests.delete(inRepository(grants("delete", "test/app"), id), second.digest);
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
          { kind: "manifest.pushed", digest: second.digest, mediaType: second.parsed.mediaType },
          { kind: "tag.moved", tag: "v3", to: second.digest },
          { kind: "tag.deleted", tag: "latest" },
          { kind: "tag.deleted", tag: "v3" },
          { kind: "manifest.deleted", digest: second.digest },
          { kind: "repository.deleted" },
        ],
      );
      assert.deepEqual(seen[0]?.actor, { kind: "anonymous", accountId: null, name: "", via: { kind: "none" } });
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

  it("leaves out what nobody wants, and sets aside what another version wants, until that one comes to it", () =>
    withOutbox(async ({ test: { database }, outbox, seen }) => {
      const indifferent = createOutbox<ContentChange>(database, createTestClock(), {});
      assert.equal(indifferent.wants("tag.moved"), false);
      await database.transaction((tx) => indifferent.record(tx, ALICE, [created(1)]));
      await database.transaction((tx) => outbox.record(tx, ALICE, [created(2)]));
      assert.equal(await indifferent.dispatch(), false);
      assert.deepEqual(
        (await database.all(allJobs, {})).map(({ kind }) => kind),
        [REACTION],
      );
      const clock = createTestClock();
      clock.advance(60_000);
      const { runner, ends } = runnerOf(database, clock, [reactionOf(outbox)], { pollMs: 10 });
      runner.start();
      await until(() => ends.length === 1);
      await runner.stop();
      assert.deepEqual([ends, seen.map(({ change, actor }) => [change, actor])], [["reaction succeeded"], [[created(2), ALICE]]]);
      assert.deepEqual(
        (await database.all(allJobs, {})).map(({ kind }) => kind),
        [REACTION, "repository.created"],
      );
    }));

  it("sets aside what nothing can follow from, tries it again less and less often, and keeps it to be seen and tried again", () =>
    withOutbox(async ({ test: { database } }) => {
      const clock = createTestClock();
      const setAside: unknown[] = [];
      let isMended = false;
      const reactions: Reactions<ContentChange> = {
        "repository.created": ({ id, change }) => {
          if (change.repositoryId === 2 && !isMended) throw new Error("a fault of the program");
          // A job that no database accepts counts as well.
          if (change.repositoryId === 3 && !isMended) return [{ kind: "follow", subject: "x", priority: Number.NaN }];
          return [{ kind: "follow", subject: String(id) }];
        },
      };
      const outbox = createOutbox(database, clock, reactions, { onSetAside: (error) => setAside.push((error as Error).message) });
      await database.transaction((tx) => outbox.record(tx, ALICE, [created(1), created(2), created(3), created(4)]));
      await database.transaction((tx) => tx.run(spoil, { text: "{no JSON" }, 1));
      await database.transaction((tx) => outbox.record(tx, ALICE, [created(5)]));
      while (await outbox.dispatch());
      const kinds = async (): Promise<string[]> => (await database.all(allJobs, {})).map(({ kind }) => kind);
      assert.deepEqual(await kinds(), ["follow", REACTION, REACTION, REACTION, "follow"]);
      assert.equal(setAside.length, 3);
      assert.equal((await database.all(allChanges, {})).length, 0);

      const { runner, ends, errors } = runnerOf(database, clock, [reactionOf(outbox)], { pollMs: 10 });
      runner.start();
      // Two attempts each. Time passes only while no job runs: a jump in the middle of a run would end its lease.
      for (const count of [3, 6]) {
        clock.advance(60_000);
        runner.wake();
        await until(() => ends.length >= count);
      }
      assert.deepEqual(ends.filter((end) => end === "reaction failed").length, 3, ends.join());
      assert.ok(errors.includes("a fault of the program"), errors.join("; "));
      const store = createJobStore(database);
      assert.equal(await store.countFailed(100), 3);
      isMended = true;
      const failed = (await database.all(allJobs, {})).filter(({ kind }) => kind === REACTION);
      for (const { id } of failed) assert.ok(await database.transaction((tx) => retryJob(tx, id, "admin", clock.now())));
      // They are ready at once. The change that is not valid JSON fails again, twice.
      await until(() => ends.length >= 9);
      clock.advance(60_000);
      await until(() => ends.length >= 10);
      await runner.stop();
      assert.deepEqual(await kinds(), ["follow", REACTION, REACTION, REACTION, "follow", "follow", "follow"]);
      assert.equal(await store.countFailed(100), 1);
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
          if (change.repositoryId === 120 && left-- > 0) throw new RegistryError("UNAVAILABLE", { message: "it ended here" });
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
      assert.deepEqual([...new Set(jobs.map(({ kind }) => kind))], ["repository.created"]);
    }));
});
