// The launcher: an older Node.js starts the pinned one with arguments, exit code and signals, and says what to do if it is missing.
import assert from "node:assert/strict";
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { describe, it, type TestContext } from "node:test";

/** A Node.js on this machine that is too old for the sources. */
function findOldNode(): string | undefined {
  const candidates = (process.env["PATH"] ?? "").split(delimiter).map((directory) => join(directory, "node"));
  return candidates.find((node) => {
    const { stdout, status } = spawnSync(node, ["--version"], { encoding: "utf8" });
    const major = Number(/^v(\d+)/.exec(stdout ?? "")?.[1]);
    return status === 0 && major >= 18 && major < 26;
  });
}

const oldNode = findOldNode();
const nodeModules = join(import.meta.dirname, "../../../node_modules");
const MAIN = `export async function main(argv) {
  const [verb] = argv;
  if (verb === "throw") throw new Error("broken start");
  if (verb === "code") return Number(argv[1]);
  if (verb === "wait") {
    process.on("SIGTERM", () => { console.log("stopped"); process.exit(7); });
    console.log("pid " + process.pid);
    setInterval(() => {}, 1000);
    return undefined;
  }
  const names: string = Object.keys(process.env).filter((name) => name.startsWith("BERTH_")).join();
  console.log(JSON.stringify({ major: parseInt(process.versions.node), argv, names }));
  return undefined;
}`;

/** A copy of the launcher beside a small main. */
async function setUp(t: TestContext, hasPinned = true): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), "berth-launch-"));
  t.after(() => rm(root, { recursive: true, force: true }));
  await mkdir(join(root, "apps/server/src"), { recursive: true });
  await mkdir(join(root, "apps/server/bin"));
  await writeFile(join(root, "package.json"), '{"type":"module"}');
  await writeFile(join(root, "apps/server/src/main.ts"), MAIN);
  await cp(join(import.meta.dirname, "berth-server.mjs"), join(root, "apps/server/bin/berth-server.mjs"));
  if (hasPinned) await symlink(nodeModules, join(root, "node_modules"));
  return join(root, "apps/server/bin/berth-server.mjs");
}

async function lineOf(child: ChildProcessWithoutNullStreams): Promise<string> {
  const [data] = (await once(child.stdout, "data")) as [Buffer];
  return data.toString().trim();
}

it("berth-server: runs main on a new enough Node.js and exits with its code", async (t) => {
  const launcher = await setUp(t);
  const good = spawnSync(process.execPath, [launcher, "show", "--x"], { encoding: "utf8" });
  assert.deepEqual(JSON.parse(good.stdout), { major: Number.parseInt(process.versions.node, 10), argv: ["show", "--x"], names: "" });
  assert.equal(spawnSync(process.execPath, [launcher, "code", "78"]).status, 78);
  const broken = spawnSync(process.execPath, [launcher, "throw"], { encoding: "utf8" });
  assert.equal(broken.status, 1);
  assert.match(broken.stderr, /broken start/);
});

describe("on an older Node.js", { skip: oldNode === undefined ? "cannot run here: no Node.js from 18 to 25 in PATH" : false }, () => {
  const old = oldNode ?? "";

  it("hands over arguments and exit code, and leaves no trace in the environment", async (t) => {
    const launcher = await setUp(t);
    const { stdout, stderr } = spawnSync(old, [launcher, "show", "a b", "--y=1"], { encoding: "utf8" });
    assert.deepEqual(JSON.parse(stdout), { major: 26, argv: ["show", "a b", "--y=1"], names: "" }, stderr);
    assert.equal(spawnSync(old, [launcher, "code", "78"]).status, 78);
    assert.equal(spawnSync(old, [launcher, "throw"]).status, 1);
  });

  it("forwards signals, and dies of the signal that killed the server", async (t) => {
    const launcher = await setUp(t);
    const gentle = spawn(old, [launcher, "wait"]);
    await lineOf(gentle);
    gentle.kill("SIGTERM");
    assert.deepEqual(await once(gentle, "exit"), [7, null]);

    const hard = spawn(old, [launcher, "wait"]);
    const pid = Number((await lineOf(hard)).slice(4));
    process.kill(pid, "SIGKILL");
    assert.deepEqual(await once(hard, "exit"), [null, "SIGKILL"]);
  });

  it("stops the server when the launcher itself is killed", async (t) => {
    const launcher = await setUp(t);
    const child = spawn(old, [launcher, "wait"]);
    await lineOf(child);
    child.kill("SIGKILL");
    // The server holds the other end of the same pipe, which ends when the server has ended.
    let rest = "";
    for await (const data of child.stdout) rest += String(data);
    assert.equal(rest.trim(), "stopped");
  });

  it("says what to install when the pinned Node.js is missing", async (t) => {
    const { status, stderr } = spawnSync(old, [await setUp(t, false), "show"], { encoding: "utf8" });
    assert.equal(status, 69);
    assert.match(stderr, /Run `npm ci`/);
  });
});
