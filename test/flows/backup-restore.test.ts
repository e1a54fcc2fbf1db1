// The commands backup, restore and doctor as an operator runs them, beside a registry that serves: exit codes, output, and a registry that
// starts again elsewhere with the same content, accounts and answers. The way from SQLite and a directory to PostgreSQL and S3 and back
// runs where forEachDatabase and forEachBlobStore have their servers. Not here: every case (commands/backup, commands/doctor).
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, before, it } from "node:test";
import pg from "pg";
import { readS3TestSettings } from "../../apps/server/src/content/blobs/s3.testing.ts";
import { openDataDirectory } from "../../apps/server/src/platform/data-directory.ts";
import { expectCode } from "./program.testing.ts";
import { expectStatus, sha256, startTestRegistry, temporaryFolder, type PushedImage, type TestRegistry } from "./registry.testing.ts";

// What startTestRegistry uses.
const KEY = ["--auth.secretKey", "09".repeat(32)];

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
before(async () => {
  folder = await temporaryFolder();
});
after(() => folder.end());

const flagsOf = (settings: Readonly<Record<string, string>>): string[] =>
  Object.entries(settings).map(([name, value]) => `--${name}=${value}`);

async function assertServes(registry: TestRegistry, repository: string, tag: string, image: PushedImage): Promise<void> {
  const manifest = await expectStatus(await registry.send("GET", `/v2/${repository}/manifests/${tag}`), 200);
  assert.equal(await manifest.text(), image.manifest);
  const layer = await expectStatus(await registry.send("GET", `/v2/${repository}/blobs/${image.layerDigest}`), 200);
  assert.equal(sha256(new Uint8Array(await layer.arrayBuffer())), image.layerDigest);
}

it("backup restore: backs up beside a registry that serves and collects, and brings it up again elsewhere", async () => {
  const data = join(folder.path, "data");
  const place = join(folder.path, "backup");
  const registry = await startTestRegistry({ data, "gc.graceSeconds": "0s", "gc.leaseSeconds": "1s" });
  const images = new Map<string, PushedImage>();
  let isOver = false;
  const pushing = (async () => {
    for (let i = 0; !isOver; i++) images.set(`busy${i}`, await registry.pushImage("library/busy", `busy${i}`, 200_000));
  })();
  try {
    const first = await registry.pushImage("library/app", "v1", 3_000_000);
    const { stdout } = await expectCode(0, ["backup", place, "--data", data, ...KEY, "--json"]);
    const complete = JSON.parse(stdout) as { event: string; blobs: number; copiedBlobs: number; lostBlobs: string[] };
    assert.equal(complete.event, "complete");
    assert.deepEqual(complete.lostBlobs, []);
    // The second one copies what is new since the first.
    const second = JSON.parse((await expectCode(0, ["backup", place, "--data", data, ...KEY, "--json"])).stdout) as typeof complete;
    assert.ok(second.copiedBlobs < second.blobs, stdout);
    isOver = true;
    await pushing;
    await expectCode(0, ["backup", place, "--data", data, ...KEY]);
    // The newest two stay; the first is deleted, with the content that only it needed.
    const listed = async (): Promise<{ snapshot: string; takenAt: string }[]> =>
      (await expectCode(0, ["backup", "list", place, "--json"])).stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as { snapshot: string; takenAt: string });
    const points = await listed();
    assert.equal(points.length, 3);
    const earlier = await expectCode(0, ["restore", place, "--check", "--at", points[1]!.takenAt]);
    assert.match(earlier.stdout, new RegExp(`^verified snapshot ${points[1]!.snapshot}`));
    assert.match((await expectCode(0, ["backup", "prune", place, "--keep", "2", "--dry-run"])).stdout, /would delete 1 snapshots/);
    assert.equal((await listed()).length, 3);
    const pruned = await expectCode(0, ["backup", "prune", place, "--keep", "2", "--yes"]);
    assert.match(pruned.stdout, new RegExp(`deleted snapshot ${points[0]!.snapshot}\n`));
    assert.deepEqual(await listed(), points.slice(1));
    assert.match((await expectCode(2, ["restore", place, "--check", "--at", "2001-01-01"])).stderr, /the oldest is/);
    const checked = await expectCode(0, ["restore", place, "--check"]);
    assert.match(checked.stdout, /^verified snapshot \d{8}T\d{9}Z/);
    // A server uses this directory: restore and repairs are refused.
    assert.match((await expectCode(2, ["restore", place, "--data", data, ...KEY])).stderr, /not empty|in use/);

    const elsewhere = join(folder.path, "elsewhere");
    assert.match((await expectCode(2, ["restore", place, "--data", elsewhere])).stderr, /fingerprint/);
    await expectCode(0, ["restore", place, "--data", elsewhere, ...KEY]);
    await expectCode(2, ["restore", place, "--data", elsewhere, ...KEY]);
    await expectCode(0, ["doctor", "--deep", "--data", elsewhere]);
    const again = await startTestRegistry({ data: elsewhere });
    try {
      // The same password opens the same account.
      await assertServes(again, "library/app", "v1", first);
      for (const [tag, image] of images) await assertServes(again, "library/busy", tag, image);
      await again.pushImage("library/app", "v2");
    } finally {
      await again.stop();
    }
  } finally {
    isOver = true;
    await pushing.catch(() => undefined);
    await registry.stop();
  }
});

it("backup restore: examines beside a registry that serves, and repairs when it has stopped", async () => {
  const data = join(folder.path, "sick");
  // As main.ts does for a server.
  const lock = await openDataDirectory(data);
  const registry = await startTestRegistry({ data });
  let image: PushedImage;
  try {
    await registry.pushImage("library/well", "v1");
    image = await registry.pushImage("library/sick", "v1", 200_000);
    await expectCode(0, ["doctor", "--data", data]);
    const hex = image.layerDigest.slice(7);
    const shard = join(data, "content/blobs/sha256", hex.slice(0, 2));
    const file = join(
      shard,
      (await readdir(shard)).find((name) => name.startsWith(hex))!,
    );
    const bytes = await readFile(file);
    bytes[1000]! ^= 1;
    await writeFile(file, bytes);
    await expectCode(0, ["doctor", "--data", data]);
    const found = await expectCode(1, ["doctor", "--deep", "--rate", "10MiB", "--json", "--data", data]);
    const lines = found.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.deepEqual([lines[0]!["event"], lines[0]!["kind"], lines[0]!["subject"]], ["problem", "blob-rotten", image.layerDigest]);
    assert.deepEqual([lines.at(-1)!["event"], lines.at(-1)!["found"]], ["result", 1]);
    assert.match((await expectCode(2, ["doctor", "--repair", "--data", data])).stderr, /in use by another running server/);
    // A backup reports that too, and is complete nevertheless.
    const lost = await expectCode(1, ["backup", join(folder.path, "sick-backup"), "--data", data]);
    assert.match(lost.stdout, new RegExp(`lost ${image.layerDigest}`));
  } finally {
    await registry.stop();
    lock.close();
  }
  await expectCode(1, ["doctor", "--deep", "--repair", "--data", data]);
  const healed = await startTestRegistry({ data });
  try {
    await expectStatus(await healed.send("GET", `/v2/library/sick/blobs/${image.layerDigest}`), 404);
    await healed.pushBlob("library/sick", image.layer);
    await assertServes(healed, "library/sick", "v1", image);
    await expectCode(0, ["doctor", "--deep", "--data", data]);
  } finally {
    await healed.stop();
  }
});

it("backup restore: keeps every program but restore from a database that is half restored", async () => {
  const data = join(folder.path, "half");
  await expectCode(0, ["migrate", "--data", data, ...KEY]);
  const database = new DatabaseSync(join(data, "berth.db"));
  database.exec("insert into job_lease (name, holder, fence, expires_at) values ('restore', '20260101T000000000Z 0', 1, 0)");
  database.close();
  for (const role of [["serve", "--listen=127.0.0.1:0"], ["migrate"], ["migrate", "--to", "3"]]) {
    assert.match((await expectCode(1, [...role, "--data", data, ...KEY])).stderr, /half restored/);
  }
});

it("backup restore: says what is wrong with the command, and looks at nothing", async () => {
  const none = join(folder.path, "none");
  for (const [code, args, words] of [
    [64, ["backup"], /needs a place/],
    [64, ["restore"], /needs a place/],
    [64, ["backup", "a", "b"], /no role/],
    [64, ["doctor", "--deeper"], /deeper/],
    [2, ["backup", join(none, "to"), "--data", none], /There is no database/],
    [2, ["doctor", "--data", none], /There is no database/],
    [64, ["doctor", "--data", none, "--rate", "fast"], /--rate/],
    [2, ["restore", none, "--check"], /There is no directory/],
    [64, ["restore", none, "--check", "--at", "yesterday"], /--at yesterday/],
    [64, ["restore", none, "--check", "--at", "2026-01-01", "--snapshot", "x"], /either --snapshot or --at/],
    [64, ["backup", "prune"], /needs a place/],
    [64, ["backup", "prune", none], /say what is to stay/],
    [64, ["backup", "prune", none, "--keep", "0"], /--keep is a number/],
    [2, ["backup", "prune", none, "--keep", "1", "--yes"], /There is no directory/],
    [64, ["backup", "s3://x", "--data", none], /not an address/],
  ] as const) {
    assert.match((await expectCode(code, args)).stderr, words);
  }
  assert.match((await expectCode(2, ["doctor", "--json", "--data", none])).stdout, /^\{"event":"failed","message":"There is no database/);
});

const serverUrl = process.env["BERTH_TEST_POSTGRES_URL"];
const s3 = readS3TestSettings();
const missing = serverUrl === undefined ? "BERTH_TEST_POSTGRES_URL" : s3 === undefined ? "BERTH_TEST_S3" : undefined;

it(
  "grows from SQLite and a directory to PostgreSQL and S3, and back",
  { skip: missing === undefined ? false : `${missing} is not set` },
  async () => {
    const { endpoint, region, accessKeyId, secretAccessKey, bucket, dialect } = s3!;
    const admin = new pg.Client({ connectionString: serverUrl });
    await admin.connect();
    const database = `berth_${randomUUID().replaceAll("-", "")}`;
    await admin.query(`create database ${database}`);
    const url = new URL(serverUrl!);
    url.pathname = `/${database}`;
    const access = {
      "storage.s3.region": region,
      "storage.s3.endpoint": endpoint,
      "storage.s3.forcePathStyle": "true",
      "storage.s3.dialect": dialect,
      "storage.s3.accessKeyId": accessKeyId,
      "storage.s3.secretAccessKey": secretAccessKey,
    };
    const grown = {
      ...access,
      data: join(folder.path, "grown"),
      "database.url": url.href,
      "auth.secretKey": KEY[1]!,
      "storage.kind": "s3",
      "storage.s3.bucket": bucket,
      "storage.s3.prefix": `grown-${randomUUID()}`,
    };
    const small = { data: join(folder.path, "small"), "auth.secretKey": KEY[1]! };
    try {
      const one = await startTestRegistry(small);
      const first = await one.pushImage("library/app", "v1", 6_000_000);
      // To a bucket, with the keys of the settings, which the source itself does not use.
      const place = `s3://${bucket}/backup-${randomUUID()}`;
      await expectCode(0, ["backup", place, ...flagsOf({ ...small, ...access })]);
      await one.stop();
      await expectCode(0, ["restore", place, "--check", ...flagsOf(access)]);
      await expectCode(0, ["restore", place, ...flagsOf(grown)]);
      await expectCode(0, ["doctor", "--deep", ...flagsOf(grown)]);

      const many = await startTestRegistry(grown);
      let second: PushedImage;
      const back = join(folder.path, "back");
      try {
        await assertServes(many, "library/app", "v1", first);
        second = await many.pushImage("library/app", "v2", 6_000_000);
        // The other address of the same service, with keys of its own.
        const other = `s3://${bucket}/other-${randomUUID()}?endpoint=${endpoint}&region=${region}&dialect=${dialect}`;
        const env = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey };
        await expectCode(0, ["backup", other, ...flagsOf(grown)], env);
        await expectCode(0, ["restore", other, "--data", back, ...KEY], env);
      } finally {
        await many.stop();
      }
      const again = await startTestRegistry({ data: back });
      try {
        await assertServes(again, "library/app", "v1", first);
        await assertServes(again, "library/app", "v2", second);
      } finally {
        await again.stop();
      }
    } finally {
      await admin.query(`drop database ${database} with (force)`);
      await admin.end();
    }
  },
);

it("backup restore: says that a place is not there, or is none, and makes nothing for it", async () => {
  const data = join(folder.path, "nothing");
  const none = join(folder.path, "no-such-place");
  const file = join(folder.path, "plain-file");
  const empty = join(folder.path, "empty-place");
  await writeFile(file, "");
  await mkdir(empty);
  for (const [place, said] of [
    [none, `There is no directory ${none}.\n`],
    [join(file, "deeper"), `There is no directory ${join(file, "deeper")}.\n`],
    [file, `${file} is a file, and no directory.\n`],
    [empty, `${empty} holds no complete backup\n`],
  ] as const)
    for (const command of [
      ["restore", place],
      ["restore", place, "--check"],
      ["backup", "prune", place, "--keep", "1", "--yes"],
      ...(place === empty ? [] : [["backup", "list", place]]),
    ])
      assert.deepEqual(await expectCode(2, [...command, "--data", data]), { code: 2, stdout: "", stderr: said });
  // One that was made for backups, and has none yet.
  assert.equal((await expectCode(0, ["backup", "list", empty, "--data", data])).stdout, "");
  assert.ok(!existsSync(data), "a data directory was made");
  assert.ok(!existsSync(none), "the place was made");
});
