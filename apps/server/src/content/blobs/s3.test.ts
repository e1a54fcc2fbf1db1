// Faults of an S3 service, and the number of requests that the store makes. Not here: the common contract, which runs on real services
// (blob-stores.test.ts).
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { afterEach, beforeEach, describe, it } from "node:test";
import { digestOf } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import type { BlobStore, StorageKey } from "./blob-store.ts";
import { PartialDeletion } from "./partial-deletion.ts";
import { parseStorageKey } from "./paths.ts";
import type { S3DialectName } from "./s3-dialects.ts";
import { startS3Stub, type S3Stub } from "./s3-stub.testing.ts";
import { createS3Store, type S3StoreOptions } from "./s3.ts";

const MIB = 1024 * 1024;
const PART = 5 * MIB;
const isCode = (code: string) => (error: unknown) => error instanceof RegistryError && error.code === code && error.cause !== undefined;
async function* bodyOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
}
async function readAll(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Buffer[] = [];
  for await (const piece of pieces) all.push(Buffer.from(piece));
  return Buffer.concat(all);
}

describe("S3 store on a bad day", () => {
  let stub: S3Stub;
  let store: BlobStore;
  const id = "upload-0001";

  const open = (dialect: S3DialectName = "ceph", more: Partial<S3StoreOptions> = {}): Promise<BlobStore> =>
    createS3Store({
      endpoint: stub.endpoint,
      bucket: "bucket",
      region: "here",
      accessKeyId: "id",
      secretAccessKey: "not a secret",
      dialect,
      forcePathStyle: true,
      prefix: "pre/fix",
      processId: "process",
      partSizeBytes: PART,
      uploadMemoryBytes: 8 * PART,
      attempts: 2,
      // Only silence takes this long; service and client share one thread here, which may be busy.
      idleTimeoutMs: 30_000,
      ...more,
    });
  beforeEach(async () => {
    stub = await startS3Stub();
    store = await open();
  });
  afterEach(async () => {
    await store.close();
    await stub.close();
  });

  const append = (content: Uint8Array) => store.append(id, store.begin(id), bodyOf(content), { offsetBytes: 0, onBytes: () => undefined });
  async function put(content: Uint8Array): Promise<StorageKey> {
    const { record } = await append(content);
    const { key } = await store.finish(id, record, { sizeBytes: content.length, digest: digestOf(content) });
    await store.removeLeftovers(id, record, key);
    return key;
  }
  const said = (): string[] =>
    stub.requests.map(
      ({ method, query }) =>
        `${method}${[...query.keys()]
          .filter((name) => name !== "x-id")
          .map((name) => ` ${name}`)
          .join("")}`,
    );

  it("asks once for a small blob, and never again until it is read", async () => {
    const content = randomBytes(PART);
    const key = await put(content);
    assert.deepEqual(said(), ["PUT"]);
    assert.deepEqual([...stub.objects.keys()], [`pre/fix/${key}`]);
    assert.match(String(stub.requests[0]?.headers["x-amz-content-sha256"]), /^[0-9a-f]{64}$/);
    assert.equal(`sha256:${String(stub.requests[0]?.headers["x-amz-content-sha256"])}`, digestOf(content));
    assert.equal(stub.requests[0]?.headers["x-amz-checksum-crc32"], undefined);
    assert.equal(stub.requests[0]?.headers["content-encoding"], undefined);
  });

  it("sends a large blob in parts, a few at a time, and looks at what became of them", async () => {
    const content = randomBytes(12 * PART + 7);
    await put(content);
    assert.equal(said().filter((request) => request === "PUT partNumber uploadId").length, 13);
    assert.deepEqual(said().slice(-2), ["POST uploadId", "HEAD"]);
    assert.ok(stub.mostUploads() > 1 && stub.mostUploads() <= 3, `${stub.mostUploads()} at a time`);
    assert.ok([...stub.objects.values()][0]?.equals(content));
  });

  it("sends Content-MD5 where the dialect wants it", async () => {
    await store.close();
    store = await open("oss");
    const content = randomBytes(1000);
    await put(content);
    const { createHash } = await import("node:crypto");
    assert.equal(stub.requests[0]?.headers["content-md5"], createHash("md5").update(content).digest("base64"));
  });

  it("tries again when it is told to slow down", async () => {
    stub.fault = (_request, count) => (count === 1 ? { status: 503, code: "SlowDown" } : undefined);
    const content = randomBytes(100);
    const key = await put(content);
    assert.ok((await readAll(store.read(key, 0, 99))).equals(content));
  });

  it("tries as often as it may when it is told so at once, and only for so long when it is told nothing", async () => {
    await store.close();
    // Two timeouts of a second exceed its deadline, one does not, also if a timer fires late.
    store = await open("ceph", { attempts: 5, idleTimeoutMs: 1_000, deadlineMs: 1_900 });
    stub.fault = () => "hang";
    await assert.rejects(append(randomBytes(10)), isCode("UNAVAILABLE"));
    assert.equal(stub.requests.length, 2);
    stub.requests.length = 0;
    await store.close();
    store = await open("ceph", { attempts: 3, deadlineMs: 60_000 });
    stub.fault = () => ({ status: 503, code: "SlowDown" });
    await assert.rejects(append(randomBytes(10)), isCode("UNAVAILABLE"));
    assert.equal(stub.requests.length, 3);
  });

  it("holds no more in memory than it may, however many uploads there are, and ends them all", async () => {
    await store.close();
    store = await open("ceph", { partSizeBytes: 2 * PART, uploadMemoryBytes: 5 * PART });
    const sizes = Array.from({ length: 12 }, (_, i) => [100_000, PART + 1, 5 * PART + 17, 2 * PART][i % 4]!);
    const contents = sizes.map((size) => randomBytes(size));
    const keys = await Promise.all(
      contents.map(async (content, i) => {
        const one = `upload-1${String(i).padStart(3, "0")}`;
        const { record } = await store.append(one, store.begin(one), bodyOf(content), { offsetBytes: 0, onBytes: () => undefined });
        return (await store.finish(one, record, { sizeBytes: content.length, digest: digestOf(content) })).key;
      }),
    );
    for (const [i, key] of keys.entries()) assert.ok(stub.objects.get(`pre/fix/${key}`)?.equals(contents[i]!), `${sizes[i]} bytes`);
    assert.ok(stub.mostUploads() <= 5, `${stub.mostUploads()} parts at a time`);
  });

  for (const [fault, expected] of [
    [{ status: 503, code: "SlowDown" }, "UNAVAILABLE"],
    [{ status: 500, code: "InternalError" }, "UNAVAILABLE"],
    [{ status: 403, code: "AccessDenied" }, "UNAVAILABLE"],
    [{ status: 404, code: "NoSuchBucket" }, "UNAVAILABLE"],
    ["lose", "UNAVAILABLE"],
    ["hang", "UNAVAILABLE"],
    [{ status: 403, code: "QuotaExceeded" }, "STORAGE_FULL"],
    [{ status: 507, code: "XMinioStorageFull" }, "STORAGE_FULL"],
    [{ status: 400, code: "EntityTooLarge" }, "STORAGE_FULL"],
  ] as const) {
    const shown = typeof fault === "string" ? fault : fault.code;
    it(`answers ${expected} when every write ends in: ${shown}`, async () => {
      if (fault === "hang") {
        await store.close();
        store = await open("ceph", { idleTimeoutMs: 300 });
      }
      stub.fault = ({ method }) => (method === "PUT" ? fault : undefined);
      await assert.rejects(append(randomBytes(10)), isCode(expected));
      await assert.rejects(append(randomBytes(3 * PART)), isCode(expected));
      assert.equal(stub.multiparts.size, 0, "parts left behind");
      await assert.rejects(store.probe(), isCode(expected));
    });
  }

  it("answers UNAVAILABLE when the service does not know its own parts any more, and when it has no address", async () => {
    stub.fault = ({ method, query }) => (method === "POST" && query.has("uploadId") ? { status: 400, code: "InvalidPart" } : undefined);
    await assert.rejects(append(randomBytes(2 * PART)), isCode("UNAVAILABLE"));
    assert.equal(stub.multiparts.size, 0);
    await store.close();
    store = await open("ceph", { endpoint: "http://no-such-host.invalid" });
    await assert.rejects(append(randomBytes(10)), isCode("UNAVAILABLE"));
    await assert.rejects(store.probe(), isCode("UNAVAILABLE"));
  });

  it("ends a large upload when one part fails, with none left on its way", async () => {
    stub.fault = ({ query }) => (query.get("partNumber") === "3" ? { status: 403, code: "QuotaExceeded" } : undefined);
    await assert.rejects(append(randomBytes(10 * PART)), isCode("STORAGE_FULL"));
    const before = stub.requests.length;
    await new Promise((resolve) => void setTimeout(resolve, 50));
    assert.equal(stub.requests.length, before);
    assert.equal(stub.multiparts.size, 0);
    assert.equal(stub.objects.size, 0);
  });

  it("takes a lost answer to the completion for what it is", async () => {
    let isLost = false;
    stub.fault = ({ method, query }) => {
      if (isLost || method !== "POST" || !query.has("uploadId")) return undefined;
      isLost = true;
      return "lose";
    };
    const content = randomBytes(2 * PART);
    const key = await put(content);
    assert.ok(isLost);
    assert.ok(stub.objects.get(`pre/fix/${key}`)?.equals(content));
  });

  it("does not believe a completion that made something else", async () => {
    stub.fault = ({ method, name, query }) => {
      if (method === "HEAD") stub.objects.set(name, Buffer.alloc(3));
      return query.has("none") ? "hang" : undefined;
    };
    await assert.rejects(append(randomBytes(2 * PART)), isCode("UNAVAILABLE"));
  });

  it("goes on where a body broke off, and gives up when it does so again and again", async () => {
    const content = randomBytes(MIB);
    const key = await put(content);
    let breaks = 0;
    stub.fault = ({ method }) => (method === "GET" && ++breaks <= 4 ? { breakAfterBytes: 200_000 } : undefined);
    assert.ok((await readAll(store.read(key, 0, MIB - 1))).equals(content));
    assert.equal(breaks, 5);
    stub.fault = ({ method }) => (method === "GET" ? { breakAfterBytes: 0 } : undefined);
    await assert.rejects(readAll(store.read(key, 0, MIB - 1)), isCode("UNAVAILABLE"));
  });

  it("reads on after a pause that was longer than a connection may idle", async () => {
    const content = randomBytes(4 * MIB);
    const key = await put(content);
    await store.close();
    store = await open("ceph", { idleTimeoutMs: 1_000 });
    const pieces: Buffer[] = [];
    for await (const piece of store.read(key, 0, content.length - 1)) {
      if (pieces.length === 0) await new Promise((resolve) => void setTimeout(resolve, 2_000));
      pieces.push(Buffer.from(piece));
    }
    assert.ok(Buffer.concat(pieces).equals(content));
  });

  it("reports keys that could not be deleted", async () => {
    const stuck = parseStorageKey("blobs/upload-0001/stuck.1");
    stub.objects.set(`pre/fix/${stuck}`, Buffer.alloc(1));
    const gone = parseStorageKey("blobs/upload-0001/gone.1");
    stub.objects.set(`pre/fix/${gone}`, Buffer.alloc(1));
    await assert.rejects(store.delete([gone, stuck]), (error) => {
      assert.ok(error instanceof PartialDeletion && isCode("UNAVAILABLE")(error));
      assert.deepEqual(error.kept, new Set([stuck]));
      return true;
    });
    assert.deepEqual([...stub.objects.keys()], [`pre/fix/${stuck}`]);
  });

  it("deletes by the thousand, or one by one where the dialect has no other way", async () => {
    const keys = Array.from({ length: 2345 }, (_, index) => parseStorageKey(`blobs/upload-0001/p.${index}`));
    await store.delete(keys);
    assert.deepEqual(said(), ["POST delete", "POST delete", "POST delete"]);
    assert.ok(stub.requests.every(({ headers }) => headers["content-md5"] !== undefined));
    stub.requests.length = 0;
    await store.close();
    store = await open("gcs");
    await store.delete(keys.slice(0, 30));
    assert.deepEqual(
      said(),
      Array.from({ length: 30 }, () => "DELETE"),
    );
  });
});
