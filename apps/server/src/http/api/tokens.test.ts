// Personal tokens over HTTP: who makes, lists and revokes them, and how much of the API one opens. Not here: what one lets through in
// repositories (access/personal-tokens.test.ts).
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { addProject, addUser, createTestClock, TEST_PASSWORD, type TestClock } from "../../access/access.testing.ts";
import type { AccountChange } from "../../access/account-changes.ts";
import { DAY_MS } from "../../platform/clock.ts";
import { forEachDatabase, type TestDatabase } from "../../platform/database/databases.testing.ts";
import { startTestApi, type TestApi } from "./api.testing.ts";

type Who = readonly [string, string];
const ADMIN: Who = ["admin", TEST_PASSWORD];
const ALICE: Who = ["alice", TEST_PASSWORD];
const BOB: Who = ["bob", TEST_PASSWORD];
const EVERYTHING = [{ repositories: "**", actions: ["pull", "push", "delete"] }];

forEachDatabase("personal tokens in the API", (create) => {
  let test: TestDatabase;
  let api: TestApi;
  let clock: TestClock;
  const changes: AccountChange[] = [];
  before(async () => {
    test = await create();
    clock = createTestClock();
    api = await startTestApi(test.database, clock, {
      wants: () => true,
      record: async (_tx, _actor, recorded) => void changes.push(...recorded),
    });
    const own = await addProject(test.database, "own");
    const other = await addProject(test.database, "other");
    await addUser(test.database, "admin", { isAdmin: true });
    await addUser(test.database, "alice", {
      roles: new Map([
        [own, "owner"],
        [other, "owner"],
      ]),
    });
    await addUser(test.database, "bob");
  });
  after(async () => {
    await api.end();
    await test.end();
  });

  const make = async (as: Who, body: object): Promise<{ id: string; secret: string }> => {
    const { status, body: made } = await api.call(as, "POST", "/users/me/tokens", { name: "ci", scopes: EVERYTHING, ...body });
    assert.equal(status, 201);
    return made as { id: string; secret: string };
  };

  it("are made once with their secret, listed without it, and said", async () => {
    const { id, secret } = await make(ALICE, { name: "laptop", api: "read" });
    assert.match(secret, /^berth_pat_[\w-]{43}[0-9a-f]{8}$/);
    const { body } = await api.call(ALICE, "GET", "/users/me/tokens");
    const [shown] = body.items.filter((each: { id: string }) => each.id === id);
    assert.deepEqual(
      { ...shown, createdAt: "", expiresAt: Date.parse(shown.expiresAt) - clock.now() },
      {
        id,
        kind: "personal",
        name: "laptop",
        scopes: [{ repositories: "**", actions: ["delete", "pull", "push"] }],
        api: "read",
        createdAt: "",
        expiresAt: 90 * DAY_MS,
        lastUsedAt: null,
        lastAddress: null,
      },
    );
    assert.ok(!JSON.stringify(changes).includes(secret));
    assert.deepEqual(changes.at(-1)?.kind, "token.created");
    assert.equal((await api.call(BOB, "DELETE", `/users/me/tokens/${id}`)).code, "TOKEN_UNKNOWN");
    assert.equal((await api.call(BOB, "GET", "/users/alice/tokens")).code, "DENIED");
    assert.equal((await api.call(ADMIN, "GET", "/users/alice/tokens")).body.items[0].name, "laptop");
    assert.equal((await api.call(ADMIN, "DELETE", `/users/bob/tokens/${id}`)).code, "TOKEN_UNKNOWN");
    assert.equal((await api.call(ADMIN, "DELETE", `/users/alice/tokens/${id}`)).status, 204);
    assert.deepEqual(changes.at(-1)?.kind, "token.revoked");
    assert.equal((await api.call(["alice", secret], "GET", "/users/me")).code, "UNAUTHORIZED");
  });

  it("open as much of the API as they say, by name and as a bearer", async () => {
    const none = await make(ALICE, { api: "none" });
    const read = await make(ALICE, { api: "read" });
    const write = await make(ALICE, { api: "write" });
    const status = async (secret: string, method: string, path: string, body?: object) =>
      (await api.call(["alice", secret], method, path, body)).status;
    // Also where anybody is told what he may see.
    for (const path of ["/users/me", "/projects", "/projects/own", "/issuers"])
      assert.equal(await status(none.secret, "GET", path), 403, path);
    // What else its user has given out is nothing that it is for.
    assert.equal(await status(write.secret, "GET", "/users/me/tokens"), 403);
    assert.equal(await status(read.secret, "GET", "/users/me"), 200);
    assert.equal(await status(read.secret, "GET", "/projects/own/members"), 200);
    assert.equal(await status(read.secret, "PATCH", "/projects/own", { visibility: "private" }), 403);
    assert.equal(await status(write.secret, "PATCH", "/projects/own", { visibility: "private" }), 200);
    const bearer = await fetch(`${api.origin}/api/v1/users/me`, { headers: { authorization: `Bearer ${write.secret}` } });
    assert.equal(((await bearer.json()) as { name: string }).name, "alice");
    // A token makes no other, which could do more or last longer, and does not change the password.
    assert.equal(await status(write.secret, "POST", "/users/me/tokens", { name: "x", scopes: EVERYTHING }), 403);
    assert.equal(await status(write.secret, "DELETE", `/users/me/tokens/${none.id}`), 403);
    const password = { currentPassword: TEST_PASSWORD, newPassword: "another password" };
    assert.equal(await status(write.secret, "PUT", "/users/me/password", password), 403);
  });

  it("reach no further on the API than in repositories", async () => {
    const pulls = await make(ALICE, { api: "write", scopes: [{ repositories: "own/**", actions: ["pull"] }] });
    const whole = await make(ALICE, { api: "write", scopes: [{ repositories: "own/**", actions: ["pull", "push", "delete"] }] });
    const call = (secret: string, method: string, path: string, body?: object) => api.call(["alice", secret], method, path, body);
    // Of a project that it reaches nothing of it is told nothing.
    assert.equal((await call(pulls.secret, "GET", "/projects/other")).code, "PROJECT_UNKNOWN");
    assert.equal((await call(whole.secret, "PATCH", "/projects/other", {})).code, "PROJECT_UNKNOWN");
    const names = (await call(pulls.secret, "GET", "/projects")).body.items.map((each: { name: string }) => each.name);
    assert.deepEqual(names, ["own"]);
    const robot = { name: "made", scopes: [{ repositories: "own/**", actions: ["pull", "push", "delete"] }] };
    assert.equal((await call(pulls.secret, "GET", "/projects/own/robots")).status, 200);
    assert.equal((await call(pulls.secret, "POST", "/projects/own/robots", robot)).code, "DENIED");
    assert.equal((await call(whole.secret, "POST", "/projects/own/robots", robot)).status, 201);
    const ofAdmin = await make(ADMIN, { api: "write", scopes: [{ repositories: "**", actions: ["pull"] }] });
    assert.equal((await api.call(["admin", ofAdmin.secret], "GET", "/users")).status, 200);
    assert.equal((await api.call(["admin", ofAdmin.secret], "PATCH", "/users/bob", { isAdmin: true })).code, "DENIED");
    assert.equal((await api.call(["admin", ofAdmin.secret], "POST", "/projects", { name: "new" })).code, "DENIED");
  });

  it("end in time, at the latest when the setting says", async () => {
    const at = (ms: number): string => new Date(clock.now() + ms).toISOString();
    for (const expiresAt of [at(-1), at(366 * DAY_MS)]) {
      const answer = await api.call(ALICE, "POST", "/users/me/tokens", { name: "ci", scopes: EVERYTHING, expiresAt });
      assert.equal(answer.code, "FIELD_INVALID");
    }
    const { secret } = await make(ALICE, { api: "read", expiresAt: at(DAY_MS) });
    assert.equal((await api.call(["alice", secret], "GET", "/users/me")).status, 200);
    clock.advance(DAY_MS);
    const { code, body } = await api.call(["alice", secret], "GET", "/users/me");
    assert.equal(code, "UNAUTHORIZED");
    assert.match(body.errors[0].message, /the time of the token ci was over/);
  });

  it("are a hundred for a user at the most", async () => {
    for (let made = 0; made < 100; made++) await make(BOB, {});
    const { code } = await api.call(BOB, "POST", "/users/me/tokens", { name: "ci", scopes: EVERYTHING });
    assert.equal(code, "TOKENS_TOO_MANY");
  });
});
