// Sign-ins of identities that a provider vouches for, on every engine: whose account somebody gets, and what is taken over. Not here: proving who
// somebody is, what groups give (group-standing.test.ts).
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { HOUR_MS } from "../platform/clock.ts";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import { addUser, changeAccount, createTestAccess, createTestClock, type TestAccess, type TestClock } from "./access.testing.ts";
import type { AccountChange } from "./account-changes.ts";
import { deleteAccount, findAccountByName, type Account } from "./account-store.ts";
import type { Actor } from "./actor.ts";
import { insertGroup } from "./group-store.ts";
import { findIdentity, insertIdentity, listIdentities } from "./identity-store.ts";
import {
  createOutsideSignIn,
  isOutsideRefusal,
  type OutsideIdentity,
  type OutsidePolicy,
  type OutsideRefusal,
  type OutsideSignIn,
} from "./outside-identities.ts";
import { accountNames, groupNames } from "./outside-names.ts";
import { isUserName, type SystemRole } from "./roles.ts";

const PROOF = {
  origin: { requestId: "r1", address: "192.0.2.7" },
  via: { kind: "oidc", issuer: "https://idp.test" },
} as const;
const POLICY: OutsidePolicy = { createsAccounts: true, makesGroups: false };

function identity(subject: string, more: Partial<OutsideIdentity> = {}): OutsideIdentity {
  return { kind: "oidc", provider: "idp", realm: "https://idp.test", subject, name: subject, groups: [], ...more };
}

it("names of accounts and groups: are allowed ones, each unlike the others, whatever the provider says", () => {
  const said = [
    "Ann.Lee",
    "ann@example.com",
    "ÅSA Öberg",
    "张伟",
    "",
    "--",
    "a".repeat(300),
    "x+robot",
    "a:b",
    "me",
    "oidc",
    "\0\u{1f600}",
    "A__B",
    "İstanbul",
    "../../x",
  ];
  for (const name of said) {
    const names = accountNames(name, ["oidc", "idp", "1"]);
    assert.ok(names.length >= 10, name);
    assert.equal(new Set(names).size, names.length);
    for (const each of names) assert.ok(isUserName(each) && each !== "me" && each !== "oidc", `${name}: ${each}`);
    for (const each of groupNames(name, ["x"])) assert.match(each, /^(?=.{1,64}$)[a-z0-9]+(?:[._-][a-z0-9]+)*$/);
  }
  assert.equal(accountNames("ÅSA Öberg", [])[0], "asa-oberg");
  assert.equal(accountNames("ann@example.com", [])[0], "ann@example.com");
  assert.notEqual(accountNames("张伟", ["1"])[0], accountNames("李娜", ["2"])[0]);
});

forEachDatabase("outside identities", (create) => {
  let test: TestDatabase;
  let clock: TestClock;
  let access: TestAccess;
  let outside: OutsideSignIn;
  let recorded: { actor: Actor; change: AccountChange }[] = [];
  before(async () => {
    test = await create();
    clock = createTestClock();
    access = createTestAccess(test.database, clock);
    const changes = {
      wants: () => true,
      record: async (_: unknown, actor: Actor, found: readonly AccountChange[]) => {
        recorded.push(...found.map((change) => ({ actor, change })));
      },
    };
    outside = createOutsideSignIn({ database: test.database, clock, accounts: access.accounts, changes });
  });
  after(() => test.end());

  async function signIn(given: OutsideIdentity, policy: OutsidePolicy = POLICY): Promise<Account> {
    const result = await outside.signIn(given, policy, PROOF);
    assert.ok(!isOutsideRefusal(result), JSON.stringify(result));
    return result;
  }
  async function refused(given: OutsideIdentity, policy: OutsidePolicy = POLICY): Promise<OutsideRefusal["fault"]> {
    const result = await outside.signIn(given, policy, PROOF);
    assert.ok(isOutsideRefusal(result));
    return result.fault;
  }
  const kinds = (): string[] => recorded.map(({ change }) => change.kind);

  it("makes an account without a password at the first sign-in, finds it at the next, and writes nothing when nothing is new", async () => {
    recorded = [];
    const first = await signIn(identity("sub-1", { name: "Ann", email: "ann@example.com" }));
    assert.equal(first.name, "ann");
    assert.equal(first.secretHash, undefined);
    assert.equal(first.isAdmin, false);
    assert.deepEqual(kinds(), ["user.created", "identity.added"]);
    assert.deepEqual(recorded[0]!.actor, { kind: "user", accountId: first.id, name: "ann", ...PROOF });
    recorded = [];
    const again = await signIn(identity("sub-1", { name: "Renamed", email: "ann@example.com" }));
    assert.equal(again.id, first.id);
    assert.equal(again.name, "ann");
    assert.deepEqual(kinds(), []);
    const seenAt = async () => (await findIdentity(test.database, identity("sub-1")))!.seenAt.getTime();
    const before_ = await seenAt();
    clock.advance(HOUR_MS / 2);
    await signIn(identity("sub-1", { email: "ann@example.com" }));
    assert.equal(await seenAt(), before_);
    clock.advance(HOUR_MS);
    await signIn(identity("sub-1", { email: "ann@example.com" }));
    assert.equal(await seenAt(), clock.now());
  });

  it("never takes over an account that is there, by name or by e-mail", async () => {
    const localId = await addUser(test.database, "bob", { isAdmin: true, secretHash: "unused" });
    const robbers = [identity("r1", { name: "bob", email: "bob" }), identity("r2", { name: "BOB" }), identity("r3", { name: "Bób " })];
    const got = [];
    for (const each of robbers) got.push(await signIn(each));
    assert.deepEqual(
      got.map(({ name }) => name),
      ["bob-2", "bob-3", "bob-4"],
    );
    assert.ok(got.every(({ id, isAdmin }) => id !== localId && !isAdmin));
    // The same subject at another provider, and in another kind of provider, is somebody else.
    const other = await signIn(identity("r1", { provider: "other", name: "bob" }));
    const directory = await signIn(identity("r1", { kind: "ldap", name: "bob" }));
    assert.equal(new Set([localId, other.id, directory.id, ...got.map(({ id }) => id)]).size, 6);
    assert.deepEqual(await listIdentities(test.database, localId), []);
  });

  it("refuses a provider that is another one under the same name, unless the settings say that it is the same", async () => {
    const { id } = await signIn(identity("sub-2", { name: "cat" }));
    const moved = identity("sub-2", { name: "cat", realm: "https://moved.test" });
    assert.equal(await refused(moved), "realm-changed");
    assert.equal((await findIdentity(test.database, moved))!.realm, "https://idp.test");
    assert.equal((await signIn(moved, { ...POLICY, formerRealms: ["https://idp.test"] })).id, id);
    assert.equal((await signIn(moved)).id, id);
    assert.equal(await refused(identity("sub-2")), "realm-changed");
  });

  it("makes no account where the settings forbid it, and signs in who was joined by an administrator", async () => {
    const closed = { ...POLICY, createsAccounts: false };
    assert.equal(await refused(identity("sub-3"), closed), "no-account");
    assert.equal(await findIdentity(test.database, identity("sub-3")), undefined);
    assert.equal(await findAccountByName(test.database, "sub-3"), undefined);
    const accountId = await addUser(test.database, "dora", { secretHash: "unused" });
    const joined = { ...identity("sub-3"), accountId, email: undefined, fullName: undefined };
    assert.equal(await test.database.transaction((tx) => insertIdentity(tx, joined, 1)), true);
    assert.equal((await signIn(identity("sub-3"), closed)).name, "dora");
    assert.equal(await test.database.transaction((tx) => insertIdentity(tx, { ...joined, accountId: accountId + 1 }, 1)), false);
  });

  it("refuses disabled accounts, enables none, and gives a new account to who was deleted", async () => {
    const { id } = await signIn(identity("sub-4", { name: "eve" }));
    await changeAccount(test.database, id, { isDisabled: true }, true);
    assert.equal(await refused(identity("sub-4")), "disabled");
    assert.equal((await findAccountByName(test.database, "eve"))!.isDisabled, true);
    await test.database.transaction((tx) => deleteAccount(tx, id));
    assert.equal(await findIdentity(test.database, identity("sub-4")), undefined);
    assert.notEqual((await signIn(identity("sub-4", { name: "eve" }))).id, id);
  });

  it("keeps out who lacks the group, and takes away what he was by others", async () => {
    const group = { name: "devs", description: "", source: { kind: "oidc", provider: "idp", key: "devs" }, systemRole: "auditor" } as const;
    await test.database.transaction((tx) => insertGroup(tx, group, 1));
    const policy = { ...POLICY, requiredGroups: ["staff", "guests"] };
    assert.equal(await refused(identity("sub-5", { groups: ["devs"] }), policy), "group-missing");
    assert.equal(await findIdentity(test.database, identity("sub-5")), undefined);
    assert.equal(await refused(identity("sub-5", { groups: undefined }), policy), "group-missing");
    const account = await signIn(identity("sub-5", { groups: ["devs", "guests"] }), policy);
    assert.equal(account.isAuditor, true);
    assert.equal(await refused(identity("sub-5", { groups: [] }), policy), "group-missing");
    assert.equal((await findAccountByName(test.database, "sub-5"))!.isAuditor, false);
  });

  it("makes the groups that are missing where it is told to, never touching those of others", async () => {
    await test.database.transaction((tx) =>
      insertGroup(tx, { name: "ops", description: "", source: { kind: "local" }, systemRole: "administrator" }, 1),
    );
    recorded = [];
    const groups = ["ops", "/Team/Über", "\0bad", ""];
    const account = await signIn(identity("sub-6", { groups }), { ...POLICY, makesGroups: true });
    assert.equal(account.isAdmin, false);
    assert.deepEqual(recorded.flatMap(({ change }) => (change.kind === "group.member-added" ? [change.group] : [])).toSorted(), [
      "ops-2",
      "team-uber",
    ]);
    recorded = [];
    await signIn(identity("sub-6", { groups }), { ...POLICY, makesGroups: true });
    assert.deepEqual(kinds(), []);
    // A provider that says nothing of groups takes none away.
    await signIn(identity("sub-6", { groups: undefined }), { ...POLICY, makesGroups: true });
    assert.deepEqual(kinds(), []);
    await signIn(identity("sub-6", { groups: [] }));
    assert.deepEqual(kinds(), ["group.member-removed", "group.member-removed"]);
  });

  it("gives and takes the role that groups say, and leaves the last administrator with a password", async () => {
    const policy = { ...POLICY, roles: { administrator: "root", auditor: "audit" } };
    const roleOf = async (groups: string[] | undefined, with_: OutsidePolicy = policy): Promise<SystemRole | undefined> =>
      (await signIn(identity("sub-7", { name: "fay", groups }), with_)).systemRole;
    recorded = [];
    assert.equal(await roleOf(["audit"]), "auditor");
    assert.equal(await roleOf(["audit", "root"]), "administrator");
    assert.equal(await roleOf(undefined), "administrator");
    assert.equal(await roleOf([], POLICY), "administrator");
    assert.equal(await roleOf([]), undefined);
    assert.equal(kinds().filter((kind) => kind === "user.updated").length, 3);

    const bob = (await findAccountByName(test.database, "bob"))!;
    const joined = { ...identity("sub-bob"), accountId: bob.id, email: undefined, fullName: undefined };
    await test.database.transaction((tx) => insertIdentity(tx, joined, 1));
    assert.equal((await signIn(identity("sub-bob", { groups: [] }), policy)).systemRole, "administrator");
    await addUser(test.database, "root2", { isAdmin: true, secretHash: "unused" });
    assert.equal((await signIn(identity("sub-bob", { groups: [] }), policy)).systemRole, undefined);
  });

  it("gives one account to many first sign-ins at a time", async () => {
    const policy = { ...POLICY, makesGroups: true };
    const groups = ["g1", "g2", "g3"];
    const found = await Promise.all(Array.from({ length: 8 }, () => signIn(identity("sub-8", { name: "gus", groups }), policy)));
    assert.equal(new Set(found.map(({ id }) => id)).size, 1);
    assert.equal(await findAccountByName(test.database, "gus-2"), undefined);
    // Two who are called alike get two accounts.
    const both = await Promise.all(
      ["sub-9", "sub-10"].map((subject) => signIn(identity(subject, { name: "hal", groups: ["g4"] }), policy)),
    );
    assert.deepEqual(both.map(({ name }) => name).toSorted(), ["hal", "hal-2"]);
  });

  it("refuses subjects that no database keeps as they are", async () => {
    for (const subject of ["", "a\0b", "x".repeat(513), "\ud800"]) assert.equal(await refused(identity(subject)), "unusable");
    const kept = await signIn(identity("sub-11", { email: "x".repeat(400), fullName: "a\0" }));
    const [row] = await listIdentities(test.database, kept.id);
    assert.equal(row!.email, undefined);
    assert.equal(row!.fullName, undefined);
  });
});
