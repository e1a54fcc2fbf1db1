// Open upload sessions are limited: for each account, for each project, in total. Not here: the answer (test/flows/crowded.test.ts).
import assert from "node:assert/strict";
import { afterEach, beforeEach, it } from "node:test";
import { RegistryError } from "@berth/oci/errors";
import { createTestClock } from "../access/access.testing.ts";
import type { Grant } from "../access/caller.ts";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import { createMemoryBlobs, createMemoryStore } from "./blobs/memory.ts";
import { createContent, createGrants, TEST_UPLOAD_AGE_MS, type Content, inRepository } from "./content.testing.ts";
import { createUploadLimits, type OpenUploadLimits } from "./upload-limits.ts";

forEachDatabase("open uploads", (create) => {
  let test: TestDatabase;
  let content: Content;
  let grantOf: (accountId: number, projectId?: number) => Grant<"push">;
  const clock = createTestClock();

  beforeEach(async () => {
    test = await create();
    content = createContent(test.database, createMemoryStore({ processId: "limits", memory: createMemoryBlobs() }), clock);
    const grant = (await createGrants(test.database))("push", "test/x");
    grantOf = (accountId, projectId = grant.projectId) => ({ ...grant, actor: { ...grant.actor, accountId }, projectId });
  });
  afterEach(() => test.end());

  async function begin(limits: Partial<OpenUploadLimits>, grant: Grant<"push">, replica = open(limits)): Promise<string> {
    await replica.check(grant);
    const id = (await content.repositories.ensure(grant)).id;
    return (await content.uploads.begin(inRepository(grant, id), { algorithm: "sha256", record: () => ({ inline: "" }) })).id;
  }
  const open = (limits: Partial<OpenUploadLimits>) =>
    createUploadLimits(test.database, clock, { account: 1000, project: 1000, registry: 1000, ...limits });
  const isExceeded = (setting: string, named: readonly string[]) => (error: unknown) => {
    assert.ok(error instanceof RegistryError);
    assert.deepEqual([error.code, error.status], ["UPLOADS_EXCEEDED", 429]);
    const detail = error.detail as { setting: string; yourOldest: { upload: string }[] };
    assert.equal(detail.setting, setting);
    assert.deepEqual(
      detail.yourOldest.map(({ upload }) => upload),
      named.map((id) => `/v2/test/x/blobs/uploads/${id}`),
    );
    return true;
  };

  it("are bounded for each account, which is told its own alone", async () => {
    const first = await begin({ account: 2 }, grantOf(1));
    clock.advance(1);
    const second = await begin({ account: 2 }, grantOf(1));
    const other = await begin({ account: 2 }, grantOf(2));
    await assert.rejects(async () => begin({ account: 2 }, grantOf(1)), isExceeded("limits.openUploadsPerAccount", [first, second]));
    await assert.rejects(async () => begin({ project: 3 }, grantOf(2)), isExceeded("limits.openUploadsPerProject", [other]));
    await assert.rejects(async () => begin({ registry: 3 }, grantOf(2)), isExceeded("limits.openUploads", [other]));
    await assert.rejects(async () => begin({ registry: 3 }, grantOf(9)), isExceeded("limits.openUploads", []));
    assert.ok(await begin({ project: 3 }, grantOf(2, 999)), "another project has its own bound");
  });

  it("count no more when they have ended or were left alone too long", async () => {
    const id = await begin({ account: 1 }, grantOf(1));
    await assert.rejects(async () => begin({ account: 1 }, grantOf(1)), isExceeded("limits.openUploadsPerAccount", [id]));
    await content.sessions.cancel(grantOf(1), id);
    await begin({ account: 1 }, grantOf(1));
    clock.advance(TEST_UPLOAD_AGE_MS);
    assert.ok(await begin({ account: 1 }, grantOf(1)));
  });

  it("are exceeded by a tenth at most, and counted only so often", async () => {
    const replica = open({ account: 50 });
    let begun = 0;
    for (let i = 0; i < 70; i++) {
      try {
        await begin({}, grantOf(1), replica);
        begun++;
      } catch (error) {
        assert.equal((error as RegistryError).code, "UPLOADS_EXCEEDED");
      }
    }
    assert.ok(begun >= 50 && begun <= 55, `${begun} were begun`);
  });
});
