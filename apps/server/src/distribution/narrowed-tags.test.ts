// Rights that are narrowed to tags, by the real flow of pushes and deletions, on both databases: of robots, members and groups. Not here: who may do what
// otherwise (access/authorize.test.ts).
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { parseRepositoryName, type Tag } from "@berth/oci/reference";
import {
  addProject,
  addRobot,
  addUser,
  callerOf,
  createTestAccess,
  createTestClock,
  type TestAccess,
  type TestClock,
} from "../access/access.testing.ts";
import type { Action, Caller } from "../access/caller.ts";
import { addGroupMember, insertGroup, putProjectGroup } from "../access/group-store.ts";
import { putNarrowedMember } from "../access/member-store.ts";
import type { RobotScope } from "../access/robot-scopes.ts";
import { putRobotScopes } from "../access/robot-store.ts";
import { matchesTag } from "../access/tag-patterns.ts";
import { createMemoryBlobs, createMemoryStore } from "../content/blobs/memory.ts";
import { blobOf, createContent, putOf, TEST_TIMES, upload, type Content } from "../content/content.testing.ts";
import type { GrantedRepository } from "../content/repositories.ts";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";

const APP = parseRepositoryName("own/app");
const OTHER = parseRepositoryName("own/other");
const DENIED = { code: "DENIED", status: 403 };

it("tag patterns: name tags by any characters for each star, and nothing else", () => {
  for (const [pattern, tags, others] of [
    ["dev-*", ["dev-", "dev-1", "dev-a.b"], ["dev", "xdev-1", "Dev-1"]],
    ["*", ["a", "latest"], []],
    ["v*.*", ["v1.2", "v.", "v1.2.3"], ["v1", "1.2"]],
    ["a*b*c", ["abc", "aXbYbZc"], ["ab", "acb", "abcd"]],
    ["latest", ["latest"], ["latest2", "lates"]],
  ] as const) {
    for (const tag of tags) assert.equal(matchesTag(pattern, tag), true, `${pattern} ${tag}`);
    for (const tag of others) assert.equal(matchesTag(pattern, tag), false, `${pattern} ${tag}`);
  }
  assert.equal(matchesTag("*a".repeat(60), "a".repeat(127) + "b"), false);
});

forEachDatabase("rights narrowed to tags", (create) => {
  let test: TestDatabase;
  let access: TestAccess;
  let clock: TestClock;
  let content: Content;
  const callers = new Map<string, Caller>();
  const blobs = [blobOf("config", 1), blobOf("layer ")];
  const scopes: readonly RobotScope[] = [
    { repositoryPattern: "own/app", actions: new Set(["pull", "push", "delete"]), tagPatterns: ["dev-*", "pr-*"] },
  ];
  let robotId: number;

  async function at<A extends Action>(key: string, action: A): Promise<GrantedRepository<A>> {
    return (await content.repositories.find(await access.authorizer.authorize(callers.get(key)!, action, APP)))!;
  }

  before(async () => {
    test = await create();
    clock = createTestClock();
    access = createTestAccess(test.database, clock);
    content = createContent(test.database, createMemoryStore({ processId: "p1", memory: createMemoryBlobs() }), clock, TEST_TIMES);
    const projectId = await addProject(test.database, "own");
    callers.set("admin", await callerOf(test.database, await addUser(test.database, "admin", { isAdmin: true, secretHash: "unused" })));
    robotId = (await addRobot(test.database, "own+ci", projectId, {})).id;
    const [member, grouped] = [
      await addUser(test.database, "mia", { secretHash: "x" }),
      await addUser(test.database, "gus", { secretHash: "x" }),
    ];
    const group = { name: "crew", description: "", source: { kind: "local" }, systemRole: undefined } as const;
    await test.database.transaction(async (tx) => {
      await putRobotScopes(tx, robotId, scopes);
      await putNarrowedMember(tx, { id: projectId, name: "own" }, member, { role: "maintainer", scopes });
      const groupId = (await insertGroup(tx, group, 1))!;
      await addGroupMember(tx, groupId, grouped, "local");
      await putProjectGroup(tx, { id: projectId, name: "own" }, groupId, { role: "maintainer", scopes });
    });
    for (const [key, id] of [
      ["robot", robotId],
      ["member", member],
      ["group", grouped],
    ] as const)
      callers.set(key, await callerOf(test.database, id));
    const push = await access.authorizer.authorize(callers.get("admin")!, "push", APP);
    for (const blob of blobs) await upload(content, push, blob);
    await content.manifests.put(await at("admin", "push"), putOf(blobs, ["latest"], "kept"));
  });
  after(() => test.end());

  for (const key of ["robot", "member", "group"]) {
    it(`${key}: moves and deletes the tags that it names, and no other, also with a manifest`, async () => {
      const push = await at(key, "push");
      const remove = await at(key, "delete");
      const image = putOf(blobs, ["dev-1"], key);
      await content.manifests.put(push, image);
      for (const tag of ["latest", "dev", "xdev-1", `new-${key}`])
        await assert.rejects(content.manifests.put(push, putOf(blobs, [tag], key)), DENIED, tag);
      await assert.rejects(content.tags.delete(remove, "latest" as Tag), DENIED);
      // By digest no tag moves; what has no tag, or another one, is not deleted.
      const untagged = putOf(blobs, [], `${key} untagged`);
      await content.manifests.put(push, untagged);
      await assert.rejects(content.manifests.delete(remove, untagged.digest), DENIED);
      await content.manifests.put(await at("admin", "push"), putOf(blobs, [`v-${key}`], key));
      await assert.rejects(content.manifests.delete(remove, image.digest), DENIED);
      await content.tags.delete(await at("admin", "delete"), `v-${key}` as Tag);
      await content.manifests.delete(remove, image.digest);
      const grant = await access.authorizer.authorize(callers.get(key)!, "delete", APP);
      await assert.rejects(content.repositories.delete(grant), DENIED);
      await assert.rejects(async () => content.blobs.delete(remove, blobs[0]!.digest), DENIED);
      await assert.rejects(async () => access.authorizer.authorize(callers.get(key)!, "pull", OTHER), { code: "NAME_UNKNOWN" });
      assert.equal((await content.manifests.findByTag(await at("admin", "pull"), "latest" as Tag)) === undefined, false);
      const [project] = await access.authorizer.listReadableProjects(callers.get(key)!, "", 10);
      assert.deepEqual([project!.reach.mayPull(APP), project!.reach.mayPull(OTHER)], [true, false]);
    });
  }

  it("writes nothing where its tags were narrowed between the decision and the commit", async () => {
    const push = await at("robot", "push");
    const work = content.manifests.put(push, putOf(blobs, ["pr-1"], "before"));
    await work;
    await test.database.transaction((tx) => putRobotScopes(tx, robotId, [{ ...scopes[0]!, tagPatterns: ["dev-*"] }]));
    // The decision is young for whoever made it; another process has changed the rights, and the transaction sees them once it has aged.
    const old = push.grant;
    const aging: GrantedRepository<"push"> = {
      ...push,
      grant: { ...old, renew: (tx) => (tx === undefined ? aging.grant : access.authorizer.authorize(callers.get("robot")!, "push", APP)) },
    };
    access.accounts.forget();
    await assert.rejects(content.manifests.put(aging, putOf(blobs, ["pr-2"], "after")), DENIED);
    assert.equal(await content.manifests.findByTag(await at("admin", "pull"), "pr-2" as Tag), undefined);
  });
});
