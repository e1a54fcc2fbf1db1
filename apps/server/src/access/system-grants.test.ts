// The rights of jobs without a caller: anything, in projects that exist, as long as they are the same. Not here: callers' grants
// (authorize.test.ts), whether the repository exists (distribution/repository-deletion.test.ts).
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { RegistryError } from "@berth/oci/errors";
import { parseRepositoryName } from "@berth/oci/reference";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import { addProject, createTestClock } from "./access.testing.ts";
import { createAccounts } from "./accounts.ts";
import { createAuthorizer, type Authorizer, type SystemAuthorizer } from "./authorize.ts";
import { putProjectTrait, type ProjectTrait } from "./project-traits.ts";

const JOB = "retention of test/app";
const APP = parseRepositoryName("test/app");

/** Never called: request handlers get an `Authorizer`. */
export function mistakes(authorizer: Authorizer): void {
  // @ts-expect-error: it does not decide for jobs.
  void authorizer.asSystem(JOB, "push", APP);
}

forEachDatabase("grants of the system", (create) => {
  const clock = createTestClock();
  let test: TestDatabase;
  let system: SystemAuthorizer;
  const mirror: ProjectTrait = { name: "mirror", read: String, pushRefusal: "it mirrors another registry" };
  before(async () => {
    test = await create();
    const accounts = createAccounts({ database: test.database, clock, traits: [mirror], onChangedElsewhere: () => undefined });
    system = createAuthorizer({ accounts, database: test.database, clock });
  });
  after(() => test.end());

  const isUnknown = (error: unknown): boolean => error instanceof RegistryError && error.code === "NAME_UNKNOWN";

  it("name the job and no account, and are refused where there is no project", async () => {
    await assert.rejects(system.asSystem(JOB, "push", APP), isUnknown);
    clock.advance(2_000);
    const projectId = await addProject(test.database, "test");
    for (const action of ["pull", "push", "delete"] as const) {
      const grant = await system.asSystem(JOB, action, APP);
      assert.deepEqual(grant.actor, { kind: "system", accountId: null, name: JOB, via: { kind: "none" }, origin: undefined });
      assert.deepEqual([grant.action, grant.repository, grant.projectId], [action, APP, projectId]);
      assert.equal(grant.renew(), grant);
    }
  });

  it("end with their project, also where another has its name", async () => {
    const grant = await system.asSystem(JOB, "delete", APP);
    await test.database.script("delete from project where name = 'test'");
    clock.advance(2_000);
    await assert.rejects(async () => test.database.transaction(async (tx) => grant.renew(tx)), isUnknown);
    await addProject(test.database, "test");
    clock.advance(2_000);
    await assert.rejects(async () => test.database.transaction(async (tx) => grant.renew(tx)), isUnknown);
    assert.notEqual((await system.asSystem(JOB, "delete", APP)).projectId, grant.projectId);
  });

  it("push where no caller may; those that are for a trait end with it", async () => {
    const isWithout = { code: "NAME_UNKNOWN" };
    await assert.rejects(system.asSystem(JOB, "push", APP, mirror), isWithout);
    const { projectId } = await system.asSystem(JOB, "push", APP);
    const set = (value: unknown): Promise<void> => test.database.transaction((tx) => putProjectTrait(tx, projectId, mirror, value));
    await set("x");
    clock.advance(2_000);
    const grant = await system.asSystem(JOB, "push", APP, mirror);
    assert.equal(grant.action, "push");
    await set(undefined);
    clock.advance(2_000);
    await assert.rejects(async () => test.database.transaction(async (tx) => grant.renew(tx)), isWithout);
  });

  it("are refused where something is not known of the project", async () => {
    const grant = await system.asSystem(JOB, "push", APP);
    const trait: ProjectTrait = { name: "of-a-newer-release", read: String };
    await test.database.transaction((tx) => putProjectTrait(tx, grant.projectId, trait, "x"));
    clock.advance(2_000);
    await assert.rejects(async () => grant.renew(), { code: "PROJECT_NEWER" });
    await assert.rejects(system.asSystem(JOB, "push", APP), { code: "PROJECT_NEWER" });
  });
});
