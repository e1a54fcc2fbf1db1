// The rules of an upload's record. Not here: the stores that follow them.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { foldOf, JOINED_BYTES, LARGE_BYTES, MAX_SEGMENTS, recordOf, segmentsOf, sumOf, withOlderBytes, type Segment } from "./segments.ts";

const segment = (n: number, sizeBytes: number): Segment => ({ name: `p.${n}`, sizeBytes, isFirst: n === 1 });
async function* bodyOf(...texts: string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield Buffer.from(text);
}

describe("upload record", () => {
  it("folds small segments into what is of a higher level, and large ones into nothing", () => {
    const large = segment(1, LARGE_BYTES);
    const small = segment(2, LARGE_BYTES - 1);
    assert.deepEqual(foldOf([], 1), { kept: [], folded: [] });
    assert.deepEqual(foldOf([large], LARGE_BYTES), { kept: [large], folded: [] });
    assert.deepEqual(foldOf([large, small], LARGE_BYTES), { kept: [large], folded: [small] });
    assert.deepEqual(foldOf([large, small], 1), { kept: [large, small], folded: [] });
    // The length is unknown, and may be small.
    assert.deepEqual(foldOf([large, small], undefined), { kept: [large, small], folded: [] });
    assert.deepEqual(foldOf([large, segment(2, 100)], undefined).folded, [segment(2, 100)]);
  });

  it("puts all segments together before there are too many, but not those that were joined before", () => {
    const many = Array.from({ length: MAX_SEGMENTS }, (_, index) => segment(index + 1, LARGE_BYTES));
    assert.deepEqual(foldOf(many, 1), { kept: [], folded: many });
    assert.deepEqual(foldOf(many.slice(1), 1).folded, []);
    const joined = [segment(1, JOINED_BYTES), ...many.slice(1)];
    assert.deepEqual(foldOf(joined, 1).kept, [segment(1, JOINED_BYTES)]);
  });

  it("copies each byte a few times only, in whatever chunks it comes, and keeps the record short", () => {
    let seed = Number(process.env["BERTH_TEST_SEED"] ?? 17);
    const first = seed;
    const random = (below: number): number => {
      seed = (seed * 1103515245 + 12345) % 2 ** 31;
      return seed % below;
    };
    const patterns: Readonly<Record<string, (n: number) => number>> = {
      "one byte": () => 1,
      "one byte, then a megabyte": (n) => (n % 2 === 0 ? 1 : 1 << 20),
      "15 KiB": () => 15 * 1024,
      "5 MiB and a byte": (n) => (n % 2 === 0 ? LARGE_BYTES : 1),
      "any size": () => 1 << random(22),
    };
    for (const [name, sizeOf] of Object.entries(patterns)) {
      // A large segment has already begun: it is not copied for a single byte.
      let segments: readonly Segment[] = [segment(1, 3 * JOINED_BYTES)];
      let sent = 0;
      let copied = 0;
      for (let n = 0; n < 20_000; n++) {
        const sizeBytes = sizeOf(n);
        const { kept, folded } = foldOf(segments, sizeBytes);
        segments = [...kept, segment(n + 2, sizeBytes + sumOf(folded))];
        sent += sizeBytes;
        copied += sumOf(folded);
        assert.ok(segments.length <= MAX_SEGMENTS, `${name}: ${segments.length} segments`);
      }
      assert.ok(copied <= 7 * sent, `${name}, seed ${first}: ${copied} bytes were copied for ${sent}`);
    }
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
