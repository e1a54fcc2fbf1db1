// A disk that becomes read-only, disappears, or denies access to the server, and a process without free descriptors: some operations
// continue, the rest is refused with a code that says so, nothing counts as lost, and everything recovers by itself after the fault. Not
// here: a full disk (disk-full.test.ts), wrong bytes (damaged-blobs.test.ts).
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { chmod, mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { it, type TestContext } from "node:test";
import { promisify } from "node:util";
import { digestOf } from "@berth/oci/digest";
import { cannotRunHere, findInPath, skipOrThrow } from "../tools/install.ts";
import { temporaryFolder } from "../tools/processes.ts";
import { type AuditedServer, makeImage, type SmallImage, startAudited } from "./audited-session.ts";
import { runRole } from "./server-process.ts";
import { mountExt4, mountSmallDisk } from "./small-disk.ts";

const run = promisify(execFile);
const MIB = 1024 * 1024;

async function untilReady(server: AuditedServer): Promise<void> {
  await server.until("readiness", async () => {
    const { status, checks } = await server.readiness();
    return status === 200 && checks["store"] !== "UNAVAILABLE";
  });
}

/** Waits until readiness says that the store is unavailable. That is 200 with the embedded database: no other replica would serve better. */
async function untilStoreIsAway(server: AuditedServer): Promise<void> {
  await server.until("readiness says that the store is away", async () => {
    const { status, checks } = await server.readiness();
    return status === 200 && checks["database"] === "ok" && checks["store"] === "UNAVAILABLE";
  });
}

/** Waits until readiness says this and nothing else: a busy machine's healthy half may be too slow for one probe. */
async function untilUnready(server: AuditedServer, checks: Readonly<Record<string, string>>): Promise<void> {
  await server.until(`readiness says ${JSON.stringify(checks)}`, async () => {
    const ready = await server.readiness();
    return ready.status === 503 && Object.entries(checks).every(([part, state]) => ready.checks[part] === state);
  });
}

/** The directory of the store in which a blob lies: one of 256. */
const shardOf = (bytes: Uint8Array): string => digestOf(bytes).slice("sha256:".length, "sha256:".length + 2);

/** Random bytes that are not in the same directory as others, so that a fault of that one does not affect them. */
function bytesApartFrom(others: Uint8Array, length: number): Buffer {
  for (;;) {
    const bytes = randomBytes(length);
    if (shardOf(bytes) !== shardOf(others)) return bytes;
  }
}

/** A write into the store, outside the directory of `apartFrom`, and one into the database alone. */
async function pushes(
  server: AuditedServer,
  apartFrom: Uint8Array = new Uint8Array(),
): Promise<{ readonly large: string | number; readonly small: string | number }> {
  const large = await server.pushBlob("library/app", bytesApartFrom(apartFrom, 100_000));
  const small = await server.pushBlob("library/app", randomBytes(20));
  return { large: large.code ?? large.status, small: small.code ?? small.status };
}

/** Reads blobs that must come from the store: no copy is in memory. */
async function pullOnce(server: AuditedServer, image: SmallImage): Promise<string | number> {
  const answer = await server.send("GET", `/v2/${image.repository}/blobs/${digestOf(image.layer)}`);
  return answer.code ?? answer.status;
}

async function fileOf(blobs: string, bytes: Uint8Array): Promise<string> {
  const hex = digestOf(bytes).slice("sha256:".length);
  const directory = join(blobs, "blobs", "sha256", shardOf(bytes));
  const name = (await readdir(directory)).find((each) => each.startsWith(hex));
  return join(directory, name!);
}

async function withServer(
  t: TestContext,
  settings: Readonly<Record<string, string>>,
  body: (server: AuditedServer) => Promise<void>,
  under: readonly string[] = [],
): Promise<void> {
  const server = await startAudited({ settings: { "storage.hotCacheBytes": "0", ...settings }, under });
  try {
    await body(server);
    t.diagnostic(`${await server.audit()} answers of 5xx, each with its cause in the log`);
  } finally {
    await server.kill();
  }
}

it("disk lost: serves on from a store that turned read-only, and writes again when it is writable", async (t) => {
  const disk = await mountSmallDisk(40).catch((error: unknown) => skipOrThrow(t, error));
  if (disk === undefined) return;
  const folder = await temporaryFolder("readonly");
  try {
    await withServer(t, { data: folder, "storage.filesystem.directory": join(disk.path, "content") }, async (server) => {
      const image = makeImage("library/app", "v1", 300_000);
      await server.push(image);
      await disk.remount("ro");
      await server.pull(image);
      assert.deepEqual(await pushes(server), { large: "UNAVAILABLE", small: 201 });
      await untilStoreIsAway(server);
      assert.equal((await server.send("DELETE", "/v2/library/app/manifests/v1")).status, 202);
      await disk.remount("rw");
      await untilReady(server);
      assert.deepEqual(await pushes(server), { large: 201, small: 201 });
      await server.pull(image);
    });
  } finally {
    await disk.close();
    await rm(folder, { recursive: true, force: true });
  }
});

it("disk lost: serves on from a database whose disk turned read-only under it, acknowledges nothing, and loses nothing", async (t) => {
  const disk = await mountExt4(64).catch((error: unknown) => skipOrThrow(t, error));
  if (disk === undefined) return;
  const folder = await temporaryFolder("readonly");
  const settings = { data: join(disk.path, "berth"), "storage.filesystem.directory": folder };
  try {
    const images = [makeImage("library/app", "v1", 300_000), makeImage("library/app", "v2", 10_000)];
    await withServer(t, settings, async (server) => {
      for (const image of images) await server.push(image);
      // As the kernel does when it finds the file system damaged, despite open files.
      await disk.turnReadOnly();
      for (const image of images) await server.pull(image);
      assert.deepEqual(await pushes(server), { large: "UNAVAILABLE", small: "UNAVAILABLE" });
      await untilUnready(server, { database: "UNAVAILABLE" });
      const removal = await server.send("DELETE", "/v2/library/app/manifests/v1");
      assert.equal(removal.code, "UNAVAILABLE", removal.text);
    });
    // Such a file system must be mounted again, and the server restarted with it.
    await disk.mountAgain();
    await withServer(t, settings, async (server) => {
      for (const image of images) await server.pull(image);
      assert.equal((await server.send("DELETE", "/v2/library/app/manifests/v1")).status, 202);
    });
  } finally {
    await disk.close();
    await rm(folder, { recursive: true, force: true });
  }
});

it("disk lost: takes nothing for lost while the store is not mounted, be it before the start or after", async (t) => {
  const folder = await temporaryFolder("unmounted");
  const blobs = join(folder, "content");
  const away = join(folder, "away");
  const settings = { data: join(folder, "data"), "storage.filesystem.directory": blobs };
  const image = makeImage("library/app", "v1", 300_000);
  // An unmounted disk leaves an empty directory.
  const unmount = async (): Promise<void> => {
    await rename(blobs, away);
    await mkdir(blobs);
  };
  const mount = async (): Promise<void> => {
    await rm(blobs, { recursive: true });
    await rename(away, blobs);
  };
  const isAway = async (server: AuditedServer): Promise<void> => {
    assert.equal(await pullOnce(server, image), "UNAVAILABLE");
    assert.equal((await server.send("GET", `/v2/library/app/blobs/${digestOf(image.config)}`)).status, 200, "it lies in the database");
    assert.equal((await pushes(server)).large, "UNAVAILABLE");
    await untilStoreIsAway(server);
    assert.deepEqual(await readdir(blobs), [], "nothing may be made where the disk belongs");
  };
  try {
    await withServer(t, settings, async (server) => {
      await server.push(image);
      await unmount();
      await isAway(server);
      await mount();
      await untilReady(server);
      await server.pull(image);
      assert.equal((await pushes(server)).large, 201);
    });
    await unmount();
    await withServer(t, settings, async (server) => {
      await isAway(server);
      await mount();
      await untilReady(server);
      await server.pull(image);
      assert.equal((await pushes(server)).large, 201);
    });
    const doctor = await runRole(["doctor", "--deep"], settings);
    assert.equal(doctor.code, 0, doctor.stdout + doctor.stderr);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

it("disk lost: says UNAVAILABLE of what it may not read or write, and takes nothing for damaged", async (t) => {
  const setpriv = findInPath("setpriv");
  if (process.getuid?.() !== 0 || setpriv === undefined) return t.skip(`${cannotRunHere}needs root and setpriv(1)`);
  const folder = await temporaryFolder("permissions");
  const blobs = join(folder, "content");
  // A root user to whom permissions apply: it owns the files, and nothing more.
  const under = [setpriv, "--bounding-set=-dac_override,-dac_read_search"];
  const settings = { data: join(folder, "data"), "storage.filesystem.directory": blobs };
  const image = makeImage("library/app", "v1", 300_000);
  let other = makeImage("library/app", "v2", 200_000);
  while (shardOf(other.layer) === shardOf(image.layer)) other = makeImage("library/app", "v2", 200_000);
  try {
    await withServer(
      t,
      settings,
      async (server) => {
        await server.push(image);
        await server.push(other);
        const file = await fileOf(blobs, image.layer);
        const places = [
          { path: file, image: "UNAVAILABLE", other: 200, push: 201 },
          { path: join(file, ".."), image: "UNAVAILABLE", other: 200, push: 201 },
          { path: join(blobs, "blobs"), image: "UNAVAILABLE", other: "UNAVAILABLE", push: "UNAVAILABLE" },
          { path: blobs, image: "UNAVAILABLE", other: "UNAVAILABLE", push: "UNAVAILABLE" },
        ];
        for (const place of places) {
          const { mode } = await stat(place.path);
          await chmod(place.path, 0);
          assert.equal(await pullOnce(server, image), place.image, place.path);
          assert.equal(await pullOnce(server, other), place.other, place.path);
          assert.equal((await pushes(server, image.layer)).large, place.push, place.path);
          if (place.path === blobs) await untilStoreIsAway(server);
          await chmod(place.path, mode & 0o7777);
          await untilReady(server);
          // Nothing was marked as damaged meanwhile.
          await server.pull(image);
          await server.pull(other);
        }
        assert.deepEqual(await pushes(server), { large: 201, small: 201 });
        assert.equal(await server.metric("berth_blob_damaged_reads_total"), 0);
      },
      under,
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

it("disk lost: outlives the lack of descriptors", async (t) => {
  const prlimit = findInPath("prlimit");
  if (prlimit === undefined) return t.skip(`${cannotRunHere}needs prlimit(1)`);
  const folder = await temporaryFolder("descriptors");
  const sockets: Socket[] = [];
  try {
    await withServer(t, { data: folder }, async (server) => {
      const image = makeImage("library/app", "v1", 2 * MIB);
      await server.push(image);
      // Lowered from outside, because the server accepts no more connections than the limit at its start allows.
      const spare = 20;
      const limit = (await readdir(`/proc/${server.pid}/fd`)).length + spare;
      await run(prlimit, [`--pid=${server.pid}`, `--nofile=${limit}:${limit}`]);
      const { hostname, port } = new URL(server.origin);
      for (let i = 0; i < 3 * spare; i++) {
        const socket = connect(Number(port), hostname);
        socket.on("error", () => undefined);
        sockets.push(socket);
        await Promise.race([once(socket, "connect"), once(socket, "close")]);
      }
      // Over the connection that our client holds, or not at all: what matters comes afterwards.
      for (let i = 0; i < 20; i++) {
        await pullOnce(server, image).catch(() => undefined);
        await pushes(server).catch(() => undefined);
        await server.send("GET", "/api/v1/projects").catch(() => undefined);
      }
      for (const socket of sockets) socket.destroy();
      await server.until("an answer", async () => (await server.send("GET", "/healthz").catch(() => undefined))?.status === 200);
      await untilReady(server);
      await server.pull(image);
      assert.deepEqual(await pushes(server), { large: 201, small: 201 });
      const projects = await server.send("GET", "/api/v1/projects");
      assert.equal(projects.status, 200, projects.text);
      assert.equal(await server.metric("berth_blob_damaged_reads_total"), 0);
    });
  } finally {
    for (const socket of sockets) socket.destroy();
    await rm(folder, { recursive: true, force: true });
  }
});
