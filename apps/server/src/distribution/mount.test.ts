// Mounts that name no source: it is found in everything that the caller may read, and in nothing else. Not here: the amount of work
// (same-work.test.ts), mounts with a source (test/flows/distribution-api.test.ts).
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { parseRepositoryName } from "@berth/oci/reference";
import { addProject, addRobot, addUser, callerOf, createTestAccess, createTestClock, type TestAccess } from "../access/access.testing.ts";
import { actorOf } from "../access/actor.ts";
import type { Caller, Grant } from "../access/caller.ts";
import { UnauthorizedError } from "../access/challenge.ts";
import { createMemoryBlobs, createMemoryStore } from "../content/blobs/memory.ts";
import { blobOf, createContent, upload, type Content } from "../content/content.testing.ts";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import { createMount, type Mount } from "./mount.ts";

/** Where the blobs are, each under the name of the only repository that the caller of a case may have it from. */
const WHERE = ["own/base", "own/deep/base", "mine/base", "pub/base", "oth/base", "oth/allowed/base"] as const;
type Where = (typeof WHERE)[number];

/** The sources of each caller, by the documentation of roles and scopes. */
const READS: Readonly<Record<string, readonly Where[]>> = {
  member: ["own/base", "own/deep/base", "mine/base", "pub/base"],
  administrator: WHERE,
  "own+whole": ["own/base", "own/deep/base", "pub/base"],
  "own+part": ["own/base", "pub/base"],
  "+wide": ["own/base", "own/deep/base", "pub/base", "oth/allowed/base"],
  "+all": WHERE,
};

forEachDatabase("a mount from wherever it is", (create) => {
  let test: TestDatabase;
  let content: Content;
  let access: TestAccess;
  let mount: Mount;
  const callers = new Map<string, Caller>();
  const projects = new Map<string, number>();
  let count = 0;

  before(async () => {
    test = await create();
    const { database } = test;
    const clock = createTestClock();
    access = createTestAccess(database, clock);
    content = createContent(database, createMemoryStore({ processId: "p", memory: createMemoryBlobs() }), clock);
    mount = createMount({ ...content, ...access });
    for (const name of ["mine", "oth", "own", "pub"]) projects.set(name, await addProject(database, name, name === "pub"));
    const own = projects.get("own")!;
    const roles = new Map([
      [own, "developer"],
      [projects.get("mine")!, "guest"],
    ] as const);
    callers.set("member", await callerOf(database, await addUser(database, "member", { roles, secretHash: "unused" })));
    callers.set(
      "administrator",
      await callerOf(database, await addUser(database, "administrator", { isAdmin: true, secretHash: "unused" })),
    );
    const robots = [
      ["own+whole", own, { "own/**": ["pull", "push"] }],
      ["own+part", own, { "own/*": ["pull"], "own/t/**": ["push"] }],
      ["+wide", undefined, { "own/**": ["pull", "push"], "oth/allowed/**": ["pull"], "none/**": ["pull"] }],
      ["+all", undefined, { "**": ["pull", "push"] }],
    ] as const;
    for (const [name, projectId, scopes] of robots)
      callers.set(name, await callerOf(database, (await addRobot(database, name, projectId, scopes)).id));
  });
  after(() => test.end());

  function granted(name: string): Grant<"push"> {
    const repository = parseRepositoryName(name);
    const grant = {
      action: "push",
      repository,
      projectId: projects.get(name.split("/")[0]!),
      actor: actorOf(undefined, undefined),
      renew: () => grant,
    } as Grant<"push">;
    return grant;
  }

  /** Puts a new blob into repositories, and returns whether the caller can mount it into a new one. */
  async function isMounted(who: string, where: Where, others: number): Promise<boolean> {
    const caller = callers.get(who)!;
    const blob = blobOf(`blob ${++count} `);
    for (let i = 0; i < others; i++) await upload(content, granted(`oth/before${i}`), blob);
    await upload(content, granted(where), blob);
    const grant = await access.authorizer.authorize(caller, "push", parseRepositoryName(`own/t/target${count}`));
    const { isMounted: isTrue } = await mount.mount(caller, grant, blob.digest, undefined);
    const target = await content.repositories.find(grant);
    assert.equal(target !== undefined && (await content.blobs.find(target, blob.digest)) !== undefined, isTrue);
    return isTrue;
  }

  it("finds what the caller may read, and nothing else", async () => {
    for (const [who, reads] of Object.entries(READS))
      for (const where of WHERE) assert.equal(await isMounted(who, where, 0), reads.includes(where), `${who} from ${where}`);
  });

  it("finds it however many others have it as well", async () => {
    assert.equal(await isMounted("member", "mine/base", 55), true);
    assert.equal(await isMounted("+wide", "oth/allowed/base", 55), true);
  });

  it("reports a token that does not name the source which one would do", async () => {
    const blob = blobOf(`blob ${++count} `);
    await upload(content, granted("mine/base"), blob);
    const target = parseRepositoryName("own/t/target");
    const actions = new Set(["pull", "push"] as const);
    const caller = { ...callers.get("member")!, access: new Map([[target, actions]]) } as Caller;
    const grant = await access.authorizer.authorize(caller, "push", target);
    await assert.rejects(mount.mount(caller, grant, blob.digest, undefined), (error) => {
      assert.ok(error instanceof UnauthorizedError);
      assert.match(JSON.stringify(error), /repository:mine\/base:pull/);
      return true;
    });
    const better = { ...caller, access: new Map([...caller.access!, [parseRepositoryName("mine/base"), actions]]) } as Caller;
    assert.equal((await mount.mount(better, grant, blob.digest, undefined)).isMounted, true);
  });
});
