// A directory as it is asked, on a real slapd: encryption, people, passwords, groups, outages. Not here: who signs in (ldap-sign-in.test.ts),
// protocol faults (platform/ldap/*.test.ts).
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { createDirectory, type Directory } from "../../apps/server/src/access/ldap/directory.ts";
import type { DirectorySettings, Person } from "../../apps/server/src/access/ldap/person.ts";
import { checkDirectories } from "../../apps/server/src/commands/doctor/check-directories.ts";
import type { Config } from "../../apps/server/src/config.ts";
import { readSettings } from "../../apps/server/src/config-load.ts";
import { ldapSettings } from "../../apps/server/src/access/ldap/ldap-settings.ts";
import { openDirectoryServers } from "../../apps/server/src/access/ldap/directory-servers.ts";
import { type Clock, systemClock } from "../../apps/server/src/platform/clock.ts";
import { LdapError } from "../../apps/server/src/platform/ldap/ldap-errors.ts";
import type { Report } from "../../apps/server/src/platform/report.ts";
import { skipOrThrow } from "../tools/install.ts";
import { freePort } from "../tools/processes.ts";
import { groupLdif, personLdif, READER, type Slapd, startSlapd, SUFFIX } from "../tools/slapd.ts";

const person = (uid: string): string => `uid=${uid},ou=people,${SUFFIX}`;
const group = (cn: string): string => `cn=${cn},ou=groups,${SUFFIX}`;
const STRANGE = String.raw`Alice (Ops\) A*`;

const ENTRIES = [
  personLdif("alice", "alice-password", { employeeNumber: STRANGE, mail: "alice@example.test" }),
  personLdif("bob", "bob-password", { employeeNumber: "twice" }),
  personLdif("carol", "carol-password", { employeeNumber: "twice" }),
  groupLdif("team", [person("alice")]).trimEnd() + "\ndescription: alice\n\n",
  groupLdif("dept", [group("team"), person("bob")]),
  groupLdif("all", [group("dept"), group("circle")]),
  groupLdif("circle", [group("all"), group("circle")]),
  groupLdif("Strange \\28x\\29\\2C y", [person("alice")])
    .replace(/^cn: .*$/m, "cn: Strange (x), y")
    .replace(/^dn: .*$/m, `dn: cn=Strange (x)\\, y,ou=groups,${SUFFIX}`),
].join("");

/** The settings as a file gives them. */
async function settingsOf(given: Record<string, unknown>): Promise<DirectorySettings> {
  const file = JSON.stringify({ ldap: { corp: { bindDn: READER.dn, bindPassword: READER.password, ...given } } });
  const sources = { flags: [], environment: { BERTH_CONFIG: "/c.yaml" }, directory: "/", readFile: async () => file };
  const read = await readSettings(sources, { ldap: ldapSettings });
  assert.ok(read.ok, JSON.stringify(read));
  return read.values.ldap["corp"]!;
}

let slapd: Slapd | undefined;
let unavailable: unknown;
const opened: Directory[] = [];
before(async () => {
  try {
    slapd = await startSlapd(ENTRIES);
  } catch (error) {
    unavailable = error;
  }
});
after(async () => {
  for (const each of opened) each.close();
  await slapd?.stop();
});

async function open(given: Record<string, unknown> = {}, clock: Clock = systemClock): Promise<Directory> {
  const users = { base: `ou=people,${SUFFIX}`, ...(given["users"] as object) };
  const groups = { base: `ou=groups,${SUFFIX}`, ...(given["groups"] as object) };
  const settings = await settingsOf({ urls: slapd!.url, caFile: slapd!.caFile, ...given, users, groups });
  const servers = await openDirectoryServers("corp", settings, { clock });
  const directory = createDirectory("corp", settings, servers, Date.now);
  opened.push(directory);
  return directory;
}

async function find(directory: Directory, name: string): Promise<Person> {
  const found = await directory.findByName(name);
  assert.ok(found !== undefined && found !== "several", name);
  return found;
}

/** What asking fails with. */
async function failureOf(work: Promise<unknown>): Promise<LdapError> {
  try {
    await work;
  } catch (error) {
    assert.ok(error instanceof LdapError, String(error));
    return error;
  }
  throw new assert.AssertionError({ message: "it was answered" });
}

const test = (name: string, work: () => Promise<void>): void => {
  it(name, async (t) => {
    if (unavailable !== undefined) skipOrThrow(t, unavailable);
    else await work();
  });
};

test("finds people by StartTLS and by ldaps, with what never changes of them, and takes their passwords only", async () => {
  for (const urls of [slapd!.url, slapd!.secureUrl]) {
    const directory = await open({ urls });
    const alice = await find(directory, "alice");
    assert.equal(alice.dn, person("alice"));
    assert.match(alice.subject, /^entryuuid:[0-9a-f-]{36}$/);
    assert.equal(alice.email, "alice@example.test");
    assert.equal(alice.isDisabled, false);
    assert.equal((await directory.findBySubject(alice.subject))?.dn, alice.dn);
    assert.equal(await directory.findBySubject("entryuuid:00000000-0000-0000-0000-000000000000"), undefined);
    assert.equal(await directory.findBySubject("objectguid:hex:00"), undefined);
    assert.deepEqual(await directory.tryPassword(alice, "alice-password"), { isRight: true });
    for (const wrong of ["bob-password", "", " ", "alice-password "])
      assert.equal((await directory.tryPassword(alice, wrong)).isRight, false, wrong);
  }
});

test("finds nobody by what is no name, and says where several have one", async () => {
  const directory = await open();
  for (const name of ["*", "al*", "alice)(uid=*", "alice)(|(uid=*", "\\61lice", "", "nobody", "alice\0", "*)(objectClass=*"]) {
    assert.equal(await directory.findByName(name), undefined, name);
  }
  const byNumber = await open({ users: { nameAttribute: "employeeNumber" } });
  assert.equal(await byNumber.findByName("twice"), "several");
  assert.equal((await find(byNumber, STRANGE)).dn, person("alice"));
  assert.equal(await byNumber.findByName("Alice*"), undefined);
  const filtered = await open({ users: { filter: "(&(objectClass=person)(!(uid=alice)))" } });
  assert.equal(await filtered.findByName("alice"), undefined);
  await find(filtered, "bob");
});

test("follows groups in groups, in circles too, as deep as is said", async () => {
  const names = async (groups: Record<string, unknown>, who = "alice"): Promise<readonly string[]> => {
    const directory = await open({ groups });
    return (await directory.findGroups(await find(directory, who))).keys;
  };
  const all = [group("all"), group("circle"), group("dept"), String.raw`cn=strange (x)\, y,ou=groups,${SUFFIX}`, group("team")];
  assert.deepEqual(await names({}), all);
  assert.deepEqual(await names({ depth: 0 }), [all[3], all[4]]);
  assert.deepEqual(await names({ depth: 1 }), [all[2], all[3], all[4]]);
  assert.deepEqual(await names({ calledBy: "name" }), ["all", "circle", "dept", "strange (x), y", "team"]);
  assert.deepEqual(await names({}, "bob"), [group("all"), group("circle"), group("dept")]);
  assert.deepEqual(await names({}, "carol"), []);
  assert.deepEqual(await names({ from: "memberOf" }), all);
  assert.deepEqual(await names({ from: "memberOf", filter: "(|(cn=team)(cn=dept))" }), [group("dept"), group("team")]);
  assert.deepEqual(await names({ from: "memberOf", base: `ou=elsewhere,${SUFFIX}` }), []);
  assert.deepEqual(await names({ memberAttribute: "description", memberIs: "name" }), [group("team")]);
});

test("refuses Active Directory's rule where nobody knows it, which would put everybody in no group", async () => {
  const directory = await open({ groups: { from: "chain" } });
  const failure = await failureOf(directory.findGroups(await find(directory, "alice")));
  assert.equal(failure.problem, "misconfigured");
  assert.match(failure.message, /no Active Directory/);
});

test("believes no other authority, and no other name", async () => {
  const wrong = [
    { caFile: undefined },
    { urls: slapd!.url.replace("127.0.0.1", "127.0.0.2") },
    { urls: slapd!.secureUrl, caFile: undefined },
  ];
  for (const given of wrong) {
    const directory = await open(given);
    assert.match((await failureOf(directory.findByName("alice"))).message, /cannot (encrypt|connect to)/);
  }
});

test("says what is wrong with the settings, and not that a password is", async () => {
  const wrong: [Record<string, unknown>, RegExp][] = [
    [{ bindPassword: "other" }, /refuses the account that searches/],
    [{ bindDn: `cn=nobody,${SUFFIX}` }, /refuses the account that searches/],
    [{ users: { base: `ou=missing,${SUFFIX}` } }, /result code 32/],
    [{ users: { idAttribute: "objectGUID" } }, /users\.idAttribute/],
  ];
  for (const [given, message] of wrong) {
    const directory = await open(given);
    const failure = await failureOf(directory.findByName("alice"));
    assert.match(failure.message, message);
    assert.equal(failure.problem, "misconfigured");
    assert.ok(!failure.message.includes("other"));
  }
});

test("asks the next server where one is away, and leaves all alone for a while when none answers", async () => {
  const closed = `ldap://127.0.0.1:${await freePort()}`;
  const directory = await open({ urls: `${closed}, ${slapd!.url}` });
  await find(directory, "alice");
  let now = Date.now();
  const away = await open({ urls: closed }, { now: () => now });
  assert.equal((await failureOf(away.findByName("alice"))).problem, "away");
  assert.equal(away.isResting(), true);
  assert.match((await failureOf(away.findByName("alice"))).message, /cannot connect/);
  now += 3_000;
  assert.equal(away.isResting(), false);
});

test("goes on when a server comes back, also on connections that had ended", async () => {
  let now = Date.now();
  const directory = await open({}, { now: () => now });
  const alice = await find(directory, "alice");
  await slapd!.kill();
  assert.equal((await failureOf(directory.findByName("alice"))).problem, "away");
  assert.equal((await failureOf(directory.tryPassword(alice, "alice-password"))).problem, "away");
  await slapd!.resume();
  now += 60_000;
  await find(directory, "alice");
  // Ended between two questions, which nobody notices.
  await slapd!.kill();
  await slapd!.resume();
  await find(directory, "alice");
});

test("doctor says which directories answer", async () => {
  const base = `ou=people,${SUFFIX}`;
  const good = await settingsOf({ urls: slapd!.url, caFile: slapd!.caFile, users: { base } });
  const bad = await settingsOf({ urls: slapd!.url, caFile: slapd!.caFile, bindPassword: "other", users: { base } });
  const lines: string[] = [];
  const report = { line: (_: string, __: object, text: string) => void lines.push(text) } as unknown as Report;
  const config = { outbound: {}, auth: { ldap: { good, bad } } } as unknown as Config;
  assert.equal(await checkDirectories(config, report), 1);
  assert.equal(lines[0], "directory good: answers");
  assert.match(lines[1]!, /^directory bad \(misconfigured\): .*refuses the account that searches/);
});

test("waits for a silent server as long as it is told to", async () => {
  const directory = await open({ answerTimeoutSeconds: "1s", connectTimeoutSeconds: "1s" });
  await find(directory, "alice");
  await slapd!.hold();
  try {
    assert.equal((await failureOf(directory.findByName("alice"))).problem, "away");
    const other = await open({ answerTimeoutSeconds: "1s", connectTimeoutSeconds: "1s" });
    assert.match((await failureOf(other.findByName("alice"))).message, /no answer within 1 s/);
  } finally {
    slapd!.letGo();
  }
});
