// What people type is a value and never a filter, whatever it is: on the wire, and as text. Not here: a real directory
// (test/flows/ldap-directory.test.ts).
import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { AndFilter, BerReader, BerWriter, EqualityFilter, FilterParser } from "ldapts";
import { ldapFilter } from "../../config-directories.ts";
import { allOf, equals, parseFilter } from "./ldap-filter.ts";

const SPECIAL = fc.stringMatching(/^[*()\\\0 &|!=<>~:a]{0,12}$/);

it("sends what was typed as one value", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string({ unit: "binary" }), fc.string(), SPECIAL), (typed) => {
      const writer = new BerWriter();
      allOf(parseFilter("(objectClass=person)")!, equals("uid", typed)).write(writer);
      const read = FilterParser.parse(new BerReader(writer.buffer));
      assert.ok(read instanceof AndFilter);
      assert.equal(read.filters.length, 2);
      const [, sought] = read.filters;
      assert.ok(sought instanceof EqualityFilter);
      assert.equal(sought.attribute, "uid");
      assert.equal(sought.value, Buffer.from(typed).toString());
    }),
    { verbose: true },
  );
});

it("writes it escaped where a filter is shown as text", () => {
  fc.assert(
    fc.property(SPECIAL, (typed) => {
      fc.pre(typed !== "");
      const read = FilterParser.parseString(equals("uid", typed).toString());
      assert.ok(read instanceof EqualityFilter, read.toString());
      assert.equal(read.value, typed);
    }),
    { verbose: true },
  );
});

it("takes for a filter what is one, in the settings too", () => {
  const setting = ldapFilter({ about: "", standard: "(a=b)" });
  const isTaken = (text: string): boolean => setting.parse(text, { directory: "/" }).ok;
  for (const right of ["(uid=*)", "(&(objectCategory=person)(!(userAccountControl:1.2.840.113556.1.4.803:=2)))", "(|(a=1)(b=\\28x\\29))"]) {
    assert.ok(parseFilter(right) !== undefined && isTaken(right), right);
  }
  for (const wrong of ["", "uid=x", "(uid=x", "(uid=x))", "(&(a=b)", "()", "(&)", "(a=b)(c=d)", "(a=(b)", "(a=\\zz)", "(!(a=b)(c=d))"]) {
    assert.ok(!isTaken(wrong), wrong);
  }
});
