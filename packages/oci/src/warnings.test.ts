import assert from "node:assert/strict";
import { validateHeaderValue } from "node:http";
import { it } from "node:test";
import { plainLine, warningValues } from "./warnings.ts";

it("warnings are quoted, and hold nothing that a header or a terminal could take for something else", () => {
  assert.deepEqual(warningValues(["two high findings"]), ['299 - "two high findings"']);
  assert.deepEqual(warningValues(['say "no" \\ now']), [String.raw`299 - "say \"no\" \\ now"`]);
  const hostile = ["a\r\nset-cookie: x", "\u001b[31mred\u001b[0m", "tab\tand\u0000nul", "é and 漏洞", "\u202Eevil", "\ud800"];
  const values = warningValues(hostile);
  for (const value of values) {
    validateHeaderValue("warning", value);
    assert.match(value, /^299 - "[ -~]+"$/);
  }
  assert.deepEqual(values.slice(0, 4), ['299 - "a set-cookie: x"', '299 - "[31mred [0m"', '299 - "tab and nul"', '299 - "e and ??"']);
});

it("warnings end at 4096 bytes, each once, cut where one is long, and none where there is nothing to say", () => {
  assert.deepEqual(warningValues(["", " \n", "a", "a"]), ['299 - "a"']);
  const many = warningValues(Array.from({ length: 10_000 }, (_, at) => `${at} ${'"'.repeat(5000)}`));
  assert.ok(many.length > 1);
  assert.ok(many.reduce((sum, value) => sum + value.length, 0) <= 4096);
  assert.ok(warningValues(["x".repeat(10_000_000)])[0]!.endsWith('..."'));
  assert.equal(plainLine("x".repeat(50), 10), "xxxxxxx...");
});
