// Measures jobs and changes in one process, on both databases: `npm run bench -- --jobs[=sqlite|postgres]`. How many small jobs and how many changes
// a second, with the processor time of each; how long one project's job waits behind 10^5 of another's; what it costs to record changes.
// Not here: whether jobs are lost (test/failure), a whole registry (../bench.ts).
import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Actor } from "../../../apps/server/src/access/actor.ts";
import type { Change } from "../../../apps/server/src/access/changes.ts";
import { createMemoryBlobs, createMemoryStore } from "../../../apps/server/src/content/blobs/memory.ts";
import type { ContentChange } from "../../../apps/server/src/content/changes.ts";
import { blobOf, createContent, createGrants, putOf, TEST_TIMES, upload } from "../../../apps/server/src/content/content.testing.ts";
import type { JobKind } from "../../../apps/server/src/events/job-kinds.ts";
import { createJobRunner, type JobRunner } from "../../../apps/server/src/events/job-runner.ts";
import { createJobStore, putJob } from "../../../apps/server/src/events/job-store.ts";
import { CHANGES_TOPIC, createOutbox, type Event, type Reactions } from "../../../apps/server/src/events/outbox.ts";
import { systemClock } from "../../../apps/server/src/platform/clock.ts";
import type { Database } from "../../../apps/server/src/platform/database/database.ts";
import { migrate } from "../../../apps/server/src/platform/database/migrate.ts";
import { openPostgres } from "../../../apps/server/src/platform/database/postgres.ts";
import { openSqlite } from "../../../apps/server/src/platform/database/sqlite.ts";
import { withTopics } from "../../../apps/server/src/platform/database/topics.ts";
import { readProcessUsage } from "../process-usage.ts";
import { temporaryFolder } from "../../tools/processes.ts";
import { startServer } from "../../failure/server-process.ts";
import { startPostgres } from "../../tools/servers.ts";

const SMALL_JOBS = 5000;
const PROJECTS = 10;
const FLOOD = 100_000;
const FLOOD_PROBES = 20;
const CHANGES = 20_000;
const PUSH_ROUNDS = 40;
const PUSHES = 96;
/** A server is at rest so long after its start. */
const SETTLE_MS = 10_000;
const IDLE_MS = 30_000;
/** Transactions that record changes at once, as a registry under load has them. */
const WRITERS = 16;
/** Changes of one transaction: a manifest and its tag. */
const CHANGES_EACH = 2;
const RETRY = { attempts: 3, firstDelayMs: 100, maxDelayMs: 1000 };
const ACTOR: Actor = {
  kind: "user",
  accountId: 1,
  name: "load",
  origin: { requestId: "7f000001-1", address: "192.0.2.1" },
  via: { kind: "password" },
};

interface Pushed extends Change {
  readonly kind: "pushed";
  readonly repository: string;
  readonly digest: string;
}

function onError(error: unknown): void {
  console.error(error);
}

function startRunner(database: Database, kinds: readonly JobKind[]): JobRunner {
  const runner = createJobRunner({
    store: createJobStore(database),
    kinds,
    clock: systemClock,
    holder: `load ${process.pid}`,
    isAlone: database.dialect === "sqlite",
    onError,
  });
  runner.start();
  return runner;
}

/** Seconds of the clock and of this process's processor time that work takes. */
async function timed(work: () => Promise<void>): Promise<{ seconds: number; cpuSeconds: number }> {
  const startedAt = performance.now();
  const cpu = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(cpu);
  return { seconds: (performance.now() - startedAt) / 1000, cpuSeconds: (user + system) / 1e6 };
}

function say(database: Database, what: string, count: number, { seconds, cpuSeconds }: { seconds: number; cpuSeconds: number }): void {
  const rate = Math.round(count / seconds);
  const micros = Math.round((cpuSeconds / count) * 1e6);
  console.log(`${database.dialect}: ${what}: ${rate}/s, ${micros} µs of a core each (${count} in ${seconds.toFixed(1)} s)`);
}

async function ask(database: Database, kind: string, count: number, projectOf: (n: number) => number): Promise<void> {
  for (let at = 0; at < count; at += 1000) {
    await database.transaction(async (tx) => {
      for (let n = at; n < Math.min(at + 1000, count); n++) {
        await putJob(tx, { kind, subject: `${kind} ${n}`, projectId: projectOf(n) }, systemClock.now());
      }
    });
  }
}

async function measureSmallJobs(database: Database): Promise<void> {
  let done = 0;
  let finish: (() => void) | undefined;
  const kind: JobKind = {
    kind: "small",
    concurrency: 8,
    timeoutMs: 60_000,
    retry: RETRY,
    async run() {
      if (++done === SMALL_JOBS) finish?.();
    },
  };
  await ask(database, "small", SMALL_JOBS, (n) => (n % PROJECTS) + 1);
  let runner: JobRunner | undefined;
  const took = await timed(async () => {
    const all = new Promise<void>((resolve) => (finish = resolve));
    runner = startRunner(database, [kind]);
    await all;
    await runner.stop();
  });
  say(database, `small jobs of ${PROJECTS} projects`, SMALL_JOBS, took);
}

async function measureFairness(database: Database): Promise<void> {
  const startedAt = new Map<string, number>();
  const kind: JobKind = {
    kind: "flood",
    concurrency: 4,
    timeoutMs: 60_000,
    retry: RETRY,
    async run(job) {
      if (job.projectId === 2) startedAt.set(job.subject, performance.now());
      await sleep(5);
    },
  };
  await ask(database, "flood", FLOOD, () => 1);
  const runner = startRunner(database, [kind]);
  await sleep(1000);
  const waits: number[] = [];
  for (let n = 0; n < FLOOD_PROBES; n++) {
    const subject = `probe ${n}`;
    await database.transaction((tx) => putJob(tx, { kind: "flood", subject, projectId: 2 }, systemClock.now()));
    const askedAt = performance.now();
    while (!startedAt.has(subject)) await sleep(1);
    waits.push(Math.max(0, startedAt.get(subject)! - askedAt));
    await sleep(50);
  }
  await runner.stop();
  const sorted = waits.toSorted((a, b) => a - b);
  const [median, most] = [sorted[sorted.length >> 1]!, sorted.at(-1)!].map((ms) => ms.toFixed(1));
  console.log(
    `${database.dialect}: a job behind ${FLOOD} of another project begins after ${median} ms, ${most} ms at most (${FLOOD_PROBES})`,
  );
}

async function measureChanges(database: Database): Promise<void> {
  let reacted = 0;
  let finish: (() => void) | undefined;
  const outbox = createOutbox<Pushed>(database, systemClock, {
    // One job for each repository at a time, as a scan or a replication would have it.
    pushed({ change }) {
      if (++reacted >= CHANGES) setImmediate(() => finish?.());
      return [{ kind: "follow", subject: change.repository }];
    },
  });
  const dispatch: JobKind = {
    kind: "dispatch",
    concurrency: 1,
    timeoutMs: 60_000,
    retry: RETRY,
    schedule: { everyMs: 10_000, jitterMs: 0 },
    topic: CHANGES_TOPIC,
    async run() {
      while (await outbox.dispatch());
    },
  };
  const follow: JobKind = { kind: "follow", concurrency: 4, timeoutMs: 60_000, retry: RETRY, run: async () => undefined };
  const runner = startRunner(database, [dispatch, follow]);
  await sleep(500);
  let left = CHANGES;
  const digest = `sha256:${"0".repeat(64)}`;
  const took = await timed(async () => {
    const all = new Promise<void>((resolve) => (finish = resolve));
    const write = async (writer: number): Promise<void> => {
      while (left > 0) {
        left -= CHANGES_EACH;
        const change: Pushed = { kind: "pushed", repository: `load/r${writer}`, digest };
        await database.transaction((tx) => outbox.record(tx, ACTOR, [change, change]));
      }
    };
    await Promise.all(Array.from({ length: WRITERS }, (_, writer) => write(writer)));
    await all;
  });
  await runner.stop();
  say(database, "changes recorded, dispatched, and followed by jobs", CHANGES, took);

  // The same transactions with and without, in turns, so that a busy machine counts for both.
  const ignoring = createOutbox<Pushed>(database, systemClock, {});
  const change: Pushed = { kind: "pushed", repository: "load/app", digest };
  const cpu = { wanted: 0, ignored: 0 };
  const ROUNDS = 20;
  const EACH = 100;
  for (let round = 0; round < ROUNDS; round++) {
    for (const which of ["ignored", "wanted"] as const) {
      const sink = which === "wanted" ? outbox : ignoring;
      const { cpuSeconds } = await timed(async () => {
        await Promise.all(
          Array.from({ length: EACH }, () =>
            database.transaction(async (tx) => {
              await putJob(tx, { kind: "beside", subject: "" }, systemClock.now());
              await sink.record(tx, ACTOR, [change, change]);
            }),
          ),
        );
      });
      cpu[which] += cpuSeconds;
    }
  }
  const micros = Math.round(((cpu.wanted - cpu.ignored) / (ROUNDS * EACH)) * 1e6);
  console.log(`${database.dialect}: recording ${CHANGES_EACH} changes in a transaction costs ${micros} µs of a core`);
}

/** Small images without a server around them, with every change wanted and with none, in turns, so that a busy machine counts for both. */
async function measurePushes(database: Database): Promise<void> {
  const react = ({ change }: Event<ContentChange>) => [{ kind: "follow", subject: change.repository }];
  const reactions: Reactions<ContentChange> = {
    "manifest.pushed": react,
    "tag.moved": react,
    "repository.created": react,
  };
  const grants = await createGrants(database);
  const store = createMemoryStore({ processId: "load", memory: createMemoryBlobs() });
  const grant = grants("push", "test/load");
  const rounds = { ignored: [] as number[], wanted: [] as number[] };
  const sinks = { ignored: createOutbox<ContentChange>(database, systemClock, {}), wanted: createOutbox(database, systemClock, reactions) };
  let count = 0;
  for (let round = 0; round < PUSH_ROUNDS; round++) {
    const both = ["ignored", "wanted"] as const;
    for (const which of round % 2 === 0 ? both : both.toReversed()) {
      const content = createContent(database, store, systemClock, TEST_TIMES, onError, sinks[which]);
      const repository = await content.repositories.ensure(grant);
      const { cpuSeconds } = await timed(async () => {
        const push = async (): Promise<void> => {
          const blobs = [blobOf(`config ${count++}`, 1), blobOf(`layer ${count++}`, 1)];
          for (const blob of blobs) await upload(content, grant, blob);
          await content.manifests.put(repository, putOf(blobs, [`v${count % 100}`]));
        };
        for (let n = 0; n < PUSHES; n += WRITERS) await Promise.all(Array.from({ length: WRITERS }, push));
      });
      rounds[which].push(cpuSeconds);
      // What follows is done apart.
      while (await sinks.wanted.dispatch());
    }
  }
  const each = Math.ceil(PUSHES / WRITERS) * WRITERS;
  const [ignored, wanted] = [rounds.ignored, rounds.wanted].map((seconds) => (median(seconds) / each) * 1e6) as [number, number];
  console.log(
    `${database.dialect}: a small image costs ${Math.round(ignored)} µs of a core below HTTP, and ${Math.round(wanted)} µs (${((wanted / ignored - 1) * 100).toFixed(1)} % more) with every change wanted`,
  );
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

async function measure(dialect: "sqlite" | "postgres"): Promise<void> {
  const folder = await temporaryFolder("load-jobs");
  const server = dialect === "postgres" ? await startPostgres() : undefined;
  try {
    for (const part of [measureSmallJobs, measureFairness, measureChanges, measurePushes]) {
      const plain: Database =
        server === undefined
          ? await openSqlite({ path: join(folder, `${part.name}.db`), onBackgroundError: onError })
          : openPostgres({ url: await server.createDatabase(), maxConnections: 10, acquireTimeoutMs: 10_000, onBackgroundError: onError });
      const database = withTopics(plain, onError);
      await migrate(database, systemClock);
      await part(database);
      await database.close();
    }
  } finally {
    await server?.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

/** A server that nobody asks for anything. */
async function measureIdle(dialect: "sqlite" | "postgres"): Promise<void> {
  const folder = await temporaryFolder("load-idle");
  const database = dialect === "postgres" ? await startPostgres() : undefined;
  try {
    const settings = {
      data: folder,
      ...(database === undefined
        ? {}
        : { "database.url": await database.createDatabase(), "auth.secretKey": randomBytes(32).toString("base64") }),
    };
    const server = await startServer({ settings });
    await sleep(SETTLE_MS);
    const before = readProcessUsage(server.pid)?.cpuSeconds ?? 0;
    await sleep(IDLE_MS);
    const used = (readProcessUsage(server.pid)?.cpuSeconds ?? 0) - before;
    console.log(`${dialect}: an idle server takes ${((used / IDLE_MS) * 100_000).toFixed(2)} % of a core`);
    await server.stop();
  } finally {
    await database?.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Measures on one database, or on both where it is empty, and prints a figure a line. */
export async function measureJobs(only: string): Promise<void> {
  for (const dialect of ["sqlite", "postgres"] as const) {
    if (only !== "" && only !== dialect) continue;
    await measure(dialect);
    await measureIdle(dialect);
  }
}
