// The order of versions, checked with examples of the specification and with a second implementation of the order. Not here: lists of tags.
import assert from "node:assert/strict";
import { it } from "node:test";
import { versionKey } from "./version-key.ts";

const byKey = (a: string, b: string): number => (versionKey(a) < versionKey(b) ? -1 : versionKey(a) > versionKey(b) ? 1 : 0);

it("version key: orders versions as the specification does", () => {
  const inOrder = (
    "0.0.0-0 0.0.1 0.9 0.10 1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-alpha1 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1 1.0.0 " +
    "v1.0.0.1 v1.0.1-1 1.0.1-2 1.0.1-10 1.0.1-a 1.0.1 v1.2 1.10.0 2 10.0 2024.01.05 2024.1.6 99999999999999999999.0.0 100000000000000000000.0.0"
  ).split(" ");
  assert.deepEqual(inOrder.toReversed().toSorted(byKey), inOrder);
  for (const [at, version] of inOrder.entries()) if (at > 0) assert.equal(byKey(inOrder[at - 1]!, version), -1, version);
});

it("version key: takes what stands for one version for one, and what is none for none", () => {
  assert.equal(new Set(["1.2", "v1.2.0", "V1.2.0.0", "01.02", "1.2.0_build.7"].map(versionKey)).size, 1);
  for (const tag of [
    "latest",
    "v",
    "1.",
    "1..2",
    "1.2.3.4.5",
    "1.2-",
    "1.2-a..b",
    "_1",
    "stable-1.2",
    `1.${"9".repeat(61)}`,
    `1-${"9".repeat(61)}`,
  ])
    assert.equal(versionKey(tag), "", tag);
});

it("version key: of every tag is short ASCII text", () => {
  const longest = `1.2.3-${"1.".repeat(60)}1`;
  assert.ok(longest.length <= 128);
  assert.match(versionKey(longest), /^[ -~]{1,400}$/);
});
