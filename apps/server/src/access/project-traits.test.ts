// Projects' traits beyond their members: decisions carry them, how fast a change takes effect, and an unreadable one closes the project.
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { RegistryError } from "@berth/oci/errors";
import { parseRepositoryName } from "@berth/oci/reference";
import { interceptDatabase } from "../content/intercept.testing.ts";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import type { Database } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import { addProject, addUser, callerOf, createTestAccess, createTestClock, type TestAccess } from "./access.testing.ts";
import type { AccountCaller, Grant } from "./caller.ts";
import { createReadTraits, type ProjectTrait, putProjectTrait } from "./project-traits.ts";

interface Limit {
  readonly most: number;
}

const limit: ProjectTrait<Limit> = {
  name: "limit",
  read(stored) {
    const { most } = stored as Limit;
    if (typeof most !== "number") throw new TypeError("no limit");
    return { most };
  },
};
const colour: ProjectTrait<string> = { name: "colour", read: String };
const REPOSITORY = parseRepositoryName("team/app");

const setStored = statement<{ id: number; traits: string }>()("test.set_traits", (db, p) =>
  db.updateTable("project").set({ traits: p.traits }).where("id", "=", p.id),
);

forEachDatabase("traits of projects", (create) => {
  let test: TestDatabase;
  let projectId: number;
  let caller: AccountCaller;
  const clock = createTestClock();

  const replica = (database: Database = test.database, traits: readonly ProjectTrait[] = [limit, colour]): TestAccess =>
    createTestAccess(database, clock, traits);
  const put = (trait: ProjectTrait, value: unknown): Promise<void> =>
    test.database.transaction((tx) => putProjectTrait(tx, projectId, trait, value));
  const grantOf = async ({ authorizer }: TestAccess): Promise<Grant<"pull">> => authorizer.authorize(caller, "pull", REPOSITORY);

  before(async () => {
    test = await create();
    projectId = await addProject(test.database, "team");
    caller = await callerOf(test.database, await addUser(test.database, "ann", { roles: new Map([[projectId, "owner"]]) }));
  });
  after(() => test.end());

  it("are none where a project has none, and cost no statement", async () => {
    const steps: string[] = [];
    const hook = async (step: string, phase: string): Promise<void> => {
      if (phase === "before") steps.push(step);
    };
    const grant = await grantOf(replica(interceptDatabase(test.database, hook, true)));
    assert.equal(grant.traits, undefined);
    assert.deepEqual(steps, ["account.by_id", "access.standing"]);
  });

  it("come with the decision, and with each change another revision, also when the last one goes", async () => {
    const revisions: number[] = [];
    for (const [trait, value] of [
      [limit, { most: 3 }],
      [colour, "red"],
      [limit, undefined],
    ] as const) {
      await put(trait, value);
      revisions.push((await grantOf(replica())).traits!.revision);
    }
    const { traits } = await grantOf(replica());
    assert.deepEqual([traits?.has(limit), traits?.find(limit), traits?.find(colour)], [false, undefined, "red"]);
    await put(colour, undefined);
    assert.equal((await grantOf(replica())).traits, undefined);
    await put(limit, { most: 4 });
    const again = (await grantOf(replica())).traits!;
    assert.deepEqual(again.find(limit), { most: 4 });
    revisions.push(again.revision);
    assert.deepEqual(revisions, [revisions[0]!, revisions[0]! + 1, revisions[0]! + 2, revisions[0]! + 4]);
    await put(limit, undefined);
  });

  it("count within a second on another replica, at once on the one that made the change and inside a transaction", async () => {
    const [here, there] = [replica(), replica()];
    const [held, old] = [await grantOf(here), await grantOf(there)];
    await put(limit, { most: 1 });
    here.accounts.forget();
    assert.deepEqual((await grantOf(here)).traits?.find(limit), { most: 1 });
    assert.deepEqual((await held.renew()).traits?.find(limit), { most: 1 });
    clock.advance(500);
    assert.deepEqual((await grantOf(there)).traits?.find(limit), { most: 1 });
    const renewed = await test.database.transaction(async (tx) => old.renew(tx));
    assert.deepEqual(renewed.traits?.find(limit), { most: 1 });
    await put(limit, undefined);
  });

  for (const [what, traits, stored] of [
    ["of a newer release", [colour], `{"limit":{"most":1},"colour":"red"}`],
    ["whose value cannot be read", [limit, colour], `{"limit":{"most":"many"}}`],
    ["that are no object", [limit, colour], `["limit"]`],
    ["that are no JSON", [limit, colour], `{"limit`],
  ] as const) {
    it(`${what} close the project to who had rights, and tell nobody else`, async () => {
      await test.database.write(setStored, { id: projectId, traits: stored });
      const { authorizer } = replica(test.database, traits);
      for (const action of ["pull", "push", "delete"] as const) {
        await assert.rejects(
          async () => authorizer.authorize(caller, action, REPOSITORY),
          (error) => error instanceof RegistryError && error.code === "PROJECT_NEWER" && error.status === 503,
        );
      }
      const stranger = await callerOf(test.database, await addUser(test.database, `stranger-${traits.length}-${stored.length}`));
      await assert.rejects(async () => authorizer.authorize(stranger, "pull", REPOSITORY), { code: "NAME_UNKNOWN" });
      await test.database.write(setStored, { id: projectId, traits: "{}" });
      await put(colour, undefined);
    });
  }

  it("that refuse pushes refuse them to whoever could push, and nothing else to anybody", async () => {
    const mirror: ProjectTrait = { name: "mirror", read: String, pushRefusal: "it mirrors another registry" };
    const on = replica(test.database, [limit, mirror]);
    const held = await on.authorizer.authorize(caller, "push", REPOSITORY);
    await put(mirror, "x");
    on.accounts.forget();
    const isRefused = (error: unknown): boolean =>
      error instanceof RegistryError &&
      error.code === "DENIED" &&
      error.message === "nothing can be pushed to project team: it mirrors another registry";
    await assert.rejects(async () => on.authorizer.authorize(caller, "push", REPOSITORY), isRefused);
    // Also a push that had begun before.
    await assert.rejects(async () => test.database.transaction(async (tx) => held.renew(tx)), isRefused);
    for (const action of ["pull", "delete"] as const)
      assert.equal((await on.authorizer.authorize(caller, action, REPOSITORY)).action, action);
    const stranger = await callerOf(test.database, await addUser(test.database, "stranger-to-mirrors"));
    await assert.rejects(async () => on.authorizer.authorize(stranger, "push", REPOSITORY), /may not push to it/);
    await put(mirror, undefined);
    on.accounts.forget();
    assert.equal((await on.authorizer.authorize(caller, "push", REPOSITORY)).action, "push");
  });

  it("are not stored where they could not be read back, nor without bound", async () => {
    await assert.rejects(put(limit, { most: "many" }), TypeError);
    await assert.rejects(put(colour, "x".repeat(20_000)), RangeError);
    await assert.rejects(
      test.database.transaction((tx) => putProjectTrait(tx, 999_999, colour, "red")),
      { code: "PROJECT_UNKNOWN" },
    );
    assert.equal((await grantOf(replica())).traits, undefined);
  });
});

it("project traits: have names of their own", () => {
  assert.throws(() => createReadTraits([limit, { name: "limit", read: String }]), TypeError);
});
