// Blobs whose bytes are missing, truncated, too many, wrong, or not a file at all, in a directory, in Ceph and in the database: a client
// gets an error, or bytes that fail its digest check; the damage is counted and logged, a blob known to be damaged is answered as unknown,
// and pushing it again heals it. Not here: a damaged database (damaged-database.test.ts).
import assert from "node:assert/strict";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { it, type TestContext } from "node:test";
import { DeleteObjectCommand, GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { digestOf } from "@berth/oci/digest";
import { cephSettings } from "../clients/storage.ts";
import { skipOrThrow } from "../tools/install.ts";
import { temporaryFolder } from "../tools/processes.ts";
import { startCephRgw } from "../tools/servers.ts";
import { type Answer, type AuditedServer, makeImage, startAudited } from "./audited-session.ts";
import { runRole } from "./server-process.ts";

const MIB = 1024 * 1024;

/** Direct access to a store's bytes. */
interface BackDoor {
  read(key: string): Promise<Buffer>;
  write(key: string, bytes: Uint8Array): Promise<void>;
  remove(key: string): Promise<void>;
  /** Replaces a key by something that is no blob; undefined if the store cannot hold that. */
  readonly replace: ((key: string) => Promise<void>) | undefined;
}

function directoryDoor(root: string): BackDoor {
  return {
    read: (key) => readFile(join(root, key)),
    write: (key, bytes) => writeFile(join(root, key), bytes),
    remove: (key) => rm(join(root, key)),
    async replace(key) {
      await rm(join(root, key));
      await mkdir(join(root, key));
    },
  };
}

/** Kinds of damage, and whether each is detected without reading all bytes. */
const DAMAGES: Readonly<Record<string, (door: BackDoor, key: string) => Promise<void>>> = {
  missing: (door, key) => door.remove(key),
  truncated: async (door, key) => door.write(key, (await door.read(key)).subarray(0, -1)),
  empty: (door, key) => door.write(key, new Uint8Array()),
  enlarged: async (door, key) => door.write(key, Buffer.concat([await door.read(key), Buffer.from("x")])),
  "a directory": (door, key) => door.replace!(key),
};

const pathOf = (bytes: Uint8Array): string => `/v2/library/app/blobs/${digestOf(bytes)}`;

async function blobsOnDisk(
  server: AuditedServer,
  keyOf: (bytes: Uint8Array) => string,
  door: BackDoor,
  sizeBytes: number,
): Promise<number> {
  let damaged = 0;
  for (const [how, damage] of Object.entries(DAMAGES)) {
    if (how === "a directory" && door.replace === undefined) continue;
    const image = makeImage("library/app", `v${damaged}`, sizeBytes);
    await server.push(image);
    await damage(door, keyOf(image.layer));
    const first = await server.send("GET", pathOf(image.layer), damaged % 2 === 0 ? {} : { headers: { range: "bytes=10-19" } });
    assert.deepEqual([first.status, first.code], [500, "BLOB_DAMAGED"], `${how}: ${first.status}`);
    damaged++;
    // The damage is known now: neither a client that checks whether it must push nor one that pulls finds the blob.
    assert.equal((await server.send("HEAD", pathOf(image.layer))).status, 404, how);
    const second = await server.send("GET", pathOf(image.layer));
    assert.deepEqual([second.status, second.code], [404, "BLOB_UNKNOWN"], how);
    const counted = await server.metric("berth_blob_damaged_reads_total");
    assert.equal(counted, damaged, how);
    // Healed by a push, which needs the blob alone.
    const pushed = await server.pushBlob("library/app", image.layer);
    assert.equal(pushed.status, 201, pushed.text);
    await server.pull(image);

    // The same, but nobody read it between the damage and the push.
    const unread = makeImage("library/app", `u${damaged}`, sizeBytes);
    await server.push(unread);
    await damage(door, keyOf(unread.layer));
    assert.equal((await server.pushBlob("library/app", unread.layer)).status, 201);
    await server.pull(unread);
  }
  return damaged;
}

async function damageBlobs(t: TestContext, settings: Readonly<Record<string, string>>, data: string, door: BackDoor): Promise<void> {
  const all = { data, "storage.hotCacheBytes": "0", "gc.intervalSeconds": "1s", ...settings };
  const keyOf = (bytes: Uint8Array): string => {
    const database = new DatabaseSync(join(data, "berth.db"), { readOnly: true });
    try {
      return (database.prepare("select storage_key from blob where digest = ?").get(digestOf(bytes)) as { storage_key: string })
        .storage_key;
    } finally {
      database.close();
    }
  };
  let server = await startAudited({ settings: all });
  try {
    await blobsOnDisk(server, keyOf, door, 100_000);
    const rotten = makeImage("library/app", "rotten", 3 * MIB);
    await server.push(rotten);
    const bytes = await door.read(keyOf(rotten.layer));
    bytes[MIB + 7]! ^= 1;
    await door.write(keyOf(rotten.layer), bytes);
    // One wrong bit: only hashing detects it, and the client does that.
    const answer = await server.send("GET", pathOf(rotten.layer));
    assert.equal(answer.status, 200);
    assert.notEqual(digestOf(answer.bytes), digestOf(rotten.layer));
    assert.ok(
      server.log.some((line) => line.includes("missing or wrong") && line.includes('"digest"')),
      "the log names damaged blobs",
    );
    t.diagnostic(`${await server.audit()} answers of 5xx, each with its cause in the log`);

    // Doctor finds and marks it; on the embedded database the server must be stopped for that.
    const lost = makeImage("library/app", "lost", 100_000);
    await server.push(lost);
    await door.remove(keyOf(lost.layer));
    assert.equal((await server.send("GET", pathOf(lost.layer))).status, 500);
    await server.until("the alarm", async () => (await server.metric("berth_blobs_damaged")) === 1);
    assert.equal((await server.pushBlob("library/app", lost.layer)).status, 201);
    await server.until("the alarm's end", async () => (await server.metric("berth_blobs_damaged")) === 0);
    const found = await runRole(["doctor", "--deep"], all);
    assert.equal(found.code, 1);
    assert.match(found.stdout, new RegExp(`blob-rotten ${digestOf(rotten.layer)}`));
    assert.equal(found.stdout.match(/blob-/g)?.length, 1, found.stdout);
    await server.stop();
    const repaired = await runRole(["doctor", "--deep", "--repair"], all);
    assert.match(repaired.stdout, /blob-rotten .* - repaired/);
    server = await startAudited({ settings: all });
    assert.equal((await server.send("HEAD", pathOf(rotten.layer))).status, 404);
    assert.equal((await server.pushBlob("library/app", rotten.layer)).status, 201);
    await server.pull(rotten);
    const after = await runRole(["doctor", "--deep"], all);
    assert.equal(after.code, 0, after.stdout);
  } finally {
    await server.kill();
  }
}

it("damaged blobs: reports damaged blobs in a directory, and heals them", async (t) => {
  const folder = await temporaryFolder("damage");
  try {
    const content = join(folder, "content");
    await damageBlobs(t, { "storage.filesystem.directory": content }, join(folder, "data"), directoryDoor(content));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

it("damaged blobs: reports damaged blobs in Ceph, and heals them", async (t) => {
  const ceph = await startCephRgw().catch((error: unknown) => skipOrThrow(t, error));
  if (ceph === undefined) return;
  const folder = await temporaryFolder("damage");
  const { endpoint, region, accessKeyId, secretAccessKey, bucket: Bucket } = ceph.target;
  const client = new S3Client({ endpoint, region, forcePathStyle: true, credentials: { accessKeyId, secretAccessKey } });
  try {
    await damageBlobs(t, cephSettings(ceph.target), join(folder, "data"), {
      read: async (Key) => Buffer.from(await (await client.send(new GetObjectCommand({ Bucket, Key }))).Body!.transformToByteArray()),
      write: async (Key, Body) => void (await client.send(new PutObjectCommand({ Bucket, Key, Body }))),
      remove: async (Key) => void (await client.send(new DeleteObjectCommand({ Bucket, Key }))),
      replace: undefined,
    });
  } finally {
    client.destroy();
    await ceph.stop();
    await rm(folder, { recursive: true, force: true });
  }
});

it("damaged blobs: reports damaged blobs and manifests in the database, and heals them", async (t) => {
  const folder = await temporaryFolder("damage");
  const settings = { data: join(folder, "data") };
  const flip = (table: string, where: string, value: string): void => {
    const database = new DatabaseSync(join(folder, "data", "berth.db"));
    const { bytes } = database.prepare(`select bytes from ${table} where ${where} = ?`).get(value) as { bytes: Uint8Array };
    bytes[20]! ^= 1;
    database.prepare(`update ${table} set bytes = ? where ${where} = ?`).run(bytes, value);
    database.close();
  };
  const image = makeImage("library/app", "v1", 100_000);
  let server = await startAudited({ settings });
  try {
    await server.push(image);
    await server.stop();
    flip("blob_inline", "(select digest from blob where id = blob_id)", digestOf(image.config));
    flip("manifest", "digest", image.digest);
    server = await startAudited({ settings });
    const isDamaged = ({ status, code }: Answer): void => assert.deepEqual([status, code], [500, "BLOB_DAMAGED"]);
    isDamaged(await server.send("GET", pathOf(image.config)));
    assert.equal((await server.send("HEAD", pathOf(image.config))).status, 404);
    isDamaged(await server.send("GET", "/v2/library/app/manifests/v1"));
    assert.equal(await server.metric("berth_blob_damaged_reads_total"), 1);
    assert.equal((await server.pushBlob("library/app", image.config)).status, 201);
    assert.equal((await server.putManifest(image)).status, 201);
    await server.pull(image);
    t.diagnostic(`${await server.audit()} answers of 5xx, each with its cause in the log`);
    const doctor = await runRole(["doctor", "--deep"], settings);
    assert.equal(doctor.code, 0, doctor.stdout);
  } finally {
    await server.kill();
    await rm(folder, { recursive: true, force: true });
  }
});
