// The description of a manifest's bytes for people, whatever form its pusher gave it. Not here: the repository's content
// (test/flows/manifests-api.test.ts).
import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { describeManifest, MAX_SHOWN, platformOfConfig } from "./describe-manifest.ts";

const bytesOf = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));
const descriptor = (n: number, more: object = {}) => ({ digest: `sha256:${n}`, mediaType: "a/b", size: n, ...more });

it("describe manifest: counts what is named twice once", () => {
  const described = describeManifest(bytesOf({ config: descriptor(5), layers: [descriptor(7), descriptor(7), descriptor(1)] }));
  assert.equal(described.namedBytes, 13);
  assert.equal(described.layers.length, 3);
});

it("describe manifest: shows a bounded part of what is endless, and says how much it left out", () => {
  const many = Array.from({ length: MAX_SHOWN + 7 }, (_, n) => descriptor(n + 1));
  const described = describeManifest(
    bytesOf({ manifests: many, annotations: Object.fromEntries(many.map(({ digest }) => [digest, "x"])) }),
  );
  assert.deepEqual([described.children.length, described.annotations.length, described.leftOut], [MAX_SHOWN, MAX_SHOWN, 14]);
});

it("describe manifest: reads anything without an error", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const described = describeManifest(bytesOf({ layers: value, manifests: value, config: value, subject: value, annotations: value }));
      assert.ok(described.namedBytes >= 0 || Number.isSafeInteger(described.namedBytes));
      platformOfConfig(bytesOf(value));
    }),
    { numRuns: 500 },
  );
  assert.equal(platformOfConfig(Buffer.from("no JSON")), null);
});
