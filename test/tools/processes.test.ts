// The guarantees for programs that tests start: none outlives the test, and one that fails to start says why.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { skipOrThrow, ToolUnavailable, withLock } from "./install.ts";
import { startProgram, temporaryFolder } from "./processes.ts";

const ready = () => Promise.resolve(true);

/** Whether a process runs; a zombie does not. */
function isRunning(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

const skip = existsSync("/proc/self/stat") ? false : "cannot run here: no /proc";

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  test(`a program and its folder go when we get ${signal}`, { skip }, async () => {
    const text = `
      import { startProgram, temporaryFolder } from ${JSON.stringify(join(import.meta.dirname, "processes.ts"))};
      const folder = await temporaryFolder("signal");
      const program = await startProgram({
        command: process.execPath, args: ["-e", "setInterval(() => {}, 1000)"], folder, ready: () => Promise.resolve(true),
      });
      console.log(JSON.stringify({ pid: program.pid, folder }));
      setInterval(() => {}, 1000);`;
    const us = spawn(process.execPath, ["--input-type=module-typescript", "-e", text], { stdio: ["ignore", "pipe", "inherit"] });
    const [line] = (await once(us.stdout, "data")) as [Buffer];
    const { pid, folder } = JSON.parse(line.toString()) as { pid: number; folder: string };
    assert.ok(isRunning(pid) && existsSync(folder));
    us.kill(signal);
    const [code] = (await once(us, "exit")) as [number];
    assert.equal(code, signal === "SIGINT" ? 130 : 143);
    assert.equal(existsSync(folder), false);
    // The kernel ends it in its own time; otherwise the runner's limit for a test ends this wait.
    while (isRunning(pid)) await sleep(20);
  });
}

test("a program that ends instead of getting ready throws with the end of its log", async () => {
  const folder = await temporaryFolder("ends");
  const args = ["-e", "console.error('port is taken'); process.exit(7)"];
  const starting = startProgram({ command: process.execPath, args, folder, ready: () => Promise.resolve(false) });
  await assert.rejects(starting, /did not come up:\n.*port is taken/s);
  assert.equal(existsSync(folder), false);
});

test("a program that cannot be started throws", async () => {
  const folder = await temporaryFolder("absent");
  const starting = startProgram({ command: join(folder, "absent"), args: [], folder, ready: () => Promise.resolve(false) });
  await assert.rejects(starting, /did not come up/);
});

test("processes: stop ends the program, and may be called twice", { skip }, async () => {
  const folder = await temporaryFolder("stop");
  const args = ["-e", "setInterval(() => {}, 1000)"];
  const program = await startProgram({ command: process.execPath, args, folder, ready });
  await program.stop();
  await program.stop();
  assert.equal(isRunning(program.pid), false);
});

test("a lock lets one body run at a time", async () => {
  let inside = 0;
  let most = 0;
  const body = async () => {
    most = Math.max(most, ++inside);
    await sleep(20);
    inside--;
  };
  const name = `test-${process.pid}`;
  await Promise.all([withLock(name, body), withLock(name, body), withLock(name, body)]);
  assert.equal(most, 1);
});

test("a lock is free again after its body threw", async () => {
  const name = `test-throws-${process.pid}`;
  await assert.rejects(
    withLock(name, () => Promise.reject(new Error("broken"))),
    /broken/,
  );
  await withLock(name, () => Promise.resolve());
});

test("processes: in CI a tool that the machine could have had fails the test instead of skipping it", (t) => {
  const before = process.env["CI"];
  t.after(() => {
    if (before === undefined) delete process.env["CI"];
    else process.env["CI"] = before;
  });
  const reasons: string[] = [];
  const context = { skip: (message?: string) => void reasons.push(message ?? "") };
  const lacking = new ToolUnavailable("crane", "no Go", true);
  const broken = new ToolUnavailable("crane", "go build failed", false);
  delete process.env["CI"];
  skipOrThrow(context, broken);
  process.env["CI"] = "true";
  skipOrThrow(context, lacking);
  assert.deepEqual(reasons, ["crane: go build failed", "cannot run here: crane: no Go"]);
  assert.throws(() => skipOrThrow(context, broken), broken);
  assert.throws(() => skipOrThrow(context, new TypeError("other")), TypeError);
});
