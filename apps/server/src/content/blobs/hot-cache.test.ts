// The cache of hot blobs: admission, eviction, and its size in memory. Not here: the stores.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, it } from "node:test";
import fc from "fast-check";
import type { StorageKey } from "./blob-store.ts";
import { createHotCache, SLICE_BYTES } from "./hot-cache.ts";
import { parseStorageKey } from "./paths.ts";

const keyOf = (name: string | number): StorageKey => parseStorageKey(`blobs/blob-${name}`);

/** A store over given contents that counts its reads and can be blocked. */
function storeOf(contents: ReadonlyMap<StorageKey, Buffer>) {
  const reads: string[] = [];
  const state: { gate: Promise<void>; fail: Error | undefined } = { gate: Promise.resolve(), fail: undefined };
  return {
    reads,
    state,
    async *read(key: StorageKey, start: number, end: number): AsyncGenerator<Uint8Array, void, void> {
      reads.push(`${key} ${start}-${end}`);
      await state.gate;
      if (state.fail !== undefined) throw state.fail;
      const bytes = contents.get(key) as Buffer;
      // As in the real stores, each piece is valid only until the next.
      const piece = Buffer.alloc(100_000);
      for (let at = start; at <= end; at += piece.length) {
        const part = bytes.subarray(at, Math.min(at + piece.length, end + 1));
        piece.set(part);
        yield piece.subarray(0, part.length);
      }
      piece.fill(0);
    },
  };
}

async function readAll(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Buffer[] = [];
  for await (const piece of pieces) {
    assert.ok(piece.length <= SLICE_BYTES);
    all.push(Buffer.from(piece));
  }
  return Buffer.concat(all);
}

describe("hot cache", () => {
  const size = 2 * SLICE_BYTES + 500;
  // All have different bytes: reused memory must never show another blob's bytes.
  const contents = new Map(Array.from({ length: 12 }, (_, index) => [keyOf(index), randomBytes(size)] as const));
  const key = keyOf(0);
  const content = contents.get(key) as Buffer;

  it("serves the third request from memory, without a copy", async () => {
    const store = storeOf(contents);
    const cache = createHotCache({ store, maxBytes: 10 * SLICE_BYTES });
    assert.ok((await readAll(cache.read(key, size, 0, size - 1))).equals(content));
    assert.equal(cache.sizeBytes, 0, "one request is not enough");
    assert.ok((await readAll(cache.read(key, size, 0, size - 1))).equals(content));
    assert.equal(cache.sizeBytes, size);
    const readsBefore = store.reads.length;
    const pieces = [[], []].map(async (list: Uint8Array[]) => {
      for await (const piece of cache.read(key, size, 0, size - 1)) list.push(piece);
      return list;
    });
    const [one, other] = await Promise.all(pieces);
    assert.equal(one?.[0]?.buffer, other?.[0]?.buffer);
    assert.equal(one?.[2]?.byteLength, 500);
    assert.equal(one?.[2]?.buffer.byteLength, 500, "a slice holds on to no more than it counts");
    assert.equal(store.reads.length, readsBefore);
    assert.equal(cache.hitBytes, 2 * size);
  });

  it("serves ranges, filling only the slices that they touch", async () => {
    const store = storeOf(contents);
    const cache = createHotCache({ store, maxBytes: 10 * SLICE_BYTES });
    await readAll(cache.read(key, size, 0, 0));
    const ranges = [
      [5, 5],
      [SLICE_BYTES - 1, SLICE_BYTES],
      [SLICE_BYTES, SLICE_BYTES + 9],
      [2 * SLICE_BYTES, size - 1],
      [0, size - 1],
    ] as const;
    for (const [start, end] of ranges)
      assert.ok((await readAll(cache.read(key, size, start, end))).equals(content.subarray(start, end + 1)));
    assert.equal((await readAll(cache.read(key, size, 0, -1))).length, 0);
    assert.equal(cache.sizeBytes, size);
    assert.equal(store.reads.length, 4, store.reads.join());
  });

  it("lets a scan over cold blobs push nothing out", async () => {
    const cache = createHotCache({ store: storeOf(contents), maxBytes: 3 * SLICE_BYTES });
    await readAll(cache.read(key, size, 0, size - 1));
    await readAll(cache.read(key, size, 0, size - 1));
    for (let other = 1; other < 12; other++) await readAll(cache.read(keyOf(other), size, 0, size - 1));
    const before = cache.hitBytes;
    await readAll(cache.read(key, size, 0, size - 1));
    assert.equal(cache.hitBytes - before, size);
  });

  it("reads a slice once for all who wait for it, and tells all when that fails", async () => {
    const store = storeOf(contents);
    const cache = createHotCache({ store, maxBytes: 10 * SLICE_BYTES });
    await readAll(cache.read(key, size, 0, 9));
    store.reads.length = 0;
    const gate = Promise.withResolvers<void>();
    store.state.gate = gate.promise;
    const readers = Array.from({ length: 5 }, () => readAll(cache.read(key, size, 0, 9)));
    gate.resolve();
    for (const bytes of await Promise.all(readers)) assert.ok(bytes.equals(content.subarray(0, 10)));
    assert.deepEqual(store.reads, [`${key} 0-${SLICE_BYTES - 1}`]);
  });

  it("holds no memory for a slice that could not be read, and gives it to who comes later", async () => {
    const store = storeOf(contents);
    const cache = createHotCache({ store, maxBytes: 10 * SLICE_BYTES });
    await readAll(cache.read(key, size, 0, 9));
    store.state.fail = new Error("away");
    await assert.rejects(readAll(cache.read(key, size, 0, size - 1)), store.state.fail);
    for (const result of await Promise.allSettled([1, 2, 3].map(() => readAll(cache.read(key, size, 0, size - 1))))) {
      assert.equal(result.status, "rejected");
    }
    assert.equal(cache.sizeBytes, 0, "a failure holds no memory");
    store.state.fail = undefined;
    assert.ok((await readAll(cache.read(key, size, 0, size - 1))).equals(content));
  });

  it("keeps a blob of 100 MiB in the usual 128 MiB, and none that is larger than its share", async () => {
    const MIB = 1024 * 1024;
    const zeros = Buffer.alloc(MIB);
    const store = {
      async *read(_key: StorageKey, start: number, end: number): AsyncGenerator<Uint8Array, void, void> {
        for (let at = start; at <= end; at += MIB) yield zeros.subarray(0, Math.min(MIB, end + 1 - at));
      },
    };
    const cache = createHotCache({ store, maxBytes: 128 * MIB });
    for (let request = 0; request < 3; request++) for await (const piece of cache.read(key, 100 * MIB, 0, 100 * MIB - 1)) void piece;
    assert.equal(cache.sizeBytes, 100 * MIB);
    assert.equal(cache.hitBytes, 100 * MIB);
    for (let request = 0; request < 3; request++) for await (const piece of cache.read(keyOf(1), 110 * MIB, 0, 110 * MIB - 1)) void piece;
    assert.equal(cache.sizeBytes, 100 * MIB);
  });

  it("is not there when it has no memory", async () => {
    const cache = createHotCache({ store: storeOf(contents), maxBytes: 0 });
    for (let request = 0; request < 3; request++) assert.ok((await readAll(cache.read(key, size, 0, size - 1))).equals(content));
    assert.equal(cache.sizeBytes, 0);
    assert.equal(cache.hitBytes, 0);
  });

  it("uses the memory of what it forgets again", async () => {
    const cache = createHotCache({ store: storeOf(contents), maxBytes: 3 * SLICE_BYTES });
    const seen = new Set<ArrayBufferLike>();
    for (let round = 0; round < 4; round++) {
      for (let blob = 0; blob < 12; blob++) {
        for await (const piece of cache.read(keyOf(blob), size, 0, 2 * SLICE_BYTES - 1)) {
          // Only the cache's own buffers, not the store's pieces.
          if (piece.buffer.byteLength === SLICE_BYTES) seen.add(piece.buffer);
        }
      }
    }
    // Two more than it holds: the reader's present one, and the one that is read ahead.
    assert.ok(seen.size <= 5, `${seen.size} buffers`);
  });

  it("leaves alone what a reader has in its hand, also when that reader has gone", async () => {
    const cache = createHotCache({ store: storeOf(contents), maxBytes: 3 * SLICE_BYTES });
    await readAll(cache.read(key, size, 0, SLICE_BYTES - 1));
    const slow = cache.read(key, size, 0, size - 1)[Symbol.asyncIterator]();
    const piece = (await slow.next()).value as Uint8Array;
    const others = [...contents.keys()].slice(1);
    // The second read fills the cache and evicts the rest; all at once, so that every spare buffer is used.
    const readOthers = async (): Promise<void> => {
      for (let request = 0; request < 2; request++) {
        await Promise.all(others.map((other) => readAll(cache.read(other, size, 0, size - 1))));
      }
    };
    await readOthers();
    assert.ok(content.subarray(0, SLICE_BYTES).equals(piece), "still in the hand");
    await slow.return?.();
    await readOthers();
    assert.ok(content.subarray(0, SLICE_BYTES).equals(piece), "left, but perhaps queued on a socket");
  });

  it("never holds more than it may, gives the right bytes, whoever leaves in the middle", async () => {
    const request = fc.record({
      blob: fc.integer({ min: 0, max: 11 }),
      start: fc.integer({ min: 0, max: size - 1 }),
      length: fc.integer({ min: 1, max: size }),
      leavesAfter: fc.option(fc.integer({ min: 1, max: 2 }), { nil: undefined }),
      yields: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(request, { minLength: 1, maxLength: 6 }), { maxLength: 8 }), async (rounds) => {
        const maxBytes = 4 * SLICE_BYTES;
        const cache = createHotCache({ store: storeOf(contents), maxBytes });
        const yieldTurn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));
        const check = (): void => assert.ok(cache.sizeBytes <= maxBytes && cache.sizeBytes >= 0, `${cache.sizeBytes}`);
        for (const round of rounds) {
          await Promise.all(
            round.map(async ({ blob, start, length, leavesAfter, yields }) => {
              const end = Math.min(size - 1, start + length - 1);
              let at = start;
              let pieces = 0;
              for await (const piece of cache.read(keyOf(blob), size, start, end)) {
                check();
                // As a socket does: meanwhile others read and evict this slice.
                if (yields) await yieldTurn();
                assert.ok(
                  contents
                    .get(keyOf(blob))
                    ?.subarray(at, at + piece.length)
                    .equals(piece),
                );
                at += piece.length;
                if (++pieces === leavesAfter) return;
              }
              assert.equal(at, end + 1);
            }),
          );
        }
        // Reads into the cache whose readers left end by themselves.
        while (true) {
          const before = cache.sizeBytes;
          await yieldTurn();
          await yieldTurn();
          if (cache.sizeBytes === before) break;
        }
        check();
      }),
      { numRuns: 60 },
    );
  });
});
