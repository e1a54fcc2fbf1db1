// The reader of the program's output has ended, as in `gc --dry-run | head`: commands end quietly, and a server continues. Not here: a slow
// reader (platform/log.test.ts).
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { it, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "../tools/processes.ts";
import { PROGRAM } from "./program.testing.ts";
import { temporaryFolder } from "./registry.testing.ts";

function run(t: TestContext, args: readonly string[]) {
  const program = spawn(process.execPath, [PROGRAM, ...args], { stdio: ["ignore", "pipe", "pipe"], env: {} });
  t.after(() => program.kill("SIGKILL"));
  program.stdout.destroy();
  return { program, ended: endOf(program), errors: text(program.stderr) };
}

async function endOf(program: ChildProcess): Promise<number | null> {
  const [code] = (await once(program, "close")) as [number | null];
  return code;
}

it("closed output: ends a command quietly", async (t) => {
  const { ended, errors } = run(t, ["config", "check"]);
  assert.equal(await ended, 141);
  assert.equal(await errors, "");
});

it("closed output: does not end a server, which stops as asked", async (t) => {
  const folder = await temporaryFolder();
  t.after(() => folder.end());
  const port = await freePort();
  const { program, ended, errors } = run(t, ["serve", "--listen", `127.0.0.1:${port}`, "--data", join(folder.path, "data")]);
  const isReady = async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => undefined);
    return answer?.status === 200;
  };
  while (program.exitCode === null && !(await isReady())) await sleep(50);
  // The greeting of a first start is printed when the server is already ready.
  while (program.exitCode === null && (await fetch(`http://127.0.0.1:${port}/v2/`).catch(() => undefined))?.status !== 401) await sleep(50);
  program.kill("SIGTERM");
  assert.equal(await ended, 0, await errors);
});
