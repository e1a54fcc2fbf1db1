// The contract of blob stores: one suite that each of them passes. It fails when anything is left behind.
// Not here: faults of one kind of store (filesystem.test.ts, s3.test.ts), the list of stores (blob-stores.testing.ts).
import assert from "node:assert/strict";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { after, afterEach, before, describe, it } from "node:test";
import { digestOf, type Digest } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import { MARK_NAME } from "./paths.ts";
import type { BlobStore, StorageKey, Stored, UploadRecord } from "./blob-store.ts";

/** A store under test. */
export interface BlobStoreFixture {
  /** Opens the same bytes as another process would. */
  open(processId: string): BlobStore;
  /** The names of everything that is stored now, temporary or final. */
  leftovers(): Promise<readonly string[]>;
  /** Cuts a key's bytes to a length, bypassing the store. */
  truncate(key: StorageKey, sizeBytes: number): Promise<void>;
  /** Sizes at which this store behaves differently, for example its part size. */
  readonly edges: readonly number[];
  /** Ends the fixture. */
  remove(): Promise<void>;
}

const MIB = 1024 * 1024;
// The most that a socket yields at once.
const PIECE = 64 * 1024;

async function* inPieces(bytes: Uint8Array, size = PIECE): AsyncGenerator<Uint8Array> {
  // All pieces share one buffer, as a careful sender's may: a store that keeps a piece would see it change.
  const shared = Buffer.alloc(Math.min(size, Math.max(bytes.length, 1)));
  for (let at = 0; at < bytes.length; at += size) {
    const piece = bytes.subarray(at, at + size);
    shared.set(piece);
    yield shared.subarray(0, piece.length);
  }
  shared.fill(0);
}

async function* thenFails(bytes: Uint8Array, error: Error): AsyncGenerator<Uint8Array> {
  yield* inPieces(bytes);
  throw error;
}

async function readAll(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Buffer[] = [];
  for await (const piece of pieces) {
    assert.ok(piece.length > 0 && piece.length <= MIB, `piece of ${piece.length}`);
    all.push(Buffer.from(piece));
  }
  return Buffer.concat(all);
}

/** Compares by digest first: a difference of megabytes is not worth printing. */
function assertSame(actual: Uint8Array, expected: Uint8Array): void {
  assert.equal(actual.length, expected.length);
  assert.equal(digestOf(actual), digestOf(expected));
}

const ignore = (): void => undefined;
const isCode =
  (...codes: string[]) =>
  (error: unknown): boolean =>
    error instanceof RegistryError && codes.includes(error.code);

/** Registers the suite for a store. */
export function describeBlobStore(name: string, create: () => Promise<BlobStoreFixture>): void {
  describe(`blob store: ${name}`, () => {
    let fixture: BlobStoreFixture;
    let a: BlobStore;
    let b: BlobStore;
    const kept = new Set<StorageKey>();

    before(async () => {
      fixture = await create();
      a = fixture.open("process-a");
      b = fixture.open("process-b");
    });
    after(async () => {
      await a?.close();
      await b?.close();
      await fixture?.remove();
    });
    afterEach(async () => {
      await a.delete([...kept]);
      kept.clear();
      assert.deepEqual(await leftovers(), [], "left behind");
    });

    /** The mark stays, as in production. */
    const leftovers = async (): Promise<readonly string[]> => (await fixture.leftovers()).filter((name) => name !== MARK_NAME);

    async function append(store: BlobStore, id: string, record: UploadRecord, offsetBytes: number, bytes: Uint8Array) {
      const seen = createHash("sha256");
      const appended = await store.append(id, record, inPieces(bytes), { offsetBytes, onBytes: (piece) => seen.update(piece) });
      assert.equal(appended.writtenBytes, bytes.length);
      assert.equal(`sha256:${seen.digest("hex")}`, digestOf(bytes), "onBytes did not see the bytes in order");
      // The database keeps records as JSON.
      return JSON.parse(JSON.stringify(appended.record)) as UploadRecord;
    }

    async function finish(store: BlobStore, id: string, record: UploadRecord, content: Uint8Array, reread = false): Promise<Stored> {
      const seen = createHash("sha256");
      const stored = await store.finish(id, record, {
        sizeBytes: content.length,
        digest: digestOf(content),
        onBytes: reread ? (piece) => seen.update(piece) : undefined,
      });
      kept.add(stored.key);
      if (reread) assert.equal(`sha256:${seen.digest("hex")}`, digestOf(content), "onBytes did not get the content");
      assert.equal(stored.sizeBytes, content.length);
      assert.deepEqual(await store.stat(stored.key), { sizeBytes: content.length });
      return stored;
    }

    async function put(content: Uint8Array, store = a): Promise<Stored> {
      const id = randomUUID();
      const record = await append(store, id, store.begin(id), 0, content);
      const stored = await finish(store, id, record, content);
      await store.removeLeftovers(id, record, stored.key);
      return stored;
    }

    const sizes = [1, 1000, PIECE, PIECE + 1, MIB - 1, MIB, MIB + 1, 3 * MIB + 7];
    it("bears one mark for all processes, and gives it up only to who names it", async () => {
      const [one, two] = [a, b];
      const [first, second, third] = [randomUUID(), randomUUID(), randomUUID()];
      assert.equal(await one.readMark(), undefined);
      const given = await Promise.all([one.putMark(first), two.putMark(second)]);
      const mark = await one.readMark();
      assert.ok(mark === first || mark === second);
      assert.equal(await two.readMark(), mark);
      assert.ok(given.includes(mark));
      assert.equal(await two.putMark(third), mark);
      assert.equal(await two.putMark(third, { replaces: randomUUID() }), mark);
      assert.equal(await two.putMark(third, { replaces: mark }), third);
      assert.equal(await one.readMark(), third);
    });

    it("stores and gives back every size around an edge", async () => {
      for (const size of [
        0,
        ...new Set([...sizes, ...fixture.edges.flatMap((edge) => [edge - 1, edge, edge + 1, 2 * edge, 2 * edge + 3])]),
      ]) {
        const content = randomBytes(size);
        const { key } = await put(content);
        assertSame(await readAll(b.read(key, 0, size - 1)), content);
      }
    });

    it("finishes an upload that got no bytes at all", async () => {
      const id = randomUUID();
      const stored = await finish(a, id, a.begin(id), Buffer.alloc(0));
      await a.removeLeftovers(id, a.begin(id), stored.key);
      assert.equal((await readAll(a.read(stored.key, 0, -1))).length, 0);
    });

    it("takes a body in pieces of any size", async () => {
      for (const size of [1, 999, MIB + 1, 4 * MIB]) {
        const content = randomBytes(size === 1 ? 5000 : 3 * MIB + 5);
        const id = randomUUID();
        const { record } = await a.append(id, a.begin(id), inPieces(content, size), { offsetBytes: 0, onBytes: ignore });
        const { key } = await finish(a, id, record, content);
        await a.removeLeftovers(id, record, key);
        assertSame(await readAll(a.read(key, 0, content.length - 1)), content);
      }
    });

    it("puts appends of one process together", async () => {
      const chunks = [1000, 0, MIB, 1, 6 * MIB + 11, 5].map((size) => randomBytes(size));
      const id = randomUUID();
      let record = a.begin(id);
      let offset = 0;
      for (const chunk of chunks) {
        record = await append(a, id, record, offset, chunk);
        offset += chunk.length;
      }
      const content = Buffer.concat(chunks);
      const { key } = await finish(a, id, record, content);
      await a.removeLeftovers(id, record, key);
      assertSame(await readAll(b.read(key, 0, content.length - 1)), content);
    });

    it("goes on in another process from the record alone, and reads all of it once for the one that finishes", async () => {
      for (const sizes of [
        [700, 900, 30],
        [MIB, 6 * MIB, 3, 5 * MIB + 1, 12 * MIB],
      ]) {
        const id = randomUUID();
        let record = a.begin(id);
        let content = Buffer.alloc(0);
        for (const [index, size] of sizes.entries()) {
          const chunk = randomBytes(size);
          record = await append(index % 2 === 0 ? a : b, id, record, content.length, chunk);
          content = Buffer.concat([content, chunk]);
        }
        const finisher = fixture.open("process-c");
        const { key } = await finish(finisher, id, record, content, true);
        await finisher.removeLeftovers(id, record, key);
        await finisher.close();
        assertSame(await readAll(a.read(key, 0, content.length - 1)), content);
      }
    });

    it("lets another process finish what one process wrote, and passes the content to it", async () => {
      for (const size of [10, 6 * MIB]) {
        const content = randomBytes(size);
        const id = randomUUID();
        const record = await append(a, id, a.begin(id), 0, content);
        const { key } = await finish(b, id, record, content, true);
        await b.removeLeftovers(id, record, key);
        assertSame(await readAll(a.read(key, 0, size - 1)), content);
      }
    });

    it("keeps the old record valid when an append fails", async () => {
      for (const [first, lost] of [
        [0, 2 * MIB],
        [1000, 50],
        [6 * MIB, 9 * MIB],
      ] as const) {
        const id = randomUUID();
        const head = randomBytes(first);
        let record = first === 0 ? a.begin(id) : await append(a, id, a.begin(id), 0, head);
        const broken = new Error("the client has gone");
        await assert.rejects(
          a.append(id, record, thenFails(randomBytes(lost), broken), { offsetBytes: first, onBytes: ignore }),
          (error) => error === broken,
        );
        const tooLarge = new RegistryError("BLOB_TOO_LARGE");
        let pieces = 0;
        await assert.rejects(
          a.append(id, record, inPieces(randomBytes(lost)), {
            offsetBytes: first,
            onBytes: () => {
              if (++pieces === Math.ceil(lost / PIECE)) throw tooLarge;
            },
          }),
          (error) => error === tooLarge,
        );
        const rest = randomBytes(100);
        record = await append(a, id, record, first, rest);
        const content = Buffer.concat([head, rest]);
        const { key } = await finish(a, id, record, content);
        await a.removeLeftovers(id, record, key);
        assertSame(await readAll(a.read(key, 0, content.length - 1)), content);
      }
    });

    it("ignores bytes of an append whose record was never saved", async () => {
      const id = randomUUID();
      const head = randomBytes(6 * MIB);
      const record = await append(a, id, a.begin(id), 0, head);
      await append(a, id, record, head.length, randomBytes(3000));
      const rest = randomBytes(20);
      const last = await append(a, id, record, head.length, rest);
      const content = Buffer.concat([head, rest]);
      const { key } = await finish(a, id, last, content, true);
      await a.removeLeftovers(id, last, key);
      assertSame(await readAll(a.read(key, 0, content.length - 1)), content);
    });

    it("is not damaged by a late writer that lost the upload", async () => {
      for (const late of [a, b]) {
        const id = randomUUID();
        const head = randomBytes(6 * MIB);
        const record = await append(a, id, a.begin(id), 0, head);
        const resume = Promise.withResolvers<void>();
        const paused = Promise.withResolvers<void>();
        async function* lateBody(): AsyncGenerator<Uint8Array> {
          yield* inPieces(randomBytes(12 * MIB));
          paused.resolve();
          await resume.promise;
          yield* inPieces(randomBytes(2 * MIB));
        }
        const lateAppend = late
          .append(id, record, lateBody(), { offsetBytes: head.length, onBytes: ignore })
          .catch((error: unknown) => error);
        await paused.promise;
        // The client gave up on that request and sends the rest again.
        const rest = randomBytes(MIB + 1);
        const winner = await append(a, id, record, head.length, rest);
        const content = Buffer.concat([head, rest]);
        const { key } = await finish(a, id, winner, content);
        resume.resolve();
        await lateAppend;
        await a.removeLeftovers(id, winner, key);
        assert.deepEqual(await b.stat(key), { sizeBytes: content.length });
        assertSame(await readAll(b.read(key, 0, content.length - 1)), content);
        await a.abort(id, winner, async () => true);
        assertSame(await readAll(b.read(key, 0, content.length - 1)), content);
      }
    });

    it("is not damaged by a late writer behind an upload that is already whole", async () => {
      const id = randomUUID();
      const content = randomBytes(3 * MIB);
      const record = await append(a, id, a.begin(id), 0, content);
      const resume = Promise.withResolvers<void>();
      async function* lateBody(): AsyncGenerator<Uint8Array> {
        yield* inPieces(randomBytes(2 * MIB));
        await resume.promise;
        yield* inPieces(randomBytes(2 * MIB));
      }
      const late = a.append(id, record, lateBody(), { offsetBytes: content.length, onBytes: ignore }).catch((error: unknown) => error);
      const { key } = await finish(b, id, record, content, true);
      resume.resolve();
      await late;
      await b.removeLeftovers(id, record, key);
      assert.deepEqual(await b.stat(key), { sizeBytes: content.length });
      assertSame(await readAll(b.read(key, 0, content.length - 1)), content);
      await b.abort(id, record, async (other) => other === key);
    });

    it("finishes again, in any process, and keeps the one key that is bound", async () => {
      for (const sizes of [[500], [7 * MIB], [MIB, 6 * MIB]]) {
        const id = randomUUID();
        let record = a.begin(id);
        let content = Buffer.alloc(0);
        for (const [index, size] of sizes.entries()) {
          const chunk = randomBytes(size);
          record = await append(index === 0 ? a : b, id, record, content.length, chunk);
          content = Buffer.concat([content, chunk]);
        }
        await finish(a, id, record, content);
        const { key } = await finish(a, id, record, content);
        await finish(b, id, record, content, true);
        assertSame(await readAll(b.read(key, 0, content.length - 1)), content);
        await a.removeLeftovers(id, record, key);
        assertSame(await readAll(b.read(key, 0, content.length - 1)), content);
        assert.deepEqual(await leftovers(), [key]);
        await a.removeLeftovers(id, record, key);
        await b.delete([key]);
      }
    });

    it("refuses a size that is not the upload's", async () => {
      const id = randomUUID();
      const content = randomBytes(100);
      const record = await append(a, id, a.begin(id), 0, content);
      for (const sizeBytes of [99, 101]) {
        await assert.rejects(a.finish(id, record, { sizeBytes, digest: digestOf(content) }), isCode("BLOB_UPLOAD_INVALID"));
      }
      await a.abort(id, record, async () => false);
    });

    it("removes an upload that is aborted, whatever it had come to", async () => {
      for (const size of [0, 10, MIB, 6 * MIB, 11 * MIB]) {
        const content = randomBytes(size);
        const digest: Digest = digestOf(content);
        const id = randomUUID();
        const begun = a.begin(id);
        const record = size === 0 ? begun : await append(a, id, begun, 0, content);
        // The first record is all that the database has when a process ends during its first append.
        await b.abort(id, begun, async () => false);
        assert.deepEqual(await leftovers(), []);
        await b.abort(id, record, async () => false);
        if (size > 0) {
          await assert.rejects(b.finish(id, record, { sizeBytes: size, digest }), isCode("BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"));
          await b.abort(id, record, async () => false);
        }
      }
    });

    it("removes an upload that was finished but never bound, and keeps one that was", async () => {
      for (const size of [0, 10, 6 * MIB]) {
        for (const isBound of [false, true]) {
          const content = randomBytes(size);
          const id = randomUUID();
          const begun = a.begin(id);
          const record = size === 0 ? begun : await append(a, id, begun, 0, content);
          const { key } = await finish(a, id, record, content);
          const asked: StorageKey[] = [];
          await b.abort(id, begun, async (other) => {
            asked.push(other);
            return isBound;
          });
          assert.deepEqual(asked, [key]);
          assert.deepEqual(await b.stat(key), isBound ? { sizeBytes: size } : undefined);
          assert.deepEqual(await leftovers(), isBound ? [key] : []);
          await b.delete([key]);
        }
      }
    });

    it("reads every range", async () => {
      const content = randomBytes(3 * MIB + 17);
      const { key } = await put(content);
      const last = content.length - 1;
      const points = [0, 1, PIECE, MIB - 1, MIB, MIB + 1, 2 * MIB, 3 * MIB, last - 1, last];
      for (const start of points) {
        for (const end of points) {
          if (end >= start) assertSame(await readAll(a.read(key, start, end)), content.subarray(start, end + 1));
        }
      }
    });

    it("lets a reader leave at any time", async () => {
      const content = randomBytes(5 * MIB);
      const { key } = await put(content);
      for (const pieces of [1, 2, 4]) {
        let seen = 0;
        for await (const piece of a.read(key, 0, content.length - 1)) {
          assert.ok(piece.length > 0);
          if (++seen === pieces) break;
        }
      }
      // The read was never begun.
      await a.read(key, 0, 10)[Symbol.asyncIterator]().return?.();
      assertSame(await readAll(a.read(key, 0, content.length - 1)), content);
    });

    it("keeps uploads and reads at the same time apart", async () => {
      const contents = Array.from({ length: 8 }, (_, index) => randomBytes(index * 400_000 + 3));
      const stored = await Promise.all(contents.map((content, index) => put(content, index % 2 === 0 ? a : b)));
      const read = await Promise.all(stored.map(({ key, sizeBytes }) => readAll(a.read(key, 0, sizeBytes - 1))));
      read.forEach((bytes, index) => assertSame(bytes, contents[index] as Buffer));
    });

    it("gives the same content two keys, and deletes one without the other", async () => {
      const content = randomBytes(1234);
      const [first, second] = [await put(content), await put(content, b)];
      assert.notEqual(first.key, second.key);
      await a.delete([first.key]);
      assert.equal(await b.stat(first.key), undefined);
      assertSame(await readAll(b.read(second.key, 0, content.length - 1)), content);
    });

    it("deletes many keys, and keys that are gone", async () => {
      const stored = await Promise.all(Array.from({ length: 20 }, () => put(randomBytes(10))));
      const keys = stored.map(({ key }) => key);
      await b.delete([keys[0] as StorageKey]);
      await a.delete(keys);
      await a.delete(keys);
      await a.delete([]);
      for (const key of keys) assert.equal(await a.stat(key), undefined);
    });

    it("lists every key once with its size, from any key on", async () => {
      const stored = await Promise.all(Array.from({ length: 12 }, (_, index) => put(randomBytes(index * 100), index % 2 === 0 ? a : b)));
      const startedAt = Date.now();
      const list = async (startAfter?: StorageKey) => {
        const found: [StorageKey, number][] = [];
        for await (const { key, sizeBytes, changedAt } of b.list?.(startAfter) ?? []) {
          assert.ok(Math.abs(changedAt.getTime() - startedAt) < 3_600_000, `changed at ${changedAt.toISOString()}`);
          found.push([key, sizeBytes]);
        }
        return found;
      };
      const all = await list();
      assert.deepEqual(new Map(all), new Map(stored.map(({ key, sizeBytes }) => [key, sizeBytes])));
      assert.equal(all.length, stored.length);
      for (const [index, [key]] of all.entries()) assert.deepEqual(await list(key), all.slice(index + 1));
      // A deleted key is just as good a start.
      await a.delete([all[3]![0]]);
      assert.deepEqual(await list(all[3]![0]), all.slice(4));
    });

    it("reports content that is missing or cut off as damaged", async () => {
      for (const size of [100, 2 * MIB + 100]) {
        const { key } = await put(randomBytes(size));
        await fixture.truncate(key, size - 10);
        await assert.rejects(readAll(a.read(key, 0, size - 1)), isCode("BLOB_DAMAGED"));
        await assert.rejects(readAll(a.read(key, size - 5, size - 1)), isCode("BLOB_DAMAGED"));
        assert.equal((await readAll(a.read(key, 0, size - 11))).length, size - 10);
        await a.delete([key]);
        await assert.rejects(readAll(b.read(key, 0, size - 1)), isCode("BLOB_DAMAGED"));
      }
    });

    it("reports a size that is not the blob's before the first byte, where it is asked to", async () => {
      const size = 3 * MIB;
      const content = randomBytes(size);
      const { key } = await put(content);
      assertSame(await readAll(a.read(key, 0, size - 1, size)), content);
      const firstOf = (start: number, end: number, expected: number): Promise<unknown> =>
        a.read(key, start, end, expected)[Symbol.asyncIterator]().next();
      // More than is expected, and less.
      await assert.rejects(firstOf(0, size - 2, size - 1), isCode("BLOB_DAMAGED"));
      await assert.rejects(firstOf(0, 9, size + 1), isCode("BLOB_DAMAGED"));
      await fixture.truncate(key, size - 1);
      await assert.rejects(firstOf(0, size - 1, size), isCode("BLOB_DAMAGED"));
      await assert.rejects(firstOf(0, 9, size), isCode("BLOB_DAMAGED"));
    });

    it("refuses ids and records that are not its own", async () => {
      for (const id of ["", "../../../etc", "a/b-c-d-e-f", "ABCDEFGHIJ", "x".repeat(100), "..", "aaaaaaaa.b"]) {
        await assert.rejects(async () => a.append(id, a.begin(id), inPieces(Buffer.from("x")), { offsetBytes: 0, onBytes: ignore }));
      }
      await assert.rejects(a.finish(randomUUID(), {}, { sizeBytes: 1, digest: digestOf(Buffer.from("x")) }), isCode("BLOB_UPLOAD_UNKNOWN"));
    });

    it("sweeps nothing that is recent, and proves that it works", async () => {
      const id = randomUUID();
      const content = randomBytes(10);
      const record = await append(a, id, a.begin(id), 0, content);
      assert.equal(await b.sweep(new Date(Date.now() - 3_600_000)), 0);
      const { key } = await finish(a, id, record, content);
      await a.removeLeftovers(id, record, key);
      await a.probe();
      assert.deepEqual(await leftovers(), [key]);
    });
  });
}
