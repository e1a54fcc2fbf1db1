// Range and Content-Range: every header gives ranges within the content, nothing, or the one error; valid ones are read as RFC 9110 says.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { RegistryError } from "./errors.ts";
import { MAX_RANGES, parseContentRange, parseRange, type ByteRange, type ChunkRange } from "./range.ts";

const size = fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 300 }), fc.maxSafeNat());
const position = fc.oneof(
  fc.nat(400),
  fc.maxSafeNat().filter((n) => n < 1e15),
);
const headerText = fc
  .array(
    fc.oneof(
      fc.constantFrom("bytes=", "bytes ", "=", "-", ",", " ", "\t", "*", "/", "0", "00", "1e3", "-1", "9".repeat(16), "0x1"),
      position.map(String),
    ),
    {
      maxLength: 12,
    },
  )
  .map((parts) => parts.join(""));

function rangesOf(header: string | undefined, sizeBytes: number): readonly ByteRange[] | undefined | "RANGE_INVALID" {
  try {
    return parseRange(header, sizeBytes);
  } catch (error) {
    assert.ok(error instanceof RegistryError && error.code === "RANGE_INVALID" && error.status === 416, String(error));
    assert.equal(error.headers["content-range"], `bytes */${sizeBytes}`);
    return "RANGE_INVALID";
  }
}

describe("Range", () => {
  it("gives ranges within the content, in the client's order, or none", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          headerText,
          fc.string(),
          headerText.map((text) => `bytes=${text}`),
        ),
        size,
        (header, sizeBytes) => {
          const ranges = rangesOf(header, sizeBytes);
          if (ranges === undefined || ranges === "RANGE_INVALID") return;
          assert.ok(ranges.length >= 1 && ranges.length <= MAX_RANGES);
          for (const { start, end } of ranges) {
            assert.ok(Number.isSafeInteger(start) && Number.isSafeInteger(end), header);
            assert.ok(start >= 0 && start <= end && end < sizeBytes, `${header} of ${sizeBytes}: ${start}-${end}`);
          }
        },
      ),
      { numRuns: 5000 },
    );
  });

  it("means what it says: first to last, from first, and the last so many", () => {
    fc.assert(
      fc.property(position, position, fc.integer({ min: 1, max: 1000 }), (a, b, sizeBytes) => {
        const [first, last] = a <= b ? [a, b] : [b, a];
        const within = first < sizeBytes ? [{ start: first, end: Math.min(last, sizeBytes - 1) }] : "RANGE_INVALID";
        assert.deepEqual(rangesOf(`bytes=${first}-${last}`, sizeBytes), within);
        const rest = first < sizeBytes ? [{ start: first, end: sizeBytes - 1 }] : "RANGE_INVALID";
        assert.deepEqual(rangesOf(`Bytes= ${first}- `, sizeBytes), rest);
        const tail = first > 0 ? [{ start: Math.max(0, sizeBytes - first), end: sizeBytes - 1 }] : "RANGE_INVALID";
        assert.deepEqual(rangesOf(`bytes=-${first}`, sizeBytes), tail);
      }),
    );
  });

  const cases: [string | undefined, number, ReturnType<typeof rangesOf>][] = [
    [undefined, 10, undefined],
    ["", 10, undefined],
    ["bytes=", 10, undefined],
    ["bytes=-", 10, undefined],
    ["bytes=,", 10, undefined],
    // A range that ends before it begins cannot be satisfied; the conformance suite requires 416.
    ["bytes=5-4", 10, "RANGE_INVALID"],
    ["bytes=0-0,5-4", 10, [{ start: 0, end: 0 }]],
    ["bytes=a-b", 10, undefined],
    ["bytes=0x0-0x5", 10, undefined],
    ["bytes=+1-2", 10, undefined],
    ["bytes=1.0-2", 10, undefined],
    ["bytes=0-1-2", 10, undefined],
    ["items=0-1", 10, undefined],
    [`bytes=0-${"9".repeat(16)}`, 10, undefined],
    [`bytes=${Array.from({ length: MAX_RANGES + 1 }, () => "0-0").join(",")}`, 1e6, undefined],
    // Together longer than the content.
    ["bytes=0-9,0-9", 10, undefined],
    ["bytes=0-,0-,0-", 10, undefined],
    [
      "bytes=0-4,5-9",
      10,
      [
        { start: 0, end: 4 },
        { start: 5, end: 9 },
      ],
    ],
    [`bytes=0-0${" ".repeat(33_000)}`, 10, undefined],
    // Like Go's file server: clients that send a range with every request read empty blobs too.
    ["bytes=0-", 0, undefined],
    ["bytes=-1", 0, undefined],
    ["bytes=-0", 10, "RANGE_INVALID"],
    ["bytes=10-", 10, "RANGE_INVALID"],
    ["bytes=10-,11-12", 10, "RANGE_INVALID"],
    ["bytes=10-,0-0", 10, [{ start: 0, end: 0 }]],
    [
      "bytes=8-9 , 0-0,,-1",
      10,
      [
        { start: 8, end: 9 },
        { start: 0, end: 0 },
        { start: 9, end: 9 },
      ],
    ],
    ["BYTES=0-99", 10, [{ start: 0, end: 9 }]],
  ];
  for (const [header, sizeBytes, expected] of cases) {
    it(`${JSON.stringify(header?.slice(0, 40))} of ${sizeBytes} bytes`, () => assert.deepEqual(rangesOf(header, sizeBytes), expected));
  }
});

describe("Content-Range", () => {
  function read(header: string | undefined, lengthBytes?: number): ChunkRange | string | undefined {
    try {
      return parseContentRange(header, lengthBytes);
    } catch (error) {
      assert.ok(error instanceof RegistryError && ["BLOB_UPLOAD_INVALID", "SIZE_INVALID"].includes(error.code), String(error));
      return error.code;
    }
  }

  it("is two numbers in order, or the one error", () => {
    fc.assert(
      fc.property(fc.oneof(headerText, fc.string({ unit: "binary" })), (header) => {
        const range = read(header);
        if (typeof range === "object")
          assert.ok(range.start >= 0 && range.lengthBytes > 0 && Number.isSafeInteger(range.start + range.lengthBytes));
        else assert.equal(range, header.trim() === "" ? undefined : "BLOB_UPLOAD_INVALID");
      }),
      { numRuns: 5000 },
    );
    fc.assert(
      fc.property(
        position,
        position,
        fc.constantFrom("", "bytes ", "bytes=", "Bytes "),
        fc.constantFrom("", "/*", "/7"),
        (a, b, unit, total) => {
          assert.deepEqual(read(`${unit}${a}-${b}${total}`), a <= b ? { start: a, lengthBytes: b - a + 1 } : "BLOB_UPLOAD_INVALID");
        },
      ),
    );
  });

  it("agrees with the length, and of nothing ends before or where it begins", () => {
    assert.equal(read(undefined, 5), undefined);
    assert.deepEqual(read("3-7", 5), { start: 3, lengthBytes: 5 });
    assert.equal(read("3-7", 4), "SIZE_INVALID");
    for (const nothing of ["0-0", "0--1"]) assert.deepEqual(read(nothing, 0), { start: 0, lengthBytes: 0 });
    for (const nothing of ["5-5", "5-4"]) assert.deepEqual(read(nothing, 0), { start: 5, lengthBytes: 0 });
    assert.equal(read("5-9", 0), "SIZE_INVALID");
    assert.equal(read("5-3", 0), "BLOB_UPLOAD_INVALID");
    assert.equal(read("0--1", 3), "BLOB_UPLOAD_INVALID");
  });

  for (const header of [
    "-",
    "0",
    "0-",
    "-0",
    "1-0",
    "0--1",
    "a-b",
    "0-1/",
    "bytes */5",
    "bytes: 0-1",
    "0-1,2-3",
    "0 - 1",
    `0-${"9".repeat(16)}`,
    "0-1\0",
  ]) {
    it(`${JSON.stringify(header)} is refused`, () => assert.equal(read(header), "BLOB_UPLOAD_INVALID"));
  }
});
