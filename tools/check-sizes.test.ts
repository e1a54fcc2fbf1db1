// Sizes may decrease and never increase.
import assert from "node:assert/strict";
import { it } from "node:test";
import { findGrown, lowered, sizesOf } from "./check-sizes.ts";

const report = (size: number) => ({
  diagnostics: [
    { message: `File has too many lines (${size}).`, code: "eslint(max-lines)", filename: "a.ts" },
    { message: "Function 'put' has too many parameters (5). Maximum allowed is 4.", code: "eslint(max-params)", filename: "a.ts" },
    { message: "Arrow function has too many parameters (6). Maximum allowed is 4.", code: "eslint(max-params)", filename: "a.ts" },
  ],
});

it("reads what the linter says", () => {
  assert.deepEqual(sizesOf(report(450)), { "a.ts max-lines": 450, "a.ts max-params put": 5, "a.ts max-params": 6 });
});

it("finds what is larger than it was, or newly too large", () => {
  const allowed = { "a.ts max-lines": 440, "a.ts max-params": 6, "b.ts max-lines": 500 };
  assert.deepEqual(findGrown(sizesOf(report(450)), allowed), [
    "a.ts max-lines: 450, and was 440",
    "a.ts max-params put: 5, which is over the limit",
  ]);
  assert.deepEqual(findGrown({}, allowed), []);
});

it("lowers what has fallen, takes out what is within the limits, and adds nothing", () => {
  const allowed = { "a.ts max-lines": 460, "a.ts max-params": 6, "b.ts max-lines": 500 };
  assert.deepEqual(lowered(sizesOf(report(450)), allowed), { "a.ts max-lines": 450, "a.ts max-params": 6 });
});
