// The port of tag rules, with the real flow of pushes and deletions: each change is checked with the tag's old and new digest, and a
// refused one leaves nothing. On both databases, with a rule over a table and an obvious fake. Not here: any rule of a feature.
import assert from "node:assert/strict";
import { after, before, beforeEach, it } from "node:test";
import { RegistryError } from "@berth/oci/errors";
import type { Tag } from "@berth/oci/reference";
import type { Kysely } from "kysely";
import { createTestClock } from "../access/access.testing.ts";
import type { Action } from "../access/caller.ts";
import { createReadTraits, type ProjectTrait } from "../access/project-traits.ts";
import { createMemoryBlobs, createMemoryStore } from "../content/blobs/memory.ts";
import { blobOf, createContent, createGrants, putOf, TEST_TIMES, upload, type Content } from "../content/content.testing.ts";
import type { GrantedRepository } from "../content/repositories.ts";
import type { TagRule, TagWrite } from "../content/rules.ts";
import type { Database } from "../platform/database/database.ts";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import { statement } from "../platform/database/statement.ts";

const trait: ProjectTrait = { name: "test-immutable", read: String };
const TRAITS = createReadTraits([trait])({ traits: JSON.stringify({ [trait.name]: "x" }), traits_revision: 1 });
const NAMED_BY_A_RELEASE = "releases stay what they are";

interface TestRule {
  readonly rule: TagRule;
  readonly asked: TagWrite[];
}

const isRelease = (tag: string): boolean => tag.startsWith("v");

/** The fake: release tags neither move nor are deleted. */
async function fakeRule(): Promise<TestRule> {
  const asked: TagWrite[] = [];
  return {
    asked,
    rule: {
      trait,
      refusalOf(_tx, _writer, writes) {
        asked.push(...writes);
        return writes.some(({ tag, from }) => from !== undefined && isRelease(tag)) ? NAMED_BY_A_RELEASE : undefined;
      },
    },
  };
}

const findPrefix = statement<{ projectId: number }>()("test.tagRule", (db, p) =>
  (db as unknown as Kysely<{ test_tag_rule: { project_id: number; prefix: string } }>)
    .selectFrom("test_tag_rule")
    .select("prefix")
    .where("project_id", "=", p.projectId),
);

/** The realistic one: the project's setting is looked up in the transaction. */
async function tableRule(database: Database): Promise<TestRule> {
  await database.script("create table test_tag_rule (project_id bigint not null, prefix text not null)");
  await database.script("insert into test_tag_rule select id, 'v' from project where name = 'test'");
  const asked: TagWrite[] = [];
  return {
    asked,
    rule: {
      trait,
      async refusalOf(tx, { projectId }, writes) {
        asked.push(...writes);
        const rows = await tx.all(findPrefix, { projectId });
        const isKept = ({ tag, from }: TagWrite): boolean => from !== undefined && rows.some(({ prefix }) => tag.startsWith(prefix));
        return writes.some(isKept) ? NAMED_BY_A_RELEASE : undefined;
      },
    },
  };
}

for (const [kind, makeRule] of [
  ["a rule over a table", tableRule],
  ["a fake rule", fakeRule],
] as const) {
  forEachDatabase(`${kind} of tags`, (create) => {
    let test: TestDatabase;
    let content: Content;
    let rule: TestRule;
    let name: string;
    let at: <A extends Action>(action: A) => Promise<GrantedRepository<A>>;
    let count = 0;
    const blobs = [blobOf("config", 1), blobOf("layer ")];
    const imageNamed = (note: string, tags: readonly string[]) => putOf(blobs, tags, note);

    before(async () => {
      test = await create();
      const grants = await createGrants(test.database, TRAITS);
      rule = await makeRule(test.database);
      const store = createMemoryStore({ processId: "p1", memory: createMemoryBlobs() });
      content = createContent(test.database, store, createTestClock(), TEST_TIMES, undefined, undefined, { tagRules: [rule.rule] });
      at = async (action) => (await content.repositories.find(grants(action, name)))!;
    });
    beforeEach(async () => {
      name = `test/r${++count}`;
      const push = (await createGrants(test.database, TRAITS))("push", name);
      for (const blob of blobs) await upload(content, push, blob);
      rule.asked.length = 0;
    });
    after(() => test.end());

    const isRefused = (error: unknown): boolean =>
      error instanceof RegistryError && error.code === "DENIED" && error.status === 403 && error.message.includes(NAMED_BY_A_RELEASE);
    const digestAt = async (tag: string) => (await content.manifests.findByTag(await at("pull"), tag as Tag))?.digest;

    it("is asked with what the tag named and is to name, and nothing where nothing changes", async () => {
      const [one, two] = [imageNamed("1", ["latest"]), imageNamed("2", ["latest"])];
      const push = await at("push");
      for (const put of [one, one, two]) await content.manifests.put(push, put);
      await content.tags.delete(await at("delete"), "latest" as Tag);
      assert.deepEqual(rule.asked, [
        { tag: "latest", from: undefined, to: one.digest },
        { tag: "latest", from: one.digest, to: two.digest },
        { tag: "latest", from: two.digest, to: undefined },
      ]);
      await assert.rejects(content.tags.delete(await at("delete"), "latest" as Tag), { code: "MANIFEST_UNKNOWN" });
    });

    it("refuses by every way, and leaves all as it was", async () => {
      const one = imageNamed("1", ["v1", "latest"]);
      const two = imageNamed("2", ["a", "v1"]);
      const [push, remove] = [await at("push"), await at("delete")];
      await content.manifests.put(push, one);
      await assert.rejects(content.manifests.put(push, two), isRefused, "a push");
      await assert.rejects(content.tags.delete(remove, "v1" as Tag), isRefused, "a tag's deletion");
      await assert.rejects(content.manifests.delete(remove, one.digest), isRefused, "a manifest's deletion");
      assert.equal(await digestAt("v1"), one.digest);
      assert.equal(await digestAt("latest"), one.digest);
      assert.equal(await digestAt("a"), undefined);
      assert.equal(await content.manifests.findByDigest(push, two.digest), undefined);
      assert.equal((await content.tags.listHistory(push, "v1" as Tag, undefined, 10)).length, 1);
      // Tags without a rule can still be deleted.
      await content.tags.delete(remove, "latest" as Tag);
      await content.manifests.put(push, imageNamed("2", ["a"]));
    });

    it("is asked of pushers at once by what the one before has left", async () => {
      const push = await at("push");
      const images = Array.from({ length: 6 }, (_, i) => imageNamed(`${i}`, ["v2"]));
      const outcomes = await Promise.allSettled(images.map((put) => content.manifests.put(push, put)));
      const refused = outcomes.filter((outcome) => outcome.status === "rejected");
      for (const { reason } of refused) assert.ok(isRefused(reason), String(reason));
      assert.equal(refused.length, images.length - 1);
      assert.equal((await content.tags.listHistory(push, "v2" as Tag, undefined, 10)).length, 1);
    });

    it("is not asked of projects without it", async () => {
      const free = (await createGrants(test.database))("push", name);
      for (const note of ["1", "2"]) {
        await content.repositories.writing(free, (repository) => content.manifests.put(repository, imageNamed(note, ["v1"])));
      }
      assert.equal(rule.asked.length, 0);
    });
  });
}
