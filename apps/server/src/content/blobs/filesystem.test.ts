// Faults that only a file system has: its own errors, a missing mount, answers from a stale cache. Not here: the common contract.
import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rename, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { digestOf } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import type { BlobStore, StorageKey } from "./blob-store.ts";
import { listFiles } from "./blob-stores.testing.ts";
import { createDirectorySync } from "./directory-syncs.ts";
import { machineFileSystem, type FileSystemPort } from "./file-system-port.ts";
import { createFilesystemStore } from "./filesystem.ts";
import { PartialDeletion } from "./partial-deletion.ts";
import { blobPath } from "./paths.ts";
import { segmentsOf } from "./segments.ts";

type Operation = keyof FileSystemPort;

/** Decides about one call: an error code to fail with, "after" to do it and then fail with ENOENT, or undefined to let it pass. */
type Fault = (operation: Operation, path: string) => string | undefined;

function failure(code: string, operation: string): Error {
  return Object.assign(new Error(`${code}: injected`), { code, syscall: operation });
}

/** The machine's file system with faults; counts open descriptors and records the calls that matter for durability. */
function faulty(fault: { current: Fault }) {
  const paths = new Map<number, string>();
  const calls: string[] = [];
  const intercept =
    <A extends unknown[], R>(operation: Operation, run: (...args: A) => Promise<R>) =>
    async (...args: A): Promise<R> => {
      const path = typeof args[0] === "string" ? args[0] : (paths.get(args[0] as number) ?? "");
      const code = fault.current(operation, path);
      if (code !== undefined && code !== "after") {
        // A descriptor is closed even if closing it reports a failure.
        if (operation === "close") await machineFileSystem.close(args[0] as number).then(() => paths.delete(args[0] as number));
        throw failure(code, operation);
      }
      const result = await run(...args);
      if (operation === "open") paths.set(result as number, path);
      if (operation === "close") paths.delete(args[0] as number);
      if (["fdatasync", "fsync", "rename", "mkdir", "unlink"].includes(operation)) calls.push(`${operation} ${path}`);
      if (code === "after") throw failure("ENOENT", operation);
      return result;
    };
  const port = Object.fromEntries(
    Object.entries(machineFileSystem).map(([operation, run]) => [
      operation,
      intercept(operation as Operation, run as (...args: unknown[]) => Promise<unknown>),
    ]),
  ) as unknown as FileSystemPort;
  return { port, calls, openPaths: () => [...paths.values()] };
}

const isCode = (code: string) => (error: unknown) => error instanceof RegistryError && error.code === code;
async function* bodyOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
}
async function readAll(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Buffer[] = [];
  for await (const piece of pieces) all.push(Buffer.from(piece));
  return Buffer.concat(all);
}
/** Fails the nth matching call, once. */
function once(code: string, matches: (operation: Operation, path: string) => boolean, nth = 1): Fault {
  let count = 0;
  return (operation, path) => (matches(operation, path) && ++count === nth ? code : undefined);
}
const none: Fault = () => undefined;
const MIB = 1024 * 1024;

describe("file system store", () => {
  let root: string;
  let fault: { current: Fault };
  let machine: ReturnType<typeof faulty>;
  let store: BlobStore;

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "berth-faults-"));
    fault = { current: none };
    machine = faulty(fault);
    store = createFilesystemStore({ root, processId: "process", fs: machine.port });
  });
  afterEach(async () => {
    assert.deepEqual(machine.openPaths(), [], "left open");
    await rm(root, { recursive: true, force: true });
  });

  const append = (id: string, bytes: Uint8Array, record = store.begin(id), offsetBytes = 0) =>
    store.append(id, record, bodyOf(bytes), { offsetBytes, onBytes: () => undefined });
  async function put(content: Uint8Array): Promise<StorageKey> {
    const id = randomUUID();
    const { record } = await append(id, content);
    const { key } = await store.finish(id, record, { sizeBytes: content.length, digest: digestOf(content) });
    await store.removeLeftovers(id, record, key);
    return key;
  }

  for (const [code, expected] of [
    ["ENOSPC", "STORAGE_FULL"],
    ["EDQUOT", "STORAGE_FULL"],
    ["EIO", "UNAVAILABLE"],
    ["EROFS", "UNAVAILABLE"],
    ["ETIMEDOUT", "UNAVAILABLE"],
  ] as const) {
    for (const operation of ["open", "write", "close", "mkdir"] as const) {
      it(`answers ${expected} and leaves nothing when ${operation} fails with ${code} in an append`, async () => {
        await store.probe();
        fault.current = once(code, (name, path) => name === operation && path.includes("uploads"));
        await assert.rejects(append(randomUUID(), randomBytes(3 * MIB)), isCode(expected));
        assert.deepEqual(await listFiles(root), []);
      });
    }
  }

  it("fails a later write of a large body as it fails the first", async () => {
    fault.current = once("ENOSPC", (name) => name === "write", 3);
    await assert.rejects(append(randomUUID(), randomBytes(6 * MIB)), isCode("STORAGE_FULL"));
    assert.deepEqual(await listFiles(root), []);
  });

  it("does not take the body's own failure for one of the store", async () => {
    const reset = Object.assign(new Error("the client has gone"), { code: "EIO", syscall: "read" });
    const broken = (async function* () {
      yield Buffer.from("x");
      throw reset;
    })();
    await assert.rejects(
      store.append("upload-1", store.begin("upload-1"), broken, { offsetBytes: 0, onBytes: () => undefined }),
      (error) => error === reset,
    );
  });

  it("goes on after writes that took only a part", async () => {
    const port: FileSystemPort = {
      ...machineFileSystem,
      write: (fd, buffer, offset, length, position) => machineFileSystem.write(fd, buffer, offset, Math.min(length, 10_007), position),
      read: (fd, buffer, offset, length, position) => machineFileSystem.read(fd, buffer, offset, Math.min(length, 20_011), position),
    };
    store = createFilesystemStore({ root, processId: "partial", fs: port });
    const content = randomBytes(2 * MIB + 3);
    const key = await put(content);
    assert.ok((await readAll(store.read(key, 0, content.length - 1))).equals(content));
  });

  it("writes little where little comes: a byte at a time behind what is there costs no copy of it", async () => {
    let writtenBytes = 0;
    const counting = createFilesystemStore({
      root,
      processId: "counting",
      fs: {
        ...machineFileSystem,
        async write(...args) {
          const taken = await machineFileSystem.write(...args);
          writtenBytes += taken;
          return taken;
        },
      },
    });
    const uploadId = randomUUID();
    const head = randomBytes(5 * MIB - 1);
    let content = head;
    let { record } = await counting.append(uploadId, counting.begin(uploadId), bodyOf(head), { offsetBytes: 0, onBytes: () => undefined });
    writtenBytes = 0;
    const tail = randomBytes(200);
    for (const byte of tail) {
      const piece = Buffer.of(byte);
      const options = { offsetBytes: content.length, onBytes: () => undefined, expectedBytes: 1 };
      ({ record } = await counting.append(uploadId, record, bodyOf(piece), options));
      content = Buffer.concat([content, piece]);
    }
    assert.ok(writtenBytes <= 10 * tail.length, `${writtenBytes} bytes were written for ${tail.length}`);
    const digest = digestOf(content);
    const { key } = await counting.finish(uploadId, record, { sizeBytes: content.length, digest, onBytes: undefined });
    assert.ok((await readAll(counting.read(key, 0, content.length - 1))).equals(content));
  });

  it("makes content durable before its name, and its name before it returns", async () => {
    const content = randomBytes(100);
    const id = randomUUID();
    const { record } = await append(id, content);
    machine.calls.length = 0;
    const { key } = await store.finish(id, record, { sizeBytes: 100, digest: digestOf(content) });
    const shard = join(blobPath(root, key), "..");
    const algorithm = join(shard, "..");
    const segment = join(root, "uploads", id, "process.1");
    assert.deepEqual(machine.calls, [
      `fdatasync ${segment}`,
      `mkdir ${algorithm}`,
      `fsync ${join(algorithm, "..")}`,
      `mkdir ${shard}`,
      `fsync ${algorithm}`,
      `rename ${segment}`,
      `fsync ${shard}`,
    ]);
    machine.calls.length = 0;
    await store.delete([key]);
    assert.deepEqual(machine.calls, [`unlink ${blobPath(root, key)}`, `fsync ${shard}`]);
    await store.removeLeftovers(id, record, key);
  });

  for (const operation of ["fdatasync", "fsync", "rename", "mkdir"] as const) {
    it(`can finish again after ${operation} failed`, async () => {
      const content = randomBytes(6 * MIB);
      const id = randomUUID();
      const { record } = await append(id, content);
      fault.current = once("EIO", (name) => name === operation);
      const options = { sizeBytes: content.length, digest: digestOf(content) };
      await assert.rejects(store.finish(id, record, options), isCode("UNAVAILABLE"));
      const { key } = await store.finish(id, record, options);
      await store.removeLeftovers(id, record, key);
      assert.deepEqual(await listFiles(root), [key]);
      assert.ok((await readFile(blobPath(root, key))).equals(content));
    });
  }

  it("takes a lost answer to a rename or a removal for what it is", async () => {
    const content = randomBytes(5000);
    fault.current = (operation) => (operation === "rename" || operation === "unlink" ? "after" : undefined);
    const key = await put(content);
    assert.ok((await readFile(blobPath(root, key))).equals(content));
    await store.delete([key]);
    assert.deepEqual(await listFiles(root), []);
  });

  it("refuses a segment that lost bytes in a crash", async () => {
    const id = randomUUID();
    const { record } = await append(id, randomBytes(1000));
    await writeFile(join(root, "uploads", id, "process.1"), randomBytes(999));
    await assert.rejects(store.finish(id, record, { sizeBytes: 1000, digest: digestOf(Buffer.alloc(1)) }), isCode("BLOB_UPLOAD_INVALID"));
  });

  it("opens again what has gone stale, before and while it is read", async () => {
    const content = randomBytes(5 * MIB);
    const key = await put(content);
    const isBlob = (path: string): boolean => path === blobPath(root, key);
    for (const stale of [
      once("ESTALE", (name, path) => name === "open" && isBlob(path)),
      once("ENOENT", (name, path) => name === "open" && isBlob(path)),
      once("ESTALE", (name, path) => name === "read" && isBlob(path), 3),
    ]) {
      fault.current = stale;
      assert.ok((await readAll(store.read(key, 0, content.length - 1))).equals(content));
    }
    fault.current = once("ENOENT", (name, path) => name === "stat" && isBlob(path));
    assert.deepEqual(await store.stat(key), { sizeBytes: content.length });
    fault.current = (name, path) => (name === "read" && isBlob(path) ? "ESTALE" : undefined);
    await assert.rejects(readAll(store.read(key, 0, content.length - 1)), isCode("UNAVAILABLE"));
    fault.current = (name, path) => (name === "read" && isBlob(path) ? "EIO" : undefined);
    await assert.rejects(readAll(store.read(key, 0, content.length - 1)), isCode("UNAVAILABLE"));
  });

  it("calls a mount that has gone an outage, and neither damage nor success", async () => {
    const key = await put(randomBytes(100));
    await rename(root, `${root}.away`);
    await mkdir(root);
    try {
      await assert.rejects(readAll(store.read(key, 0, 99)), isCode("UNAVAILABLE"));
      await assert.rejects(store.stat(key), isCode("UNAVAILABLE"));
      await assert.rejects(store.delete([key]), isCode("UNAVAILABLE"));
      await assert.rejects(append(randomUUID(), randomBytes(10)), isCode("UNAVAILABLE"));
      await assert.rejects(store.probe(), isCode("UNAVAILABLE"));
      assert.deepEqual(await listFiles(root), []);
    } finally {
      await rm(root, { recursive: true });
      await rename(`${root}.away`, root);
    }
    assert.equal((await readAll(store.read(key, 0, 99))).length, 100);
  });

  it("makes a root that is several directories deep", async () => {
    store = createFilesystemStore({ root: join(root, "a", "b"), processId: "deep", fs: machine.port });
    await store.probe();
    assert.deepEqual(await listFiles(root), []);
  });

  it("reads ahead by one piece and awaits it when the reader leaves", async () => {
    const key = await put(randomBytes(8 * MIB));
    let underWay = 0;
    let most = 0;
    const slow: FileSystemPort = {
      ...machine.port,
      read: async (...args) => {
        most = Math.max(most, ++underWay);
        await new Promise((resolve) => void setImmediate(resolve));
        const count = await machine.port.read(...args);
        underWay -= 1;
        return count;
      },
    };
    const reader = createFilesystemStore({ root, processId: "reader", fs: slow });
    for await (const piece of reader.read(key, 0, 8 * MIB - 1)) {
      assert.equal(piece.length, MIB);
      break;
    }
    assert.equal(underWay, 0);
    assert.equal(most, 1);
  });

  it("sweeps old uploads only, and steps around what NFS keeps of open files", async () => {
    const [old, recent, growing] = [randomUUID(), randomUUID(), randomUUID()];
    for (const id of [old, recent, growing]) await append(id, randomBytes(10));
    const past = new Date(Date.now() - 7_200_000);
    const uploads = join(root, "uploads");
    await writeFile(join(uploads, old, ".nfs0001"), "");
    await writeFile(join(uploads, "probe-dead.1"), "");
    for (const path of [`${old}/process.1`, `${old}/.nfs0001`, old, growing, "probe-dead.1"]) await utimes(join(uploads, path), past, past);
    assert.equal(await store.sweep(new Date(Date.now() - 3_600_000)), 2);
    assert.deepEqual((await listFiles(uploads)).toSorted(), [`${old}/.nfs0001`, `${growing}/process.3`, `${recent}/process.2`].toSorted());
  });

  it("deletes all keys but those that it cannot, and says which those are", async () => {
    const keys = await Promise.all(Array.from({ length: 30 }, () => put(randomBytes(100))));
    // More than there are workers, so that none of them may stop at its first failure.
    const stuck = new Set(keys.slice(0, 12));
    const isStuck = (path: string): boolean => [...stuck].some((key) => path === blobPath(root, key));
    fault.current = (operation, path) => (operation === "unlink" && isStuck(path) ? "EIO" : undefined);
    await assert.rejects(store.delete(keys), (error) => {
      assert.ok(error instanceof PartialDeletion);
      assert.deepEqual(error.kept, stuck);
      return isCode("UNAVAILABLE")(error.cause);
    });
    for (const key of keys) assert.equal((await store.stat(key)) !== undefined, stuck.has(key));
    fault.current = none;
    await store.delete(keys);
    for (const key of keys) assert.equal(await store.stat(key), undefined);
  });

  it("takes a directory in a blob's place for a blob that is missing, and removes it", async () => {
    const key = await put(randomBytes(100));
    await rm(blobPath(root, key));
    await mkdir(blobPath(root, key));
    assert.equal(await store.stat(key), undefined);
    await assert.rejects(readAll(store.read(key, 0, 99)), isCode("BLOB_DAMAGED"));
    await assert.rejects(readAll(store.read(key, 0, 99, 100)), isCode("BLOB_DAMAGED"));
    const listed: string[] = [];
    for await (const each of store.list!()) listed.push(each.key);
    assert.deepEqual(listed, []);
    await store.delete([key]);
    assert.deepEqual(await listFiles(root), []);
  });

  it("makes no tree where one was, however often it is asked, and goes on when it is back", async () => {
    const key = await put(randomBytes(100));
    let isNew = false;
    store = createFilesystemStore({ root, processId: "again", fs: machine.port, isNew: async () => isNew });
    await rename(root, `${root}-away`);
    try {
      await mkdir(root);
      await assert.rejects(store.probe(), isCode("UNAVAILABLE"));
      await assert.rejects(append(randomUUID(), randomBytes(10)), isCode("UNAVAILABLE"));
      await assert.rejects(readAll(store.read(key, 0, 99)), isCode("UNAVAILABLE"));
      assert.deepEqual(await listFiles(root), []);
    } finally {
      await rm(root, { recursive: true });
      await rename(`${root}-away`, root);
    }
    await store.probe();
    assert.equal((await readAll(store.read(key, 0, 99))).length, 100);
    // Where nothing was ever stored, everything is created.
    await rm(root, { recursive: true });
    isNew = true;
    store = createFilesystemStore({ root, processId: "first", fs: machine.port, isNew: async () => isNew });
    await store.probe();
  });

  it("removes an upload also when a late writer puts one more segment there", async () => {
    const id = randomUUID();
    const { record } = await append(id, randomBytes(10));
    const directory = join(root, "uploads", id);
    const late = join(directory, "process.99");
    let isPut = false;
    const port: FileSystemPort = {
      ...machine.port,
      rmdir: async (path) => {
        if (path === directory && !isPut) await writeFile(late, "late");
        isPut = true;
        return machine.port.rmdir(path);
      },
    };
    await createFilesystemStore({ root, processId: "remover", fs: port }).abort(id, record, async () => false);
    assert.ok(isPut);
    assert.deepEqual(await readdir(join(root, "uploads")), []);
  });

  it("puts many small appends together without keeping what it copied", async () => {
    const id = randomUUID();
    let record = store.begin(id);
    let content = Buffer.alloc(0);
    for (let index = 0; index < 100; index++) {
      const chunk = randomBytes(10_000);
      record = (await append(id, chunk, record, content.length)).record;
      content = Buffer.concat([content, chunk]);
      const { segments, superseded } = segmentsOf(record);
      assert.ok(segments.length < 32, `${segments.length} segments`);
      assert.equal((await listFiles(join(root, "uploads"))).length, segments.length + superseded.length);
    }
    const { key } = await store.finish(id, record, { sizeBytes: content.length, digest: digestOf(content) });
    await store.removeLeftovers(id, record, key);
    assert.ok((await readFile(blobPath(root, key))).equals(content));
  });
});

describe("directory sync", () => {
  it("shares one sync among all who ask while another runs, and none that began before", async () => {
    const started: PromiseWithResolvers<void>[] = [];
    const port: FileSystemPort = {
      ...machineFileSystem,
      open: async () => 3,
      close: async () => undefined,
      fsync: () => {
        const run = Promise.withResolvers<void>();
        started.push(run);
        return run.promise;
      },
    };
    const sync = createDirectorySync(port);
    const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));
    const first = sync("/a");
    await turn();
    const late = [sync("/a"), sync("/a"), sync("/a")];
    const other = sync("/b");
    await turn();
    assert.equal(started.length, 2);
    started[1]?.resolve();
    await other;
    let isLateDone = false;
    void Promise.all(late).then(() => (isLateDone = true));
    started[0]?.resolve();
    await first;
    await turn();
    assert.equal(started.length, 3);
    assert.equal(isLateDone, false);
    started[2]?.resolve();
    await Promise.all(late);
    const failing = sync("/a");
    await turn();
    started[3]?.reject(failure("EIO", "fsync"));
    await assert.rejects(failing);
    const again = sync("/a");
    await turn();
    started[4]?.resolve();
    await again;
  });
});
