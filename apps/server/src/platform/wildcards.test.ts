// Patterns with stars: the same answers as a regular expression gives, and an end for every pattern. Not here: the patterns of those who use them.
import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { fitsWildcards } from "./wildcards.ts";

it("wildcards: fit what a regular expression fits", () => {
  const texts = fc.string({ unit: fc.constantFrom("a", "b", "/", ":", "*", "é", "😀"), maxLength: 12 });
  const patterns = fc.string({ unit: fc.constantFrom("a", "/", ":", "*", "**", "😀"), maxLength: 8 });
  fc.assert(
    fc.property(patterns, texts, (pattern, text) => {
      const source = (pattern.match(/\*\*|[^]/gu) ?? []).map((part) => (part === "**" ? "[^]*" : part === "*" ? "[^/:]*" : part));
      assert.equal(fitsWildcards(pattern, text, "/:"), new RegExp(`^(?:${source.join("")})$`, "u").test(text), `${pattern} ${text}`);
    }),
  );
});

it("wildcards: come to an end, whatever the pattern", () => {
  for (const pattern of ["*".repeat(4000), `${"*a".repeat(2000)}b`, `${"**a".repeat(2000)}b`])
    assert.equal(fitsWildcards(pattern, "a".repeat(4000), "/"), !pattern.endsWith("b"));
});
