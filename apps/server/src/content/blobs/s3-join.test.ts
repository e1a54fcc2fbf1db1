// How objects are cut into the parts of one: every part has a size that S3 accepts, and together they are all bytes in order. Not here: a
// service that joins them (blob-store.contract.ts).
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { planParts } from "./s3-join.ts";
import { MIN_PART_BYTES } from "./s3-write.ts";

const MIB = 1024 * 1024;
const size = fc.oneof(
  fc.integer({ min: 1, max: 100 }),
  fc.integer({ min: 1, max: 12 * MIB }),
  fc.constantFrom(MIN_PART_BYTES - 1, MIN_PART_BYTES, MIN_PART_BYTES + 1, 2 * MIN_PART_BYTES, 3000 * MIB),
);

describe("parts of a joined object", () => {
  it("are large enough but for the last, hold every byte once and in order, and few of them are sent", () => {
    fc.assert(
      fc.property(fc.array(size, { minLength: 1, maxLength: 60 }), (sizes) => {
        const sources = sizes.map((sizeBytes, index) => ({ name: String(index), sizeBytes }));
        const parts = planParts(sources);
        const stretches = parts.flatMap((part) => (part.kind === "sent" ? part.stretches : [part.stretch]));
        let at = { index: 0, offset: 0 };
        for (const { name, start, end } of stretches) {
          if (at.offset === sizes[at.index]) at = { index: at.index + 1, offset: 0 };
          assert.deepEqual([Number(name), start], [at.index, at.offset]);
          assert.ok(end >= start);
          at = { index: at.index, offset: end + 1 };
        }
        assert.deepEqual(at, { index: sizes.length - 1, offset: sizes.at(-1) });
        for (const [index, part] of parts.entries()) {
          const lengths = (part.kind === "sent" ? part.stretches : [part.stretch]).map(({ start, end }) => end - start + 1);
          const partBytes = lengths.reduce((sum, length) => sum + length, 0);
          assert.ok(index === parts.length - 1 || partBytes >= MIN_PART_BYTES, `part ${index} has ${partBytes} bytes`);
          if (part.kind === "sent") assert.ok(partBytes < 2 * MIN_PART_BYTES, `part ${index} of ${partBytes} bytes is sent`);
        }
        if (sizes.every((bytes) => bytes >= MIN_PART_BYTES)) assert.ok(parts.every(({ kind }) => kind === "copied"));
      }),
      { seed: 17, numRuns: 300 },
    );
  });
});
