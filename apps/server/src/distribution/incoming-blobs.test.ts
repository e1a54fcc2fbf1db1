// One blob on its way from an upstream: who waits for whom, what fails whom, and what is left behind. Not here: what is asked and stored over HTTP
// (test/flows/upstream.test.ts).
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, it } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { digestOf } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import { createIncomingBlobs, type BlobFetch, type IncomingBlob, type IncomingBlobParts } from "./incoming-blobs.ts";
import type { Chunk } from "./small-uploads.ts";

/** More than what is kept in memory. */
const BLOB = randomBytes(3_000_000);
const DIGEST = digestOf(BLOB);
const REFUSED = new RegistryError("UPSTREAM_FAILED");

let directory: string;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), "berth-incoming-"));
});
after(() => rm(directory, { recursive: true }));

function fetches(more: Partial<IncomingBlobParts> = {}) {
  return createIncomingBlobs({ directory, maxBlobBytes: 100_000_000, ...more });
}

/** A fetch of the blob that a test gives the pieces of. */
function fetchOf(body: AsyncIterable<Uint8Array>, more: Partial<BlobFetch> = {}) {
  const done = Promise.withResolvers<void>();
  const seen = { stored: undefined as Buffer | undefined, unstored: [] as unknown[], failures: [] as unknown[], opened: 0, fromStored: 0 };
  const fetch: BlobFetch = {
    projectId: 1,
    digest: DIGEST,
    async open() {
      seen.opened++;
      return { sizeBytes: BLOB.length, body };
    },
    async store({ body: pieces }: Chunk) {
      const all: Buffer[] = [];
      for await (const piece of pieces) all.push(Buffer.from(piece));
      seen.stored = Buffer.concat(all);
      done.resolve();
    },
    onUnstored: (error) => void seen.unstored.push(error),
    async *readStored(start, end) {
      seen.fromStored++;
      yield seen.stored!.subarray(start, end + 1);
    },
    refusalOf(error) {
      seen.failures.push(error);
      return REFUSED;
    },
    ...more,
  };
  return { fetch, seen, stored: done.promise };
}

async function* inPieces(bytes: Buffer, pieceBytes = 100_000): AsyncGenerator<Buffer, void, void> {
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    await nextTurn();
    yield bytes.subarray(at, at + pieceBytes);
  }
}

/** The blob's first part, and then nothing until it is told, or for ever. */
async function* heldBehind(bytes: number, until: Promise<unknown> = new Promise(() => undefined)): AsyncGenerator<Buffer, void, void> {
  yield* inPieces(BLOB.subarray(0, bytes));
  await until;
  yield* inPieces(BLOB.subarray(bytes));
}

const read = (blob: IncomingBlob | undefined, start = 0, end = BLOB.length - 1): AsyncIterator<Uint8Array> =>
  blob!.source.read({ id: 0, digest: DIGEST, sizeBytes: BLOB.length, key: undefined }, start, end)[Symbol.asyncIterator]();

async function rest(pieces: AsyncIterator<Uint8Array>): Promise<Buffer> {
  const all: Buffer[] = [];
  for (;;) {
    const { value, done } = await pieces.next();
    if (done === true) return Buffer.concat(all);
    all.push(Buffer.from(value));
  }
}

async function none(running: { readonly running: number }): Promise<void> {
  while (running.running > 0) await nextTurn();
}

it("an incoming blob: is stored however slowly it is read, and the rest is read from there", async () => {
  const incoming = fetches();
  const { fetch, seen, stored } = fetchOf(inPieces(BLOB));
  const reader = read(await incoming.fetch("a", fetch));
  const { value } = await reader.next();
  const first = Buffer.from(value as Uint8Array);
  await stored;
  await none(incoming);
  assert.deepEqual(seen.stored, BLOB);
  assert.deepEqual(Buffer.concat([first, await rest(reader)]), BLOB);
  assert.equal(seen.fromStored, 1);
});

it("an incoming blob: leaves no name in the directory while it comes", async () => {
  const incoming = fetches();
  const { promise, resolve } = Promise.withResolvers<void>();
  const { fetch } = fetchOf(heldBehind(1_000_000, promise));
  const reader = read(await incoming.fetch("a", fetch));
  await reader.next();
  assert.deepEqual(await readdir(directory), []);
  resolve();
  await rest(reader);
  await none(incoming);
});

it("an incoming blob: keeps its last byte back until all of them are right, from readers and from the store", async () => {
  const wrong = Buffer.from(BLOB);
  wrong[17]! ^= 1;
  const incoming = fetches();
  let storedBytes = 0;
  const { fetch, seen } = fetchOf(inPieces(wrong), {
    async store({ body }) {
      for await (const piece of body) storedBytes += piece.length;
    },
  });
  const reader = read(await incoming.fetch("a", fetch));
  let readBytes = 0;
  await assert.rejects(async () => {
    for (;;) {
      const { value, done } = await reader.next();
      assert.notEqual(done, true);
      readBytes += (value as Uint8Array).length;
    }
  }, REFUSED);
  await none(incoming);
  assert.ok(readBytes < BLOB.length && storedBytes < BLOB.length, `${readBytes} ${storedBytes}`);
  assert.equal(seen.unstored.length, 0, "that is no failure of the store's");
  assert.match(String(seen.failures[0]), /another digest/);
});

it("an incoming blob: gives nothing of a part before all is right", async () => {
  const incoming = fetches();
  const { promise, resolve } = Promise.withResolvers<void>();
  const { fetch } = fetchOf(heldBehind(2_999_999, promise));
  const blob = await incoming.fetch("a", fetch);
  const whole = read(blob);
  let got = 0;
  while (got < 2_999_999) got += ((await whole.next()).value as Uint8Array).length;
  let isGiven = false;
  const part = read(blob, 0, 9).next();
  void part.then(() => (isGiven = true));
  for (let turns = 0; turns < 100; turns++) await nextTurn();
  assert.equal(isGiven, false);
  resolve();
  assert.deepEqual(Buffer.from((await part).value as Uint8Array), BLOB.subarray(0, 10));
  await rest(whole);
  await none(incoming);
});

for (const [what, sent] of [
  ["longer", Buffer.concat([BLOB, Buffer.alloc(1)])],
  ["shorter", BLOB.subarray(0, -1)],
] as const) {
  it(`an incoming blob: is none where it is ${what} than it said`, async () => {
    const incoming = fetches();
    const { fetch, seen } = fetchOf(inPieces(sent));
    const reader = read(await incoming.fetch("a", fetch));
    await assert.rejects(rest(reader), REFUSED);
    await none(incoming);
    assert.equal(seen.stored, undefined);
  });
}

it("an incoming blob: is given to readers where the store fails, and fetched for nobody", async () => {
  const incoming = fetches();
  const full = new Error("the store is full");
  const store = async (): Promise<void> => {
    throw full;
  };
  const one = fetchOf(inPieces(BLOB), { store });
  assert.deepEqual(await rest(read(await incoming.fetch("a", one.fetch))), BLOB);
  assert.deepEqual(one.seen.unstored, [full]);
  await none(incoming);
  // Its only reader leaves.
  const two = fetchOf(heldBehind(1_000_000), { store });
  const reader = read(await incoming.fetch("a", two.fetch));
  await reader.next();
  await reader.return!();
  await none(incoming);
});

it("an incoming blob: is given up where nothing comes, or too little", async () => {
  const silent = fetches({ idleMs: 20 });
  const { fetch, seen } = fetchOf(heldBehind(1_000_000));
  await assert.rejects(rest(read(await silent.fetch("a", fetch))), REFUSED);
  assert.match(String(seen.failures[0]), /sent nothing/);
  await none(silent);
  async function* drip(): AsyncGenerator<Buffer, void, void> {
    for (;;) {
      await nextTurn();
      yield Buffer.alloc(1);
    }
  }
  // Larger ones have longer: this one's time is over when it begins.
  const slow = fetches({ baseMs: -BLOB.length / 16 + 30 });
  const dripping = fetchOf(drip());
  await assert.rejects(rest(read(await slow.fetch("a", dripping.fetch))), REFUSED);
  assert.match(String(dripping.seen.failures[0]), /too slowly/);
  await none(slow);
});

it("an incoming blob: is one for all who ask meanwhile; one that failed is joined by nobody", async () => {
  const incoming = fetches();
  async function* cut(): AsyncGenerator<Buffer, void, void> {
    yield* inPieces(BLOB.subarray(0, 1_000_000));
    throw new Error("cut");
  }
  const failing = fetchOf(cut(), {
    // A store that takes its time to notice.
    async store({ body }) {
      await Array.fromAsync(body).catch(() => undefined);
      await new Promise((resolve) => setTimeout(resolve, 50));
      throw new Error("cut");
    },
  });
  await assert.rejects(rest(read(await incoming.fetch("a", failing.fetch))), REFUSED);
  assert.equal(incoming.running, 1);
  assert.equal(incoming.find("a"), undefined);
  const good = fetchOf(inPieces(BLOB));
  const [one, two] = await Promise.all([incoming.fetch("a", good.fetch), incoming.fetch("a", good.fetch)]);
  assert.deepEqual(await Promise.all([rest(read(one)), rest(read(two))]), [BLOB, BLOB]);
  assert.equal(good.seen.opened, 1);
  await none(incoming);
});

it("an incoming blob: is refused where the disk has no room for it, for which the upstream is not blamed", async () => {
  const incoming = fetches({ maxBlobBytes: Infinity });
  const { fetch, seen } = fetchOf(inPieces(BLOB), { open: async () => ({ sizeBytes: 2 ** 52, body: inPieces(BLOB) }) });
  await assert.rejects(incoming.fetch("a", fetch), { code: "STORAGE_FULL" });
  await none(incoming);
  assert.deepEqual([seen.failures, seen.unstored], [[], []]);
});

it("incoming blobs: of one project leave room for another's", async () => {
  const incoming = fetches();
  const { promise, resolve } = Promise.withResolvers<void>();
  const held = Array.from({ length: 40 }, (_, at) => {
    const { fetch } = fetchOf(heldBehind(1_000_000, promise));
    return incoming.fetch(`held ${at}`, fetch);
  });
  const other = fetchOf(inPieces(BLOB), { projectId: 2 });
  assert.deepEqual(await rest(read(await incoming.fetch("other", other.fetch))), BLOB);
  resolve();
  for (const blob of await Promise.all(held)) assert.equal(blob?.sizeBytes, BLOB.length);
  await none(incoming);
});

it("incoming blobs: end when the server does, and so do their readers", async () => {
  const incoming = fetches();
  const { fetch } = fetchOf(heldBehind(1_000_000));
  const reading = rest(read(await incoming.fetch("a", fetch)));
  reading.catch(() => undefined);
  await incoming.stop();
  assert.equal(incoming.running, 0);
  await assert.rejects(reading, { code: "UPSTREAM_FAILED" });
  await assert.rejects(incoming.fetch("b", fetch), { code: "UNAVAILABLE" });
});
