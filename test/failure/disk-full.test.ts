// A completely full disk, under the database, under the blobs, and under both: writes fail with a code that says so, reads continue,
// deletions and collection free space, and with space everything recovers by itself. Not here: other faults of disks (disk-lost.test.ts).
import assert from "node:assert/strict";
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { it, type TestContext } from "node:test";
import { digestOf } from "@berth/oci/digest";
import { skipOrThrow } from "../tools/install.ts";
import { temporaryFolder } from "../tools/processes.ts";
import { type Answer, type AuditedServer, makeImage, startAudited } from "./audited-session.ts";
import { PASSWORD, runRole } from "./server-process.ts";
import { mountSmallDisk, type SmallDisk } from "./small-disk.ts";

const MIB = 1024 * 1024;
// Twice the database's reserve (16 MiB), the reserve itself, and the images.
const DISK_MIB = 100;
/** The shortest times for collection that still leave time for a push between two steps. */
const EAGER = { "gc.leaseSeconds": "5s", "gc.graceSeconds": "0s", "gc.intervalSeconds": "1s" };

async function withDisk(t: TestContext, run: (disk: SmallDisk, elsewhere: string) => Promise<void>): Promise<void> {
  const disk = await mountSmallDisk(DISK_MIB).catch((error: unknown) => skipOrThrow(t, error));
  if (disk === undefined) return;
  const elsewhere = await temporaryFolder("elsewhere");
  try {
    await run(disk, elsewhere);
  } finally {
    await disk.close();
    await rm(elsewhere, { recursive: true, force: true });
  }
}

async function createProject(server: AuditedServer, name: string): Promise<Answer> {
  return server.send("POST", "/api/v1/projects", { body: JSON.stringify({ name }), type: "application/json" });
}

async function createRobot(server: AuditedServer, name: string): Promise<Answer> {
  const body = JSON.stringify({ name, scopes: [{ repositories: "full/**", actions: ["pull"] }] });
  return server.send("POST", "/api/v1/projects/full/robots", { body, type: "application/json" });
}

/** Files below a directory, also where it was never made. */
async function filesBelow(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

/** Every kind of write, on a full disk: it either succeeds, and then for good, or is refused as STORAGE_FULL. */
async function writeEverything(server: AuditedServer, session: string, known: ReturnType<typeof makeImage>): Promise<Map<string, Answer>> {
  const type = "application/octet-stream";
  const image = makeImage("full/new", "v1", 700_000);
  const small = Buffer.from("a small blob for the database");
  const writes: readonly (readonly [string, () => Promise<Answer>])[] = [
    ["chunk", () => server.send("PATCH", session, { body: Buffer.alloc(2 * MIB, 1), type })],
    [
      "blob in one request",
      () => server.send("POST", `/v2/full/app/blobs/uploads/?digest=${digestOf(image.layer)}`, { body: image.layer, type }),
    ],
    ["small blob", () => server.send("POST", `/v2/full/app/blobs/uploads/?digest=${digestOf(small)}`, { body: small, type })],
    ["upload start", () => server.send("POST", "/v2/full/app/blobs/uploads/")],
    ["mount", () => server.send("POST", `/v2/full/other/blobs/uploads/?mount=${digestOf(known.layer)}&from=full/app`)],
    ["tag", () => server.putManifest({ ...known, tag: "another" })],
    ["finish", () => server.send("PUT", `${session}?digest=${digestOf(Buffer.alloc(10))}`)],
    ["project", () => createProject(server, "another")],
    ["robot", () => createRobot(server, "another")],
  ];
  const answers = new Map<string, Answer>();
  for (const [what, write] of writes) {
    const answer = await write();
    answers.set(what, answer);
    // 400: the session's bytes are not those of the digest, which is known without writing.
    assert.ok(answer.status < 300 || answer.code === "STORAGE_FULL" || (what === "finish" && answer.status === 400), answer.text);
    if (answer.code === "STORAGE_FULL") assert.equal(answer.status, 507);
  }
  return answers;
}

for (const full of ["both", "the database", "the blobs"] as const) {
  it(`goes through a full disk under ${full}`, (t) =>
    withDisk(t, async (disk, elsewhere) => {
      const data = join(full === "the blobs" ? elsewhere : disk.path, "berth");
      const blobs = join(full === "the database" ? elsewhere : disk.path, "content");
      const settings = { data, "storage.filesystem.directory": blobs, ...EAGER };
      let server = await startAudited({ settings });
      try {
        assert.equal((await createProject(server, "full")).status, 201);
        assert.equal((await createRobot(server, "goes")).status, 201);
        const kept = makeImage("full/app", "kept", 3 * MIB);
        const deleted = makeImage("full/app", "deleted", 6 * MIB);
        await server.push(kept);
        await server.push(deleted);
        const begun = await server.send("POST", "/v2/full/app/blobs/uploads/");
        const session = begun.headers.get("location")!;
        const chunk = await server.send("PATCH", session, { body: Buffer.alloc(300_000, 7), type: "application/octet-stream" });
        assert.equal(chunk.status, 202, chunk.text);

        disk.fill();
        // The log may have some space left in its last pages: until it is used, writes succeed.
        if (full !== "the blobs")
          await server.until(
            "a full database",
            async () => (await server.send("POST", "/v2/full/app/blobs/uploads/")).code === "STORAGE_FULL",
          );
        const answers = await writeEverything(server, session, kept);
        for (const what of full === "the blobs" ? ["chunk", "blob in one request"] : answers.keys())
          assert.equal(answers.get(what)!.code, "STORAGE_FULL", `${what}: ${answers.get(what)!.text}`);

        // Reads and sign-in still work, and readiness reports the problem without taking the server out of service.
        await server.pull(kept);
        await server.pull(deleted);
        assert.equal((await server.send("GET", "/v2/full/app/tags/list")).status, 200);
        assert.equal((await server.send("GET", "/token?service=berth&scope=repository:full/app:pull,push")).status, 200);
        // The refused writes above have freed their bytes.
        disk.fill();
        const told = { database: full === "the blobs" ? "ok" : "STORAGE_FULL", store: full === "the database" ? "ok" : "STORAGE_FULL" };
        // A busy machine may be too slow for one probe.
        await server.until(`readiness says ${JSON.stringify(told)}`, async () => {
          const { status, state, checks } = await server.readiness();
          return status === 200 && state === "full" && checks["database"] === told.database && checks["store"] === told.store;
        });

        // Operations that free space, or revoke rights, succeed.
        assert.equal((await server.send("DELETE", `/v2/full/app/manifests/${deleted.digest}`)).status, 202);
        assert.equal((await server.send("DELETE", "/api/v1/projects/full/robots/goes")).status, 204);
        const cancelled = await server.send("DELETE", session);
        assert.ok(cancelled.status === 204 || cancelled.code === "BLOB_UPLOAD_UNKNOWN", cancelled.text);
        const hex = digestOf(deleted.layer).slice("sha256:".length);
        await server.until("collection", async () => !(await filesBelow(blobs)).some((file) => file.includes(hex)));
        let faults = await server.audit();

        // It starts on the full disk, and still deletes.
        disk.fill();
        await server.kill();
        server = await startAudited({ settings });
        await server.pull(kept);
        assert.equal((await server.send("DELETE", "/v2/full/app/manifests/deleted")).status, 404);
        const tag = await server.send("DELETE", "/v2/full/app/manifests/kept");
        assert.equal(tag.status, 202, tag.text);

        // With space everything recovers by itself.
        disk.free();
        await server.until("readiness", async () => (await server.readiness()).state === "ok");
        const later = makeImage("full/app", "later", 2 * MIB);
        await server.push(later);
        assert.equal((await server.putManifest(kept)).status, 201);
        await server.pull(later);
        await server.pull(kept);
        faults += await server.audit();
        t.diagnostic(`${faults} answers of 5xx, each with its cause in the log`);

        // Nothing partial stays: no upload, and only the bytes of the two layers.
        await server.until("an empty place for uploads", async () => (await filesBelow(join(blobs, "uploads"))).length === 0);
        await server.until("only what is used", async () => (await filesBelow(join(blobs, "blobs"))).length === 2);
        await server.stop();
        const doctor = await runRole(["doctor", "--deep"], settings);
        assert.equal(doctor.code, 0, doctor.stdout + doctor.stderr);
      } finally {
        await server.kill();
      }
    }));
}

it("disk full: says why it does not start, or migrate, on a full disk, and does so once there is room", (t) =>
  withDisk(t, async (disk) => {
    const data = join(disk.path, "berth");
    const settings = { data };
    disk.fill();
    const withoutRoom = await runRole(["serve"], { ...settings, "http.listen": "127.0.0.1:0", "auth.adminPassword": PASSWORD });
    assert.equal(withoutRoom.code, 1, withoutRoom.stderr);
    assert.match(withoutRoom.stderr, /(?:no space left|disk is full|storage is full).*32\.0 MiB/i);
    assert.doesNotMatch(withoutRoom.stderr, /^\s+at /m);
    disk.free();
    let server = await startAudited({ settings });
    const image = makeImage("library/app", "v1", 200_000);
    try {
      await server.push(image);
      await server.stop();
      // A step that was taken back is applied again: on the full disk it succeeds completely, with the reserve, or not at all.
      const down = await runRole(["migrate", "--to", "3", "--yes"], settings);
      assert.equal(down.code, 0, down.stderr);
      disk.fill();
      const up = await runRole(["migrate"], settings);
      if (up.code !== 0) assert.match(up.stderr, /full/);
      disk.free();
      server = await startAudited({ settings });
      await server.pull(image);
    } finally {
      await server.kill();
    }
  }));

it("disk full: leaves a backup whole or not there at all when its place is full", (t) =>
  withDisk(t, async (disk, elsewhere) => {
    const settings = { data: join(elsewhere, "berth") };
    const server = await startAudited({ settings });
    const place = join(disk.path, "backup");
    try {
      const first = makeImage("library/app", "v1", MIB);
      await server.push(first);
      assert.equal((await runRole(["backup", place], settings)).code, 0);
      const second = makeImage("library/app", "v2", MIB);
      await server.push(second);
      disk.fill();
      const failed = await runRole(["backup", place], settings);
      assert.equal(failed.code, 2, failed.stdout + failed.stderr);
      assert.match(failed.stdout + failed.stderr, /full|no space/i);
      // The older one is as good as it was.
      const before = await runRole(["restore", place, "--check"], settings);
      assert.equal(before.code, 0, before.stdout + before.stderr);
      disk.free();
      assert.equal((await runRole(["backup", place], settings)).code, 0);
      const checked = await runRole(["restore", place, "--check"], settings);
      assert.equal(checked.code, 0, checked.stdout + checked.stderr);
      assert.deepEqual(await filesBelow(join(place, "tmp")), []);
    } finally {
      await server.kill();
    }
  }));
