// Backups and restores whose place pauses, fails or changes in the middle of the tables: no transaction waits for it, restored rows stay
// and the restore continues after them, and wrong data is never restored. Not here: blobs, and the normal course (backup.test.ts).
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, it } from "node:test";
import { setImmediate, setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { zstdCompress, zstdDecompress } from "node:zlib";
import { RegistryError } from "@berth/oci/errors";
import { blobOf, putOf, upload, inRepository } from "../../content/content.testing.ts";
import { interceptDatabase, type Hook } from "../../content/intercept.testing.ts";
import { forEachDatabase, type TestDatabase } from "../../platform/database/databases.testing.ts";
import { statement } from "../../platform/database/statement.ts";
import { StartupError } from "../../platform/startup-error.ts";
import type { BackupPlace } from "./backup-place.ts";
import { backUp, createFolder, createSite, dumpOf, grantsOf, restoreTo, type TestSite } from "./backup.testing.ts";
import { openDirectoryPlace } from "./directory-place.ts";
import { findFilling, refuseHalfRestored } from "./restore-store.ts";

/** Longer than a transaction may be idle on PostgreSQL (10 s). */
const PAUSE_MS = 11_500;
/** More than two of the batches in which rows are restored. */
const HISTORY = 1_300;

const says =
  (pattern: RegExp) =>
  (error: unknown): boolean =>
    error instanceof StartupError && pattern.test(error.message);

// Without the store's id, which every registry has.
const listWords = statement<Record<never, never>>()("test.words", (db) =>
  db.selectFrom("job_lease").select("name").where("name", "<>", "store"),
);

forEachDatabase("a place", (create, dialect) => {
  const ends: (() => Promise<void>)[] = [];
  let source: TestSite;
  let place: BackupPlace;

  async function site(options?: { migrated: boolean }): Promise<TestSite> {
    const test: TestDatabase = await create(options);
    ends.push(() => test.end());
    return createSite(test);
  }
  const emptySite = (): Promise<TestSite> => site({ migrated: false });

  before(async () => {
    const folder = await createFolder();
    ends.push(() => folder.end());
    place = openDirectoryPlace(join(folder.path, "place"));
    source = await site();
    const push = (await grantsOf(source))("push", "test/one");
    const id = (await source.content.repositories.ensure(push)).id;
    const blobs = [blobOf("config", 1), blobOf("layer ")];
    for (const blob of blobs) await upload(source.content, push, blob);
    await source.content.manifests.put(inRepository(push, id), putOf(blobs, ["v1"]));
    await source.test.database.script(
      `with recursive n (i) as (select 1 union all select i + 1 from n where i < ${HISTORY})
        insert into tag_history (repository_id, name, digest, account_id, at) select ${id}, 'old', null, null, i from n`,
    );
    await backUp(source, place);
  });
  after(async () => {
    for (const end of ends.toReversed()) await end();
  });

  /** The place, with `meet` called before each piece of a table's file that is read or written. */
  function metPlace(meet: (name: string, pass: "read" | "write", nth: number) => Promise<unknown>): BackupPlace {
    const times = new Map<string, number>();
    async function* met(name: string, pass: "read" | "write", body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, void> {
      if (!name.includes("/tables/")) return yield* body;
      const nth = (times.get(`${pass} ${name}`) ?? 0) + 1;
      times.set(`${pass} ${name}`, nth);
      for await (const piece of body) {
        await meet(name, pass, nth);
        yield piece;
      }
    }
    return {
      ...place,
      write: (name, body) => place.write(name, met(name, "write", body)),
      read: (name, sizeBytes) => met(name, "read", place.read(name, sizeBytes)),
    };
  }

  it("may pause for longer than a transaction may rest, while a backup is written and while it is read", async () => {
    // The embedded database ends no transaction: there it is enough that none waits for the place, which the guard of all tests checks.
    const pauseMs = dialect === "postgres" ? PAUSE_MS : 50;
    const target = await emptySite();
    let pauses = 0;
    const slow = metPlace(async (name, pass, nth) => {
      // A restore's first pass verifies, the second one fills.
      if (!name.includes("/tag_history.") || (pass === "read" && nth === 1)) return;
      pauses++;
      await sleep(pauseMs);
    });
    await Promise.all([backUp(source, slow), restoreTo(target, slow)]);
    assert.ok(pauses >= 2);
    assert.deepEqual(await dumpOf(target.test.database), await dumpOf(source.test.database));
  });

  it("is gone on with after a failure at any batch, before and after its commit", async () => {
    for (const [step, phase] of [
      ["restore.putFilling", "before"],
      ["restore.putFilling", "after"],
      ["commit", "after"],
    ] as const) {
      const target = await emptySite();
      let runs = 0;
      for (let isDone = false; !isDone; runs++) {
        let left = 2;
        let isFilling = false;
        const hook: Hook = async (at, where) => {
          isFilling ||= at === "restore.putFilling";
          if (at !== step || where !== phase || !isFilling || --left > 0) return;
          throw new RegistryError("UNAVAILABLE");
        };
        const database = interceptDatabase(target.test.database, hook, true);
        try {
          await restoreTo({ ...target, test: { ...target.test, database } }, place);
          isDone = true;
        } catch (error) {
          assert.ok(error instanceof RegistryError && error.code === "UNAVAILABLE", String(error));
        }
        if (!isDone && step !== "commit") await assert.rejects(refuseHalfRestored(target.test.database), says(/half restored/));
        // The failure comes after the very last commit: nothing is left to do.
        if (
          !isDone &&
          (await refuseHalfRestored(target.test.database).then(
            () => true,
            () => false,
          ))
        )
          break;
        assert.ok(runs < 100, "each run gets further");
      }
      assert.ok(runs >= 3, `${step}: ${runs} runs`);
      assert.deepEqual(await dumpOf(target.test.database), await dumpOf(source.test.database), `${step} ${phase}`);
      assert.deepEqual(await target.test.database.all(listWords, {}), []);
    }
  });

  it("that reads otherwise while tables are filled leaves nothing that looks restored, nor is gone on with", async () => {
    const target = await emptySite();
    const passes = new Map<string, number>();
    const changed: BackupPlace = {
      ...place,
      async *read(name, sizeBytes) {
        const pieces: Uint8Array[] = [];
        for await (const piece of place.read(name, sizeBytes)) pieces.push(Buffer.from(piece));
        const nth = (passes.get(name) ?? 0) + 1;
        passes.set(name, nth);
        if (!name.includes("/tag_history.") || nth === 1) return yield* pieces;
        const text = (await promisify(zstdDecompress)(Buffer.concat(pieces))).toString("utf8");
        assert.ok(text.includes('"old"'));
        yield await promisify(zstdCompress)(Buffer.from(text.replace('"old"', '"odd"')));
        // Only the end of the file shows that it has changed: by then the first batches are stored.
        while ((await findFilling(target.test.database, "tag_history")).rows < 1_000) await setImmediate();
      },
    };
    await assert.rejects(restoreTo(target, changed), says(/is damaged/));
    await assert.rejects(refuseHalfRestored(target.test.database), says(/half restored/));
    await assert.rejects(restoreTo(target, place), says(/rows that are in are not those of the backup/));
    await assert.rejects(refuseHalfRestored(target.test.database), says(/half restored/));
  });
});
