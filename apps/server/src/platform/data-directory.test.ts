// The data directory: private, held by one process at a time, freed by kill -9; secret files are private and whole.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it, type TestContext } from "node:test";
import { openDataDirectory } from "./data-directory.ts";
import { StartupError } from "./startup-error.ts";

async function temporary(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "berth-data-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

const isRefused = (path: string) => (error: unknown) =>
  error instanceof StartupError && error.message.includes(path) && error.message.includes("in use by another running server");

it("is made with its parents, private to the user", async (t) => {
  const path = join(await temporary(t), "a", "b");
  using cleanup = new DisposableStack();
  const directory = await openDataDirectory(path);
  cleanup.defer(() => directory.close());
  assert.equal((await stat(path)).mode & 0o777, 0o700);
});

it("is refused a second time in the same process, and free after close", async (t) => {
  const path = await temporary(t);
  const first = await openDataDirectory(path);
  await assert.rejects(openDataDirectory(path), isRefused(path));
  first.close();
  (await openDataDirectory(path)).close();
});

it("is held against other processes, and freed when the holder is killed", async (t) => {
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

it("says what is wrong with a path that cannot be a directory or a lock", async (t) => {
  const directory = await temporary(t);
  const file = join(directory, "file");
  await writeFile(file, "");
  await assert.rejects(openDataDirectory(file), (error: unknown) => error instanceof StartupError && error.message.includes(file));
  await mkdir(join(directory, "other", "lock.db"), { recursive: true });
  await assert.rejects(openDataDirectory(join(directory, "other")), /Cannot use the data directory .*other: /);
});

it("keeps secrets in private whole files", async (t) => {
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

it("leaves the old secret and no scraps when writing fails", async (t) => {
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
