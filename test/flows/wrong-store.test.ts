// Database and store are bound to each other: no mistyped or lost one is taken for the registry's own, neither at a start nor while it
// runs. Not here: a start with an unreachable store (test/failure).
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { cp, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { codeOf, during, ENGINES, flagsOf, makePostgres, makeSqlite, until } from "./engines.testing.ts";
import { expectCode } from "./program.testing.ts";
import { startTestRegistry, type TestRegistry } from "./registry.testing.ts";

const push = (registry: TestRegistry): Promise<Response> => registry.send("POST", "/v2/library/app/blobs/uploads/");
const readiness = async (registry: TestRegistry): Promise<number> => (await registry.send("GET", "/readyz", { anonymous: true })).status;
const markOf = async (content: string): Promise<string> =>
  (JSON.parse(await readFile(join(content, "berth-store.json"), "utf8")) as { id: string }).id;

for (const engine of ENGINES) {
  describe(`on ${engine.name}`, { skip: engine.skip }, () => {
    it("does not start on another registry's store, and nothing is taken for damaged", async (t) => {
      const [one, other] = [await engine.make(t), await engine.make(t)];
      const image = await during(one.settings, (registry) => registry.pushImage("library/app", "v1"));
      await during(other.settings, (registry) => registry.pushImage("library/app", "v1"));
      const mixed = { ...one.settings, "storage.filesystem.directory": other.content };
      const ids = new RegExp(`${await markOf(other.content)}.*${await markOf(one.content)}`);
      await assert.rejects(startTestRegistry(mixed), ids);
      for (const args of [
        ["doctor", "--repair"],
        ["backup", join(one.settings["data"]!, "backup")],
      ])
        assert.match((await expectCode(2, [...args, ...flagsOf(mixed)])).stderr, ids);
      assert.match((await expectCode(1, ["gc", ...flagsOf(mixed)])).stderr, ids);
      await during(one.settings, async (registry) => {
        assert.equal((await registry.send("GET", `/v2/library/app/blobs/${image.layerDigest}`)).status, 200);
      });
    });

    it("makes no new registry beside a store that belongs to one, and leaves the empty database empty", async (t) => {
      const [one, empty] = [await engine.make(t), await engine.make(t)];
      // All content is in the database: the store holds only the mark.
      await during(one.settings, (registry) => registry.pushImage("library/app", "v1", 100));
      const mixed = { ...empty.settings, "storage.filesystem.directory": one.content };
      await assert.rejects(startTestRegistry(mixed), /The database is empty, but the store .* belongs to a registry/);
      // Also the store of an older registry, which has no mark.
      await rm(join(one.content, "berth-store.json"));
      const old = await engine.make(t);
      await during(old.settings, (registry) => registry.pushImage("library/app", "v1"));
      await rm(join(old.content, "berth-store.json"));
      await assert.rejects(
        startTestRegistry({ ...mixed, "storage.filesystem.directory": old.content }),
        /The database is empty, but the store .* is not/,
      );
      // A restore only accepts an empty target.
      const place = join(one.settings["data"]!, "backup");
      await expectCode(0, ["store", "adopt", "--yes", ...flagsOf(one.settings)]);
      await expectCode(0, ["backup", place, ...flagsOf(one.settings)]);
      assert.match((await expectCode(2, ["restore", place, ...flagsOf(mixed)])).stderr, /belongs to the registry/);
      await expectCode(0, ["restore", place, ...flagsOf(empty.settings)]);
      await during(empty.settings, async (registry) => {
        assert.equal((await registry.send("GET", "/v2/library/app/manifests/v1")).status, 200);
      });
      assert.notEqual(await markOf(empty.content), await markOf(one.content));
    });

    it("takes over what a registry of before the marks had, and no store that lacks its blobs", async (t) => {
      const [one, other] = [await engine.make(t), await engine.make(t)];
      await during(one.settings, (registry) => registry.pushImage("library/app", "v1"));
      await during(other.settings, (registry) => registry.pushImage("library/app", "v1"));
      for (const { sql, content } of [one, other]) {
        await sql("delete from job_lease where name = 'store'");
        await rm(join(content, "berth-store.json"));
      }
      await assert.rejects(
        startTestRegistry({ ...one.settings, "storage.filesystem.directory": other.content }),
        /None of the database's 1 newest blobs is there/,
      );
      await during(one.settings, async () => undefined);
      await markOf(one.content);
      // A dump from before the mark.
      await one.sql("delete from job_lease where name = 'store'");
      await during(one.settings, async () => undefined);
    });

    it("adopts a store only when told, and another registry's only by its name", async (t) => {
      const [one, other] = [await engine.make(t), await engine.make(t)];
      const image = await during(one.settings, (registry) => registry.pushImage("library/app", "v1"));
      await during(other.settings, async () => undefined);
      // Copied without the mark.
      await rm(join(one.content, "berth-store.json"));
      await assert.rejects(startTestRegistry(one.settings), /does not bear its mark/);
      const asked = await expectCode(1, ["store", "adopt", ...flagsOf(one.settings)]);
      assert.match(asked.stderr, /bears no mark; .*belongs to [\da-f-]{36}.*1 are there.*Nothing was changed/s);
      await expectCode(0, ["store", "adopt", "--yes", ...flagsOf(one.settings)]);
      await during(one.settings, async (registry) => {
        assert.equal((await registry.send("GET", `/v2/library/app/blobs/${image.layerDigest}`)).status, 200);
      });
      const mixed = flagsOf({ ...one.settings, "storage.filesystem.directory": other.content });
      const foreign = await markOf(other.content);
      assert.ok((await expectCode(1, ["store", "adopt", "--yes", ...mixed])).stderr.includes(`--replace ${foreign}`));
      await expectCode(0, ["store", "adopt", "--yes", "--replace", foreign, ...mixed]);
      assert.equal(await markOf(other.content), await markOf(one.content));
      await assert.rejects(startTestRegistry(other.settings), /belongs to the registry/);
      // Everything is lost, including the directory: it is created again, and pushes heal its content.
      await rm(one.content, { recursive: true });
      await expectCode(0, ["store", "adopt", "--yes", ...flagsOf(one.settings)]);
      await during(one.settings, async (registry) => {
        assert.equal((await registry.send("GET", `/v2/library/app/blobs/${image.layerDigest}`)).status, 500);
        await registry.pushBlob("library/app", image.layer);
        assert.equal((await registry.send("GET", `/v2/library/app/blobs/${image.layerDigest}`)).status, 200);
      });
    });

    it("notices a store that is exchanged while it runs, before anything is taken for damaged", async (t) => {
      const [one, other] = [await engine.make(t), await engine.make(t)];
      await during(other.settings, async () => undefined);
      await during({ ...one.settings, "storage.hotCacheBytes": "0" }, async (registry) => {
        const image = await registry.pushImage("library/app", "v1");
        const pull = (): Promise<Response> => registry.send("GET", `/v2/library/app/blobs/${image.layerDigest}`);
        const aside = `${one.content}-aside`;
        await rename(one.content, aside);
        await cp(other.content, one.content, { recursive: true });
        assert.equal(await codeOf(await pull()), "503 STORAGE_FOREIGN");
        await until("not ready", async () => (await readiness(registry)) === 503);
        await assert.rejects(registry.pushBlob("library/app", randomBytes(100_000)));
        assert.deepEqual((await readdir(join(one.content, "blobs"))).length, 0, "something was written into another registry's store");
        await rm(one.content, { recursive: true });
        await rename(aside, one.content);
        await until("ready", async () => (await readiness(registry)) === 200);
        assert.equal((await pull()).status, 200);
        await registry.pushBlob("library/app", randomBytes(100_000));
      });
    });
  });
}

it("wrong store: refuses a place of backups that is a store", async (t) => {
  const one = await makeSqlite(t);
  await during(one.settings, (registry) => registry.pushImage("library/app", "v1"));
  for (const args of [
    ["backup", one.content],
    ["backup", "prune", one.content, "--keep", "1", "--yes"],
  ])
    assert.match((await expectCode(2, [...args, ...flagsOf(one.settings)])).stderr, /is the blob store of a registry/);
});

it("wrong store: keeps a second replica from a directory that is not the one that the first uses", { skip: ENGINES[1].skip }, async (t) => {
  const [one, apart] = [await makePostgres(t), await makeSqlite(t)];
  const second = { ...one.settings, data: apart.settings["data"], "storage.filesystem.directory": apart.content };
  await during(one.settings, async (registry) => {
    // The store is still empty, so no blob could show the mistake. An empty directory counts as an unmounted disk.
    await during(second, async (replica) => {
      // Once it knows that the other replica, which is probed as well, reaches the store.
      await until("not ready", async () => (await readiness(registry)) === 200 && (await readiness(replica)) === 503);
      await assert.rejects(replica.pushBlob("library/app", randomBytes(100_000)));
    });
    assert.ok(!existsSync(apart.content));
    await registry.pushImage("library/app", "v1");
  });
  // Both at their very first start.
  const [two, also] = [await makePostgres(t), await makeSqlite(t)];
  const both = [two.settings, { ...two.settings, data: also.settings["data"], "storage.filesystem.directory": also.content }];
  const started = await Promise.allSettled(both.map((settings) => startTestRegistry(settings)));
  const running = started.flatMap((each) => (each.status === "fulfilled" ? [each.value] : []));
  const pushes = await Promise.allSettled(running.map((each) => each.pushBlob("library/app", randomBytes(100_000))));
  for (const each of running) await each.stop();
  assert.equal(pushes.filter(({ status }) => status === "fulfilled").length, 1);
  assert.equal([two.content, also.content].filter((content) => existsSync(join(content, "berth-store.json"))).length, 1);
});

it(
  "writes nothing into tables that are gone, or another registry's, and goes on when its own are back",
  { skip: ENGINES[1].skip },
  async (t) => {
    const one = await makePostgres(t);
    await during(one.settings, async (registry) => {
      await registry.pushImage("library/app", "v1");
      await one.sql("alter schema public rename to aside; create schema public");
      await until("not ready", async () => (await readiness(registry)) === 503);
      await until("refused", async () => (await codeOf(await push(registry))) === "503 STORAGE_FOREIGN");
      // Somebody creates a new registry where the tables were.
      const fresh = await makeSqlite(t);
      await during({ ...one.settings, data: fresh.settings.data, "storage.filesystem.directory": fresh.content }, async (other) => {
        await other.pushImage("library/app", "v2");
        assert.equal(await readiness(registry), 503);
        assert.equal(await codeOf(await push(registry)), "503 STORAGE_FOREIGN");
      });
      await one.sql("drop schema public cascade; alter schema aside rename to public");
      await until("ready", async () => (await readiness(registry)) === 200);
      await registry.pushImage("library/app", "v3");
    });
  },
);

it("wrong store: acknowledges nothing that would lie in a database file without a name", async (t) => {
  const one = await makeSqlite(t);
  const file = join(one.settings.data, "berth.db");
  await during(one.settings, async (registry) => {
    await registry.pushImage("library/app", "v1");
    const parts = ["", "-wal", "-shm"];
    for (const part of parts) await rename(`${file}${part}`, `${file}-moved${part}`);
    await until("not ready", async () => (await readiness(registry)) === 503);
    assert.equal(await codeOf(await push(registry)), "503 STORAGE_FOREIGN");
    for (const part of parts) await rename(`${file}-moved${part}`, `${file}${part}`);
    await until("ready", async () => (await readiness(registry)) === 200);
    await registry.pushImage("library/app", "v2");
  });
  await rm(file);
  // The remains show that there was a registry.
  await assert.rejects(startTestRegistry(one.settings), /The database is empty, but the store/);
});
