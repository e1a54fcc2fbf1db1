// Tags are registers: whatever many clients put, delete and read of them concurrently, on three replicas over PostgreSQL or on one server
// over SQLite, with servers that are killed and paused meanwhile, there is one order that explains every answer, and the tag's history in
// the database has the same changes in that order. Each tag of each round is a separate history.
// Not here: the check (tag-register.ts, linearizability.ts), contents and collection under kills (kill.test.ts).
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createRandom, type Random } from "../../apps/server/src/content/schedule.testing.ts";
import { ADMIN, startReplicas } from "../replicas/replicas.ts";
import { makeImage, pushBlob } from "../replicas/push-load.ts";
import { freePort, temporaryFolder } from "../tools/processes.ts";
import { roundsOf } from "./rounds.ts";
import { startServer, type ServerProcess } from "./server-process.ts";
import { openStored } from "./stored.ts";
import { createClient, createTagLoad } from "./tag-load.ts";
import { findFault, type Named } from "./tag-register.ts";

/** Rounds of each of the two: a minute or so in CI; thousands of histories in the long run. */
const rounds = roundsOf({ usual: 12, long: 700 });
const seed = Number(process.env["BERTH_TEST_SEED"] ?? 1);
const REPOSITORY = "library/tags";
/** Most clients use one of them, so that they meet. */
const TAGS_A_ROUND = 2;
const CLIENTS = 9;
const OPERATIONS = 30;
/** The lengths of a server's pause: some are longer than a client waits, so that its request takes effect after it has given up. */
const HELD_MS = [300, 900, 2_500] as const;

/** One server, whichever process runs it. */
interface Node {
  readonly origin: string;
  hold(): void;
  resume(): void;
  kill(): Promise<void>;
  start(): Promise<void>;
}

interface Site {
  readonly nodes: readonly Node[];
  readonly settings: Readonly<Record<string, string>>;
}

/** Disturbs a server in the middle of a round. */
async function disturb(nodes: readonly Node[], round: number, random: Random): Promise<void> {
  const node = nodes[random.below(nodes.length)]!;
  await sleep(random.below(400));
  // Every third round has no disturbance: concurrent clients are enough for most faults.
  if (round % 3 === 0) {
    await node.kill();
    await node.start();
  } else if (round % 3 === 1) {
    node.hold();
    await sleep(HELD_MS[random.below(HELD_MS.length)]);
    node.resume();
  }
}

async function checkHistories({ nodes, settings }: Site, report: (line: string) => void): Promise<void> {
  const client = createClient(`Basic ${Buffer.from(`${ADMIN.name}:${ADMIN.password}`).toString("base64")}`);
  const image = makeImage(200);
  for (const blob of image.blobs) await pushBlob(nodes[0]!.origin, REPOSITORY, blob);
  const manifest = JSON.parse(image.manifest) as Record<string, unknown>;
  const counts = new Map<string, number>();
  let histories = 0;
  try {
    for (let round = 1; round <= rounds; round++) {
      const random = createRandom(seed * 1_000_000 + round);
      const tags = Array.from({ length: TAGS_A_ROUND }, (_, i) => `round-${round}-${i}`);
      const load = createTagLoad({
        client,
        repository: REPOSITORY,
        manifest,
        tags,
        random,
        originOf: (each) => nodes[each % nodes.length]!.origin,
      });
      await Promise.all([load.run(CLIENTS, OPERATIONS), disturb(nodes, round, random)]);
      for (const { origin } of nodes) await load.readAll(origin);
      const stored = await openStored(settings);
      const changes = await stored.histories().finally(() => stored.close());
      for (const tag of tags) {
        const named: Named[] = (changes.get(`${REPOSITORY} ${tag}`) ?? []).map((digest) => digest ?? null);
        const fault = findFault(load.historyOf(tag), named);
        if (fault !== undefined) assert.fail(`seed ${seed}, round ${round}, tag ${tag}: ${fault}`);
        histories++;
      }
      for (const [kind, count] of load.counts) counts.set(kind, (counts.get(kind) ?? 0) + count);
      if (rounds > 50 && round % 50 === 0) console.log(`${nodes.length} servers: ${round} rounds, ${histories} histories`);
    }
  } finally {
    client.close();
  }
  report(
    `${histories} histories: ${[...counts]
      .map(([kind, count]) => `${count} ${kind}`)
      .toSorted()
      .join(", ")}`,
  );
  for (const kind of [
    "put stored",
    "put on condition stored",
    "put on condition found",
    "delete deleted",
    "delete absent",
    "delete on condition deleted",
    "delete on condition found",
    "read found",
  ]) {
    assert.ok((counts.get(kind) ?? 0) > rounds, `${kind}: ${counts.get(kind)}`);
  }
}

it(`tags of three replicas over PostgreSQL are registers (${rounds} rounds)`, async (context) => {
  // The image's few bytes are in the database: no replica uses the store.
  const started = await startReplicas(context, "one directory", { settings: { "gc.intervalSeconds": "1h" } });
  if (started === undefined) return;
  const nodes = started.replicas;
  await checkHistories({ nodes, settings: started.settings }, (line) => context.diagnostic(line));
});

it(`tags of a server over SQLite are registers (${rounds} rounds)`, async (context) => {
  const folder = await temporaryFolder("tag-histories");
  const settings = { data: join(folder, "berth"), "auth.secretKey": randomBytes(32).toString("hex"), "gc.intervalSeconds": "1h" };
  const listen = `127.0.0.1:${await freePort()}`;
  let server: ServerProcess;
  const start = async (): Promise<void> => {
    server = await startServer({ settings: { ...settings, "http.listen": listen, "auth.adminPassword": ADMIN.password } });
  };
  await start();
  const node: Node = {
    origin: `http://${listen}`,
    hold: () => void process.kill(server.pid, "SIGSTOP"),
    resume: () => void process.kill(server.pid, "SIGCONT"),
    kill: () => server.kill(),
    start,
  };
  try {
    await checkHistories({ nodes: [node], settings }, (line) => context.diagnostic(line));
  } finally {
    await server!.kill();
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  }
});
