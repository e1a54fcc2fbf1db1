// Passwords of directories: when one is asked, what is remembered, and what counts as a guess; with a directory of this test and a clock that is held.
// Not here: a real one (test/flows/ldap-sign-in.test.ts).
import assert from "node:assert/strict";
import { beforeEach, it } from "node:test";
import { RegistryError } from "@berth/oci/errors";
import { MINUTE_MS, SECOND_MS } from "../../platform/clock.ts";
import { LdapError } from "../../platform/ldap/ldap-errors.ts";
import { createTestClock, type TestClock } from "../access.testing.ts";
import type { Account } from "../account-store.ts";
import { DEFAULT_LOCKOUT } from "../login-failures.ts";
import type { OutsideIdentity } from "../outside-identities.ts";
import type { Directory } from "./directory.ts";
import { createDirectoryLogin, loginNameOf } from "./directory-login.ts";
import type { Person } from "./person.ts";

const HERE = "192.0.2.1";

interface Known {
  password: string;
  stamp?: string;
  isDisabled?: boolean;
}

let clock: TestClock;
let binds: string[];
let searches: number;
let recorded: string[];
let identities: OutsideIdentity[];
let isAway: boolean;

beforeEach(() => {
  clock = createTestClock();
  [binds, searches, recorded, identities, isAway] = [[], 0, [], [], false];
});

function directoryOf(name: string, people: Readonly<Record<string, Known | "several">>): Directory {
  const settings = {
    signIn: { groups: [], createsAccounts: true, makesGroups: false },
    roles: {},
    passwordMemorySeconds: 120,
    outageMemorySeconds: 900,
  };
  const ask = (): void => {
    searches++;
    if (isAway) throw new LdapError("away", "no answer");
  };
  return {
    name,
    settings: settings as unknown as Directory["settings"],
    realm: "dc=x",
    async findByName(typed) {
      ask();
      const found = people[typed];
      if (found === undefined || found === "several") return found;
      const { stamp: passwordStamp, isDisabled = false } = found;
      return { dn: `uid=${typed}`, subject: `id:${typed}`, name: typed, passwordStamp, isDisabled } as Person;
    },
    findBySubject: async () => undefined,
    findGroups: async () => ({ keys: [], isCut: false }),
    async tryPassword(person, password) {
      ask();
      binds.push(`${name} ${person.name}`);
      const known = people[person.name];
      return known !== undefined && known !== "several" && known.password === password
        ? { isRight: true }
        : { isRight: false, resultCode: 49, detail: "wrong" };
    },
    isResting: () => isAway,
    close: () => undefined,
  };
}

function loginOf(...directories: Directory[]) {
  const account = { id: 1, kind: "user", name: "ann", epoch: 1, isDisabled: false, expiresAt: undefined } as Account;
  const held = { account };
  const login = createDirectoryLogin({
    directories,
    clock,
    accounts: { find: () => held.account },
    outside: {
      signIn: async (identity) => {
        identities.push(identity);
        return held.account;
      },
    },
    loginFailures: {
      rules: DEFAULT_LOCKOUT,
      check: async () => undefined,
      record: async (name, address) => void recorded.push(`${name} ${address}`),
      repeat: () => void recorded.push("repeated"),
      recordSuccess: () => undefined,
    },
  });
  const codeOf = async (name: string, password: string, address = HERE): Promise<string> => {
    try {
      return (await login.signIn(name, password, address)).account.name;
    } catch (error) {
      assert.ok(error instanceof RegistryError, String(error));
      return error.code;
    }
  };
  return { codeOf, held };
}

it("tries a wrong password once, from wherever it comes, until the one in the directory is another", async () => {
  const people = { ann: { password: "right", stamp: "1" } };
  const { codeOf } = loginOf(directoryOf("corp", people));
  for (const address of [HERE, HERE, "192.0.2.2", "192.0.2.3"]) assert.equal(await codeOf("ann", "next", address), "UNAUTHORIZED");
  clock.advance(30 * MINUTE_MS);
  assert.equal(await codeOf("ann", "next"), "UNAUTHORIZED");
  assert.deepEqual(binds, ["corp ann"]);
  // It was set to what was tried before.
  people.ann = { password: "next", stamp: "2" };
  clock.advance(11 * SECOND_MS);
  assert.equal(await codeOf("ann", "next"), "ann");
  assert.equal(binds.length, 2);
});

it("forgets a wrong password with the window of guesses where the directory does not say when it was set", async () => {
  const people = { ann: { password: "right" } };
  const { codeOf } = loginOf(directoryOf("corp", people));
  assert.equal(await codeOf("ann", "next"), "UNAUTHORIZED");
  people.ann = { password: "next" };
  clock.advance(DEFAULT_LOCKOUT.windowMs / 2);
  assert.equal(await codeOf("ann", "next"), "UNAUTHORIZED");
  clock.advance(DEFAULT_LOCKOUT.windowMs / 2 + 1);
  assert.equal(await codeOf("ann", "next"), "ann");
});

it("remembers a right password for a while, longer while the directory is away, and not beyond the account's epoch", async () => {
  const { codeOf, held } = loginOf(directoryOf("corp", { ann: { password: "right" } }));
  assert.equal(await codeOf("ann", "right"), "ann");
  clock.advance(119 * SECOND_MS);
  assert.equal(await codeOf("ann", "right"), "ann");
  assert.equal(searches, 2);
  isAway = true;
  assert.equal(await codeOf("ann", "other"), "DIRECTORY_UNAVAILABLE");
  clock.advance(10 * MINUTE_MS);
  assert.equal(await codeOf("ann", "right"), "ann");
  held.account = { ...held.account, epoch: 2 };
  assert.equal(await codeOf("ann", "right"), "DIRECTORY_UNAVAILABLE");
  held.account = { ...held.account, epoch: 1, isDisabled: true };
  assert.equal(await codeOf("ann", "right"), "DIRECTORY_UNAVAILABLE");
  isAway = false;
  held.account = { ...held.account, isDisabled: false };
  assert.equal(await codeOf("ann", "right"), "ann");
  isAway = true;
  clock.advance(15 * MINUTE_MS + 1);
  assert.equal(await codeOf("ann", "right"), "DIRECTORY_UNAVAILABLE");
});

it("counts guesses at who is remembered while the directory is away, and nothing else", async () => {
  const { codeOf } = loginOf(directoryOf("corp", { ann: { password: "right" } }));
  assert.equal(await codeOf("ann", "right"), "ann");
  isAway = true;
  for (const password of ["guess-1", "guess-2"]) assert.equal(await codeOf("ann", password), "DIRECTORY_UNAVAILABLE");
  assert.deepEqual(recorded, [`ann ${HERE}`, `ann ${HERE}`]);
  clock.advance(3 * MINUTE_MS);
  assert.equal(await codeOf("ann", "right"), "ann");
  assert.equal(await codeOf("bob", "whatever"), "DIRECTORY_UNAVAILABLE");
  assert.equal(recorded.length, 2);
});

it("does not go on to the next directory where one is away, is unsure, or knows the name", async () => {
  const second = directoryOf("second", { ann: { password: "theirs" }, bob: { password: "theirs" }, cat: { password: "theirs" } });
  const { codeOf } = loginOf(directoryOf("first", { ann: { password: "ours" }, bob: "several" }), second);
  assert.equal(await codeOf("ann", "theirs"), "UNAUTHORIZED");
  assert.equal(await codeOf("bob", "theirs"), "UNAUTHORIZED");
  assert.equal(await codeOf("cat", "theirs"), "ann");
  assert.deepEqual(binds, ["first ann", "second cat"]);
  assert.equal(identities[0]!.provider, "second");
  isAway = true;
  assert.equal(await codeOf("dan", "theirs"), "DIRECTORY_UNAVAILABLE");
});

it("tries no password of an entry that is disabled, and none that is empty", async () => {
  const { codeOf } = loginOf(directoryOf("corp", { ann: { password: "right", isDisabled: true }, bob: { password: "" } }));
  assert.equal(await codeOf("ann", "right"), "UNAUTHORIZED");
  assert.equal(await codeOf("bob", ""), "UNAUTHORIZED");
  assert.deepEqual(binds, []);
});

it("asks once for many at a time, from many addresses", async () => {
  const { codeOf } = loginOf(directoryOf("corp", { ann: { password: "right" } }));
  const addresses = Array.from({ length: 40 }, (_, index) => `192.0.2.${index}`);
  assert.deepEqual(new Set(await Promise.all(addresses.map((address) => codeOf("ann", "right", address)))), new Set(["ann"]));
  assert.deepEqual(binds, ["corp ann"]);
  await Promise.all(addresses.map((address) => codeOf("ann", "wrong", address)));
  assert.equal(binds.length, 2);
});

it("takes one spelling of a name, and nothing that directories would silently change", () => {
  assert.equal(loginNameOf("Ann.Lee@Example.com"), "ann.lee@example.com");
  assert.equal(loginNameOf("ÅSA"), "åsa");
  for (const none of [
    "",
    " ann",
    "ann ",
    "a nn",
    "ann\0",
    "*",
    "a(b",
    "a\\b",
    "a,b",
    "a=b",
    "ａnn",
    "a\u00adnn",
    "a\u200bnn",
    "a+b",
    "x".repeat(129),
    "\ud800",
  ])
    assert.equal(loginNameOf(none), undefined, none);
});
