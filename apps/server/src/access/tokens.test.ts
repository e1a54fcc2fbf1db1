// Tokens: the requested scopes, the granted ones, the accepted ones; and keys that are replaced in between.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { parseProjectName } from "@berth/oci/reference";
import fc from "fast-check";
import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify, SignJWT } from "jose";
import type { Database } from "../platform/database/database.ts";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import {
  addProject,
  addUser,
  callerOf,
  createTestAccess,
  createTestClock,
  TEST_ADDRESS,
  TEST_MASTER_KEY,
  type TestAccess,
  type TestClock,
} from "./access.testing.ts";
import type { Caller } from "./caller.ts";
import { MAX_SCOPES, MAX_SCOPES_LENGTH, parseScopes } from "./scopes.ts";
import { createSeal } from "./seal.ts";
import { createSigningKeys } from "./signing-keys.ts";
import { createTokens } from "./tokens.ts";
import { NO_SIGN_IN } from "./sign-in.ts";

const ANONYMOUS: Caller = { kind: "anonymous", via: NO_SIGN_IN, access: undefined };
const DAY_MS = 24 * 60 * 60_000;

function read(...parameters: string[]): unknown {
  const { repositories, catalog } = parseScopes(parameters, undefined);
  return [Object.fromEntries([...repositories].map(([name, { actions }]) => [name, [...actions].toSorted()])), catalog];
}

describe("scopes", () => {
  it("are read as the specification writes them", () => {
    assert.deepEqual(read(), [{}, false]);
    assert.deepEqual(read(""), [{}, false]);
    assert.deepEqual(read("repository:a/b:pull,push"), [{ "a/b": ["pull", "push"] }, false]);
    assert.deepEqual(read("repository:a/b:pull  repository:c/d:push", "repository:a/b:delete"), [
      { "a/b": ["delete", "pull"], "c/d": ["push"] },
      false,
    ]);
    assert.deepEqual(read("repository:a/b:*"), [{ "a/b": ["delete", "pull", "push"] }, false]);
    assert.deepEqual(read("repository(plugin):a/b:pull"), [{ "a/b": ["pull"] }, false]);
    assert.deepEqual(read("repository:a/b:"), [{ "a/b": [] }, false]);
    assert.deepEqual(read("registry:catalog:*"), [{}, true]);
    assert.deepEqual(read("registry:catalog:pull", "registry:other:*"), [{}, false]);
  });

  it("leave out what is unknown, what is no scope, and what is too much", () => {
    assert.deepEqual(
      read("volume:a/b:pull", "repository:a/b:fly", "repository:UPPER/b:pull", "repository:single:pull", "repository:host:5000/a/b:pull"),
      [{ "a/b": [] }, false],
    );
    for (const bad of ["repository", "repository:a/b", ":a/b:pull", "repository:a/b:pull x", "x".repeat(MAX_SCOPES_LENGTH + 1)]) {
      assert.deepEqual(read(bad, "repository:c/d:pull registry:catalog:*"), [
        { ...(bad.endsWith(" x") ? { "a/b": ["pull"] } : {}), "c/d": ["pull"] },
        true,
      ]);
    }
    const names = Array.from({ length: MAX_SCOPES + 8 }, (_, i) => `a/b${i}`);
    const long32 = names.map((name) => `repository:${name}:pull`).join(" ");
    const many = parseScopes([long32, "repository:a/b0:push", "registry:catalog:*"], undefined);
    assert.deepEqual([...many.repositories.keys()], names.slice(0, MAX_SCOPES));
    assert.deepEqual([...many.repositories.get("a/b0")!.actions, many.catalog], ["pull", "push", true]);
    // One repository may be named as often as a client likes.
    assert.deepEqual(read(...Array.from({ length: 100 }, () => "repository:a/b:pull")), [{ "a/b": ["pull"] }, false]);
    const long = Array.from({ length: 20 }, (_, i) => `a/${"b".repeat(250)}${i}`);
    const held = parseScopes(
      [...long, "c/d"].map((name) => `repository:${name}:pull`),
      undefined,
    ).repositories;
    assert.ok([...held.keys()].join("").length <= MAX_SCOPES_LENGTH && held.size === 17 && held.has("c/d"), String(held.size));
  });

  it("of one segment are the default project's, in the words of who asks", () => {
    const scopes = ["repository:app:pull", "repository:library/app:push", "repository:app:delete", "repository:Bad:pull"];
    const { repositories } = parseScopes(scopes, parseProjectName("library"));
    assert.deepEqual(
      [...repositories].map(([name, { repository, actions }]) => [name, repository, [...actions]]),
      [
        ["app", "library/app", ["pull", "delete"]],
        ["library/app", "library/app", ["push"]],
      ],
    );
  });

  it("never break the reader, whatever is sent", () => {
    const word = fc.constantFrom(
      "repository",
      "registry",
      "catalog",
      "a/b",
      "pull",
      "push",
      "*",
      ":",
      ",",
      " ",
      "(x)",
      "__proto__",
      "/",
      "a",
    );
    const text = fc.oneof(
      fc.string({ maxLength: 60, unit: "grapheme" }),
      fc.array(word, { maxLength: 12 }).map((words) => words.join("")),
    );
    fc.assert(
      fc.property(fc.array(text, { maxLength: 6 }), (parameters) => {
        const { repositories } = parseScopes(parameters, undefined);
        assert.ok(repositories.size <= MAX_SCOPES);
        for (const [name, { actions }] of repositories) {
          assert.match(name, /^[a-z0-9]/);
          for (const action of actions) assert.ok(["pull", "push", "delete"].includes(action));
        }
      }),
      { numRuns: 2000 },
    );
    // What is well formed is found again, in any order and grouping.
    const name = fc.constantFrom("a/b", "c/d", "e/f-g/h");
    const actions = fc.uniqueArray(fc.constantFrom("pull", "push", "delete"), { minLength: 1 });
    fc.assert(
      fc.property(fc.array(fc.tuple(name, actions), { maxLength: 6 }), fc.boolean(), (asked, together) => {
        const scopes = asked.map(([each, what]) => `repository:${each}:${what.join(",")}`);
        const expected: Record<string, string[]> = {};
        for (const [each, what] of asked) expected[each] = [...new Set([...(expected[each] ?? []), ...what])].toSorted();
        assert.deepEqual(read(...(together ? [scopes.join(" ")] : scopes)), [expected, false]);
      }),
    );
  });
});

forEachDatabase("tokens", (create) => {
  let test: TestDatabase;
  let otherDatabase: Database;
  let clock: TestClock;
  let here: TestAccess;
  let there: TestAccess;
  let developer: Caller;

  before(async () => {
    test = await create();
    otherDatabase = await test.open();
    clock = createTestClock();
    here = createTestAccess(test.database, clock);
    there = createTestAccess(otherDatabase, clock);
    const own = await addProject(test.database, "own");
    await addProject(test.database, "open", true);
    developer = await callerOf(
      test.database,
      await addUser(test.database, "dev", { roles: new Map([[own, "developer"]]), secretHash: "unused" }),
    );
  });
  after(() => test.end());

  it("lists every repository that was asked for, with what is granted of it, perhaps nothing", async () => {
    const scopes = [
      "repository:own/app:pull,push,delete repository:open/app:pull,push",
      "repository:secret/app:pull",
      "registry:catalog:*",
    ];
    const answer = await here.tokens.issueToken(developer, scopes);
    assert.equal(answer.token, answer.access_token);
    assert.equal(answer.expires_in, 300);
    assert.equal(answer.issued_at, new Date(clock.now()).toISOString());
    const now = clock.now() / 1000;
    const { jti, ...claims } = decodeJwt(answer.token);
    assert.equal(typeof jti, "string");
    assert.deepEqual(claims, {
      iss: "berth",
      sub: "dev",
      aud: "registry.test",
      iat: now,
      nbf: now - 30,
      exp: now + 300,
      account: developer.kind === "account" ? developer.accountId : 0,
      epoch: 1,
      via: { kind: "password" },
      access: [
        { type: "repository", name: "own/app", actions: ["pull", "push"] },
        { type: "repository", name: "open/app", actions: ["pull"] },
        { type: "repository", name: "secret/app", actions: [] },
        { type: "registry", name: "catalog", actions: ["*"] },
      ],
    });
    const caller = await there.authenticator.authenticate(`Bearer ${answer.token}`, TEST_ADDRESS);
    const bound = { via: undefined, namesCatalog: undefined, accessEndsAt: undefined };
    assert.deepEqual({ ...caller, access: undefined, ...bound }, { ...developer, ...bound });
    assert.equal(caller.namesCatalog, true);
    assert.equal(caller.accessEndsAt, (now + 300) * 1000);
    assert.deepEqual(
      [...caller.access!].map(([name, actions]) => [name, [...actions]]),
      [
        ["own/app", ["pull", "push"]],
        ["open/app", ["pull"]],
        ["secret/app", []],
      ],
    );
    await assert.rejects(here.tokens.issueToken(caller, scopes), { code: "UNAUTHORIZED" });
  });

  it("gives anonymous tokens what public projects allow", async () => {
    const { token } = await here.tokens.issueToken(ANONYMOUS, ["repository:open/app:pull,push", "repository:own/app:pull"]);
    const caller = await there.authenticator.authenticate(`Bearer ${token}`, TEST_ADDRESS);
    assert.equal(caller.kind, "anonymous");
    assert.deepEqual(
      [...caller.access!].map(([name, actions]) => [name, [...actions]]),
      [
        ["open/app", ["pull"]],
        ["own/app", []],
      ],
    );
  });

  it("refuses expired, foreign, changed and unsigned tokens, read before or not", async () => {
    const { token } = await here.tokens.issueToken(developer, ["repository:own/app:pull"]);
    async function refused(bearer: string, replica = here): Promise<void> {
      await assert.rejects(async () => replica.tokens.readToken(bearer), { code: "UNAUTHORIZED", reason: "invalid_token" });
    }
    const [header = "", payload = "", signature = ""] = token.split(".");
    const changed = Buffer.from(
      JSON.stringify({ ...decodeJwt(token), access: [{ type: "repository", name: "own/app", actions: ["delete"] }] }),
    );
    await refused(`${header}.${changed.toString("base64url")}.${signature}`);
    await refused(`${Buffer.from('{"alg":"none"}').toString("base64url")}.${payload}.`);
    await refused(
      `${Buffer.from(JSON.stringify({ ...decodeProtectedHeader(token), alg: "HS256" })).toString("base64url")}.${payload}.${signature}`,
    );
    const signer = await here.signingKeys.getSigner();
    const options = { signingKeys: here.signingKeys, authorizer: here.authorizer, clock, lifetimeSeconds: 300, defaultProject: undefined };
    for (const foreign of [
      createTokens({ ...options, issuer: "other", service: "registry.test" }),
      createTokens({ ...options, issuer: "berth", service: "other.test" }),
    ]) {
      await refused((await foreign.issueToken(developer, [])).token);
    }
    // Signed by us, but without an end, or with half an account.
    const bare = new SignJWT({ access: [] })
      .setProtectedHeader({ alg: "EdDSA", kid: signer.id })
      .setIssuer("berth")
      .setAudience("registry.test")
      .setSubject("");
    await refused(await bare.sign(signer.privateKey));
    const half = new SignJWT({ account: 1 })
      .setProtectedHeader({ alg: "EdDSA", kid: signer.id })
      .setIssuer("berth")
      .setAudience("registry.test")
      .setSubject("");
    await refused(
      await half
        .setIssuedAt(clock.now() / 1000)
        .setExpirationTime(clock.now() / 1000 + 60)
        .setJti("x")
        .sign(signer.privateKey),
    );

    await here.tokens.readToken(token);
    clock.advance(299_000);
    await here.tokens.readToken(token);
    clock.advance(1000);
    await refused(token);
    await refused(token, there);
  });

  it("names repositories as they were asked for, and opens them under both names", async () => {
    const options = { signingKeys: here.signingKeys, authorizer: here.authorizer, clock, issuer: "berth", service: "registry.test" };
    const withDefault = (project: string | undefined) =>
      createTokens({ ...options, lifetimeSeconds: 300, defaultProject: project === undefined ? undefined : parseProjectName(project) });
    const { token } = await withDefault("own").issueToken(developer, ["repository:app:pull,push", "repository:own/app:delete,pull"]);
    assert.deepEqual(
      (decodeJwt(token)["access"] as { name: string; actions: string[] }[]).map((entry) => [entry.name, entry.actions]),
      [
        ["app", ["pull", "push"]],
        ["own/app", ["pull"]],
      ],
    );
    const read = async (project: string | undefined) =>
      [...(await withDefault(project).readToken(token)).access].map(([repository, actions]) => [repository, [...actions].toSorted()]);
    assert.deepEqual(await read("own"), [["own/app", ["pull", "push"]]]);
    // The default project was switched off since: names that depend on it open nothing, and the others still do.
    assert.deepEqual(await read(undefined), [["own/app", ["pull"]]]);
  });

  it("holds lifetimes between a minute and an hour", () => {
    const options = {
      signingKeys: here.signingKeys,
      authorizer: here.authorizer,
      clock,
      issuer: "i",
      service: "s",
      defaultProject: undefined,
    };
    for (const lifetimeSeconds of [59, 3601, Number.NaN]) assert.throws(() => createTokens({ ...options, lifetimeSeconds }), RangeError);
    createTokens({ ...options, lifetimeSeconds: 3600 });
  });

  it("replaces keys in time; all replicas accept tokens of old and new ones until these have ended", async () => {
    const kidOf = (token: string): string => decodeProtectedHeader(token).kid!;
    const first = await here.tokens.issueToken(developer, []);
    const firstThere = await there.tokens.issueToken(developer, []);
    assert.equal(kidOf(first.token), kidOf(firstThere.token));
    // On the 26th day nothing happens; then the first signature creates the next key, and another replica accepts its token at once.
    clock.advance(26 * DAY_MS);
    const late = await here.tokens.issueToken(developer, []);
    assert.equal(kidOf(late.token), kidOf(first.token));
    await there.tokens.readToken(late.token);
    clock.advance(DAY_MS + 1);
    const [a, b] = await Promise.all([here.tokens.issueToken(developer, []), there.tokens.issueToken(developer, [])]);
    assert.notEqual(kidOf(a.token), kidOf(first.token));
    assert.equal(kidOf(a.token), kidOf(b.token), "replicas that renew together agree on one key");
    await there.tokens.readToken(a.token);
    await here.tokens.readToken(b.token);

    const before = await here.tokens.issueToken(developer, []);
    await here.signingKeys.rotate();
    const afterwards = await here.tokens.issueToken(developer, []);
    assert.notEqual(kidOf(afterwards.token), kidOf(before.token));
    clock.advance(1000);
    const fresh = createTestAccess(otherDatabase, clock);
    for (const replica of [there, fresh]) {
      await replica.tokens.readToken(before.token);
      await replica.tokens.readToken(afterwards.token);
    }
    const { keys } = await fresh.signingKeys.listPublic();
    assert.ok(keys.every((key) => key.d === undefined && key.kty === "OKP"));
    const verified = await jwtVerify(before.token, createLocalJWKSet({ keys }), { currentDate: new Date(clock.now()) });
    assert.equal(verified.payload.sub, "dev");
    // The old keys end after the longest life of a token.
    clock.advance(60 * 60_000 + 30_000);
    assert.equal((await fresh.signingKeys.listPublic()).keys.length, 1);
    assert.equal(await there.signingKeys.findVerifier(kidOf(before.token)), undefined);
  });

  it("makes the next key ahead of who signs, and none with another secret key", async () => {
    const kids = async (): Promise<string[]> => (await here.signingKeys.listPublic()).keys.map(({ kid }) => kid!);
    const { token } = await here.tokens.issueToken(developer, []);
    const before = decodeProtectedHeader(token).kid!;
    await here.signingKeys.renew();
    assert.equal((await kids())[0], before);
    clock.advance(27 * DAY_MS + 1);
    const stranger = createSigningKeys({ database: test.database, clock, masterKey: Buffer.alloc(32, 8) });
    await assert.rejects(stranger.renew(), /the secret key does not open the token key/);
    assert.equal((await kids())[0], before);
    await Promise.all([here.signingKeys.renew(), there.signingKeys.renew()]);
    const [next, ...others] = await kids();
    assert.ok(next !== before && others[0] === before, "one key more, and the old one still verifies");
    const { token: later } = await there.tokens.issueToken(developer, []);
    assert.equal(decodeProtectedHeader(later).kid, next);
  });

  it("asks the database about unknown key ids once a second at most", async () => {
    let reads = 0;
    const counting: Database = { ...test.database, all: (query, parameters) => (reads++, test.database.all(query, parameters)) };
    const keys = createSigningKeys({ database: counting, clock, masterKey: TEST_MASTER_KEY });
    await keys.prepare();
    const readsBefore = reads;
    for (let i = 0; i < 100; i++) assert.equal(await keys.findVerifier(`unknown-${i}`), undefined);
    assert.equal(reads, readsBefore);
    clock.advance(1000);
    for (let i = 0; i < 100; i++) assert.equal(await keys.findVerifier(`unknown-${i}`), undefined);
    assert.equal(reads, readsBefore + 1);
  });

  it("refuses to start with another master key, and keeps private keys sealed", async () => {
    const keys = createSigningKeys({ database: test.database, clock, masterKey: Buffer.alloc(32, 8) });
    await assert.rejects(keys.prepare(), /the secret key does not open the token key/);
    const seal = createSeal(TEST_MASTER_KEY, "one");
    const sealed = seal.seal("secret", "row 1");
    assert.equal(seal.open(sealed, "row 1"), "secret");
    assert.notEqual(sealed, seal.seal("secret", "row 1"));
    assert.throws(() => seal.open(sealed, "row 2"));
    assert.throws(() => createSeal(TEST_MASTER_KEY, "two").open(sealed, "row 1"));
    assert.throws(() => seal.open("plain", "row 1"), /unknown form/);
  });
});
