// Authentication: passwords, robot secrets, tokens; what ends them; unknown and known names cost the same; lock-out.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, it } from "node:test";
import { RegistryError } from "@berth/oci/errors";
import { parseRepositoryName } from "@berth/oci/reference";
import type { Database } from "../platform/database/database.ts";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import { statement } from "../platform/database/statement.ts";
import {
  addProject,
  addRobot,
  addUser,
  basic,
  changeAccount,
  createTestAccess,
  createTestClock,
  TEST_ADDRESS,
  TEST_MASTER_KEY,
  TEST_PASSWORD,
  type TestAccess,
  type TestClock,
} from "./access.testing.ts";
import { deleteAccount } from "./account-store.ts";
import { deleteMember, putMember } from "./member-store.ts";
import { addressGroup } from "./login-failures.ts";
import { createLoginPlaces } from "./login-places.ts";
import { generateSecret, isSecretOf } from "./secrets.ts";
import { NO_SIGN_IN } from "./sign-in.ts";

const allPlaces = statement<Record<never, never>>()("test.all_places", (db) => db.selectFrom("login_place").selectAll());
const clear = statement<Record<never, never>>()("test.clear_failures", (db) => db.deleteFrom("login_failure"));
const setPublic = statement<{ id: number; isPublic: number }>()("test.set_public", (db, p) =>
  db.updateTable("project").set({ is_public: p.isPublic }).where("id", "=", p.id),
);

async function refusal(work: () => unknown): Promise<RegistryError> {
  const error: unknown = await (async () => work())().then(
    () => assert.fail("was not refused"),
    (e: unknown) => e,
  );
  assert.ok(error instanceof RegistryError, String(error));
  return error;
}

forEachDatabase("authenticate", (create) => {
  let test: TestDatabase;
  let otherDatabase: Database;
  let clock: TestClock;
  let here: TestAccess;
  let there: TestAccess;
  let projectId: number;
  let count = 0;

  before(async () => {
    test = await create();
    otherDatabase = await test.open();
    projectId = await addProject(test.database, "p");
  });
  beforeEach(() => {
    clock = createTestClock();
    here = createTestAccess(test.database, clock);
    there = createTestAccess(otherDatabase, clock);
    count++;
  });
  afterEach(() => test.database.write(clear, {}));
  after(() => test.end());

  it("recognises nobody, a user and a robot", async () => {
    const id = await addUser(test.database, `u${count}`);
    const robot = await addRobot(test.database, `p+r${count}`, projectId, {});
    assert.deepEqual(await here.authenticator.authenticate(undefined, TEST_ADDRESS), {
      kind: "anonymous",
      via: { kind: "none" },
      access: undefined,
    });
    const user = await here.authenticator.authenticate(basic(`u${count}`, TEST_PASSWORD), TEST_ADDRESS);
    assert.deepEqual(user, {
      kind: "account",
      accountId: id,
      name: `u${count}`,
      isAdmin: false,
      epoch: 1,
      via: { kind: "password" },
      access: undefined,
    });
    const caller = await here.authenticator.authenticate(basic(`p+r${count}`, robot.secret), TEST_ADDRESS);
    assert.equal(caller.kind === "account" && caller.accountId, robot.id);
    assert.deepEqual(caller.via, { kind: "robot-secret" });
  });

  it("knows how the account signed in that a registry token was given to", async () => {
    await addUser(test.database, `u${count}`);
    const robot = await addRobot(test.database, `p+v${count}`, projectId, {});
    for (const [header, by] of [
      [basic(`u${count}`, TEST_PASSWORD), { kind: "password" }],
      [basic(`p+v${count}`, robot.secret), { kind: "robot-secret" }],
      [undefined, { kind: "none" }],
    ] as const) {
      const { token } = await here.tokens.issueToken(await here.authenticator.authenticate(header, TEST_ADDRESS), []);
      const { via } = await there.authenticator.authenticate(`Bearer ${token}`, TEST_ADDRESS);
      assert.deepEqual(via, { kind: "registry-token", by });
    }
  });

  it("hashes a password once for requests that come together and after one another", async () => {
    await addUser(test.database, `u${count}`);
    const header = basic(`u${count}`, TEST_PASSWORD);
    await Promise.all(Array.from({ length: 20 }, async () => here.authenticator.authenticate(header, TEST_ADDRESS)));
    for (let i = 0; i < 20; i++) await here.authenticator.authenticate(header, `192.0.2.${i}`);
    assert.equal(here.passwords.runs(), 1);
    clock.advance(6 * 60_000);
    await here.authenticator.authenticate(header, TEST_ADDRESS);
    assert.equal(here.passwords.runs(), 2);
  });

  it("answers and computes the same for an unknown user, a wrong password and a disabled user", async () => {
    await addUser(test.database, `u${count}`);
    const disabled = await addUser(test.database, `d${count}`);
    await changeAccount(test.database, disabled, { isDisabled: true }, true);
    const answers = new Set<string>();
    for (const [name, secret] of [
      [`nobody${count}`, TEST_PASSWORD],
      [`u${count}`, "wrong"],
      [`d${count}`, TEST_PASSWORD],
    ] as const) {
      const runsBefore = here.passwords.runs();
      const { code, status, message, detail, headers } = await refusal(() =>
        here.authenticator.authenticate(basic(name, secret), TEST_ADDRESS),
      );
      assert.equal(here.passwords.runs() - runsBefore, 1, name);
      answers.add(JSON.stringify({ code, status, message, detail, headers }));
    }
    assert.equal(answers.size, 1);
    assert.match([...answers][0]!, /UNAUTHORIZED/);
  });

  it("refuses what is not a credential", async () => {
    const secret = generateSecret("robot");
    assert.ok(isSecretOf("robot", secret));
    assert.ok(!isSecretOf("robot", `${secret.slice(0, 20)}${secret[20] === "A" ? "B" : "A"}${secret.slice(21)}`));
    const { secret: known } = await addRobot(test.database, `p+known${count}`, projectId, {});
    const headers = [
      basic(`p+known${count}`, secret),
      basic(`p+unknown${count}`, known),
      basic(`p+known${count}`, "berth_robot_"),
      "Basic !!!",
      "Basic",
      basic("", ""),
      basic("UPPER", "x"),
      basic("u", "x".repeat(300)),
      `Basic ${"A".repeat(5000)}`,
      "Bearer ",
      "Bearer",
      "Digest x",
      "Bearer a.b.c",
      `Bearer ${"a".repeat(20_000)}`,
    ];
    for (const header of headers) {
      const { code } = await refusal(() => here.authenticator.authenticate(header, TEST_ADDRESS));
      assert.equal(code, "UNAUTHORIZED", header.slice(0, 40));
    }
    assert.equal(here.passwords.runs(), 0);
  });

  it("ends Basic credentials and tokens within a second on another replica, at once on this one", async () => {
    type Change = (id: number) => Promise<unknown>;
    const changes: Record<string, Change> = {
      disabled: (id) => changeAccount(test.database, id, { isDisabled: true }, true),
      "password changed": (id) =>
        changeAccount(
          test.database,
          id,
          { secretHash: "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAA" },
          true,
        ),
      expired: (id) => changeAccount(test.database, id, { expiresAt: new Date(clock.now() - 1) }, false),
    };
    for (const [name, change] of Object.entries(changes)) {
      const user = `${name.replace(" ", "-")}${count}`;
      const id = await addUser(test.database, user);
      const header = basic(user, TEST_PASSWORD);
      const caller = await here.authenticator.authenticate(header, TEST_ADDRESS);
      const { token } = await here.tokens.issueToken(caller, []);
      for (const replica of [here, there]) {
        for (const each of [header, `Bearer ${token}`]) await replica.authenticator.authenticate(each, TEST_ADDRESS);
      }
      await change(id);
      here.accounts.forget();
      for (const each of [header, `Bearer ${token}`]) {
        assert.equal((await refusal(() => here.authenticator.authenticate(each, TEST_ADDRESS))).code, "UNAUTHORIZED", `${name} here`);
      }
      // A caller that was authenticated earlier is also refused in the middle of its request.
      assert.equal((await refusal(() => here.authorizer.authorize(caller, "pull", parseRepositoryName("p/app")))).code, "UNAUTHORIZED");
      clock.advance(999);
      for (const each of [header, `Bearer ${token}`]) {
        assert.equal((await refusal(() => there.authenticator.authenticate(each, TEST_ADDRESS))).code, "UNAUTHORIZED", `${name} there`);
      }
    }
  });

  it("ends memberships and a project's openness within a second on another replica, at once on this one", async () => {
    const project = await addProject(test.database, `leave${count}`, true);
    const name = parseRepositoryName(`leave${count}/app`);
    const id = await addUser(test.database, `u${count}`, { roles: new Map([[project, "developer"]]) });
    const caller = await here.authenticator.authenticate(basic(`u${count}`, TEST_PASSWORD), TEST_ADDRESS);
    const { token } = await here.tokens.issueToken(caller, [`repository:${name}:pull,push`]);
    const { token: open } = await here.tokens.issueToken({ kind: "anonymous", via: NO_SIGN_IN, access: undefined }, [
      `repository:${name}:pull,push`,
    ]);
    async function allowed(replica: TestAccess, bearer: string): Promise<string[]> {
      return [
        ...(await replica.authorizer.allowed(await replica.authenticator.authenticate(`Bearer ${bearer}`, TEST_ADDRESS), name)),
      ].toSorted();
    }
    for (const replica of [here, there]) {
      assert.deepEqual(await allowed(replica, token), ["pull", "push"]);
      assert.deepEqual(await allowed(replica, open), ["pull"]);
    }
    await test.database.transaction((tx) => putMember(tx, project, id, "guest"));
    here.accounts.forget();
    assert.deepEqual(await allowed(here, token), ["pull"]);
    clock.advance(999);
    assert.deepEqual(await allowed(there, token), ["pull"]);
    await test.database.transaction(async (tx) => {
      await deleteMember(tx, project, id);
      await tx.run(setPublic, { id: project, isPublic: 0 }, 1);
    });
    here.accounts.forget();
    for (const bearer of [token, open]) assert.deepEqual(await allowed(here, bearer), []);
    clock.advance(999);
    for (const bearer of [token, open]) assert.deepEqual(await allowed(there, bearer), []);
  });

  it("locks a pair of account and address, on all replicas, ever longer, and not the owner elsewhere", async () => {
    await addUser(test.database, `u${count}`);
    const wrong = (n: number): string => basic(`u${count}`, `wrong ${n}`);
    const right = basic(`u${count}`, TEST_PASSWORD);
    for (let i = 0; i < 5; i++)
      assert.equal((await refusal(() => here.authenticator.authenticate(wrong(i), TEST_ADDRESS))).code, "UNAUTHORIZED");
    const runs = here.passwords.runs();
    for (const header of [wrong(9), right]) {
      const locked = await refusal(() => here.authenticator.authenticate(header, TEST_ADDRESS));
      assert.deepEqual([locked.code, locked.status, locked.headers], ["TOOMANYREQUESTS", 429, { "retry-after": "10" }]);
    }
    assert.equal(here.passwords.runs(), runs);
    assert.equal((await refusal(() => there.authenticator.authenticate(right, TEST_ADDRESS))).code, "TOOMANYREQUESTS");
    await there.authenticator.authenticate(right, "203.0.113.9");

    clock.advance(10_001);
    assert.equal((await refusal(() => there.authenticator.authenticate(wrong(10), TEST_ADDRESS))).code, "UNAUTHORIZED");
    clock.advance(501);
    assert.equal((await refusal(() => here.authenticator.authenticate(right, TEST_ADDRESS))).headers["retry-after"], "20");
    clock.advance(60 * 60_000);
    await here.authenticator.authenticate(right, TEST_ADDRESS);
    // The window is over: five tries again.
    for (let i = 0; i < 4; i++) await refusal(() => here.authenticator.authenticate(wrong(i), TEST_ADDRESS));
    await here.authenticator.authenticate(right, TEST_ADDRESS);
  });

  it("lets who was right there a moment ago through a lock, and a guesser ask so few times as without one", async () => {
    await addUser(test.database, `u${count}`);
    const right = basic(`u${count}`, TEST_PASSWORD);
    const wrong = (n: number): string => basic(`u${count}`, `wrong ${n}`);
    await here.authenticator.authenticate(right, "203.0.113.9");
    // It was right from the other address, but not from here.
    for (let i = 0; i < 5; i++) await refusal(() => here.authenticator.authenticate(wrong(i), TEST_ADDRESS));
    assert.equal((await refusal(() => here.authenticator.authenticate(right, TEST_ADDRESS))).code, "TOOMANYREQUESTS");

    for (let i = 0; i < 5; i++) await refusal(() => here.authenticator.authenticate(wrong(i), "203.0.113.9"));
    const runs = here.passwords.runs();
    await here.authenticator.authenticate(right, "203.0.113.9");
    assert.equal((await refusal(() => there.authenticator.authenticate(right, "203.0.113.9"))).code, "TOOMANYREQUESTS", "not remembered");
    // Five more guesses are compared with the memory, and then none: otherwise the right one would be found.
    for (let i = 10; i < 14; i++) await refusal(() => here.authenticator.authenticate(wrong(i), "203.0.113.9"));
    await here.authenticator.authenticate(right, "203.0.113.9");
    await refusal(() => here.authenticator.authenticate(wrong(14), "203.0.113.9"));
    assert.equal((await refusal(() => here.authenticator.authenticate(right, "203.0.113.9"))).code, "TOOMANYREQUESTS");
    assert.equal(here.passwords.runs(), runs);
  });

  it("counts one wrong password once, however often it comes from one place, on all replicas and after a restart", async () => {
    await addUser(test.database, `u${count}`);
    const right = basic(`u${count}`, TEST_PASSWORD);
    const stale = basic(`u${count}`, "last year's password");
    const replicas = [here, there, createTestAccess(otherDatabase, clock), createTestAccess(otherDatabase, clock)];
    for (let round = 0; round < 10; round++) {
      for (const replica of [...replicas, createTestAccess(test.database, clock)]) {
        const { code } = await refusal(() => replica.authenticator.authenticate(stale, TEST_ADDRESS));
        assert.equal(code, "UNAUTHORIZED");
      }
      clock.advance(501);
    }
    assert.equal(here.passwords.runs(), 1, "it is hashed once on each");
    await here.authenticator.authenticate(right, TEST_ADDRESS);
    await createTestAccess(test.database, clock).authenticator.authenticate(right, TEST_ADDRESS);
    // Four more guesses are free, the next is one too many.
    for (let i = 0; i < 4; i++) await refusal(() => here.authenticator.authenticate(basic(`u${count}`, `wrong ${i}`), TEST_ADDRESS));
    assert.equal((await refusal(() => there.authenticator.authenticate(right, TEST_ADDRESS))).code, "TOOMANYREQUESTS");
    // A known wrong password is answered as wrong.
    assert.equal((await refusal(() => here.authenticator.authenticate(stale, TEST_ADDRESS))).code, "UNAUTHORIZED");
  });

  it("tries a password anew that was wrong, when it has become right", async () => {
    const id = await addUser(test.database, `u${count}`);
    const header = basic(`u${count}`, "the next password");
    await refusal(() => here.authenticator.authenticate(header, TEST_ADDRESS));
    await changeAccount(test.database, id, { secretHash: await here.passwords.hash("the next password") }, true);
    here.accounts.forget();
    await here.authenticator.authenticate(header, TEST_ADDRESS);
    const unknown = basic(`later${count}`, TEST_PASSWORD);
    await refusal(() => here.authenticator.authenticate(unknown, TEST_ADDRESS));
    await addUser(test.database, `later${count}`);
    here.accounts.forget();
    await here.authenticator.authenticate(unknown, TEST_ADDRESS);
  });

  it("locks an address that tries many accounts, but not who logged in from it before", async () => {
    await addUser(test.database, `u${count}`);
    const right = basic(`u${count}`, TEST_PASSWORD);
    for (let i = 0; i < 50; i++) await here.loginFailures.record(`victim${i}`, TEST_ADDRESS, "x");
    assert.equal((await refusal(() => here.authenticator.authenticate(right, TEST_ADDRESS))).code, "TOOMANYREQUESTS");
    assert.equal((await refusal(() => there.authenticator.authenticate(right, TEST_ADDRESS))).code, "TOOMANYREQUESTS");
    clock.advance(10_001);
    await here.authenticator.authenticate(right, TEST_ADDRESS);
    await here.loginFailures.record("victim", TEST_ADDRESS, "x");
    await here.authenticator.authenticate(right, TEST_ADDRESS);
    assert.equal((await refusal(() => here.authenticator.authenticate(basic(`v${count}`, "x"), TEST_ADDRESS))).code, "TOOMANYREQUESTS");
  });

  it("slows down guesses at an account from many addresses, and not where its owner logged in, on all replicas and after a restart", async () => {
    await addUser(test.database, `u${count}`);
    const right = basic(`u${count}`, TEST_PASSWORD);
    await here.authenticator.authenticate(right, "203.0.113.9");
    for (let i = 0; i < 120; i++) await here.loginFailures.record(`u${count}`, `198.51.100.${i}`, `guess ${i}`);
    const locked = await refusal(() => here.authenticator.authenticate(right, "203.0.113.10"));
    assert.deepEqual([locked.code, locked.headers["retry-after"]], ["TOOMANYREQUESTS", "120"]);
    for (const replica of [here, there, createTestAccess(test.database, clock)])
      await replica.authenticator.authenticate(right, "203.0.113.9");
    clock.advance(120_001);
    await here.authenticator.authenticate(right, "203.0.113.10");
    // After a month the place is forgotten.
    clock.advance(31 * 24 * 3_600_000);
    for (let i = 0; i < 120; i++) await here.loginFailures.record(`u${count}`, `198.51.100.${i}`, `guess ${i}`);
    assert.equal((await refusal(() => there.authenticator.authenticate(right, "203.0.113.9"))).code, "TOOMANYREQUESTS");
  });

  it("does not shut an account for its owner anywhere because somebody guesses from a few addresses", async () => {
    await addUser(test.database, `u${count}`);
    const right = basic(`u${count}`, TEST_PASSWORD);
    const locked: string[] = [];
    // A hundred guesses, and one a second for an hour, from twenty addresses.
    for (let i = 0; i < 3_700; i++) {
      if (i >= 100) clock.advance(1_000);
      const address = `198.51.100.${i % 20}`;
      try {
        await here.loginFailures.check(`u${count}`, address);
      } catch {
        continue;
      }
      await here.loginFailures.record(`u${count}`, address, `guess ${i}`);
      if (i % 37 === 0) await here.loginFailures.check(`u${count}`, `203.0.113.${i % 250}`).catch(() => locked.push(address));
    }
    assert.deepEqual(locked, []);
    await there.authenticator.authenticate(right, "203.0.113.77");
  });

  it("keeps twenty places of an account, the newest, and nobody's address as such", async () => {
    const id = await addUser(test.database, `u${count}`);
    const places = createLoginPlaces({
      database: test.database,
      clock,
      masterKey: TEST_MASTER_KEY,
      onError: (error) => assert.fail(String(error)),
    });
    for (let i = 0; i < 30; i++) {
      assert.equal(await places.note({ id, name: `u${count}` }, `192.0.2.${i}`), true);
      assert.equal(await places.note({ id, name: `u${count}` }, `192.0.2.${i}`), false, "it is written once a day");
      clock.advance(1_000);
    }
    const known = await Promise.all(Array.from({ length: 30 }, (_, i) => places.isKnown(`u${count}`, `192.0.2.${i}`)));
    assert.deepEqual(known, [...Array<boolean>(10).fill(false), ...Array<boolean>(20).fill(true)]);
    assert.equal(await places.isKnown(`v${count}`, "192.0.2.29"), false);
    const rows = await test.database.all(allPlaces, {});
    assert.ok(!JSON.stringify(rows).includes("192.0"), "an address stands there");
    // Deleting an account deletes them too.
    await test.database.transaction((tx) => deleteAccount(tx, id));
    assert.equal(await places.isKnown(`u${count}`, "192.0.2.29"), false);
  });

  it("counts what one customer can have as one address", () => {
    assert.equal(addressGroup("::ffff:192.0.2.1"), "192.0.2.1");
    assert.equal(addressGroup("192.0.2.1"), "192.0.2.1");
    assert.equal(addressGroup("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
    assert.equal(addressGroup("2001:0db8:1:2::6"), "2001:db8:1:2::/64");
    assert.equal(addressGroup("2001:db8::1"), "2001:db8:0:0::/64");
    assert.equal(addressGroup("fe80::1%eth0"), "fe80:0:0:0::/64");
    assert.equal(addressGroup("::1"), "0:0:0:0::/64");
  });
});
