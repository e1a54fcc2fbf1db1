// The rules of an upload's record. Not here: the stores that follow them.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FOLD_BYTES, foldOf, MAX_SEGMENTS, recordOf, segmentsOf, withOlderBytes, type Segment } from "./segments.ts";

const segment = (n: number, sizeBytes: number): Segment => ({ name: `p.${n}`, sizeBytes, isFirst: n === 1 });
async function* bodyOf(...texts: string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield Buffer.from(text);
}

describe("upload record", () => {
  it("folds a last segment that S3 would not take in the middle, and only that", () => {
    const large = segment(1, FOLD_BYTES);
    const small = segment(2, FOLD_BYTES - 1);
    assert.deepEqual(foldOf([]), { kept: [], folded: [] });
    assert.deepEqual(foldOf([large]), { kept: [large], folded: [] });
    assert.deepEqual(foldOf([large, small]), { kept: [large], folded: [small] });
  });

  it("puts all segments together before there are too many", () => {
    const many = Array.from({ length: MAX_SEGMENTS }, (_, index) => segment(index + 1, FOLD_BYTES));
    assert.deepEqual(foldOf(many), { kept: [], folded: many });
    assert.deepEqual(foldOf(many.slice(1)).folded, []);
  });

  it("reads back what it wrote, and nothing else", () => {
    for (const superseded of [[], [segment(1, 5)]]) {
      const record = { segments: [segment(2, 7)], superseded };
      assert.deepEqual(segmentsOf(JSON.parse(JSON.stringify(recordOf(record)))), record);
    }
    const bad = [{}, { segments: "x" }, { segments: [null] }, { segments: [{ name: "../x", sizeBytes: 1 }] }];
    for (const sizeBytes of [0, -1, 1.5, "1", null]) bad.push({ segments: [{ name: "p.1", sizeBytes } as never] });
    for (const record of bad) assert.throws(() => segmentsOf(record), { code: "BLOB_UPLOAD_UNKNOWN" });
  });

  it("puts older bytes in front of a body, and shows only the new ones to who counts", async () => {
    const seen: string[] = [];
    const all: string[] = [];
    for await (const piece of withOlderBytes(
      () => bodyOf("a", "b"),
      bodyOf("", "c", "d"),
      (piece) => seen.push(Buffer.from(piece).toString()),
    )) {
      all.push(Buffer.from(piece).toString());
    }
    assert.deepEqual([all.join(""), seen.join("")], ["abcd", "cd"]);
    for await (const piece of withOlderBytes(
      () => assert.fail("read for nothing"),
      bodyOf("", ""),
      () => undefined,
    )) {
      assert.fail(`yielded ${piece.length} bytes`);
    }
  });
});
