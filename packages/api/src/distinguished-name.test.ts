// Names of entries in one spelling: which are the same, which are not, and what is none. Not here: asking a directory.
import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { canonicalDn, ldapGroupKey } from "./distinguished-name.ts";

it("writes names that a directory takes for the same alike", () => {
  const same: readonly (readonly string[])[] = [
    ["cn=a,dc=x", "CN=A,DC=X", " cn = a , dc = x ", "cn=a;dc=x", 'cn="a",dc=x', "cn=\\61,dc=x", "oid.cn=a,dc=x"],
    ["cn=a\\, b,dc=x", 'CN="a, b",dc=x', "cn=a\\2c b,dc=x", "cn=A\\,  b,dc=x"],
    ["cn=a+uid=b,dc=x", "uid=b+cn=a,dc=x", "UID=B + CN=A,dc=x"],
    ["cn=\u00e9,dc=x", "cn=e\u0301,dc=x", "cn=\\c3\\a9,dc=x", "CN=\u00c9,dc=x"],
    ["cn=\\#a,dc=x", "cn=\\23a,dc=x"],
  ];
  for (const group of same) for (const each of group) assert.equal(canonicalDn(each), canonicalDn(group[0]!), each);
  const firsts = same.map(([first]) => canonicalDn(first!));
  assert.equal(new Set(firsts).size, same.length);
});

it("tells apart what are two, and takes for a name only what is one", () => {
  assert.notEqual(canonicalDn("cn=a\\,ou=b,dc=x"), canonicalDn("cn=a,ou=b,dc=x"));
  assert.notEqual(canonicalDn("cn=a\\+ou=b,dc=x"), canonicalDn("cn=a+ou=b,dc=x"));
  assert.notEqual(canonicalDn("cn=ab,dc=x"), canonicalDn("cn=a b,dc=x"));
  for (const none of [
    "",
    "a",
    "cn=",
    "cn=a,",
    ",cn=a",
    "cn=a,,dc=x",
    "=a",
    "cn=a\\",
    "cn=a\\zz",
    'cn="a',
    'cn="a"b',
    "c n=a",
    "cn=\\ff",
    "cn=\ud800",
    "x".repeat(3000),
  ])
    assert.equal(canonicalDn(none), undefined, none);
  assert.equal(ldapGroupKey("Developers"), "developers");
});

it("comes out as it went in a second time, and differs where values do, whatever they are", () => {
  const value = fc.string({ minLength: 1, maxLength: 20 }).map((text) => text.toLowerCase().normalize("NFC").replaceAll(/\s+/g, "x"));
  const escape = (text: string): string => [...Buffer.from(text)].map((byte) => `\\${byte.toString(16).padStart(2, "0")}`).join("");
  fc.assert(
    fc.property(value, value, (one, other) => {
      const [first, second] = [canonicalDn(`cn=${escape(one)},dc=x`), canonicalDn(`cn=${escape(other)},dc=x`)];
      assert.ok(first !== undefined && second !== undefined);
      assert.equal(canonicalDn(first), first);
      assert.equal(first === second, one === other);
    }),
    { verbose: true },
  );
});
