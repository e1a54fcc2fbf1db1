// Memory that uploads share: never more than its limit, first come first served, and no upload waits while it holds memory that others wait
// for. Not here: uploads to a service (s3.test.ts).
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, it } from "node:test";
import { RegistryError } from "@berth/oci/errors";
import type { S3Bucket } from "./s3-client.ts";
import { MIN_PART_BYTES, writeObject, type PartRules } from "./s3-write.ts";
import { createUploadMemory, type UploadMemory } from "./upload-memory.ts";

const PART = 2 * MIN_PART_BYTES;
const PIECE = randomBytes(65_536);

/** A body of that many bytes that yields after every piece, as a socket does. */
async function* slowly(sizeBytes: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < sizeBytes; at += PIECE.length) {
    await new Promise((resolve) => void setImmediate(resolve));
    yield PIECE.subarray(0, Math.min(PIECE.length, sizeBytes - at));
  }
}

/** A bucket that discards what it receives and counts the bytes. */
function createSink(onPart: (bytes: Uint8Array) => void = () => undefined): S3Bucket {
  const sizes = new Map<string, number>();
  const add = async (name: string, bytes: Uint8Array): Promise<void> => {
    await new Promise((resolve) => void setTimeout(resolve, 1));
    onPart(bytes);
    sizes.set(name, (sizes.get(name) ?? 0) + bytes.length);
  };
  return {
    put: add,
    createMultipart: async (name) => name,
    async uploadPart(name, _id, number, bytes) {
      await add(name, bytes);
      return { number, etag: String(number) };
    },
    completeMultipart: async () => undefined,
    abortMultipart: async () => undefined,
    sizeOf: async (name) => sizes.get(name),
  } as Partial<S3Bucket> as S3Bucket;
}

function rulesOf(memory: UploadMemory, mayDiffer = true): PartRules {
  return { sizeBytes: PART, mayDiffer, memory };
}

/** Records the most memory that was taken. */
function watched(memory: UploadMemory): UploadMemory & { mostBytes(): number } {
  let most = 0;
  const note = <T>(value: T): T => {
    most = Math.max(most, memory.taken);
    return value;
  };
  return {
    tryTake: (bytes) => note(memory.tryTake(bytes)),
    take: async (bytes) => note(await memory.take(bytes)),
    give: (bytes) => memory.give(bytes),
    get taken() {
      return memory.taken;
    },
    mostBytes: () => most,
  };
}

describe("upload memory", () => {
  it("is handed out in the order of asking, and given up after a while", async () => {
    const memory = createUploadMemory({ maxBytes: 10, waitMs: 50 });
    await memory.take(8);
    const order: string[] = [];
    const large = memory.take(9).then(
      () => order.push("large"),
      (error: unknown) => {
        order.push("large refused");
        assert.ok(error instanceof RegistryError && error.code === "UNAVAILABLE" && error.headers["retry-after"] === "5");
      },
    );
    // It would fit, but may not overtake; when the large one gives up, it is next.
    assert.equal(memory.tryTake(1), false);
    const small = memory.take(1).then(() => order.push("small"));
    await Promise.all([large, small]);
    assert.deepEqual(order, ["large refused", "small"]);
    memory.give(9);
    assert.equal(memory.taken, 0);
    assert.throws(() => memory.give(1), /more was given back/);
  });

  for (const mayDiffer of [true, false]) {
    it(`lets sixty large uploads end within the memory of a few parts (${mayDiffer ? "parts may differ" : "parts are equal"})`, async () => {
      const memory = watched(createUploadMemory({ maxBytes: 3 * PART, waitMs: 600_000 }));
      const parts: number[] = [];
      const bucket = createSink((bytes) => parts.push(bytes.length));
      const sizes = await Promise.all(
        Array.from({ length: 60 }, (_, i) =>
          writeObject(bucket, `n${i}`, slowly(2 * PART + 1000), rulesOf(memory, mayDiffer), () => undefined),
        ),
      );
      assert.ok(sizes.every((size) => size === 2 * PART + 1000));
      assert.equal(memory.taken, 0);
      assert.ok(memory.mostBytes() <= 3 * PART, String(memory.mostBytes()));
      const whole = parts.filter((size) => size > 1000);
      if (mayDiffer) assert.ok(whole.some((size) => size === MIN_PART_BYTES) && whole.every((size) => size >= MIN_PART_BYTES));
      else assert.ok(whole.every((size) => size === PART));
    });
  }

  it("is given back by uploads that fail, whoever fails", async () => {
    const memory = createUploadMemory({ maxBytes: 4 * PART, waitMs: 50 });
    async function* broken(sizeBytes: number): AsyncGenerator<Uint8Array> {
      yield* slowly(sizeBytes);
      throw new Error("the client left");
    }
    for (const size of [1000, 200_000, PART, 3 * PART + 5]) {
      await assert.rejects(
        writeObject(createSink(), "one", broken(size), rulesOf(memory), () => undefined),
        /the client left/,
      );
      assert.equal(memory.taken, 0, `${size} bytes`);
    }
    const failing = createSink(() => {
      throw new RegistryError("STORAGE_FULL");
    });
    for (const size of [1000, 200_000, 3 * PART + 5]) {
      await assert.rejects(
        writeObject(failing, "one", slowly(size), rulesOf(memory), () => undefined),
        { code: "STORAGE_FULL" },
      );
      assert.equal(memory.taken, 0, `${size} bytes`);
    }
    await memory.take(4 * PART);
    await assert.rejects(
      writeObject(createSink(), "one", slowly(PART), rulesOf(memory), () => undefined),
      { code: "UNAVAILABLE" },
    );
    assert.equal(memory.taken, 4 * PART);
  });
});
