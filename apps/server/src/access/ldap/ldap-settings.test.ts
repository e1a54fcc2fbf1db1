// Settings of directories: what is wrong with them, before anybody signs in. Not here: other settings (config.test.ts), a real directory
// (test/flows/ldap-directory.test.ts).
import assert from "node:assert/strict";
import { it } from "node:test";
import { loadConfig } from "../../config-load.ts";

const GOOD = {
  urls: "ldaps://a.test",
  bindDn: "cn=reader,dc=x",
  bindPassword: "hidden-password",
  users: { base: "ou=people,dc=x" },
  groups: { base: "ou=groups,dc=x" },
};

async function problemsWith(directory: Readonly<Record<string, unknown>>): Promise<string[]> {
  const file = JSON.stringify({ auth: { ldap: { corp: directory } } });
  const loaded = await loadConfig({ flags: [], environment: { BERTH_CONFIG: "/c.yaml" }, directory: "/", readFile: async () => file });
  return loaded.ok ? [] : loaded.problems.map(({ source, message }) => `${source} ${message}`);
}

it("takes what the guide shows, from a file and from the environment", async () => {
  assert.deepEqual(await problemsWith(GOOD), []);
  const environment = {
    BERTH_AUTH_LDAP_CORP_URLS: "ldap://a.test, ldaps://b.test:1636",
    BERTH_AUTH_LDAP_CORP_USERS_BASE: "ou=people,dc=x",
    BERTH_AUTH_LDAP_CORP_GROUPS_BASE: "ou=groups,dc=x",
    BERTH_AUTH_LDAP_CORP_SIGN_IN_GROUPS: "cn=a,dc=x; cn=b,dc=x",
    BERTH_AUTH_LDAP_CORP_USERS_NAME_ATTRIBUTE: "sAMAccountName",
  };
  const loaded = await loadConfig({ flags: [], environment, directory: "/" });
  assert.ok(loaded.ok, JSON.stringify(loaded));
  const { urls, signIn, users } = loaded.config.auth.ldap["corp"]!;
  assert.deepEqual(urls, ["ldap://a.test", "ldaps://b.test:1636"]);
  assert.deepEqual(signIn.groups, ["cn=a,dc=x", "cn=b,dc=x"]);
  assert.equal(users.nameAttribute, "sAMAccountName");
});

it("finds what is wrong, and shows no password", async () => {
  const cases: [Record<string, unknown>, RegExp][] = [
    [{ urls: undefined }, /urls.* is missing|is missing/],
    [{ urls: "https://a.test" }, /must be addresses/],
    [{ urls: "ldap://user:pw@a.test" }, /must be addresses/],
    [{ urls: "ldap://a.test/dc=x??sub" }, /must be addresses/],
    [{ users: {} }, /is missing/],
    [{ users: { base: "people" } }, /must be the name of an entry/],
    [{ users: { base: "ou=people,dc=x", filter: "(uid=x" } }, /must be a filter/],
    [{ users: { base: "ou=people,dc=x", nameAttribute: "uid)(x=" } }, /must be the name of an attribute/],
    [{ bindPassword: undefined }, /bindPassword is missing/],
    [{ bindDn: undefined }, /bindDn is missing/],
    [{ plain: true }, /all addresses are ldaps/],
    [{ groups: {}, signIn: { groups: ["cn=a,dc=x"] } }, /groups\.base is missing/],
    [{ groups: { from: "chain" }, roles: { administrator: "cn=a,dc=x" } }, /groups\.base is missing/],
  ];
  for (const [more, wanted] of cases) {
    const problems = await problemsWith({ ...GOOD, ...more });
    assert.ok(problems.length > 0, JSON.stringify(more));
    assert.match(problems.join("\n"), wanted);
    assert.ok(!problems.join("\n").includes("hidden-password"));
  }
});
