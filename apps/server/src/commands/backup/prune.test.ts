// Pruning: what a rule keeps; that every remaining snapshot is complete wherever a run was interrupted; and that backups and prunings
// exclude each other; in a directory and, if there is the service of forEachBlobStore, in a bucket.
// Not here: the commands (test/flows/backup-restore.test.ts).
import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { digestOf } from "@berth/oci/digest";
import { createTestClock } from "../../access/access.testing.ts";
import { connectBucket } from "../../content/blobs/s3-client.ts";
import { S3_DIALECTS } from "../../content/blobs/s3-dialects.ts";
import { readS3TestSettings, TEST_PART_BYTES } from "../../content/blobs/s3.testing.ts";
import { blobOf, putOf, upload, inRepository } from "../../content/content.testing.ts";
import { createSqliteForTest } from "../../platform/database/databases.testing.ts";
import { backUp, createFolder, createSite, dumpOf, grantsOf, restoreTo, type TestSite, TRUSTED } from "./backup.testing.ts";
import { blobName, manifestName, snapshotNameOf, tableName } from "./backup-format.ts";
import { openPlace, type BackupPlace, type PlaceAddress } from "./backup-place.ts";
import { keptOf, pruneBackups, type KeepRule } from "./prune.ts";
import { checkBackup, listSnapshots } from "./restore.ts";
import { takePlaceLock } from "./place-lock.ts";

const DAY_MS = 86_400_000;
const clock = createTestClock();
let source: TestSite;
const ends: (() => Promise<void>)[] = [];

before(async () => {
  const test = await createSqliteForTest();
  ends.push(() => test.end());
  source = createSite(test, clock);
});
after(async () => {
  for (const end of ends) await end();
});

async function filesOf(place: BackupPlace): Promise<string[]> {
  const names: string[] = [];
  for (const below of ["snapshots/", "blobs/", "turns/"]) for await (const name of place.list(below)) names.push(name);
  return names.toSorted();
}

const unfinishedIn = async (place: BackupPlace): Promise<number> => (await Array.fromAsync(place.listUnfinished())).length;

const fileOf = (text: string | Uint8Array) =>
  (async function* () {
    yield Buffer.from(text);
  })();

const prune = (place: BackupPlace, keep: KeepRule, isDryRun = false) =>
  pruneBackups({ place, clock, keep, isDryRun, onProgress: () => undefined });

async function assertWhole(place: BackupPlace, snapshots: readonly string[]): Promise<void> {
  for (const snapshot of snapshots) {
    const { damagedCount } = await checkBackup({ ...TRUSTED, place, snapshot, parallel: 4, onProgress: () => undefined });
    assert.equal(damagedCount, 0, snapshot);
  }
}

/**
 * Backs up a registry once a day, with one new image each day while the one of the day before yesterday is deleted; returns its state on
 * each day.
 */
async function days(place: BackupPlace, count: number): Promise<{ readonly snapshot: string; readonly dump: unknown }[]> {
  const { content } = source;
  const grants = await grantsOf(source);
  const push = grants("push", "test/daily");
  const id = (await content.repositories.ensure(push)).id;
  const taken: { snapshot: string; dump: unknown }[] = [];
  const images: ReturnType<typeof putOf>[] = [];
  const name = `${place.shown} `;
  for (let day = 0; day < count; day++) {
    const blobs = [blobOf(`${name} config ${day} `), blobOf(`${name} layer ${day} `, 3000), blobOf(`${name} layer of all `, 3000)];
    for (const blob of blobs) await upload(content, push, blob);
    images.push(putOf(blobs, [`d${day}`], `${name}${day}`));
    await content.manifests.put(inRepository(push, id), images[day]!);
    if (day >= 2) await content.manifests.delete(inRepository(grants("delete", "test/daily"), id), images[day - 2]!.digest);
    clock.advance(DAY_MS);
    await content.garbage.collectLinks(1000);
    clock.advance(DAY_MS);
    await content.garbage.reclaimBytes(1000);
    taken.push({ snapshot: (await backUp(source, place)).snapshot, dump: await dumpOf(source.test.database) });
  }
  return taken;
}

it("prune: keeps the newest, or those of some days, or both, and never none", () => {
  const names = [1, 2, 3, 4, 5].map((day) => snapshotNameOf(new Date(day * DAY_MS)));
  assert.deepEqual(keptOf(names, { newest: 2 }), names.slice(3));
  assert.deepEqual(keptOf(names, { newest: 9 }), names);
  assert.deepEqual(keptOf(names, { since: new Date(3 * DAY_MS) }), names.slice(2));
  assert.deepEqual(keptOf(names, { newest: 4, since: new Date(3 * DAY_MS) }), names.slice(1));
  assert.deepEqual(keptOf(names, { newest: 1, since: new Date(3 * DAY_MS) }), names.slice(2));
  assert.deepEqual(keptOf(names, { since: new Date(9 * DAY_MS) }), names.slice(4));
});

/** The differences between the kinds of places. */
interface PlaceKind {
  newPlace(): Promise<BackupPlace>;
  /** Leaves what an interrupted write of a killed process leaves. */
  leaveUnfinished(place: BackupPlace): Promise<void>;
  /** More files than are listed, or deleted, at a time. */
  readonly manyFiles: number;
  /** The interval of the steps at which runs are interrupted. */
  readonly everySteps: number;
}

function describePruning(kind: string, { newPlace, leaveUnfinished, manyFiles, everySteps }: PlaceKind): void {
  describe(`pruning: ${kind}`, () => {
    it("forgets snapshots and the bytes that only they needed, and every one that stays can be restored", async () => {
      const place = await newPlace();
      const taken = await days(place, 5);
      const before = await filesOf(place);
      const dry = await prune(place, { newest: 2 }, true);
      assert.deepEqual(await filesOf(place), before);
      const result = await prune(place, { newest: 2 });
      assert.deepEqual({ ...result, deletedLeftovers: 0 }, { ...dry, deletedLeftovers: 0 });
      assert.deepEqual(
        result.deletedSnapshots,
        taken.slice(0, 3).map(({ snapshot }) => snapshot),
      );
      assert.ok(result.deletedBlobs > 0 && result.deletedBytes > 0);
      assert.deepEqual(
        await listSnapshots(place),
        taken.slice(3).map(({ snapshot }) => snapshot),
      );
      for (const { snapshot, dump } of taken.slice(3)) {
        const test = await createSqliteForTest({ migrated: false });
        ends.push(() => test.end());
        const target = createSite(test);
        assert.equal((await restoreTo(target, place, { snapshot })).damagedCount, 0);
        assert.deepEqual(await dumpOf(test.database), dump);
      }
      // A moment between two snapshots belongs to the older one.
      const at = new Date(
        Date.parse(
          (await checkBackup({ ...TRUSTED, place, snapshot: taken[4]!.snapshot, parallel: 4, onProgress: () => undefined })).takenAt,
        ) - 1,
      );
      assert.equal(
        (await checkBackup({ ...TRUSTED, place, snapshot: undefined, at, parallel: 4, onProgress: () => undefined })).snapshot,
        taken[3]!.snapshot,
      );
      const early = new Date(at.getTime() - 30 * DAY_MS);
      await assert.rejects(
        checkBackup({ ...TRUSTED, place, snapshot: undefined, at: early, parallel: 4, onProgress: () => undefined }),
        /the oldest is/,
      );
      // The next backup copies only what does not exist any more.
      await assertWhole(place, [(await backUp(source, place)).snapshot]);
    });

    /** Ends as a killed process does: from that step on, nothing happens any more. */
    function cutAt(place: BackupPlace, step: number): BackupPlace & { readonly steps: () => number } {
      let steps = 0;
      const counted = async <T>(work: () => Promise<T>): Promise<T> => {
        if (++steps >= step) throw new Error("cut off");
        return work();
      };
      return {
        ...place,
        steps: () => steps,
        // One file at a time, as a crash in the middle of a batch leaves it.
        delete: async (names) => {
          for (const name of names) await counted(() => place.delete([name]));
        },
        write: (name, body) => counted(() => place.write(name, body)),
        sync: () => counted(() => place.sync()),
      };
    }

    it("leaves every snapshot that stays whole wherever it is cut off, and ends the work when it is run again", async () => {
      const place = await newPlace();
      const taken = await days(place, 4);
      // Leftovers of interrupted writes and of an incomplete backup.
      await place.write(tableName(snapshotNameOf(new Date(5)), "blob"), fileOf("half"));
      await leaveUnfinished(place);
      assert.equal(await unfinishedIn(place), 1);
      const kept = taken.slice(3).map(({ snapshot }) => snapshot);
      let step = 1;
      // Each step, or only some of them if each costs many requests.
      for (; ; step += everySteps) {
        const cut = cutAt(place, step);
        const isDone = await prune(cut, { newest: 1 }).then(
          () => true,
          () => false,
        );
        // Also those that are to be deleted, as long as they exist.
        const listed = await listSnapshots(place);
        assert.ok(listed.includes(kept[0]!));
        await assertWhole(place, listed);
        if (isDone) break;
      }
      assert.ok(step > 10, `only ${step} steps`);
      assert.deepEqual(await listSnapshots(place), kept);
      assert.deepEqual(
        (await filesOf(place)).filter((name) => !name.startsWith("blobs/") && !name.startsWith(`snapshots/${kept[0]}/`)),
        [],
      );
      assert.equal(await unfinishedIn(place), 0);
    });

    it("keeps backups and prunings apart, and believes that one is gone when it has been silent", async () => {
      const place = await newPlace();
      await days(place, 2);
      const backup = await takePlaceLock(place, "backup", clock);
      await assert.rejects(prune(place, { newest: 1 }), /a backup is under way/);
      // Backups do not exclude each other.
      await backUp(source, place);
      clock.advance(11 * 60_000);
      await prune(place, { newest: 1 });
      await assert.rejects(backup.check(), /another work has begun there/);
      await backup.end();
      const pruning = await takePlaceLock(place, "prune", clock);
      await assert.rejects(backUp(source, place), /a pruning is under way/);
      // An interrupted pruning does not delay the next one.
      await prune(place, { newest: 1 });
      await assert.rejects(pruning.check(), /another work has begun there/);
      await pruning.end();
      await backUp(source, place);
      assert.deepEqual(
        (await filesOf(place)).filter((name) => name.startsWith("turns/")),
        [],
      );
    });

    it("goes through more files than one page of a listing has, and through one batch after the other", async () => {
      const place = await newPlace();
      const OLD = 60;
      const [taken] = await days(place, 1);
      const live = (await filesOf(place)).length;
      const dead = Array.from({ length: manyFiles }, () => randomBytes(9));
      const files = [
        ...dead.map((bytes) => [blobName(digestOf(bytes)), bytes] as const),
        // Long before the remaining one.
        ...dead.slice(0, OLD).map((bytes, at) => [manifestName(snapshotNameOf(new Date(at * DAY_MS))), bytes] as const),
      ].values();
      const writer = async (): Promise<void> => {
        for (const [name, bytes] of files) await place.write(name, fileOf(bytes));
      };
      await Promise.all(Array.from({ length: 16 }, writer));
      const nobodys = "blobs/not-a-digest/of-ours";
      await place.write(nobodys, fileOf("kept"));
      assert.equal((await listSnapshots(place)).length, OLD + 1);
      const result = await prune(place, { newest: 1 });
      assert.deepEqual([result.deletedSnapshots.length, result.deletedBlobs, result.deletedBytes], [OLD, manyFiles, manyFiles * 9]);
      assert.equal((await filesOf(place)).length, live + 1);
      assert.equal(await place.sizeOf(nobodys), 4);
      await assertWhole(place, [taken!.snapshot]);
    });
  });
}

const folder = await createFolder();
after(() => folder.end());
const newDirectory = (): Promise<BackupPlace> => openPlace({ kind: "directory", path: join(folder.path, randomUUID()) });
describePruning("directory", {
  newPlace: newDirectory,
  leaveUnfinished: async (place) => void (await place.write("tmp/half", fileOf("half"))),
  manyFiles: 510,
  everySteps: 1,
});

const s3 = readS3TestSettings();
if (s3 === undefined) it("pruning: s3", { skip: "BERTH_TEST_S3 is not set" }, () => undefined);
else {
  const access = { ...s3, forcePathStyle: true, partSizeBytes: TEST_PART_BYTES };
  const addresses = new WeakMap<BackupPlace, Extract<PlaceAddress, { kind: "s3" }>>();
  describePruning(`s3 (${s3.dialect})`, {
    async newPlace() {
      const address = { kind: "s3", bucket: s3.bucket, prefix: `prune-${randomUUID()}/`, access } as const;
      const place = await openPlace(address);
      addresses.set(place, address);
      ends.push(() => place.close());
      return place;
    },
    async leaveUnfinished(place) {
      const bucket = await connectBucket({ ...access, bucket: s3.bucket, dialect: S3_DIALECTS[s3.dialect] });
      const { prefix } = addresses.get(place)!;
      await bucket.createMultipart(`${prefix}${blobName(digestOf(Buffer.from("half")))}`);
      // A registry's own upload in the same place, which pruning must not touch.
      const own = `${prefix}blobs/${randomUUID()}/process.1`;
      const id = await bucket.createMultipart(own);
      ends.push(async () => {
        // This fails if the upload does not exist any more.
        await bucket.uploadPart(own, id, 1, Buffer.from("part"));
        await bucket.abortMultipart(own, id);
        bucket.close();
      });
    },
    // A page of the API has 1,000 entries.
    manyFiles: 1_010,
    everySteps: 15,
  });
}

// Cases that do not depend on the kind of place.
it("prune: makes no snapshot under a pruning that took it for gone", async () => {
  for (const moment of ["before the manifest", "after the manifest"]) {
    const place = await newDirectory();
    const [first] = await days(place, 1);
    let isPruned = false;
    const late: BackupPlace = {
      ...place,
      async write(name, body) {
        const isManifest = name.endsWith("/manifest.json");
        const pruneNow = async (): Promise<void> => {
          clock.advance(11 * 60_000);
          await prune(place, { newest: 1 });
          isPruned = true;
        };
        if (name.includes("/tables/") && !isPruned && moment === "before the manifest") await pruneNow();
        if (isManifest && moment === "after the manifest") await pruneNow();
        return place.write(name, body);
      },
    };
    await assert.rejects(backUp(source, late), /another work has begun there/);
    assert.ok(isPruned);
    assert.deepEqual(await listSnapshots(place), [first!.snapshot]);
    await assertWhole(place, [first!.snapshot]);
  }
});

it("prune: deletes nothing while a snapshot that is to stay cannot be read", async () => {
  const place = await newDirectory();
  const taken = await days(place, 2);
  const newest = taken[1]!.snapshot;
  await place.write(tableName(newest, "blob"), fileOf("no table"));
  const before = await filesOf(place);
  await assert.rejects(prune(place, { newest: 1 }));
  assert.deepEqual(await filesOf(place), before);
  // The other way round it may be deleted, although it is damaged.
  await place.delete([manifestName(newest)]);
  assert.equal((await prune(place, { newest: 1 })).keptSnapshots[0], taken[0]!.snapshot);
  await assertWhole(place, [taken[0]!.snapshot]);
});
