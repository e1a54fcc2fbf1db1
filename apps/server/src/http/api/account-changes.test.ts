// What the control plane says of its changes, on every engine: each with who did it, in one transaction with it, and nothing of what changed nothing.
// Not here: what happens to content (events/outbox.test.ts), what follows from it (reactions.ts).
import assert from "node:assert/strict";
import { after, before, beforeEach, it } from "node:test";
import { RegistryError } from "@berth/oci/errors";
import type { AccountChange } from "../../access/account-changes.ts";
import { addUser, createTestClock, TEST_PASSWORD } from "../../access/access.testing.ts";
import type { Actor } from "../../access/actor.ts";
import type { ChangeSink } from "../../access/changes.ts";
import { createOutbox, type Event, type Outbox, type Reactions } from "../../events/outbox.ts";
import { resetAccount } from "../../features/accounts/reset.ts";
import { forEachDatabase, type TestDatabase } from "../../platform/database/databases.testing.ts";
import { startTestApi, type TestApi } from "./api.testing.ts";

const ADMIN = ["admin", TEST_PASSWORD] as const;
const ALICE = ["alice", TEST_PASSWORD] as const;
const SYSTEM: Actor = { kind: "system", accountId: null, name: "account reset by root", origin: undefined, via: { kind: "none" } };
const KINDS = [
  "project.created",
  "project.updated",
  "project.described",
  "project.deleted",
  "member.changed",
  "member.removed",
  "user.created",
  "user.updated",
  "user.password-changed",
  "user.deleted",
  "robot.created",
  "robot.updated",
  "robot.secret-rotated",
  "robot.deleted",
  "robot.trust-changed",
  "robot.trust-removed",
  "issuer.created",
  "issuer.updated",
  "issuer.deleted",
] as const satisfies readonly AccountChange["kind"][];

forEachDatabase("changes of accounts", (create) => {
  let test: TestDatabase;
  let api: TestApi;
  let outbox: Outbox<AccountChange>;
  let fails = false;
  const seen: Event<AccountChange>[] = [];

  before(async () => {
    test = await create();
    const react = (event: Event<AccountChange>) => {
      seen.push(event);
      return [];
    };
    const reactions = Object.fromEntries(KINDS.map((kind) => [kind, react])) as Reactions<AccountChange>;
    outbox = createOutbox(test.database, createTestClock(), reactions);
    const sink: ChangeSink<AccountChange> = {
      wants: outbox.wants,
      async record(tx, actor, changes) {
        if (fails) throw new RegistryError("TOOMANYREQUESTS");
        await outbox.record(tx, actor, changes);
      },
    };
    api = await startTestApi(test.database, createTestClock(), sink);
    for (const name of ["admin", "alice"]) await addUser(test.database, name, { isAdmin: name === "admin" });
  });
  after(async () => {
    await api.end();
    await test.end();
  });
  beforeEach(() => void (fails = false));

  /** Kinds and what they say, without ids, of everything since the last call. */
  async function said(): Promise<object[]> {
    seen.length = 0;
    while (await outbox.dispatch());
    return seen.map(({ actor, change }) => {
      for (const [field, value] of Object.entries(change))
        if (field.endsWith("Id") && value !== null) assert.ok(Number.isInteger(value), field);
      return { by: actor.name, ...Object.fromEntries(Object.entries(change).filter(([field]) => !field.endsWith("Id"))) };
    });
  }
  async function call(as: readonly [string, string], method: string, path: string, body?: unknown): Promise<void> {
    const answer = await api.call(as, method, path, body);
    assert.equal(answer.code, "", `${method} ${path}`);
  }

  it("say what became of projects and members, those that go with another one as well", async () => {
    await call(ADMIN, "POST", "/projects", { name: "shop", visibility: "public" });
    await call(ADMIN, "PUT", "/projects/shop/members/alice", { role: "guest" });
    await call(ADMIN, "PUT", "/projects/shop/members/alice", { role: "owner" });
    // The same again changes nothing.
    await call(ALICE, "PUT", "/projects/shop/members/alice", { role: "owner" });
    await call(ALICE, "PATCH", "/projects/shop", { visibility: "private" });
    await call(ALICE, "PATCH", "/projects/shop", { description: "Goods", labels: [{ key: "team", value: "blue" }] });
    await call(ALICE, "PATCH", "/projects/shop", { description: "Goods" });
    await call(ALICE, "DELETE", "/projects/shop/members/admin");
    await call(ALICE, "POST", "/projects/shop/robots", { name: "ci", scopes: [{ repositories: "shop/**", actions: ["push", "pull"] }] });
    await call(ALICE, "DELETE", "/projects/shop");
    const member = { project: "shop", account: "alice" };
    assert.deepEqual(await said(), [
      { by: "admin", kind: "project.created", project: "shop", isPublic: true },
      { by: "admin", kind: "member.changed", project: "shop", account: "admin", to: "owner" },
      { by: "admin", kind: "member.changed", ...member, to: "guest" },
      { by: "admin", kind: "member.changed", ...member, from: "guest", to: "owner" },
      { by: "alice", kind: "project.updated", project: "shop", isPublic: false },
      {
        by: "alice",
        kind: "project.described",
        project: "shop",
        from: { description: null, contact: null, labels: [] },
        to: { description: "Goods", contact: null, labels: [{ key: "team", value: "blue" }] },
      },
      { by: "alice", kind: "member.removed", project: "shop", account: "admin" },
      {
        by: "alice",
        kind: "robot.created",
        project: "shop",
        account: "shop+ci",
        scopes: [{ repositories: "shop/**", actions: ["pull", "push"] }],
        expiresAt: null,
      },
      { by: "alice", kind: "member.removed", ...member },
      { by: "alice", kind: "robot.deleted", project: "shop", account: "shop+ci" },
      { by: "alice", kind: "project.deleted", project: "shop" },
    ]);
    assert.deepEqual(seen[0]!.actor.origin, { requestId: "test-request", address: "127.0.0.1" });
    assert.equal(seen[0]!.actor.kind, "user");
    assert.deepEqual(seen[0]!.actor.via, { kind: "password" });
  });

  it("say what became of users, by whomever, and no secret", async () => {
    await call(ADMIN, "POST", "/users", { name: "bob", password: TEST_PASSWORD });
    await call(ADMIN, "POST", "/projects", { name: "bobs" });
    await call(ADMIN, "PUT", "/projects/bobs/members/bob", { role: "developer" });
    await call(ADMIN, "PATCH", "/users/bob", {});
    await call(ADMIN, "PATCH", "/users/bob", { isAdmin: true, password: `${TEST_PASSWORD}1` });
    await call(["bob", `${TEST_PASSWORD}1`], "PUT", "/users/me/password", {
      currentPassword: `${TEST_PASSWORD}1`,
      newPassword: TEST_PASSWORD,
    });
    await call(ADMIN, "PATCH", "/users/bob", { isDisabled: true });
    await test.database.transaction((tx) =>
      resetAccount(tx, "bob", "another hash", { makesAdministrator: false, actor: SYSTEM, changes: outbox }),
    );
    await call(ADMIN, "DELETE", "/users/bob");
    const account = { account: "bob" };
    const all = await said();
    assert.deepEqual(
      all.filter((change) => (change as { project?: string }).project !== "bobs" || (change as { account?: string }).account === "bob"),
      [
        { by: "admin", kind: "user.created", ...account, isAdmin: false, systemRole: null },
        { by: "admin", kind: "member.changed", project: "bobs", ...account, to: "developer" },
        { by: "admin", kind: "user.password-changed", ...account },
        { by: "admin", kind: "user.updated", ...account, isAdmin: true, systemRole: "administrator", isDisabled: false },
        { by: "bob", kind: "user.password-changed", ...account },
        { by: "admin", kind: "user.updated", ...account, isAdmin: true, systemRole: "administrator", isDisabled: true },
        { by: SYSTEM.name, kind: "user.password-changed", ...account },
        { by: SYSTEM.name, kind: "user.updated", ...account, isAdmin: true, systemRole: "administrator", isDisabled: false },
        { by: "admin", kind: "member.removed", project: "bobs", ...account },
        { by: "admin", kind: "user.deleted", ...account },
      ],
    );
    assert.doesNotMatch(JSON.stringify(seen), /hash|scrypt|argon|password-test/i);
  });

  it("say what became of robots of the registry", async () => {
    await call(ADMIN, "POST", "/robots", { name: "all", scopes: [{ repositories: "**", actions: ["pull"] }] });
    await call(ADMIN, "PATCH", "/robots/all", { isDisabled: true });
    await call(ADMIN, "PATCH", "/robots/all", { scopes: [{ repositories: "x/*", actions: ["pull"] }] });
    await call(ADMIN, "POST", "/robots/all/secret");
    await call(ADMIN, "DELETE", "/robots/all");
    const robot = { by: "admin", account: "+all", project: null, projectId: null };
    const { projectId: _, ...shown } = robot;
    assert.deepEqual(await said(), [
      { kind: "robot.created", ...shown, scopes: [{ repositories: "**", actions: ["pull"] }], expiresAt: null },
      { kind: "robot.updated", ...shown, isDisabled: true, expiresAt: null },
      { kind: "robot.updated", ...shown, isDisabled: true, expiresAt: null, scopes: [{ repositories: "x/*", actions: ["pull"] }] },
      { kind: "robot.secret-rotated", ...shown },
      { kind: "robot.deleted", ...shown },
    ]);
  });

  it("say what became of issuers and of trust rules", async () => {
    const url = "https://issuer.example.com";
    const keys = JSON.stringify({ keys: [{ kty: "OKP", crv: "Ed25519", x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }] });
    const audiences = ["https://registry.example.com"];
    await call(ADMIN, "POST", "/issuers", { name: "ci", url, audiences, keys });
    await call(ADMIN, "PATCH", "/issuers/ci", { isDisabled: true });
    await call(ADMIN, "POST", "/robots", { name: "keyless", scopes: [{ repositories: "**", actions: ["pull"] }], withoutSecret: true });
    const conditions = [{ claim: "project_id", equals: "20" }];
    await call(ADMIN, "PUT", "/robots/keyless/trust/main", { issuer: "ci", conditions });
    await call(ADMIN, "DELETE", "/robots/keyless/trust/main");
    await call(ADMIN, "DELETE", "/robots/keyless");
    await call(ADMIN, "DELETE", "/issuers/ci");
    const issuer = { by: "admin", issuer: "ci", url };
    const robot = { by: "admin", account: "+keyless", project: null };
    const state = { algorithms: ["RS256", "ES256"], isDisabled: true, isSingleUse: false, hasNewKeys: false };
    assert.deepEqual(await said(), [
      { kind: "issuer.created", ...issuer, audiences },
      { kind: "issuer.updated", ...issuer, audiences, ...state },
      { kind: "robot.created", ...robot, scopes: [{ repositories: "**", actions: ["pull"] }], expiresAt: null },
      { kind: "robot.trust-changed", ...robot, rule: "main", issuer: "ci", conditions },
      { kind: "robot.trust-removed", ...robot, rule: "main" },
      { kind: "robot.deleted", ...robot },
      { kind: "issuer.deleted", ...issuer },
    ]);
  });

  it("are not made where they cannot be recorded", async () => {
    fails = true;
    for (const [method, path, body] of [
      ["POST", "/users", { name: "carol", password: TEST_PASSWORD }],
      ["POST", "/projects", { name: "carols" }],
      ["POST", "/robots", { name: "carol", scopes: [{ repositories: "**", actions: ["pull"] }] }],
      ["PATCH", "/users/alice", { isDisabled: true }],
    ] as const) {
      assert.equal((await api.call(ADMIN, method, path, body)).code, "TOOMANYREQUESTS", path);
    }
    fails = false;
    assert.deepEqual(await said(), []);
    for (const path of ["/users/carol", "/projects/carols", "/robots/carol"])
      assert.equal((await api.call(ADMIN, "GET", path)).status, 404, path);
    assert.equal((await api.call(ADMIN, "GET", "/users/alice")).body.isDisabled, false);
  });
});
