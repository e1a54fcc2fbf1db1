// The role `work` as its operator sees it: several on one database, with a port for metrics and health, and an orderly end. Not here: their
// jobs (apps/server/src/events/jobs.test.ts and the kinds' own tests).
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { it, type TestContext } from "node:test";
import { atOurEnd, freePort } from "../tools/processes.ts";
import { ENGINES, flagsOf, type Settings, until } from "./engines.testing.ts";
import { expectCode, PROGRAM } from "./program.testing.ts";

const [sqlite, postgres] = ENGINES;

/** Starts one, and waits until its port answers. */
async function startWorker(t: TestContext, settings: Settings) {
  const port = await freePort();
  const origin = `http://127.0.0.1:${port}`;
  const args = ["work", ...flagsOf({ ...settings, "metrics.listen": `127.0.0.1:${port}`, "log.format": "json" })];
  const child = spawn(process.execPath, [PROGRAM, ...args], { stdio: ["ignore", "pipe", "pipe"], env: {} });
  const callOff = atOurEnd(() => child.kill("SIGKILL"));
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (piece: Buffer) => (output += piece.toString("utf8")));
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  void ended.then(callOff);
  t.after(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  await until("the worker's port answers", async () => {
    assert.equal(child.exitCode, null, output);
    return fetch(`${origin}/healthz`).then(
      ({ status }) => status === 200,
      () => false,
    );
  });
  return {
    get: async (path: string) => {
      const answer = await fetch(`${origin}${path}`);
      return { status: answer.status, text: await answer.text() };
    },
    async stop() {
      child.kill("SIGTERM");
      assert.equal(await ended, 0, output);
    },
  };
}

/** The number of successful runs of a kind on the metrics page. */
function succeeded(page: string, kind: string): number {
  return Number(new RegExp(`^berth_jobs_ended_total\\{kind="${kind}",result="succeeded"\\} (\\d+)$`, "m").exec(page)?.[1]);
}

it("workers serve metrics and health, share the work, and stop with 0", { skip: postgres.skip, timeout: 240_000 }, async (t) => {
  const { settings } = await postgres.make(t);
  const workers: Awaited<ReturnType<typeof startWorker>>[] = [];
  for (const name of ["one", "two"]) workers.push(await startWorker(t, { ...settings, data: join(settings["data"]!, name) }));
  for (const worker of workers) {
    const ready = await worker.get("/readyz");
    assert.deepEqual([ready.status, JSON.parse(ready.text)], [200, { status: "ok", checks: { database: "ok", store: "ok" } }]);
    const { text } = await worker.get("/metrics");
    for (const name of ["berth_build_info", "berth_ready 1", 'berth_backend_up{backend="database"} 1', "berth_database_connections"])
      assert.ok(text.includes(name), name);
    // No clients are answered here.
    assert.ok(!text.includes("berth_http_connections"));
    assert.equal((await worker.get("/v2/")).status, 404);
  }
  await until("a job has run", async () => {
    const pages = await Promise.all(workers.map((worker) => worker.get("/metrics")));
    return pages.some(({ text }) => succeeded(text, "usage-folding") > 0);
  });
  for (const worker of workers) await worker.stop();
});

it("work refuses the embedded database", async (t) => {
  const { settings } = await sqlite.make(t);
  const { stderr } = await expectCode(1, ["work", ...flagsOf(settings)]);
  assert.match(stderr, /needs PostgreSQL/);
});
