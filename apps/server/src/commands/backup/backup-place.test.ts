// Places of backups: the contract of both kinds, and their addresses on the command line. The S3 service is the one that forEachBlobStore
// uses. Not here: the content of backups.
import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { RegistryError } from "@berth/oci/errors";
import { readS3TestSettings, TEST_PART_BYTES } from "../../content/blobs/s3.testing.ts";
import { StartupError } from "../../platform/startup-error.ts";
import { openPlace, parsePlace, type BackupPlace, type PlaceAddress, type S3Access } from "./backup-place.ts";
import { createFolder } from "./backup.testing.ts";

const SETTINGS: S3Access = {
  region: "us-east-1",
  endpoint: "http://own.example:9000",
  forcePathStyle: false,
  dialect: "minio",
  accessKeyId: "id",
  secretAccessKey: "secret",
  partSizeBytes: 16 * 1024 * 1024,
};
const DIALECTS = ["aws", "ceph", "minio"];

async function* inPieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 100_000) yield bytes.subarray(at, at + 100_000);
}

async function readAll(place: BackupPlace, name: string, sizeBytes: number): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of place.read(name, sizeBytes)) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces);
}

function describePlace(name: string, open: () => Promise<BackupPlace>): void {
  describe(`backup place: ${name}`, () => {
    let place: BackupPlace;
    before(async () => {
      place = await open();
    });
    after(() => place.close());
    const list = async (folder: string) => (await Array.fromAsync(place.list(folder))).toSorted();

    it("keeps files of any size, replaces them whole, lists and deletes them", async () => {
      assert.deepEqual(await list("snapshots/"), []);
      assert.equal(await place.sizeOf("snapshots/a/none"), undefined);
      for (const size of [0, 1, 250_000, TEST_PART_BYTES, TEST_PART_BYTES + 1, 2 * TEST_PART_BYTES + 5]) {
        const bytes = randomBytes(size);
        assert.equal(await place.write("blobs/sha256/ab/abc", inPieces(bytes)), size);
        assert.equal(await place.sizeOf("blobs/sha256/ab/abc"), size);
        assert.ok((await readAll(place, "blobs/sha256/ab/abc", size)).equals(bytes));
      }
      await place.write("snapshots/a/manifest.json", inPieces(Buffer.from("{}")));
      await place.sync();
      assert.deepEqual(await list("snapshots/"), ["snapshots/a/manifest.json"]);
      assert.deepEqual(await list("blobs/"), ["blobs/sha256/ab/abc"]);
      await place.delete(["blobs/sha256/ab/abc", "blobs/sha256/ab/none", "snapshots/a/manifest.json"]);
      await place.sync();
      assert.deepEqual([await list("snapshots/"), await list("blobs/")], [[], []]);
    });

    it("changes nothing when a body fails, at its beginning or its end", async () => {
      await place.write("blobs/kept", inPieces(Buffer.from("kept")));
      const broken = new Error("the source broke");
      for (const size of [0, 10, TEST_PART_BYTES + 10]) {
        for (const name of ["blobs/kept", "blobs/new"]) {
          const body = (async function* () {
            yield* inPieces(randomBytes(size));
            throw broken;
          })();
          await assert.rejects(place.write(name, body), (error) => error === broken);
        }
      }
      assert.equal((await readAll(place, "blobs/kept", 4)).toString(), "kept");
      assert.equal(await place.sizeOf("blobs/new"), undefined);
      assert.deepEqual(await list("tmp/"), []);
      await place.delete(["blobs/kept"]);
    });

    it("calls a file damaged that is missing or cut off", async () => {
      await place.write("blobs/short", inPieces(Buffer.from("four")));
      const isDamaged = (error: unknown): boolean => error instanceof RegistryError && error.code === "BLOB_DAMAGED";
      await assert.rejects(readAll(place, "blobs/short", 5), isDamaged);
      await assert.rejects(readAll(place, "blobs/none", 5), isDamaged);
      await place.delete(["blobs/short"]);
    });
  });
}

const folder = await createFolder();
after(() => folder.end());
describePlace("directory", () => openPlace({ kind: "directory", path: join(folder.path, "deep/in/here") }));

const s3 = readS3TestSettings();
if (s3 === undefined) it("backup place: s3", { skip: "BERTH_TEST_S3 is not set" }, () => undefined);
else {
  const access = { ...SETTINGS, ...s3, forcePathStyle: true, partSizeBytes: TEST_PART_BYTES };
  describePlace(`s3 (${s3.dialect})`, () => openPlace({ kind: "s3", bucket: s3.bucket, prefix: `backup-${randomUUID()}/`, access }));
}

it("backup place: keeps a directory to its owner", async () => {
  const path = join(folder.path, "private");
  const place = await openPlace({ kind: "directory", path });
  await place.write("snapshots/a/tables/account", inPieces(Buffer.from("hash")));
  const modes = await Promise.all(["", "snapshots/a/tables/account"].map(async (name) => (await stat(join(path, name))).mode & 0o777));
  assert.deepEqual(modes, [0o700, 0o600]);
});

it("backup place: reads addresses", () => {
  const parse = (text: string): PlaceAddress => parsePlace(text, SETTINGS, DIALECTS);
  assert.deepEqual(parse("/var/backups"), { kind: "directory", path: "/var/backups" });
  assert.deepEqual(parse("s3://bucket/a/b"), { kind: "s3", bucket: "bucket", prefix: "a/b/", access: SETTINGS });
  assert.deepEqual(parse("s3://bucket?region=eu&dialect=ceph"), {
    kind: "s3",
    bucket: "bucket",
    prefix: "",
    access: { ...SETTINGS, region: "eu", dialect: "ceph" },
  });
  // Keys of one service are never sent to another.
  const other = parse("s3://bucket/x/?endpoint=https://other.example");
  assert.ok(other.kind === "s3");
  assert.deepEqual(
    [other.access.endpoint, other.access.accessKeyId, other.access.secretAccessKey],
    ["https://other.example", undefined, undefined],
  );
  for (const text of [
    "",
    " ",
    "s3://",
    "s3:///prefix",
    "s3://bucket/../other",
    "s3://bucket/a//b",
    "s3://bucket/a b",
    "s3://bucket?region=a&secret=b",
    "s3://bucket?endpoint=ftp://x",
    "s3://bucket?dialect=nobody",
    "gs://bucket",
  ]) {
    assert.throws(() => parse(text), StartupError, text);
  }
});
