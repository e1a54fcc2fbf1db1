// What answers of the control plane have besides a body: revisions, headers of their own, streams. Not here: who may (test/flows/access-matrix.test.ts),
// the forms of streams (stream-answer.test.ts).
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { addProject, addUser, callerOf, createTestClock, TEST_PASSWORD } from "../../access/access.testing.ts";
import { createTestFeatures } from "../../features/features.testing.ts";
import { forEachDatabase, type TestDatabase } from "../../platform/database/databases.testing.ts";
import { statement } from "../../platform/database/statement.ts";
import { startTestApi, type TestApi } from "./api.testing.ts";

const insertRepository = statement<{ name: string; projectId: number }>()("test.insert_repository", (db, p) =>
  db.insertInto("repository").values({ name: p.name, project_id: p.projectId, created_at: 0 }),
);

forEachDatabase("answers of the API", (create) => {
  let test: TestDatabase;
  let api: TestApi;
  const admin = ["admin", TEST_PASSWORD] as const;

  before(async () => {
    test = await create();
    api = await startTestApi(test.database, createTestClock());
    await addUser(test.database, "admin", { isAdmin: true });
  });
  after(async () => {
    await api.end();
    await test.end();
  });

  it("name the address of what was made", async () => {
    const user = await api.call(admin, "POST", "/users", { name: "a.b@c", password: "a long password" });
    assert.equal(user.headers.get("location"), "/api/v1/users/a.b%40c");
    assert.equal((await fetch(`${api.origin}${user.headers.get("location")}`)).status, 401);
    const project = await api.call(admin, "POST", "/projects", { name: "made" });
    assert.equal(project.headers.get("location"), "/api/v1/projects/made");
  });

  it("have a revision that spares a client what it has, and keeps a write from what it has not seen", async () => {
    await api.call(admin, "POST", "/users", { name: "rita", password: "a long password" });
    const read = await api.call(admin, "GET", "/users/rita");
    const tag = read.headers.get("etag")!;
    assert.match(tag, /^"[\w-]{22}"$/);
    const again = await api.call(admin, "GET", "/users/rita", undefined, { "if-none-match": `"other", W/${tag}` });
    assert.deepEqual([again.status, again.body, again.headers.get("etag")], [304, undefined, tag]);

    const changed = await api.call(admin, "PATCH", "/users/rita", { isDisabled: true }, { "if-match": tag });
    assert.equal(changed.status, 200);
    assert.notEqual(changed.headers.get("etag"), tag);
    const late = await api.call(admin, "PATCH", "/users/rita", { isAdmin: true }, { "if-match": tag });
    assert.deepEqual([late.status, late.code, late.headers.get("etag")], [412, "PRECONDITION_FAILED", changed.headers.get("etag")]);
    assert.equal((await api.call(admin, "DELETE", "/users/rita", undefined, { "if-match": tag })).status, 412);
    assert.deepEqual((await api.call(admin, "GET", "/users/rita")).body.isAdmin, false);
    assert.equal((await api.call(admin, "DELETE", "/users/rita", undefined, { "if-match": "*" })).status, 204);
  });

  it("do one of two writes that saw the same", async () => {
    await api.call(admin, "POST", "/users", { name: "race", password: "a long password" });
    const tag = (await api.call(admin, "GET", "/users/race")).headers.get("etag")!;
    const answers = await Promise.all(
      [{ isAdmin: true }, { isDisabled: true }].map((change) => api.call(admin, "PATCH", "/users/race", change, { "if-match": tag })),
    );
    assert.deepEqual(
      answers.map(({ status }) => status).toSorted((one, other) => one - other),
      [200, 412],
    );
  });

  it("refuse a condition that nothing would look at, or nobody can read", async () => {
    const ignored = await api.call(admin, "POST", "/projects", { name: "conditional" }, { "if-match": '"x"' });
    assert.deepEqual([ignored.status, ignored.code], [400, "PRECONDITION_UNSUPPORTED"]);
    assert.equal((await api.call(admin, "GET", "/projects/conditional")).status, 404);
    assert.equal((await api.call(admin, "PATCH", "/users/admin", {}, { "if-match": "unquoted" })).status, 400);
  });

  it("export all repositories of a project, page behind page, as lines or as a table, and only what the caller may read", async () => {
    const id = await addProject(test.database, "many");
    const names = Array.from({ length: 450 }, (_, i) => `many/r${String(i).padStart(4, "0")}`);
    await test.database.transaction(async (tx) => {
      for (const name of names) await tx.run(insertRepository, { name, projectId: id }, 1);
    });
    const lines = await api.call(admin, "GET", "/projects/many/usage");
    assert.equal(lines.headers.get("content-type"), "application/jsonl");
    assert.equal(lines.headers.get("cache-control"), "no-store");
    const found = (lines.body as string)
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { name: string; usage: { tags: number } });
    assert.deepEqual(
      found.map(({ name }) => name),
      names,
    );
    const table = ((await api.call(admin, "GET", "/projects/many/usage", undefined, { accept: "text/csv" })).body as string).split("\r\n");
    assert.equal(table[0], "name,usage.manifests,usage.tags,usage.blobs,usage.sizeBytes,createdAt,updatedAt,pulls,pulledAt");
    assert.equal(table.length, names.length + 2);
    assert.equal((await api.call(admin, "GET", "/projects/many/usage", undefined, { accept: "image/png" })).code, "NOT_ACCEPTABLE");
    assert.equal((await api.call(undefined, "GET", "/projects/many/usage")).status, 401);
    const stranger = await addUser(test.database, "stranger");
    await callerOf(test.database, stranger);
    assert.equal((await api.call(["stranger", TEST_PASSWORD], "GET", "/projects/many/usage")).code, "PROJECT_UNKNOWN");
  });

  it("break an export off where the caller may see no more of it, so that nobody takes a part for the whole", async () => {
    const id = await addProject(test.database, "taken");
    await test.database.transaction(async (tx) => {
      for (let i = 0; i < 450; i++) await tx.run(insertRepository, { name: `taken/r${String(i).padStart(4, "0")}`, projectId: id }, 1);
    });
    const { access } = api;
    const { projectRepositories } = createTestFeatures(access, test.database, createTestClock());
    for (const [name, takeAway] of [
      ["disabled", () => api.call(admin, "PATCH", "/users/disabled", { isDisabled: true })],
      ["removed", () => api.call(admin, "DELETE", "/projects/taken/members/removed")],
    ] as const) {
      const account = await addUser(test.database, name);
      assert.equal((await api.call(admin, "PUT", `/projects/taken/members/${name}`, { role: "guest" })).status, 200);
      const caller = await callerOf(test.database, account);
      const items = projectRepositories.listAll(caller, await access.authorizer.authorizeProject(caller, "project.read", "taken"));
      let seen = 0;
      await assert.rejects(
        async () => {
          for await (const _ of items) if (++seen === 1) assert.ok((await takeAway()).status < 300);
        },
        { code: /^(?:PROJECT_UNKNOWN|UNAUTHORIZED)$/ },
      );
      assert.equal(seen, 200);
    }
  });
});
