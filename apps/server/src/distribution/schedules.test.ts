// Random schedules of the whole content layer: pushers, deleters, collectors and a clock, with processes that end and steps that fail
// anywhere. A seed stands for a schedule. BERTH_TEST_SEEDS=5000 runs as many, BERTH_TEST_SEED=17 that one alone.
// Not here: cases by name (content/garbage.test.ts), and power cuts (test/failure).
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { RegistryError, type ErrorCode } from "@berth/oci/errors";
import type { Tag } from "@berth/oci/reference";
import { createTestClock, type TestClock } from "../access/access.testing.ts";
import { createContentModel, type ContentModel } from "../content/content-model.testing.ts";
import {
  blobOf,
  bodyOf,
  createContent,
  createGrants,
  putOf,
  readBlob,
  TEST_TIMES,
  TEST_UPLOAD_AGE_MS,
  type Content,
  type TestBlob,
} from "../content/content.testing.ts";
import { createMemoryBlobs, createMemoryStore, type MemoryBlobs } from "../content/blobs/memory.ts";
import { interceptDatabase, interceptStore } from "../content/intercept.testing.ts";
import { createFreeRun, createRandom, createSchedule, ProcessEnded, type Random, type TestProcess } from "../content/schedule.testing.ts";
import type { Database } from "../platform/database/database.ts";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";

const { leaseMs, graceMs } = TEST_TIMES;
const REPOSITORIES = ["test/one", "test/two"] as const;
const TAGS = ["latest", "v1"] as const;
/** Two of the five lie in the database. */
const BLOBS: readonly TestBlob[] = [blobOf("a", 20), blobOf("b", 30), blobOf("layer c "), blobOf("layer d "), blobOf("layer e ")];
const IMAGES = [
  [0, 2],
  [0, 2, 3],
  [1, 3],
  [1, 2, 4],
  [3, 4],
].map((which) => which.map((i) => BLOBS[i]!));
const CLEAR = [
  "tag",
  "tag_history",
  "manifest_blob",
  "manifest_child",
  "manifest",
  "repository_blob",
  "blob_inline",
  "blob",
  "upload",
  "reclaim",
];

/** A schedule of `ACTORS` times `OPERATIONS`: enough for three to meet on one blob, few enough for thousands of seeds. */
const ACTORS = 5;
const OPERATIONS = 5;

// Side by side: more of both, since nobody chooses the worst order for them.
const FREE_ACTORS = 16;
const FREE_OPERATIONS = 12;

interface Repository {
  readonly name: string;
  readonly id: number;
}

interface World {
  readonly random: Random;
  readonly clock: TestClock;
  readonly model: ContentModel;
  readonly repositories: readonly Repository[];
  readonly grants: Awaited<ReturnType<typeof createGrants>>;
  /** Some process that lives. */
  process(): Content;
}

// What a client may be told at any time: the process it spoke to is gone or cannot go on, or its session was another's or too old.
const PASSING: readonly string[] = ["UNAVAILABLE", "CONFLICT", "BLOB_UPLOAD_UNKNOWN"];

/** Runs an operation; gives the code of an error that a client must expect, "ended" where its process did, and what it gave otherwise. */
async function outcomeOf<T>(
  run: () => Promise<T>,
  expected: readonly ErrorCode[] = [],
): Promise<{ readonly value: T } | { readonly failed: string }> {
  try {
    return { value: await run() };
  } catch (error) {
    if (error instanceof ProcessEnded) return { failed: "ended" };
    if (error instanceof RegistryError && [...PASSING, ...expected].includes(error.code)) return { failed: error.code };
    throw error;
  }
}

async function head(world: World, { name, id }: Repository, { digest }: TestBlob): Promise<boolean> {
  const { clock, model } = world;
  const askedAt = clock.now();
  const found = await outcomeOf(() =>
    model.claiming(
      `${id} ${digest}`,
      () => world.process().blobs.find(world.grants("pull", name), id, digest),
      // A lease of which half has passed is renewed: this much is left of one that was not.
      (row) => row !== undefined && model.promiseBlob(id, digest, askedAt + leaseMs / 2),
    ),
  );
  return "value" in found && found.value !== undefined;
}

async function uploadBlob(world: World, { name, id }: Repository, blob: TestBlob): Promise<boolean> {
  const { random, clock, model } = world;
  const grant = world.grants("push", name);
  const askedAt = clock.now();
  const chunk = (from: number, to: number) => ({
    body: bodyOf(blob.bytes.subarray(from, to)),
    startBytes: undefined,
    lengthBytes: to - from,
  });
  const size = blob.bytes.length;
  const done = await outcomeOf(() =>
    model.claiming(
      `${id} ${blob.digest}`,
      async () => {
        if (random.chance(0.5)) return world.process().sessions.pushWhole(grant, blob.digest, chunk(0, size));
        const session = await world.process().sessions.begin(grant, "sha256");
        const cut = random.below(size);
        if (cut > 0) await world.process().sessions.append(grant, session.id, chunk(0, cut));
        // Another process than the one before, as likely as not.
        if (random.chance(0.5)) return world.process().sessions.finish(grant, session.id, blob.digest, chunk(cut, size));
        if (cut < size) await world.process().sessions.append(grant, session.id, chunk(cut, size));
        return world.process().sessions.finish(grant, session.id, blob.digest, undefined);
      },
      () => model.promiseBlob(id, blob.digest, askedAt + leaseMs),
    ),
  );
  return "value" in done;
}

async function mountBlob(world: World, target: Repository, { digest }: TestBlob): Promise<boolean> {
  const { clock, model, grants } = world;
  const source = world.repositories.find((each) => each !== target)!;
  const askedAt = clock.now();
  const mounted = await outcomeOf(() =>
    model.claiming(
      `${target.id} ${digest}`,
      () => world.process().blobs.mount(grants("push", target.name), target.id, grants("pull", source.name), source.id, digest),
      (isMounted) => isMounted && model.promiseBlob(target.id, digest, askedAt + leaseMs),
    ),
  );
  return "value" in mounted && mounted.value;
}

/** What a client does: asks for each blob, mounts or uploads what is missing, then puts the manifest. */
async function pushImage(world: World): Promise<void> {
  const { random, model } = world;
  const repository = random.pick(world.repositories);
  const blobs = random.pick(IMAGES);
  const isAsking = random.chance(0.7);
  for (const blob of blobs) {
    const isThere =
      (isAsking && (await head(world, repository, blob))) || (random.chance(0.3) && (await mountBlob(world, repository, blob)));
    if (!isThere && !(await uploadBlob(world, repository, blob))) return;
  }
  const { id, name } = repository;
  const tags = random.chance(0.5) ? [random.pick(TAGS)] : [];
  const put = putOf(blobs, tags);
  const done = await model.claiming(
    `${id} ${put.digest}`,
    () =>
      model.replacing(
        tags.map((tag) => `${id} ${tag}`),
        () => outcomeOf(() => world.process().manifests.put(world.grants("push", name), id, put), ["MANIFEST_BLOB_UNKNOWN"]),
        (outcome) => {
          if ("value" in outcome) for (const tag of tags) model.keepTag(id, tag, put.digest);
        },
      ),
    (outcome) => {
      if ("value" in outcome) model.keepManifest({ repositoryId: id, digest: put.digest, blobs: blobs.map((blob) => blob.digest) });
    },
  );
  if ("failed" in done && done.failed === "MANIFEST_BLOB_UNKNOWN") {
    const isAllPromised = blobs.every((blob) => model.isPromised(id, blob.digest));
    assert.ok(!isAllPromised, "a push within the lease was told that a blob is unknown");
  }
}

async function deleteSomething(world: World): Promise<void> {
  const { random, model, grants } = world;
  const { id, name } = random.pick(world.repositories);
  const grant = grants("delete", name);
  const kind = random.below(4);
  if (kind === 0) {
    const { digest } = random.pick(BLOBS);
    await model.ending([`${id} ${digest}`], () =>
      outcomeOf(() => world.process().blobs.delete(grant, id, digest), ["BLOB_UNKNOWN", "UNSUPPORTED"]),
    );
  } else if (kind === 1) {
    const tag = random.pick(TAGS);
    await model.ending([`${id} ${tag}`], () => outcomeOf(() => world.process().tags.delete(grant, id, tag as Tag), ["MANIFEST_UNKNOWN"]));
  } else {
    const { digest } = putOf(random.pick(IMAGES));
    const names = [digest, ...TAGS].map((each) => `${id} ${each}`);
    await model.ending(names, () => outcomeOf(() => world.process().manifests.delete(grant, id, digest), ["MANIFEST_UNKNOWN"]));
  }
}

async function abandonUpload(world: World): Promise<void> {
  const { random } = world;
  const grant = world.grants("push", random.pick(REPOSITORIES));
  const { bytes } = random.pick(BLOBS);
  await outcomeOf(async () => {
    const { id } = await world.process().sessions.begin(grant, "sha256");
    await world.process().sessions.append(grant, id, { body: bodyOf(bytes), startBytes: undefined, lengthBytes: bytes.length });
    if (random.chance(0.3)) await world.process().sessions.cancel(grant, id);
  });
}

async function collect(world: World): Promise<void> {
  const { random } = world;
  const { sessions, garbage } = world.process();
  const batch = 1 + random.below(5);
  await outcomeOf(() => sessions.expire(batch));
  await outcomeOf(() => garbage.collectLinks(batch));
  await outcomeOf(() => garbage.reclaimBytes(batch));
}

async function act(world: World, operations: number): Promise<void> {
  const { random } = world;
  for (let i = 0; i < operations; i++) {
    const dice = random.below(20);
    if (dice < 8) await pushImage(world);
    else if (dice < 13) await deleteSomething(world);
    else if (dice < 14) await abandonUpload(world);
    else await collect(world);
  }
}

/** How far the clock goes at once: mostly a part of a lease, sometimes beyond one, rarely beyond a session's age. */
const JUMPS = [leaseMs / 10, leaseMs / 4, leaseMs / 2 + 1, leaseMs + 1, graceMs + 1, TEST_UPLOAD_AGE_MS / 2];

forEachDatabase("random schedules of the content layer", (create, dialect) => {
  let test: TestDatabase;
  let replicas: Database[];
  let grants: Awaited<ReturnType<typeof createGrants>>;
  let openTransactions = 0;
  let standing: PromiseWithResolvers<void> | undefined;
  let allEnded: (() => void) | undefined;

  // The clock stands while transactions are open, as it nearly does in life: they last milliseconds, leases hours.
  function counting(database: Database): Database {
    return {
      ...database,
      async transaction(work, options) {
        await standing?.promise;
        openTransactions++;
        try {
          return await database.transaction(work, options);
        } finally {
          openTransactions--;
          if (openTransactions === 0) allEnded?.();
        }
      },
    };
  }

  before(async () => {
    test = await create();
    if (dialect === "postgres")
      await test.database.script(
        "do $$ begin execute format('alter database %I set deadlock_timeout = ''10ms''', current_database()); end $$",
      );
    replicas = [counting(test.database), counting(await test.open()), counting(await test.open())];
    grants = await createGrants(test.database);
  });
  after(() => test.end());

  /** Moves the clock while no transaction is open, holding up those that would begin. */
  async function advanceBetween(clock: TestClock, ms: number): Promise<void> {
    standing = Promise.withResolvers<void>();
    if (openTransactions > 0) {
      await new Promise<void>((resolve) => {
        allEnded = resolve;
      });
    }
    clock.advance(ms);
    standing.resolve();
    standing = allEnded = undefined;
  }

  async function runSeed(seed: number, isFree: boolean): Promise<void> {
    await test.database.script(CLEAR.map((table) => `delete from ${table}`).join(";"));
    const random = createRandom(seed);
    const clock = createTestClock();
    const memory: MemoryBlobs = createMemoryBlobs();
    const model = createContentModel(memory, clock);
    // A third of the seeds run undisturbed: there an error has no excuse.
    const isDisturbed = seed % 3 !== 0;
    const chances = { random, endChance: isDisturbed ? 0.004 : 0, failChance: isDisturbed ? 0.01 : 0 };
    const schedule = isFree
      ? createFreeRun(chances)
      : createSchedule({
          ...chances,
          blockedAfterMs: dialect === "postgres" ? 4 : 0,
          // Not after every step, which would take most of the time: what is broken stays broken for long enough.
          check: async () => {
            if (random.chance(0.3)) await model.check(test.database);
          },
        });
    let started = 0;
    function start(at: number): { readonly life: TestProcess; readonly content: Content } {
      const life = schedule.createProcess();
      const database = interceptDatabase(replicas[at]!, life.hook, dialect === "postgres");
      const store = interceptStore(createMemoryStore({ processId: `p${++started}`, memory }), life.hook);
      return { life, content: createContent(database, store, clock, TEST_TIMES, () => undefined) };
    }
    const processes = replicas.map((_, i) => start(i));
    const first = processes[0]!.content;
    const repositories: Repository[] = [];
    for (const name of REPOSITORIES) repositories.push({ name, id: await first.repositories.ensureId(grants("push", name)) });
    const world: World = {
      random,
      clock,
      model,
      repositories,
      grants,
      process() {
        const at = random.below(processes.length);
        if (processes[at]!.life.isEnded) processes[at] = start(at);
        return processes[at]!.content;
      },
    };
    const ticker = schedule.createProcess();
    let left = isFree ? FREE_ACTORS : ACTORS;
    async function tick(): Promise<void> {
      for (let i = 0; isFree ? left > 0 : i < 12; i++) {
        if (isFree) {
          await sleep(random.below(20));
          await advanceBetween(clock, random.pick(JUMPS));
        } else {
          for (let rest = random.below(20); rest >= 0; rest--) await outcomeOf(() => ticker.hook("tick", "before"));
          if (openTransactions === 0) clock.advance(random.pick(JUMPS));
        }
      }
    }
    const actor = (): Promise<void> => act(world, isFree ? FREE_OPERATIONS : OPERATIONS).finally(() => left--);
    await schedule.run([tick, ...Array.from({ length: left }, () => actor)]);

    const last = createContent(replicas[0]!, createMemoryStore({ processId: "last", memory }), clock);
    async function settle(): Promise<void> {
      for (let round = 0; round < 3; round++) {
        clock.advance(100 * TEST_UPLOAD_AGE_MS);
        await last.sessions.expire(1000);
        await last.garbage.collectLinks(1000);
        await last.garbage.reclaimBytes(1000);
      }
      await model.check(test.database);
      await model.checkQuiet(test.database);
    }
    await settle();
    if (!isDisturbed) assert.equal(memory.segments.size, 0, "segments are left");
    for (const { repositoryId, digest, blobs } of model.manifests.values()) {
      const grant = grants("pull", repositories.find(({ id }) => id === repositoryId)!.name);
      const row = await last.manifests.findByDigest(grant, repositoryId, digest);
      assert.equal(row?.digest, digest);
      for (const blob of blobs) {
        const found = await last.blobs.find(grant, repositoryId, blob);
        assert.deepEqual(await readBlob(last, found!), BLOBS.find((each) => each.digest === blob)!.bytes);
      }
    }
    for (const { id, name } of repositories) {
      for (const blobs of IMAGES) {
        const { digest } = putOf(blobs);
        await model.ending(
          [digest, ...TAGS].map((each) => `${id} ${each}`),
          () => outcomeOf(() => last.manifests.delete(grants("delete", name), id, digest), ["MANIFEST_UNKNOWN"]),
        );
      }
    }
    await settle();
    assert.equal(memory.blobs.size, 0);
  }

  // Some 20 s on SQLite; a seed on PostgreSQL costs five times as much, most of it waiting.
  const { BERTH_TEST_SEEDS: seeds, BERTH_TEST_SEED: only } = process.env;
  const kinds =
    dialect === "sqlite"
      ? ([["in turns", false, 200]] as const)
      : ([
          ["in turns", false, 30],
          ["side by side", true, 10],
        ] as const);
  for (const [kind, isFree, usual] of kinds) {
    const count = Number(seeds ?? usual);
    it(`keeps every promise and leaves nothing behind, ${kind} (${only === undefined ? `${count} seeds` : `seed ${only}`})`, async () => {
      const list = only === undefined ? Array.from({ length: count }, (_, i) => i + 1) : [Number(only)];
      const failed: number[] = [];
      let firstError: unknown;
      for (const seed of list) {
        try {
          await runSeed(seed, isFree);
        } catch (error) {
          firstError ??= new Error(`seed ${seed} fails; run it alone with BERTH_TEST_SEED=${seed}`, { cause: error });
          failed.push(seed);
          // With a chosen number of seeds the question is how many find it.
          if (seeds === undefined) break;
        }
      }
      if (failed.length > 0) console.error(`${failed.length} of ${list.length} seeds failed: ${failed.slice(0, 20).join(" ")}`);
      if (firstError !== undefined) throw firstError;
    });
  }
});
