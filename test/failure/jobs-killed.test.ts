// Kills processes with SIGKILL while they request jobs and run them, and while they record changes and dispatch them: requested work is
// done, each change is followed by its job once, and no job is stuck or duplicated.
// Not here: the processes (job-worker.ts), one process's runner (apps/server/src/events/jobs.test.ts).
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, it, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { skipOrThrow } from "../tools/install.ts";
import { atOurEnd, temporaryFolder } from "../tools/processes.ts";
import { startPostgres } from "../tools/servers.ts";
import { roundsOf } from "./rounds.ts";

const rounds = roundsOf({ usual: 12, long: 300 });
/** A lease, a check for expired ones, delays of attempts and the rest of the work, on a busy machine. */
const DONE_WITHIN_MS = 300_000;

interface Worker {
  readonly asked: string[];
  readonly isIdle: () => boolean;
  kill(): Promise<void>;
}

/** How jobs are requested: directly, or by changes that lead to them. */
type AskedBy = "jobs" | "changes";

function startWorker(name: string, address: string, by: AskedBy): Worker {
  const child: ChildProcess = spawn(process.execPath, [join(import.meta.dirname, "job-worker.ts"), name, address, by], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const callOff = atOurEnd(() => child.kill("SIGKILL"));
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const asked: string[] = [];
  let isIdle = false;
  let text = "";
  child.stdout!.on("data", (piece: Buffer) => {
    text += piece.toString("utf8");
    const lines = text.split("\n");
    text = lines.pop()!;
    for (const line of lines) {
      if (line.startsWith("asked ")) asked.push(line.slice("asked ".length));
      isIdle = line === "idle";
    }
  });
  return {
    asked,
    isIdle: () => isIdle,
    async kill() {
      assert.equal(child.exitCode, null, "it ended by itself");
      child.kill("SIGKILL");
      await ended;
      callOff();
    },
  };
}

interface Row {
  readonly subject: string;
  readonly state: string;
}

/** Kills one of several workers in each round, and returns the requested jobs. */
async function killRounds(t: TestContext, address: string, count: number, by: AskedBy): Promise<string[]> {
  const asked: string[] = [];
  const workers: Worker[] = [];
  let number = 0;
  const start = (): Worker => startWorker(`w${number++}`, address, by);
  try {
    for (let i = 0; i < count; i++) workers.push(start());
    for (let round = 0; round < rounds; round++) {
      const victim = workers.shift()!;
      // It is somewhere between requesting its first job and running its last one; now and then it dies while it starts.
      while (round % 5 !== 4 && victim.asked.length === 0) await sleep(5);
      const delayMs = randomInt(150);
      t.diagnostic(`round ${round}: killed ${delayMs} ms after its first job`);
      await sleep(delayMs);
      await victim.kill();
      asked.push(...victim.asked);
      workers.push(start());
    }
    const giveUpAt = performance.now() + DONE_WITHIN_MS;
    while (!workers.every((worker) => worker.asked.length > 0 && worker.isIdle())) {
      assert.ok(performance.now() < giveUpAt, "jobs are stuck");
      await sleep(50);
    }
  } finally {
    for (const worker of workers) {
      asked.push(...worker.asked);
      await worker.kill();
    }
  }
  return asked;
}

function check(asked: readonly string[], jobs: readonly Row[], left: readonly string[]): void {
  assert.deepEqual(new Set(jobs.map(({ state }) => state)), new Set(["succeeded"]));
  const done = new Set(left);
  assert.deepEqual(
    asked.filter((subject) => !done.has(subject)),
    [],
    "a job that was asked for is lost",
  );
  // A request that was cut off was made or not; if it was, the job was done.
  assert.deepEqual(new Set(jobs.map(({ subject }) => subject)), done);
  assert.equal(jobs.length, done.size);
}

const JOBS = "select subject, state from job where kind = 'leave'";
const LEFT = "select name from project";

for (const [by, subject] of [
  ["jobs", "jobs of killed processes"],
  ["changes", "jobs that follow from changes of killed processes"],
] as const) {
  describe(subject, () => {
    it(`are neither lost, doubled nor stuck on SQLite (${rounds} rounds)`, async (t) => {
      const folder = await temporaryFolder("jobs");
      t.after(() => rm(folder, { recursive: true }));
      const file = join(folder, "berth.db");
      const asked = await killRounds(t, file, 1, by);
      const database = new DatabaseSync(file);
      try {
        const left = database.prepare(LEFT).all() as { name: string }[];
        check(
          asked,
          database.prepare(JOBS).all() as unknown as Row[],
          left.map(({ name }) => name),
        );
      } finally {
        database.close();
      }
    });

    it(`are neither lost, doubled nor stuck on PostgreSQL, where others take over (${rounds} rounds)`, async (t) => {
      const server = await startPostgres().catch((error: unknown) => skipOrThrow(t, error));
      if (server === undefined) return;
      t.after(() => server.stop());
      const url = await server.createDatabase();
      const asked = await killRounds(t, url, 2, by);
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      try {
        const { rows } = await client.query<{ name: string }>(LEFT);
        check(
          asked,
          (await client.query<Row>(JOBS)).rows,
          rows.map(({ name }) => name),
        );
      } finally {
        await client.end();
      }
    });
  });
}
