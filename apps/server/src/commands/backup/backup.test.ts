// Backups and restores: the same registry again on either engine, blobs that are copied twice, lost blobs, and content that is deleted
// meanwhile. Not here: places (backup-place.test.ts), the commands on whole servers (test/flows/backup-*.test.ts).
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, it } from "node:test";
import { digestOf } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import type { BlobStore } from "../../content/blobs/blob-store.ts";
import { blobOf, createContent, putOf, readBlob, upload, TEST_TIMES, type TestBlob, inRepository } from "../../content/content.testing.ts";
import { checkUsage } from "../../content/usage.testing.ts";
import { systemClock } from "../../platform/clock.ts";
import { createSqliteForTest, forEachDatabase, type TestDatabase } from "../../platform/database/databases.testing.ts";
import { LATEST_MIGRATION, migrate } from "../../platform/database/migrate.ts";
import { StartupError } from "../../platform/startup-error.ts";
import { TABLES } from "../../tables.ts";
import { backUp, createFolder, createSite, dumpOf, grantsOf, restoreTo, TEST_KEY, TRUSTED, type TestSite } from "./backup.testing.ts";
import { openDirectoryPlace } from "./directory-place.ts";
import { checkBackup, listSnapshots, readSnapshot } from "./restore.ts";
import { refuseHalfRestored } from "./restore-store.ts";

const says =
  (pattern: RegExp) =>
  (error: unknown): boolean =>
    error instanceof StartupError && pattern.test(error.message);

forEachDatabase("backup", (create) => {
  let folder: Awaited<ReturnType<typeof createFolder>>;
  const ends: (() => Promise<void>)[] = [];
  let places = 0;

  before(async () => {
    folder = await createFolder();
  });
  after(async () => {
    for (const end of ends) await end();
    await folder.end();
  });

  const newPath = (): string => join(folder.path, `place-${++places}`);
  async function site(make: () => Promise<TestDatabase> = create): Promise<TestSite> {
    const test = await make();
    ends.push(() => test.end());
    return createSite(test);
  }
  const emptySite = (make = create): Promise<TestSite> => site(() => make({ migrated: false }));
  const check = (path: string) =>
    checkBackup({ ...TRUSTED, place: openDirectoryPlace(path), snapshot: undefined, parallel: 4, onProgress: () => undefined });

  /** Pushes images of several kinds into a registry, leaves what their deletion leaves, and uploads in progress. */
  async function fill(source: TestSite, count = 12): Promise<TestBlob[]> {
    const { content, clock } = source;
    const grants = await grantsOf(source);
    const layers = Array.from({ length: count }, (_, i) => ({ bytes: randomBytes(i % 3 === 0 ? 30 : 1000 + 70_000 * (i % 2)) }))
      .map(({ bytes }) => ({ bytes, digest: digestOf(bytes) }))
      .concat([{ bytes: Buffer.alloc(0), digest: digestOf(Buffer.alloc(0)) }]);
    const strong = { bytes: Buffer.from("strong ".repeat(50)), digest: digestOf(Buffer.from("strong ".repeat(50)), "sha512") };
    for (const name of ["test/one", "test/two/deep"]) {
      const push = grants("push", name);
      const id = (await content.repositories.ensure(push)).id;
      const config = blobOf(`config of ${name} \u{1F6A2} "quoted"\n`, 1);
      for (const blob of [...layers, strong, config]) await upload(content, push, blob);
      for (const [i, layer] of layers.entries())
        await content.manifests.put(inRepository(push, id), putOf([config, layer, strong], [`v${i}`], `image ${i} ü`));
      const unwanted = putOf([config, layers[0]!], ["gone"], "gone");
      await content.manifests.put(inRepository(push, id), unwanted);
      await content.manifests.delete(inRepository(grants("delete", name), id), unwanted.digest);
      await content.sessions.begin(push, "sha256");
    }
    // Deleted, but not removed yet.
    const deleted = grants("push", "test/deleted");
    const deletedId = (await content.repositories.ensure(deleted)).id;
    for (const blob of [strong, layers[0]!]) await upload(content, deleted, blob);
    await content.manifests.put(inRepository(deleted, deletedId), putOf([layers[0]!, strong], ["v1"]));
    await content.repositories.delete(grants("delete", "test/deleted"));
    clock.advance(TEST_TIMES.leaseMs + 1);
    await content.garbage.collectLinks(1000);
    return [...layers, strong];
  }

  async function assertSame(restored: TestSite, source: TestSite, blobs: readonly TestBlob[]): Promise<void> {
    assert.deepEqual(await dumpOf(restored.test.database), await dumpOf(source.test.database));
    await checkUsage(restored.test.database);
    const pull = (await grantsOf(restored))("pull", "test/one");
    const id = (await restored.content.repositories.find(pull))!.id;
    for (const blob of blobs) {
      const row = await restored.content.blobs.find(inRepository(pull, id), blob.digest);
      assert.ok(row !== undefined, blob.digest);
      assert.ok((await readBlob(restored.content, row)).equals(blob.bytes), blob.digest);
    }
  }

  it("brings the same registry back, on this engine and on the other", async () => {
    const source = await site();
    const blobs = await fill(source);
    let from = source;
    for (const make of [create, createSqliteForTest, create]) {
      const place = openDirectoryPlace(newPath());
      const result = await backUp(from, place);
      assert.equal(result.attempts, 1);
      assert.deepEqual(result.lostBlobs, []);
      const target = await emptySite(make);
      const restored = await restoreTo(target, place);
      assert.equal(restored.damagedCount, 0);
      assert.equal(restored.blobs, result.blobs);
      await assertSame(target, source, blobs);
      from = target;
    }
    // Ids continue where the first registry was, also after deleted rows.
    const before = await dumpOf(source.test.database);
    for (const each of [source, from]) {
      const push = (await grantsOf(each))("push", "test/new");
      const id = (await each.content.repositories.ensure(push)).id;
      await upload(each.content, push, blobOf("another layer "));
      await each.content.manifests.put(inRepository(push, id), putOf([blobOf("another layer ")], ["v1"]));
    }
    const [one, other] = [await dumpOf(source.test.database), await dumpOf(from.test.database)];
    assert.notDeepEqual(one, before);
    for (const table of ["repository", "blob", "manifest"]) {
      const ids = (dump: typeof one) => dump[table]!.map((row) => (row as { id: number }).id);
      assert.deepEqual(ids(other), ids(one), table);
    }
  });

  it("leaves out what its table says, and keeps a table that nobody here declares", async () => {
    const source = await site();
    await fill(source);
    await source.test.database.script(
      "create table of_a_newer_program (id integer primary key); insert into of_a_newer_program values (7)",
    );
    const place = openDirectoryPlace(newPath());
    const tables = { ...TABLES, tag_history: { ...TABLES["tag_history"]!, backup: "left out" as const } };
    const { snapshot } = await backUp(source, place, { tables });
    const { manifest } = await readSnapshot(place, snapshot);
    const names = manifest.tables.map(({ name }) => name);
    assert.ok(!names.includes("tag_history"));
    assert.ok(!names.includes("upload"));
    assert.ok(names.includes("tag"));
    assert.equal(manifest.tables.find(({ name }) => name === "of_a_newer_program")?.rows, 1);
  });

  it("copies each blob once, and lets any snapshot be restored", async () => {
    const source = await site();
    const path = newPath();
    const place = openDirectoryPlace(path);
    await fill(source, 6);
    const first = await backUp(source, place);
    assert.ok(first.copiedBlobs > 0);
    const dump = await dumpOf(source.test.database);
    const again = await backUp(source, place);
    assert.equal(again.copiedBlobs, 0);
    const push = (await grantsOf(source))("push", "test/one");
    await upload(source.content, push, blobOf("a new layer "));
    const third = await backUp(source, place);
    assert.equal(third.copiedBlobs, 1);
    assert.deepEqual(await listSnapshots(place), [first.snapshot, again.snapshot, third.snapshot]);
    const target = await emptySite();
    await restoreTo(target, place, { snapshot: first.snapshot });
    assert.deepEqual(await dumpOf(target.test.database), dump);
    await assert.rejects(restoreTo(await emptySite(), place, { snapshot: "20010101T000000000Z" }), says(/holds no complete snapshot/));
  });

  it("goes by the target's own rule for which blobs lie in the database", async () => {
    const source = await site();
    const blobs = await fill(source, 6);
    const place = openDirectoryPlace(newPath());
    await backUp(source, place);
    for (const inlineMaxBytes of [0, 5_000]) {
      const target = await emptySite();
      await restoreTo(target, place, { inlineMaxBytes });
      const inline = (await dumpOf(target.test.database))["blob_inline"]!.length;
      const stored = new Set(blobs.filter((blob) => inlineMaxBytes === 0 || blob.bytes.length > inlineMaxBytes).map((blob) => blob.digest));
      if (inlineMaxBytes === 0) assert.equal(inline, 0);
      for (const { uploadId } of target.memory.blobs.values()) assert.ok(uploadId);
      const sizes = [...target.memory.blobs.values()].map(({ bytes }) => digestOf(bytes));
      for (const digest of stored) if (digest.startsWith("sha256")) assert.ok(sizes.includes(digest), digest);
      const pull = (await grantsOf(target))("pull", "test/one");
      const id = (await target.content.repositories.find(pull))!.id;
      for (const blob of blobs) {
        assert.ok(
          (await readBlob(target.content, (await target.content.blobs.find(inRepository(pull, id), blob.digest))!)).equals(blob.bytes),
        );
      }
    }
  });

  it("says which blobs the registry has lost, and restores them as damaged, for a push to heal", async () => {
    const source = await site();
    const blobs = await fill(source, 6);
    const gone = blobs.find((blob) => blob.bytes.length > 50_000)!;
    const cut = blobs.find((blob) => blob.bytes.length === 1000)!;
    const keyOf = (blob: TestBlob) => [...source.memory.blobs].find(([, { bytes }]) => bytes.equals(blob.bytes))![0];
    source.memory.blobs.delete(keyOf(gone));
    source.memory.blobs.set(keyOf(cut), { uploadId: "x", bytes: randomBytes(1000) });
    const place = openDirectoryPlace(newPath());
    const result = await backUp(source, place);
    assert.deepEqual(new Set(result.lostBlobs), new Set([gone.digest, cut.digest]));
    const target = await emptySite();
    const restored = await restoreTo(target, place);
    assert.deepEqual(new Set(restored.damagedBlobs), new Set([gone.digest, cut.digest]));
    const push = (await grantsOf(target))("push", "test/one");
    const id = (await target.content.repositories.find(push))!.id;
    for (const blob of [gone, cut]) {
      assert.equal(await target.content.blobs.find(inRepository(push, id), blob.digest), undefined);
      await upload(target.content, push, blob);
      const healed = await target.content.blobs.find(inRepository(push, id), blob.digest);
      assert.ok((await readBlob(target.content, healed!)).equals(blob.bytes));
    }
    // The source knows about the damage now and no longer reports it.
    for (const blob of [gone, cut]) {
      const row = (await source.content.blobs.find(inRepository(push, id), blob.digest))!;
      await source.content.blobs.markDamaged(row);
    }
    const second = await backUp(source, place);
    assert.deepEqual([second.lostBlobs, second.knownDamaged], [[], 2]);
  });

  it("takes the snapshot anew when blobs were collected under it, and is never complete without them", async () => {
    for (const isEndless of [false, true]) {
      const source = await site();
      await fill(source, 6);
      const { content, clock } = source;
      const push = (await grantsOf(source))("push", "test/one");
      const path = newPath();
      let rounds = 0;
      // Each time when the copy of the tables exists and before the blobs are copied, a blob that they name is deleted, with its bytes.
      const result = backUp(source, openDirectoryPlace(path), {
        parallel: 1,
        wrapReader: (reader) => ({
          ...reader,
          async snapshot(read) {
            const blob = blobOf(`short-lived layer ${++rounds} `);
            await upload(content, push, blob);
            const answer = await reader.snapshot(read);
            if (rounds === 1 || isEndless) {
              clock.advance(TEST_TIMES.leaseMs + 1);
              await content.garbage.collectLinks(100);
              clock.advance(TEST_TIMES.graceMs + 1);
              await content.garbage.reclaimBytes(100);
            }
            return answer;
          },
        }),
      });
      if (isEndless) {
        await assert.rejects(result, says(/not complete/));
        assert.deepEqual(await listSnapshots(openDirectoryPlace(path)), []);
        await assert.rejects(check(path), says(/no complete backup/));
      } else {
        assert.equal((await result).attempts, 2);
        assert.deepEqual((await result).lostBlobs, []);
        assert.equal((await check(path)).damagedCount, 0);
      }
    }
  });

  it("finds a blob under its new key that was collected and pushed again meanwhile", async () => {
    const source = await site();
    await fill(source, 3);
    const { content, clock } = source;
    const push = (await grantsOf(source))("push", "test/one");
    const blob = blobOf("twice pushed layer ");
    const result = await backUp(source, openDirectoryPlace(newPath()), {
      wrapReader: (reader) => ({
        ...reader,
        async snapshot(read) {
          await upload(content, push, blob);
          const answer = await reader.snapshot(read);
          clock.advance(TEST_TIMES.leaseMs + 1);
          await content.garbage.collectLinks(100);
          clock.advance(TEST_TIMES.graceMs + 1);
          await content.garbage.reclaimBytes(100);
          await upload(content, push, blob);
          return answer;
        },
      }),
    });
    assert.deepEqual([result.attempts, result.lostBlobs], [1, []]);
  });

  it("is whole whatever goes on: pushes, deletions and collection without any grace", async () => {
    const source = await site();
    await fill(source, 4);
    const { clock } = source;
    // Another process that works while the backup runs.
    const busy = createContent(await source.test.open(), source.store, clock, { leaseMs: 30, graceMs: 0 });
    const grants = await grantsOf(source);
    const push = grants("push", "test/busy");
    const id = (await busy.repositories.ensure(push)).id;
    let isOver = false;
    let pushed = 0;
    const work = (async () => {
      const live: string[] = [];
      while (!isOver) {
        const config = blobOf(`config ${pushed}`, 1);
        const layer = blobOf(`busy layer ${pushed} `, 200);
        await upload(busy, push, config);
        await upload(busy, push, layer);
        const put = putOf([config, layer], ["latest"], String(pushed));
        try {
          await busy.manifests.put(inRepository(push, id), put);
          live.push(put.digest);
        } catch (error) {
          // The backup moves the clock, so a lease may end between upload and manifest.
          if (!(error instanceof RegistryError && error.code === "MANIFEST_BLOB_UNKNOWN")) throw error;
        }
        if (live.length > 3) await busy.manifests.delete(inRepository(grants("delete", "test/busy"), id), live.shift() as never);
        clock.advance(10);
        await busy.garbage.collectLinks(50);
        await busy.garbage.reclaimBytes(50);
        pushed++;
        await new Promise((resolve) => void setImmediate(resolve));
      }
    })();
    // The error is checked at the end; until then it must end the loop that waits for the work.
    work.catch(() => (isOver = true));
    const path = newPath();
    const place = openDirectoryPlace(path);
    try {
      for (let round = 0; !isOver && (round < 6 || pushed < 7); round++) {
        const result = await backUp(source, place).catch((error: unknown) => error);
        // Without any grace a backup may rightly find no consistent moment; it reports that, and leaves nothing that looks like a backup.
        if (result instanceof StartupError) assert.match(result.message, /not complete/);
        else if (result instanceof Error) throw result;
        else assert.deepEqual((result as { lostBlobs: unknown }).lostBlobs, []);
      }
    } finally {
      isOver = true;
      await work;
    }
    await backUp(source, place);
    for (const snapshot of await listSnapshots(place)) {
      const { damagedCount, knownDamaged } = await checkBackup({ ...TRUSTED, place, snapshot, parallel: 4, onProgress: () => undefined });
      assert.deepEqual([damagedCount, knownDamaged], [0, 0], snapshot);
    }
    const target = await emptySite();
    await restoreTo(target, place);
    assert.deepEqual(await dumpOf(target.test.database), await dumpOf(source.test.database));
  });

  it("refuses a target that is not empty, another key, and a newer database, and changes nothing", async () => {
    const source = await site();
    await fill(source, 3);
    const place = openDirectoryPlace(newPath());
    await backUp(source, place);
    const dump = await dumpOf(source.test.database);
    await assert.rejects(restoreTo(source, place), says(/database is not empty/));
    assert.deepEqual(await dumpOf(source.test.database), dump);

    const target = await emptySite();
    const id = "0123456789abcdef";
    const record = await target.store.append(id, target.store.begin(id), one(Buffer.from("foreign")), {
      offsetBytes: 0,
      onBytes: () => undefined,
    });
    const { key } = await target.store.finish(id, record.record, { sizeBytes: 7, digest: digestOf(Buffer.from("foreign")) });
    await assert.rejects(restoreTo(target, place), says(/store is not empty/));
    await target.store.delete([key]);
    await assert.rejects(restoreTo(target, place, { masterKey: Buffer.alloc(32, 8) }), says(/another|encrypted with the key/));
    await restoreTo(target, place, { masterKey: Buffer.alloc(32, 8), withNewKey: true, signature: "ignored", onWarning: () => undefined });
    assert.deepEqual(await dumpOf(target.test.database), dump);

    const newer = openDirectoryPlace(newPath());
    await backUp(source, newer, {
      wrapReader: (reader) => ({
        ...reader,
        snapshot: async (read) => ({ ...(await reader.snapshot(read)), migrationVersion: LATEST_MIGRATION + 1 }),
      }),
    });
    await assert.rejects(restoreTo(await emptySite(), newer), says(/newer program/));
    await assert.rejects(backUp(await emptySite(), openDirectoryPlace(newPath())), says(/empty/));
  });

  it("restores a backup of an older version, and brings it to this one", async () => {
    const source = await emptySite();
    await migrate(source.test.database, systemClock, 1);
    await source.test.database.script(
      "insert into project (name, sort_key, is_public, created_at) values ('old', 'old/', 1, 5);" +
        "insert into account (kind, name, secret_hash, is_admin, is_disabled, epoch, created_at) values ('user', 'ann', 'x', 0, 0, 1, 6);" +
        "insert into member (project_id, account_id, role) select project.id, account.id, 'owner' from project, account",
    );
    const place = openDirectoryPlace(newPath());
    await backUp(source, place);
    const target = await emptySite();
    await restoreTo(target, place);
    const dump = await dumpOf(target.test.database);
    assert.deepEqual(
      dump["member"]!.map((row) => (row as { project_sort_key: string }).project_sort_key),
      ["old/"],
    );
  });

  it("goes on after it was cut off, and keeps servers away until it is done", async () => {
    const source = await site();
    const blobs = await fill(source, 16);
    const place = openDirectoryPlace(newPath());
    await backUp(source, place);
    const target = await emptySite();
    const inlineMaxBytes = 40;
    for (const stopAfter of [3, 4]) {
      let left = stopAfter;
      const failing: BlobStore = {
        ...target.store,
        finish: async (...rest) => {
          const stored = await target.store.finish(...rest);
          // As in a crash: the bytes exist, the row does not, and nothing cleans up.
          if (left-- <= 0) throw new RegistryError("UNAVAILABLE");
          return stored;
        },
        abort: async () => undefined,
      };
      await assert.rejects(restoreTo(target, place, { store: failing, inlineMaxBytes, parallel: 1 }), RegistryError);
      await assert.rejects(refuseHalfRestored(target.test.database), says(/half restored/));
    }
    const other = openDirectoryPlace(newPath());
    await backUp(source, other);
    await assert.rejects(restoreTo(target, other), says(/half restored from another snapshot/));
    const result = await restoreTo(target, place, { inlineMaxBytes });
    assert.ok(result.resumedBlobs >= 7, `${result.resumedBlobs} resumed`);
    assert.equal(result.blobs, (await check(place.shown)).blobs);
    await refuseHalfRestored(target.test.database);
    await assertSame(target, source, blobs);
    const keys = (await dumpOf(target.test.database))["blob"]!.filter((row) => (row as { storage_key: boolean }).storage_key).length;
    assert.equal(target.memory.blobs.size, keys, "bytes without a row stay behind");
    await assert.rejects(restoreTo(target, place), says(/database is not empty/));
  });

  it("reports a backup that was damaged where it lies, and restores what is whole", async () => {
    const source = await site();
    const blobs = await fill(source, 6);
    const path = newPath();
    const place = openDirectoryPlace(path);
    const { snapshot } = await backUp(source, place);
    const layer = blobs.find((blob) => blob.bytes.length > 50_000)!;
    const hex = layer.digest.slice(7);
    const file = join(path, "blobs/sha256", hex.slice(0, 2), hex);
    const bytes = await readFile(file);
    bytes[500]! ^= 1;
    await writeFile(file, bytes);
    assert.deepEqual((await check(path)).damagedBlobs, [layer.digest]);
    const target = await emptySite();
    assert.deepEqual((await restoreTo(target, place)).damagedBlobs, [layer.digest]);
    const pull = (await grantsOf(target))("pull", "test/one");
    assert.equal(await target.content.blobs.find((await target.content.repositories.find(pull))!, layer.digest), undefined);
    await rm(file);
    assert.equal((await check(path)).damagedCount, 1);
    // The next backup copies what is missing or truncated here.
    await backUp(source, place);
    assert.equal((await check(path)).damagedCount, 0);

    const tables = join(path, "snapshots", snapshot, "tables");
    for (const name of await readdir(tables)) {
      const whole = await readFile(join(tables, name));
      for (const [index, damage] of [
        whole.subarray(0, -3),
        flipped(whole, Math.floor(whole.length / 2)),
        flipped(whole, whole.length - 1),
      ].entries()) {
        await writeFile(join(tables, name), damage);
        await assert.rejects(
          checkBackup({ ...TRUSTED, place, snapshot, parallel: 2, onProgress: () => undefined }),
          (error) => error instanceof StartupError || (error instanceof RegistryError && error.code === "BLOB_DAMAGED"),
          name,
        );
        if (index !== 1) continue;
        const half = await emptySite(createSqliteForTest);
        await assert.rejects(restoreTo(half, place, { snapshot }));
        const dump = await dumpOf(half.test.database);
        assert.deepEqual(Object.values(dump).flat(), [], "rows of a damaged table came to stand");
      }
      await writeFile(join(tables, name), whole);
    }
    const manifest = join(path, "snapshots", snapshot, "manifest.json");
    const text = await readFile(manifest, "utf8");
    await writeFile(
      manifest,
      text.replace(/"rows": (\d+)/, (_, rows: string) => `"rows": ${Number(rows) + 1}`),
    );
    await assert.rejects(
      checkBackup({ ...TRUSTED, place, snapshot, parallel: 2, onProgress: () => undefined }),
      says(/digest does not fit/),
    );
  });

  it("leaves nothing that looks complete when the place fails at any step", async () => {
    const source = await site();
    await fill(source, 3);
    for (let failAt = 1; ; failAt++) {
      const path = newPath();
      const place = openDirectoryPlace(path);
      let writes = 0;
      const failing = {
        ...place,
        write: (name: string, body: AsyncIterable<Uint8Array>) =>
          ++writes === failAt ? Promise.reject(new RegistryError("STORAGE_FULL")) : place.write(name, body),
      };
      const failed = await backUp(source, failing).then(
        () => false,
        (error: unknown) => error instanceof RegistryError && error.code === "STORAGE_FULL",
      );
      if (!failed) {
        assert.ok(failAt > 10, `${failAt} writes`);
        assert.equal((await check(path)).damagedCount, 0);
        return;
      }
      assert.deepEqual(await listSnapshots(place), []);
      // The next restore continues with what exists.
      await backUp(source, place);
      assert.equal((await check(path)).damagedCount, 0);
    }
  });

  it("reports the fingerprint of the master key and not the key", async () => {
    const source = await site();
    const path = newPath();
    const { snapshot } = await backUp(source, openDirectoryPlace(path));
    const text = await readFile(join(path, "snapshots", snapshot, "manifest.json"), "utf8");
    assert.match(text, /"keyFingerprint": "[0-9a-f]{16}"/);
    assert.ok(!text.includes(TEST_KEY.toString("hex")) && !text.includes(TEST_KEY.toString("base64")));
  });
});

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[at]! ^= 0x10;
  return copy;
}

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
