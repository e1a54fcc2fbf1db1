// Repositories on the control plane, on every engine: lists by what the caller may pull, usage, deletion, and what nobody is told.
// Not here: pushes that race a deletion (distribution/repository-deletion.test.ts), roles one by one (test/flows/access-matrix.test.ts).
import assert from "node:assert/strict";
import { after, before, beforeEach, it } from "node:test";
import type { RepositoryName } from "@berth/oci/reference";
import { addUser, basic, createTestClock, TEST_PASSWORD, type TestClock } from "../../access/access.testing.ts";
import type { Grant } from "../../access/caller.ts";
import { createMemoryBlobs, createMemoryStore } from "../../content/blobs/memory.ts";
import { blobOf, createContent, putOf, upload, type Content, inRepository } from "../../content/content.testing.ts";
import { foldUsage } from "../../content/usage.ts";
import { forEachDatabase, type TestDatabase } from "../../platform/database/databases.testing.ts";
import { startTestApi, type TestApi } from "./api.testing.ts";

forEachDatabase("repositories on the control plane", (create) => {
  let test: TestDatabase;
  let api: TestApi;
  let clock: TestClock;
  let content: Content;
  let count = 0;
  let project: string;
  const admin = ["admin", TEST_PASSWORD] as const;
  const users = {
    guest: ["guest", TEST_PASSWORD],
    maintainer: ["maintainer", TEST_PASSWORD],
    stranger: ["stranger", TEST_PASSWORD],
  } as const;
  const blobs = [blobOf("config "), blobOf("layer ")];

  before(async () => {
    test = await create();
    clock = createTestClock();
    api = await startTestApi(test.database, clock);
    content = createContent(test.database, createMemoryStore({ processId: "api", memory: createMemoryBlobs() }), clock);
    await addUser(test.database, "admin", { isAdmin: true });
    for (const name of Object.keys(users)) await addUser(test.database, name);
  });
  after(async () => {
    await api.end();
    await test.end();
  });
  beforeEach(async () => {
    project = `p${++count}`;
    await api.call(admin, "POST", "/projects", { name: project });
    for (const role of ["guest", "maintainer"]) await api.call(admin, "PUT", `/projects/${project}/members/${role}`, { role });
  });

  async function push(path: string, tags: readonly string[] = ["latest"]): Promise<number> {
    const caller = await api.access.authenticator.authenticate(basic(...admin), "127.0.0.1");
    const grant: Grant<"push"> = await api.access.authorizer.authorize(caller, "push", `${project}/${path}` as RepositoryName);
    const id = (await content.repositories.ensure(grant)).id;
    for (const blob of blobs) await upload(content, grant, blob);
    const put = putOf(blobs, tags, path);
    await content.manifests.put(inRepository(grant, id), put);
    return put.bytes.length + blobs.reduce((sum, { bytes }) => sum + bytes.length, 0);
  }
  const at = (path = ""): string => `/projects/${project}/repositories${path === "" ? "" : `/${encodeURIComponent(path)}`}`;
  const namesOf = (answer: { body: { items: { name: string }[] } }): string[] => answer.body.items.map(({ name }) => name);

  it("shows each repository with what it holds, in pages, and the project and the registry with all of it", async () => {
    const madeAt = new Date(clock.now()).toISOString();
    const sizeBytes = await push("app", ["latest", "v1"]);
    const deep = await push("deep/er/app");
    await push("zoo", []);
    const read = await api.call(users.guest, "GET", at("app"));
    const usage = { manifests: 1, tags: 2, blobs: 2, sizeBytes };
    assert.deepEqual(read.body, {
      name: `${project}/app`,
      usage,
      createdAt: madeAt,
      updatedAt: madeAt,
      pulls: 0,
      pulledAt: null,
    });
    clock.advance(5000);
    await push("app", ["v2"]);
    for (const isFolded of [false, true]) {
      if (isFolded) while ((await foldUsage(test.database, 100)) > 0);
      const again = await api.call(users.guest, "GET", at("app"));
      assert.deepEqual(again.body.usage, { ...usage, tags: 3 });
      assert.deepEqual([again.body.createdAt, again.body.updatedAt], [madeAt, new Date(clock.now()).toISOString()]);
      const own = await api.call(users.guest, "GET", `/projects/${project}`);
      assert.deepEqual(own.body.usage.repositories, 3);
      assert.deepEqual(own.body.usage.tags, 4);
    }
    const first = await api.call(users.guest, "GET", `${at()}?limit=2`);
    assert.deepEqual([namesOf(first), first.body.next], [[`${project}/app`, `${project}/deep/er/app`], `${project}/deep/er/app`]);
    assert.equal(first.body.items[1].usage.sizeBytes, deep);
    const second = await api.call(users.guest, "GET", `${at()}?limit=2&after=${encodeURIComponent(first.body.next)}`);
    assert.deepEqual([namesOf(second), second.body.next], [[`${project}/zoo`], null]);
    const stored = await api.call(admin, "GET", "/usage");
    assert.deepEqual(stored.body, { blobs: 2, sizeBytes: blobs.reduce((sum, { bytes }) => sum + bytes.length, 0) });
    assert.equal((await api.call(users.guest, "GET", "/usage")).code, "DENIED");
    const listed = await api.call(admin, "GET", "/projects?limit=200");
    const [row] = listed.body.items.filter(({ name }: { name: string }) => name === project);
    assert.equal(row.usage.tags, 4);
  });

  it("shows a robot what its scopes let it pull, and answers the rest like nothing", async () => {
    for (const path of ["app", "other", "team/one", "team/two"]) await push(path);
    const robot = {
      name: "ci",
      scopes: [
        { repositories: `${project}/team/*`, actions: ["pull", "delete"] },
        { repositories: `${project}/app`, actions: ["pull"] },
      ],
    };
    const { login, secret } = (await api.call(admin, "POST", `/projects/${project}/robots`, robot)).body;
    const as = [login, secret] as const;
    assert.deepEqual(namesOf(await api.call(as, "GET", at())), [`${project}/app`, `${project}/team/one`, `${project}/team/two`]);
    const page = await api.call(as, "GET", `${at()}?limit=1`);
    assert.deepEqual([namesOf(page), page.body.next], [[`${project}/app`], `${project}/app`]);
    const hidden = await api.call(as, "GET", at("other"));
    const absent = await api.call(as, "GET", at("nothere"));
    assert.deepEqual([hidden.status, hidden.body], [absent.status, absent.body]);
    assert.equal(hidden.code, "REPOSITORY_UNKNOWN");
    for (const path of ["other", "nothere"]) assert.equal((await api.call(as, "DELETE", at(path))).code, "REPOSITORY_UNKNOWN");
    for (const path of ["app", "apart"]) {
      const refused = await api.call(users.guest, "DELETE", at(path));
      assert.equal(refused.code, "DENIED", path);
    }
    assert.equal((await api.call(as, "DELETE", at("team/one"))).status, 204);
    assert.equal((await api.call(as, "DELETE", at("app"))).code, "DENIED");
    assert.equal((await api.call(users.stranger, "GET", at("app"))).code, "PROJECT_UNKNOWN");
    assert.equal((await api.call(undefined, "GET", at("app"))).code, "UNAUTHORIZED");
  });

  it("deletes a repository at once, and its project with the last of them", async () => {
    await push("app");
    await push("b/c");
    assert.equal((await api.call(users.maintainer, "DELETE", at("app"))).status, 204);
    assert.equal((await api.call(users.maintainer, "DELETE", at("app"))).code, "REPOSITORY_UNKNOWN");
    assert.equal((await api.call(users.guest, "GET", at("app"))).code, "REPOSITORY_UNKNOWN");
    assert.deepEqual(namesOf(await api.call(admin, "GET", at())), [`${project}/b/c`]);
    assert.equal((await api.call(admin, "GET", `/projects/${project}`)).body.usage.repositories, 1);
    const refused = await api.call(admin, "DELETE", `/projects/${project}`);
    assert.deepEqual([refused.code, refused.body.errors[0].detail], ["PROJECT_NOT_EMPTY", { repositories: 1, some: [`${project}/b/c`] }]);
    assert.equal((await api.call(admin, "DELETE", at("b/c"))).status, 204);
    const empty = (await api.call(admin, "GET", `/projects/${project}`)).body.usage;
    assert.deepEqual(empty, { repositories: 0, manifests: 0, tags: 0, blobs: 0, sizeBytes: 0 });
    // Nothing has been taken away yet.
    assert.equal((await api.call(admin, "DELETE", `/projects/${project}`)).status, 204);
    // Where deleted repositories are is nobody's project.
    const listed = await api.call(admin, "GET", "/projects?limit=200");
    assert.equal(namesOf(listed).includes("~"), false);
    assert.equal((await api.call(admin, "GET", "/projects/~")).code, "FIELD_INVALID");
    assert.equal((await api.call(admin, "POST", "/projects", { name: "~" })).code, "FIELD_INVALID");
    assert.equal((await api.call(admin, "GET", "/projects/~/repositories/1")).code, "FIELD_INVALID");
  });
});
