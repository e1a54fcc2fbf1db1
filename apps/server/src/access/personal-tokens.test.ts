// Personal and refresh tokens as credentials: who is recognised, what is let through, and that what was revoked is refused everywhere within a second.
// Not here: making and revoking them (http/api/tokens.test.ts), the token endpoint (test/flows/access-tokens.test.ts).
import assert from "node:assert/strict";
import { after, before, beforeEach, it } from "node:test";
import { parseRepositoryName } from "@berth/oci/reference";
import type { RegistryError } from "@berth/oci/errors";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import type { Database } from "../platform/database/database.ts";
import {
  addProject,
  addUser,
  basic,
  changeAccount,
  createTestAccess,
  createTestClock,
  TEST_ADDRESS,
  TEST_PASSWORD,
  type TestAccess,
  type TestClock,
} from "./access.testing.ts";
import { deleteCredential, insertCredential, listCredentials } from "./credential-store.ts";
import { formatBound, parseBound, type ApiBound } from "./personal-bound.ts";
import { generateSecret, hashSecret, isSecretOf } from "./secrets.ts";
import { recallCaller, storeCaller, type StoredCaller } from "./stored-caller.ts";
import type { Action } from "./caller.ts";

const OWN = parseRepositoryName("own/app");
const OTHER = parseRepositoryName("other/app");
const NONE = parseRepositoryName("none/app");

async function refusal(work: () => unknown): Promise<RegistryError> {
  try {
    await work();
  } catch (error) {
    return error as RegistryError;
  }
  throw new Error("was not refused");
}

it("a bound that is not understood lets nothing through", () => {
  for (const text of ["null", "{}", '{"scopes":[["own/**","fly"]],"api":"all"}', '{"scopes":[["*","pull"],[1],"x",["a b/**","pull"]]}']) {
    const { scopes, api } = parseBound(text, "t");
    assert.ok(scopes.every(({ actions }) => actions.size === 0));
    assert.equal(api, "none");
  }
});

forEachDatabase("personal tokens", (create) => {
  let test: TestDatabase;
  let clock: TestClock;
  let here: TestAccess;
  let there: TestAccess;
  let alice: number;
  let count = 0;
  let name: string;
  before(async () => {
    test = await create();
    clock = createTestClock();
  });
  beforeEach(async () => {
    here = createTestAccess(test.database, clock);
    there = createTestAccess(test.database, clock);
    name = `alice${++count}`;
    if (count === 1) {
      await addProject(test.database, "own");
      await addProject(test.database, "other");
    }
    alice = await addUser(test.database, name, { isAdmin: true });
  });
  after(() => test.end());

  async function add(
    actions: readonly Action[],
    {
      pattern = "own/**",
      api = "none",
      kind = "personal",
      lifeMs = 1e9,
    }: { pattern?: string; api?: ApiBound; kind?: "personal" | "refresh"; lifeMs?: number } = {},
  ): Promise<{ id: number; secret: string }> {
    const secret = generateSecret(kind === "personal" ? "pat" : "refresh");
    const bound = formatBound({ scopes: [{ repositoryPattern: pattern, actions: new Set(actions) }], api });
    const base = { accountId: alice, kind, name: "ci", secretHash: hashSecret(secret), endsAt: clock.now() + lifeMs };
    const credential = kind === "personal" ? { ...base, bound } : { ...base, epoch: 1 };
    const id = await test.database.transaction((tx) => insertCredential(tx, credential, clock.now()));
    return { id, secret };
  }
  const revoke = (database: Database, id: number) => database.transaction((tx) => deleteCredential(tx, alice, id));

  it("sign in their user, with the name and as a bearer, and nobody else", async () => {
    const { id, secret } = await add(["pull"]);
    for (const header of [basic(name, secret), `Bearer ${secret}`]) {
      const caller = await here.authenticator.authenticate(header, TEST_ADDRESS);
      assert.deepEqual(caller.via, { kind: "personal-token", id, name: "ci" });
      assert.equal(caller.kind === "account" && caller.accountId, alice);
    }
    const other = generateSecret("pat");
    const refused = [basic("nobody", secret), basic(name, other), `Bearer ${other}`, basic("nobody", other)];
    const texts = new Set<string>();
    for (const header of refused) {
      const { code, message } = await refusal(() => here.authenticator.authenticate(header, TEST_ADDRESS));
      texts.add(`${code} ${message}`);
    }
    assert.deepEqual([...texts], ["UNAUTHORIZED the user name or the personal token is wrong, or the token was revoked"]);
    assert.ok(!isSecretOf("pat", generateSecret("robot")) && !isSecretOf("robot", secret));
    // A secret of another kind is none, even where its hash is there.
    const refresh = await add([], { kind: "refresh" });
    assert.equal((await refusal(() => here.authenticator.authenticate(basic(name, refresh.secret), TEST_ADDRESS))).code, "UNAUTHORIZED");
    assert.equal((await refusal(() => here.authenticator.authenticateRefresh(secret, TEST_ADDRESS))).code, "UNAUTHORIZED");
    assert.equal((await here.authenticator.authenticateRefresh(refresh.secret, TEST_ADDRESS)).via.kind, "refresh-token");
  });

  it("bound a job that was asked for with them, and end it when they are revoked", async () => {
    const { id, secret } = await add(["pull"]);
    const asked = await here.authenticator.authenticate(basic(name, secret), TEST_ADDRESS);
    const payload = JSON.parse(JSON.stringify(storeCaller(asked))) as StoredCaller;
    const caller = await recallCaller(payload, there.accounts);
    assert.deepEqual(caller, asked);
    assert.equal((await refusal(() => there.authorizer.authorize(caller, "delete", OWN))).code, "DENIED");
    await there.authorizer.authorize(caller, "pull", OWN);
    await revoke(test.database, id);
    clock.advance(1000);
    assert.equal((await refusal(() => recallCaller(payload, there.accounts))).code, "UNAUTHORIZED");
    // Who came by a password has no bound, and a registry token asks for no job.
    const direct = await here.authenticator.authenticate(basic(name, TEST_PASSWORD), TEST_ADDRESS);
    const { token } = await here.tokens.issueToken(direct, []);
    const through = await here.authenticator.authenticate(`Bearer ${token}`, TEST_ADDRESS);
    assert.equal((await refusal(() => storeCaller(through))).code, "UNAUTHORIZED");
    await there.authorizer.authorize(await recallCaller(storeCaller(direct), there.accounts), "delete", OWN);
  });

  it("cost nobody a lock when they are guessed", async () => {
    for (let guess = 0; guess < 200; guess++)
      await refusal(() => here.authenticator.authenticate(basic(name, generateSecret("pat")), TEST_ADDRESS));
    assert.equal((await here.authenticator.authenticate(basic(name, TEST_PASSWORD), TEST_ADDRESS)).kind, "account");
  });

  it("bound what their user may, by themselves and through registry tokens", async () => {
    const { secret } = await add(["pull"]);
    const direct = await here.authenticator.authenticate(basic(name, secret), TEST_ADDRESS);
    const scopes = [OWN, OTHER].map((each) => `repository:${each}:pull,push,delete`);
    const { token } = await here.tokens.issueToken(direct, [...scopes, "registry:catalog:*"]);
    const through = await here.authenticator.authenticate(`Bearer ${token}`, TEST_ADDRESS);
    assert.deepEqual(through.via, { kind: "registry-token", by: direct.via });
    for (const caller of [direct, through]) {
      assert.deepEqual([...(await here.authorizer.allowed(caller, OWN))], ["pull"]);
      assert.equal((await here.authorizer.allowed(caller, OTHER)).size, 0);
      await here.authorizer.authorize(caller, "pull", OWN);
      assert.equal((await refusal(() => here.authorizer.authorize(caller, "push", OWN))).code, "DENIED");
      const beyond = await refusal(() => here.authorizer.authorize(caller, "pull", OTHER));
      assert.match(beyond.message, /the personal token ci does not let anybody pull from it/);
      // What the token does not reach looks the same whether it is there or not.
      const absent = await refusal(() => here.authorizer.authorize(caller, "pull", NONE));
      assert.equal(beyond.message.replace("other/app", "none/app"), absent.message);
      assert.deepEqual([beyond.code, absent.code], ["NAME_UNKNOWN", "NAME_UNKNOWN"]);
      assert.equal(await here.authorizer.readsEverything(caller), false);
      const [first] = await here.authorizer.listReadableProjects(caller, "other", 1);
      assert.equal(first?.reach.mayPull(OTHER), false);
    }
    const unbounded = await here.authenticator.authenticate(basic(name, TEST_PASSWORD), TEST_ADDRESS);
    assert.equal(await here.authorizer.readsEverything(unbounded), true);
  });

  it("end within a second on another replica, at once on this one, with what was given for them", async () => {
    const ends: Record<string, (id: number) => Promise<unknown>> = {
      revoked: (id) => revoke(test.database, id),
      "of a disabled user": () => changeAccount(test.database, alice, { isDisabled: true }, true),
    };
    for (const [how, end] of Object.entries(ends)) {
      const { id, secret } = await add(["pull", "push"]);
      const caller = await there.authenticator.authenticate(basic(name, secret), TEST_ADDRESS);
      const { token } = await there.tokens.issueToken(caller, [`repository:${OWN}:pull,push`]);
      const through = await there.authenticator.authenticate(`Bearer ${token}`, TEST_ADDRESS);
      const grants = [caller, through].map(async (each) => there.authorizer.authorize(each, "push", OWN));
      const given = await Promise.all(grants);
      await end(id);
      here.accounts.forget({ account: name });
      clock.advance(1000);
      for (const header of [basic(name, secret), `Bearer ${token}`, `Bearer ${secret}`]) {
        for (const replica of [here, there])
          assert.equal((await refusal(() => replica.authenticator.authenticate(header, TEST_ADDRESS))).code, "UNAUTHORIZED", how);
      }
      for (const grant of given) {
        assert.equal((await refusal(() => grant.renew())).code, "UNAUTHORIZED", how);
        assert.equal((await refusal(() => test.database.transaction(async (tx) => grant.renew(tx)))).code, "UNAUTHORIZED", how);
      }
    }
  });

  it("outlive a new password, which ends refresh tokens", async () => {
    const personal = await add(["pull"]);
    const refresh = await add([], { kind: "refresh" });
    await changeAccount(test.database, alice, { secretHash: "another" }, true);
    assert.equal((await here.authenticator.authenticate(basic(name, personal.secret), TEST_ADDRESS)).kind, "account");
    assert.equal((await refusal(() => here.authenticator.authenticateRefresh(refresh.secret, TEST_ADDRESS))).code, "UNAUTHORIZED");
  });

  it("are given to who proved a password, the one unused for longest making room", async () => {
    const origin = { requestId: "r", address: TEST_ADDRESS };
    const byPassword = await here.authenticator.authenticate(basic(name, TEST_PASSWORD), TEST_ADDRESS);
    const first = (await here.refreshTokens.issue(byPassword, "docker", origin))!;
    const byRefresh = await here.authenticator.authenticateRefresh(first, TEST_ADDRESS);
    const { secret } = await add(["pull"]);
    const byToken = await here.authenticator.authenticate(basic(name, secret), TEST_ADDRESS);
    const nobody = await here.authenticator.authenticate(undefined, TEST_ADDRESS);
    for (const caller of [byRefresh, byToken, nobody]) assert.equal(await here.refreshTokens.issue(caller, "docker", origin), undefined);
    clock.advance(1);
    for (let more = 0; more < 100; more++) assert.ok(await here.refreshTokens.issue(byPassword, "docker", origin));
    const kept = (await listCredentials(test.database, alice, 0, 500)).filter(({ kind }) => kind === "refresh");
    assert.equal(kept.length, 100);
    assert.ok(kept.every(({ createdAt }) => createdAt.getTime() === clock.now()));
    await changeAccount(test.database, alice, { secretHash: "another" }, true);
    assert.equal((await refusal(() => here.refreshTokens.issue(byPassword, "docker", origin))).code, "UNAUTHORIZED");
  });

  it("note when they were used, in batches, and refresh tokens go on by it", async () => {
    const dayMs = 24 * 3600_000;
    const personal = await add(["pull"], { lifeMs: 400 * dayMs });
    const refresh = await add([], { kind: "refresh", lifeMs: 400 * dayMs });
    await here.authenticator.authenticate(basic(name, personal.secret), TEST_ADDRESS);
    await here.authenticator.authenticateRefresh(refresh.secret, "2001:db8::1");
    const before = await listCredentials(test.database, alice, 0, 10);
    assert.deepEqual(
      before.map((each) => each.lastUsedAt),
      [undefined, undefined],
    );
    await here.credentialUse.flush();
    const used = await listCredentials(test.database, alice, 0, 10);
    assert.deepEqual(
      used.map((each) => [each.lastUsedAt?.getTime(), each.lastAddress, each.expiresAt.getTime() - clock.now()]),
      [
        [clock.now(), TEST_ADDRESS, 400 * dayMs],
        [clock.now(), "2001:db8::1", 30 * dayMs],
      ],
    );
    clock.advance(30 * dayMs);
    assert.equal((await refusal(() => here.authenticator.authenticateRefresh(refresh.secret, TEST_ADDRESS))).code, "UNAUTHORIZED");
  });
});
