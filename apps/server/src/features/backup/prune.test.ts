// Pruning: what a rule keeps, that every snapshot that stays is whole wherever a run was cut off, and that backups and prunings keep out of
// each other's way. Not here: the commands (test/flows/backup-restore.test.ts).
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, it } from "node:test";
import { createTestClock } from "../../access/access.testing.ts";
import { blobOf, putOf, upload } from "../../content/content.testing.ts";
import { createSqliteForTest } from "../../platform/database/databases.testing.ts";
import { backUp, createFolder, createSite, dumpOf, grantsOf, restoreTo, type TestSite } from "./backup.testing.ts";
import { manifestName, snapshotNameOf, tableName } from "./backup-format.ts";
import type { BackupPlace } from "./backup-place.ts";
import { openDirectoryPlace } from "./directory-place.ts";
import { keptOf, pruneBackups, type KeepRule } from "./prune.ts";
import { checkBackup, listSnapshots } from "./restore.ts";
import { takeTurn } from "./turns.ts";

const DAY_MS = 86_400_000;
const clock = createTestClock();
let folder: Awaited<ReturnType<typeof createFolder>>;
let source: TestSite;
let places = 0;
const ends: (() => Promise<void>)[] = [];

before(async () => {
  folder = await createFolder();
  const test = await createSqliteForTest();
  ends.push(() => test.end());
  source = createSite(test, clock);
});
after(async () => {
  for (const end of ends) await end();
  await folder.end();
});

const newPlace = (): BackupPlace => openDirectoryPlace(join(folder.path, `place-${++places}`));

async function filesOf(place: BackupPlace): Promise<string[]> {
  const names: string[] = [];
  for (const below of ["snapshots/", "blobs/", "turns/", "tmp/"]) for await (const name of place.list(below)) names.push(name);
  return names.toSorted();
}

const prune = (place: BackupPlace, keep: KeepRule, isDryRun = false) =>
  pruneBackups({ place, clock, keep, isDryRun, onProgress: () => undefined });

async function assertWhole(place: BackupPlace, snapshots: readonly string[]): Promise<void> {
  for (const snapshot of snapshots) {
    const { damagedCount } = await checkBackup({ place, snapshot, parallel: 4, onProgress: () => undefined });
    assert.equal(damagedCount, 0, snapshot);
  }
}

/** Backs up once a day a registry in which an image comes and the one of the day before yesterday goes; what it was each day. */
async function days(place: BackupPlace, count: number): Promise<{ readonly snapshot: string; readonly dump: unknown }[]> {
  const { content } = source;
  const grants = await grantsOf(source);
  const push = grants("push", "test/daily");
  const id = await content.repositories.ensureId(push);
  const taken: { snapshot: string; dump: unknown }[] = [];
  const images: ReturnType<typeof putOf>[] = [];
  const name = `${place.shown} `;
  for (let day = 0; day < count; day++) {
    const blobs = [blobOf(`${name} config ${day} `), blobOf(`${name} layer ${day} `, 3000), blobOf(`${name} layer of all `, 3000)];
    for (const blob of blobs) await upload(content, push, blob);
    images.push(putOf(blobs, [`d${day}`], `${name}${day}`));
    await content.manifests.put(push, id, images[day]!);
    if (day >= 2) await content.manifests.delete(grants("delete", "test/daily"), id, images[day - 2]!.digest);
    clock.advance(DAY_MS);
    await content.garbage.collectLinks(1000);
    clock.advance(DAY_MS);
    await content.garbage.reclaimBytes(1000);
    taken.push({ snapshot: (await backUp(source, place)).snapshot, dump: await dumpOf(source.test.database) });
  }
  return taken;
}

it("keeps the newest, or those of some days, or both, and never none", () => {
  const names = [1, 2, 3, 4, 5].map((day) => snapshotNameOf(new Date(day * DAY_MS)));
  assert.deepEqual(keptOf(names, { newest: 2 }), names.slice(3));
  assert.deepEqual(keptOf(names, { newest: 9 }), names);
  assert.deepEqual(keptOf(names, { since: new Date(3 * DAY_MS) }), names.slice(2));
  assert.deepEqual(keptOf(names, { newest: 4, since: new Date(3 * DAY_MS) }), names.slice(1));
  assert.deepEqual(keptOf(names, { newest: 1, since: new Date(3 * DAY_MS) }), names.slice(2));
  assert.deepEqual(keptOf(names, { since: new Date(9 * DAY_MS) }), names.slice(4));
});

it("forgets snapshots and the bytes that only they needed, and every one that stays can be restored", async () => {
  const place = newPlace();
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
  // The moment in between belongs to the older of the two.
  const at = new Date(
    Date.parse((await checkBackup({ place, snapshot: taken[4]!.snapshot, parallel: 4, onProgress: () => undefined })).takenAt) - 1,
  );
  assert.equal(
    (await checkBackup({ place, snapshot: undefined, at, parallel: 4, onProgress: () => undefined })).snapshot,
    taken[3]!.snapshot,
  );
  const early = new Date(at.getTime() - 30 * DAY_MS);
  await assert.rejects(checkBackup({ place, snapshot: undefined, at: early, parallel: 4, onProgress: () => undefined }), /the oldest is/);
  // What follows copies what is not there any more, and nothing else.
  await assertWhole(place, [(await backUp(source, place)).snapshot]);
});

/** Ends like a process does: from the step on, nothing happens any more. */
function cutAt(place: BackupPlace, step: number): BackupPlace & { readonly steps: () => number } {
  let steps = 0;
  const counted = async <T>(work: () => Promise<T>): Promise<T> => {
    if (++steps >= step) throw new Error("cut off");
    return work();
  };
  return {
    ...place,
    steps: () => steps,
    // A file at a time, as a crash in the middle of a batch leaves it.
    delete: async (names) => {
      for (const name of names) await counted(() => place.delete([name]));
    },
    write: (name, body) => counted(() => place.write(name, body)),
    sync: () => counted(() => place.sync()),
  };
}

it("leaves every snapshot that stays whole wherever it is cut off, and ends the work when it is run again", async () => {
  const place = newPlace();
  const taken = await days(place, 4);
  // What cut-off writes and a backup without an end leave.
  await place.write(tableName(snapshotNameOf(new Date(5)), "blob"), [Buffer.from("half")] as never);
  await place.write("tmp/half", [Buffer.from("half")] as never);
  const kept = taken.slice(3).map(({ snapshot }) => snapshot);
  let step = 1;
  for (; ; step++) {
    const cut = cutAt(place, step);
    const isDone = await prune(cut, { newest: 1 }).then(
      () => true,
      () => false,
    );
    // Also those that are to go, as long as they are there.
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
});

it("keeps backups and prunings apart, and believes that one is gone when it has been silent", async () => {
  const place = newPlace();
  await days(place, 2);
  const backup = await takeTurn(place, "backup", clock);
  await assert.rejects(prune(place, { newest: 1 }), /a backup is under way/);
  // Backups do not disturb each other.
  await backUp(source, place);
  clock.advance(11 * 60_000);
  await prune(place, { newest: 1 });
  await assert.rejects(backup.check(), /another work has begun there/);
  await backup.end();
  const pruning = await takeTurn(place, "prune", clock);
  await assert.rejects(backUp(source, place), /a pruning is under way/);
  // One that was cut off does not keep the next one waiting.
  await prune(place, { newest: 1 });
  await assert.rejects(pruning.check(), /another work has begun there/);
  await pruning.end();
  await backUp(source, place);
  assert.deepEqual(
    (await filesOf(place)).filter((name) => name.startsWith("turns/")),
    [],
  );
});

it("makes no snapshot under a pruning that took it for gone", async () => {
  for (const moment of ["before the manifest", "after the manifest"]) {
    const place = newPlace();
    const [first] = await days(place, 1);
    let isPruned = false;
    const late: BackupPlace = {
      ...place,
      async write(name, body) {
        const isManifest = name.endsWith("/manifest.json");
        const pruneNow = async (): Promise<void> => {
          clock.advance(11 * 60_000);
          await prune(openDirectoryPlace(place.shown), { newest: 1 });
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

it("deletes nothing while a snapshot that is to stay cannot be read", async () => {
  const place = newPlace();
  const taken = await days(place, 2);
  const newest = taken[1]!.snapshot;
  const file = join(place.shown, tableName(newest, "blob"));
  await writeFile(file, "no table");
  const before = await filesOf(place);
  await assert.rejects(prune(place, { newest: 1 }));
  assert.deepEqual(await filesOf(place), before);
  // The other way round it may go, damaged as it is.
  await place.delete([manifestName(newest)]);
  assert.equal((await prune(place, { newest: 1 })).keptSnapshots[0], taken[0]!.snapshot);
  await assertWhole(place, [taken[0]!.snapshot]);
});
