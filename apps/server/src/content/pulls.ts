// Pull counts: counted in memory, and written together every few seconds, so that a pull writes nothing and all replicas see the same
// numbers within a minute. A killed process loses the counts that it had not written. Not here: which requests are pulls (http/v2).
import { createBackgroundLoop } from "../platform/background-loop.ts";
import { type Clock, SECOND_MS } from "../platform/clock.ts";
import type { Database } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";

/** Counts pulls. */
export interface PullCounter {
  /** Counts a pull of a manifest. It runs for each pull, and only adds to a number in memory. */
  note(manifestId: number): void;
  /** Writes the counts so far. Errors: the database's; counts that were not written are kept. */
  flush(): Promise<void>;
  /** Starts to write every few seconds. */
  start(): void;
  /** Stops, and writes the rest. */
  stop(): Promise<void>;
  /** Pulls that were not counted, because the database was unreachable for long. */
  readonly uncounted: number;
}

/** Half of what "within a minute" allows. */
const FLUSH_EVERY_MS = 30 * SECOND_MS;
const MAX_REST_MS = 600 * SECOND_MS;
/** Manifests whose counts are kept between two writes: a few megabytes. */
const MAX_COUNTED = 50_000;
/** The manifests of one transaction. */
const BATCH = 500;

interface Counted {
  pulls: number;
  lastAt: number;
}

type Batch = { ids: number[]; pulls: number[]; at: number };

const listRepositories = statement<{ ids: number[] }>()("pulls.listRepositories", (db, p, tools) =>
  db
    .selectFrom("manifest")
    .select(["id", "repository_id"])
    .where(({ ref }) => tools.inList(ref("id"), p.ids, "bigint")),
);

// Deleted manifests are left out. In the order of the list, so that two processes cannot deadlock.
const addToManifests = statement<Batch>()(
  "pulls.addToManifests",
  (db, p, tools) =>
    db
      .insertInto("manifest_pull")
      .columns(["manifest_id", "pulls", "pulled_at"])
      .expression((eb) =>
        eb
          .selectFrom(tools.numberPairs(p.ids, p.pulls).as("counted"))
          .innerJoin("manifest", "manifest.id", "counted.a")
          .select(({ cast, val }) => ["manifest.id", "counted.b as pulls", cast<number>(val(p.at), "bigint").as("pulled_at")])
          .where(({ lit }) => lit(true)),
      )
      .onConflict((conflict) =>
        conflict.column("manifest_id").doUpdateSet((eb) => ({
          pulls: eb("manifest_pull.pulls", "+", eb.ref("excluded.pulls")),
          pulled_at: tools.greatest(eb.ref("manifest_pull.pulled_at"), eb.ref("excluded.pulled_at")),
        })),
      ),
  { bounded: "one batch of numbers, joined to each other in memory" },
);

const addToRepositories = statement<Batch>()(
  "pulls.addToRepositories",
  (db, p, tools) =>
    db
      .insertInto("repository_pull")
      .columns(["repository_id", "pulls", "pulled_at"])
      .expression((eb) =>
        eb
          .selectFrom(tools.numberPairs(p.ids, p.pulls).as("counted"))
          .innerJoin("repository", "repository.id", "counted.a")
          .select(({ cast, val }) => ["repository.id", "counted.b as pulls", cast<number>(val(p.at), "bigint").as("pulled_at")])
          .where(({ lit }) => lit(true)),
      )
      .onConflict((conflict) =>
        conflict.column("repository_id").doUpdateSet((eb) => ({
          pulls: eb("repository_pull.pulls", "+", eb.ref("excluded.pulls")),
          pulled_at: tools.greatest(eb.ref("repository_pull.pulled_at"), eb.ref("excluded.pulled_at")),
        })),
      ),
  { bounded: "one batch of numbers, joined to each other in memory" },
);

/** Entries in batches, each written with one time: none is off by more than the interval between two writes. */
function* batchesOf(counted: ReadonlyMap<number, Counted>): Generator<[number, Counted][]> {
  const byTime = Map.groupBy(counted, ([, { lastAt }]) => Math.floor(lastAt / FLUSH_EVERY_MS));
  for (const entries of byTime.values()) {
    entries.sort(([one], [other]) => one - other);
    for (let at = 0; at < entries.length; at += BATCH) yield entries.slice(at, at + BATCH);
  }
}

/** Creates a counter. `onError`: counts could not be written, and are tried again. */
export function createPullCounter(database: Database, clock: Clock, onError: (error: unknown) => void): PullCounter {
  let counted = new Map<number, Counted>();
  let uncounted = 0;

  function add(manifestId: number, pulls: number, lastAt: number): void {
    const known = counted.get(manifestId);
    if (known !== undefined) {
      known.pulls += pulls;
      known.lastAt = Math.max(known.lastAt, lastAt);
    } else if (counted.size < MAX_COUNTED) counted.set(manifestId, { pulls, lastAt });
    else uncounted += pulls;
  }

  async function write(entries: readonly [number, Counted][]): Promise<void> {
    const at = entries.reduce((latest, [, { lastAt }]) => Math.max(latest, lastAt), 0);
    const ids = entries.map(([id]) => id);
    const pulls = entries.map(([, each]) => each.pulls);
    const gone = { any: "what went meanwhile is left out" };
    await database.transaction(
      async (tx) => {
        const repositoryOf = new Map((await tx.all(listRepositories, { ids })).map((row) => [row.id, row.repository_id]));
        const sums = new Map<number, number>();
        for (const [id, each] of entries) {
          const repositoryId = repositoryOf.get(id);
          if (repositoryId !== undefined) sums.set(repositoryId, (sums.get(repositoryId) ?? 0) + each.pulls);
        }
        await tx.run(addToManifests, { ids, pulls, at }, gone);
        const ofRepositories = [...sums].toSorted(([one], [other]) => one - other);
        await tx.run(addToRepositories, { ids: ofRepositories.map(([id]) => id), pulls: ofRepositories.map(([, sum]) => sum), at }, gone);
      },
      { durable: false },
    );
  }

  async function flush(): Promise<void> {
    const batches = [...batchesOf(counted)];
    counted = new Map();
    while (batches.length > 0) {
      try {
        await write(batches[0]!);
        batches.shift();
      } catch (error) {
        for (const [id, { pulls, lastAt }] of batches.flat()) add(id, pulls, lastAt);
        throw error;
      }
    }
  }

  const loop = createBackgroundLoop(flush, { everyMs: FLUSH_EVERY_MS, maxRestMs: MAX_REST_MS }, onError);

  return {
    note: (manifestId) => add(manifestId, 1, clock.now()),
    flush,
    start: loop.start,
    async stop() {
      await loop.stop();
      await flush().catch(onError);
    },
    get uncounted() {
      return uncounted;
    },
  };
}
