// The data directory: private, held by one process at a time, freed by kill -9; secret files are private and whole.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it, type TestContext } from "node:test";
import { openDataDirectory } from "./data-directory.ts";
import { openSqlite } from "./database/sqlite.ts";
import { StartupError } from "./startup-error.ts";

async function temporary(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "berth-data-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

const isRefused = (path: string) => (error: unknown) =>
  error instanceof StartupError && error.message.includes(path) && error.message.includes("in use by another running server");

it("data directory: is made with its parents, private to the user", async (t) => {
  const path = join(await temporary(t), "a", "b");
  using cleanup = new DisposableStack();
  const directory = await openDataDirectory(path);
  cleanup.defer(() => directory.close());
  assert.equal((await stat(path)).mode & 0o777, 0o700);
  // A directory that was just created is not reported as readable by others.
  assert.deepEqual(directory.madePrivate, []);
});

it("data directory: holds a database that is private from its first byte, with its log and index", async (t) => {
  const path = await temporary(t);
  const database = await openSqlite({ path: join(path, "berth.db"), onBackgroundError: (error) => assert.fail(String(error)) });
  t.after(() => database.close());
  const names = await readdir(path);
  assert.ok(names.includes("berth.db-wal") && names.includes("berth.db-shm"), String(names));
  for (const name of names) assert.equal((await stat(join(path, name))).mode & 0o777, 0o600, name);
});

it("data directory: reports nothing that it makes itself", async (t) => {
  const path = await temporary(t);
  const open = join(path, "open");
  await mkdir(open);
  await chmod(open, 0o755);
  const directory = await openDataDirectory(open);
  t.after(() => directory.close());
  assert.deepEqual(directory.madePrivate, [open]);
});

it("data directory: takes the rights of others off what was there before", async (t) => {
  const path = await temporary(t);
  await chmod(path, 0o755);
  for (const name of ["berth.db", "berth.db-wal", "berth.db-shm", "secret-key", "admin-password"]) {
    await writeFile(join(path, name), "");
    await chmod(join(path, name), 0o644);
  }
  await mkdir(join(path, "content"), { mode: 0o750 });
  const directory = await openDataDirectory(path);
  t.after(() => directory.close());
  const modes = new Map<string, number>([["", (await stat(path)).mode & 0o777]]);
  for (const name of await readdir(path)) modes.set(name, (await stat(join(path, name))).mode & 0o777);
  for (const [name, mode] of modes) assert.equal(mode, name === "" ? 0o700 : name === "content" ? 0o750 : 0o600, name);
  assert.ok(directory.madePrivate.includes(path) && directory.madePrivate.includes(join(path, "berth.db")));
});

it("data directory: says nothing of files that a private directory kept from others", async (t) => {
  const path = await temporary(t);
  await chmod(path, 0o700);
  await writeFile(join(path, "berth.db"), "");
  await chmod(join(path, "berth.db"), 0o644);
  const directory = await openDataDirectory(path);
  t.after(() => directory.close());
  assert.equal((await stat(join(path, "berth.db"))).mode & 0o777, 0o600);
  assert.deepEqual(directory.madePrivate, []);
});

it("data directory: takes nothing from the owners of other things that lie in the directory", async (t) => {
  const path = await temporary(t);
  await chmod(path, 0o755);
  for (const name of ["passwd", "berth.yaml", "lock.db-notes.txt", "berth.db"]) {
    await writeFile(join(path, name), "");
    await chmod(join(path, name), 0o644);
  }
  await mkdir(join(path, "content"), { mode: 0o750 });
  const directory = await openDataDirectory(path);
  t.after(() => directory.close());
  const modeOf = async (name: string) => (await stat(join(path, name))).mode & 0o777;
  for (const name of ["passwd", "berth.yaml", "lock.db-notes.txt"]) assert.equal(await modeOf(name), 0o644, name);
  assert.equal(await modeOf("."), 0o755);
  for (const name of ["berth.db", "lock.db", "lock-owner"]) assert.equal(await modeOf(name), 0o600, name);
  assert.deepEqual(directory.madePrivate, [join(path, "berth.db")]);
});

it("data directory: leaves a volume to the group that it was handed over by", async (t) => {
  const path = await temporary(t);
  await writeFile(join(path, "berth.db"), "");
  await chmod(path, 0o2775);
  await chmod(join(path, "berth.db"), 0o664);
  const directory = await openDataDirectory(path);
  t.after(() => directory.close());
  assert.equal((await stat(path)).mode & 0o7777, 0o2770);
  assert.equal((await stat(join(path, "berth.db"))).mode & 0o777, 0o660);
});

it(
  "data directory: is refused where others may read it and that cannot be changed",
  { skip: process.getuid?.() !== 0 && "needs root" },
  async (t) => {
    const path = await temporary(t);
    await chmod(path, 0o777);
    await writeFile(join(path, "berth.db"), "");
    await chmod(join(path, "berth.db"), 0o644);
    // The process runs as another user, who may write there but owns nothing.
    const code = `process.setuid(65534); const { openDataDirectory } = await import(${JSON.stringify(new URL("data-directory.ts", import.meta.url).href)});
    await openDataDirectory(${JSON.stringify(path)}).then(() => console.log("opened"), (error) => console.log(error.name + ": " + error.message));`;
    const other = spawn(process.execPath, ["--input-type=module", "-e", code], { stdio: ["ignore", "pipe", "inherit"] });
    const [said] = (await once(other.stdout, "data")) as [Buffer];
    assert.match(said.toString(), /StartupError: Other users of this machine may read .*berth\.db/);
  },
);

it("data directory: is refused a second time in the same process, and free after close", async (t) => {
  const path = await temporary(t);
  const first = await openDataDirectory(path);
  await assert.rejects(openDataDirectory(path), isRefused(path));
  first.close();
  (await openDataDirectory(path)).close();
});

it("data directory: is held against other processes, and freed when the holder is killed", async (t) => {
  const path = await temporary(t);
  const code = `const { openDataDirectory } = await import(${JSON.stringify(new URL("data-directory.ts", import.meta.url).href)});
    globalThis.held = await openDataDirectory(${JSON.stringify(path)}); console.log("held"); setInterval(() => {}, 1000);`;
  const holder = spawn(process.execPath, ["--input-type=module", "-e", code], { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => holder.kill("SIGKILL"));
  await once(holder.stdout, "data");
  await assert.rejects(openDataDirectory(path), isRefused(path));
  holder.kill("SIGKILL");
  await once(holder, "exit");
  (await openDataDirectory(path)).close();
});

it("data directory: says what is wrong with a path that cannot be a directory or a lock", async (t) => {
  const directory = await temporary(t);
  const file = join(directory, "file");
  await writeFile(file, "");
  await assert.rejects(openDataDirectory(file), (error: unknown) => error instanceof StartupError && error.message.includes(file));
  await mkdir(join(directory, "other", "lock.db"), { recursive: true });
  await assert.rejects(openDataDirectory(join(directory, "other")), /Cannot use the data directory .*other: /);
});

it("data directory: keeps secrets in private whole files", async (t) => {
  const path = await temporary(t);
  const directory = await openDataDirectory(path);
  t.after(() => directory.close());
  await directory.putSecret("admin-password", "one");
  assert.equal((await stat(join(path, "admin-password"))).mode & 0o777, 0o600);
  await directory.putSecret("admin-password", "three");
  assert.equal(await readFile(join(path, "admin-password"), "utf8"), "three\n");
  assert.deepEqual(
    (await readdir(path)).filter((name) => name.endsWith(".tmp")),
    [],
  );
  for (const name of ["../x", "a/b", "", ".x", "lock.db"]) await assert.rejects(directory.putSecret(name, "x"), /not a secret file's name/);
});

it("data directory: leaves the old secret and no scraps when writing fails", async (t) => {
  const path = await temporary(t);
  const directory = await openDataDirectory(path);
  t.after(() => directory.close());
  await mkdir(join(path, "secret-key"));
  await assert.rejects(directory.putSecret("secret-key", "x"));
  assert.deepEqual(
    (await readdir(path)).filter((name) => name.endsWith(".tmp")),
    [],
  );
});
