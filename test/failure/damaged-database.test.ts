// A damaged SQLite file: the server refuses to start and says what to do, or answers with one code and writes nothing more; intact content
// is still served, and wrong bytes never are. A truncated log is an older state, complete in itself. Not here: damaged blobs.
import assert from "node:assert/strict";
import { copyFile, cp, open, rm, stat, truncate } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { it } from "node:test";
import { temporaryFolder } from "../tools/processes.ts";
import { makeImage, startAudited } from "./audited-session.ts";
import { PASSWORD, runRole } from "./server-process.ts";

/** A page of SQLite's default size. */
const PAGE_BYTES = 4096;

async function overwrite(path: string, position: number, length: number): Promise<void> {
  await using file = await open(path, "r+");
  await file.write(Buffer.alloc(length, 0xa5), 0, length, position);
}

it("damaged database: refuses to start on a damaged file, or answers DATABASE_DAMAGED and writes nothing more", async (t) => {
  const folder = await temporaryFolder("damage");
  const data = join(folder, "data");
  const content = join(folder, "content");
  const settings = { data, "storage.filesystem.directory": content };
  const images = Array.from({ length: 20 }, (_, i) => makeImage("library/app", `v${i}`, 20_000, 3_000));
  let server = await startAudited({ settings });
  try {
    for (const image of images) await server.push(image);
    await server.stop();
    const database = new DatabaseSync(join(data, "berth.db"));
    const { rootpage } = database.prepare("select rootpage from sqlite_schema where name = 'tag'").get() as { rootpage: number };
    database.exec("pragma wal_checkpoint(truncate)");
    database.close();
    const whole = join(folder, "whole");
    await cp(data, whole, { recursive: true });
    const file = join(data, "berth.db");
    const { size } = await stat(file);

    const refused: readonly (readonly [string, () => Promise<void>])[] = [
      ["a header that is none", () => overwrite(file, 0, 100)],
      ["a file cut in half", () => truncate(file, Math.floor(size / 2 / PAGE_BYTES) * PAGE_BYTES)],
    ];
    for (const [what, damage] of refused) {
      await rm(data, { recursive: true });
      await cp(whole, data, { recursive: true });
      await damage();
      const ended = await runRole(["serve"], { ...settings, "http.listen": "127.0.0.1:0", "auth.adminPassword": PASSWORD });
      assert.equal(ended.code, 1, `${what}: ${ended.stderr}`);
      assert.match(ended.stderr, /damaged/, what);
      assert.match(ended.stderr, /docs\/guide\/backup\.md/, what);
      assert.doesNotMatch(ended.stderr, /^\s+at /m, what);
    }

    await rm(data, { recursive: true });
    await cp(whole, data, { recursive: true });
    await overwrite(file, (rootpage - 1) * PAGE_BYTES, PAGE_BYTES);
    server = await startAudited({ settings });
    // Intact content is served before and after the damage is known.
    await server.pull(images[0]!);
    const byTag = await server.send("GET", "/v2/library/app/manifests/v3");
    assert.deepEqual([byTag.status, byTag.code], [500, "DATABASE_DAMAGED"]);
    for (const image of images) await server.pull(image);
    const write = await server.pushBlob("library/app", Buffer.from("more"));
    assert.deepEqual([write.status, write.code], [500, "DATABASE_DAMAGED"]);
    // This also holds for writes that would only touch intact pages.
    const begin = await server.send("POST", "/v2/library/app/blobs/uploads/");
    assert.deepEqual([begin.status, begin.code], [500, "DATABASE_DAMAGED"]);
    const ready = await server.send("GET", "/readyz");
    assert.equal(ready.status, 503);
    assert.match(ready.bytes.toString(), /"database":"DATABASE_DAMAGED"/);
    t.diagnostic(`${await server.audit()} answers of 5xx, each with its cause in the log`);
    // Doctor reports the same.
    const doctor = await runRole(["doctor"], settings);
    assert.notEqual(doctor.code, 0);
    assert.match(doctor.stdout + doctor.stderr, /malformed|damaged|engine/);
  } finally {
    await server.kill();
    await rm(folder, { recursive: true, force: true });
  }
});

it("damaged database: takes a log that lost its end, or whose middle rotted, for an older state that is whole", async () => {
  const folder = await temporaryFolder("damage");
  const data = join(folder, "data");
  const settings = { data, "storage.filesystem.directory": join(folder, "content") };
  let server = await startAudited({ settings });
  try {
    const images = Array.from({ length: 12 }, (_, i) => makeImage("library/app", `v${i}`, 20_000));
    for (const image of images) await server.push(image);
    await server.kill();
    const log = join(data, "berth.db-wal");
    const whole = join(folder, "log");
    await copyFile(log, whole);
    await copyFile(join(data, "berth.db"), join(folder, "file"));
    const { size } = await stat(log);
    for (const damage of [() => truncate(log, Math.floor(size * 0.6) + 11), () => overwrite(log, Math.floor(size / 2), 50)]) {
      await copyFile(join(folder, "file"), join(data, "berth.db"));
      await copyFile(whole, log);
      await damage();
      server = await startAudited({ settings });
      let known = 0;
      for (const image of images) {
        const answer = await server.send("HEAD", `/v2/library/app/manifests/${image.digest}`);
        if (answer.status === 404) continue;
        await server.pull(image);
        known++;
      }
      assert.ok(known > 0 && known < images.length, `${known} of ${images.length} images are known`);
      // Lost content is pushed again, as if it had never existed.
      for (const image of images) await server.push(image);
      for (const image of images) await server.pull(image);
      await server.audit();
      const doctor = await runRole(["doctor", "--deep"], settings);
      assert.equal(doctor.code, 0, doctor.stdout);
      await server.kill();
    }
  } finally {
    await server.kill();
    await rm(folder, { recursive: true, force: true });
  }
});
