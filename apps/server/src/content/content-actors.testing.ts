// Clients of a content layer under random schedules: pushers, deleters, collectors; each reports its answers to the model. Not here: the
// schedules and their clock (distribution/schedules.test.ts).
import assert from "node:assert/strict";
import { RegistryError, type ErrorCode } from "@berth/oci/errors";
import type { Tag } from "@berth/oci/reference";
import type { TestClock } from "../access/access.testing.ts";
import type { ContentModel } from "./content-model.testing.ts";
import { blobOf, bodyOf, putOf, TEST_TIMES, type Content, type createGrants, type TestBlob, inRepository } from "./content.testing.ts";
import { ProcessEnded, type Random } from "./schedule.testing.ts";
import { foldUsage } from "./usage.ts";

const { leaseMs } = TEST_TIMES;
/** The repositories in which actors act. */
export const REPOSITORIES = ["test/one", "test/two"] as const;
export const TAGS = ["latest", "v1"] as const;
/** Two of the five are stored in the database. */
export const BLOBS: readonly TestBlob[] = [blobOf("a", 20), blobOf("b", 30), blobOf("layer c "), blobOf("layer d "), blobOf("layer e ")];
export const IMAGES = [
  [0, 2],
  [0, 2, 3],
  [1, 3],
  [1, 2, 4],
  [3, 4],
].map((which) => which.map((i) => BLOBS[i]!));

/** A repository under test. */
export interface Repository {
  readonly name: string;
  readonly id: number;
}

/** What actors act on. */
export interface World {
  readonly random: Random;
  readonly clock: TestClock;
  readonly model: ContentModel;
  readonly repositories: readonly Repository[];
  readonly grants: Awaited<ReturnType<typeof createGrants>>;
  /** Any process that is alive. */
  process(): Content;
  /** The number of failed renewals of leases: such a look-up continues, and promises no more than before. */
  failedRenewals(): number;
}

// Errors that a client may get at any time: its process has ended or cannot continue, or its session was another's or too old.
const PASSING: readonly string[] = ["UNAVAILABLE", "CONFLICT", "BLOB_UPLOAD_UNKNOWN"];

/** Runs an operation. Returns the code of an error that a client must expect, "ended" if its process ended, or else its result. */
export async function outcomeOf<T>(
  run: () => Promise<T>,
  expected: readonly ErrorCode[] = [],
): Promise<{ readonly value: T } | { readonly failed: string }> {
  try {
    return { value: await run() };
  } catch (error) {
    for (const each of error instanceof AggregateError ? (error.errors as unknown[]) : [error]) {
      const isExpected = each instanceof RegistryError && [...PASSING, ...expected].includes(each.code);
      if (!isExpected && !(each instanceof ProcessEnded)) throw error;
    }
    return { failed: error instanceof RegistryError ? error.code : "ended" };
  }
}

async function head(world: World, { name, id }: Repository, { digest }: TestBlob): Promise<boolean> {
  const { clock, model } = world;
  const askedAt = clock.now();
  const failedBefore = world.failedRenewals();
  const found = await outcomeOf(() =>
    model.claiming(
      `${id} ${digest}`,
      async () => world.process().blobs.find(inRepository(world.grants("pull", name), id), digest),
      // A lease of which half has passed is renewed, so a lease that was not renewed has at least this much left.
      (row) => {
        if (row !== undefined && world.failedRenewals() === failedBefore) model.promiseBlob(id, digest, askedAt + leaseMs / 2);
      },
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
        // Probably another process than the one before.
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
      () =>
        world
          .process()
          .blobs.mount(inRepository(grants("push", target.name), target.id), inRepository(grants("pull", source.name), source.id), digest),
      (isMounted) => isMounted && model.promiseBlob(target.id, digest, askedAt + leaseMs),
    ),
  );
  return "value" in mounted && mounted.value;
}

/** The steps of a client: it checks each blob, mounts or uploads the missing ones, then puts the manifest. */
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
  const digests = blobs.map((blob) => blob.digest);
  const arePromised = model.watchPromises(id, digests);
  const done = await model.claiming(
    `${id} ${put.digest}`,
    () =>
      model.replacing(
        tags.map((tag) => `${id} ${tag}`),
        () => outcomeOf(() => world.process().manifests.put(inRepository(world.grants("push", name), id), put), ["MANIFEST_BLOB_UNKNOWN"]),
        (outcome) => {
          if ("value" in outcome) for (const tag of tags) model.keepTag(id, tag, put.digest);
        },
      ),
    (outcome) => {
      if ("value" in outcome) model.keepManifest({ repositoryId: id, digest: put.digest, blobs: digests });
    },
  );
  if ("failed" in done && done.failed === "MANIFEST_BLOB_UNKNOWN") {
    assert.ok(!arePromised(), "a push within the lease was told that a blob is unknown");
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
      outcomeOf(() => world.process().blobs.delete(inRepository(grant, id), digest), ["BLOB_UNKNOWN", "UNSUPPORTED"]),
    );
  } else if (kind === 1) {
    const tag = random.pick(TAGS);
    await model.ending([`${id} ${tag}`], () =>
      outcomeOf(() => world.process().tags.delete(inRepository(grant, id), tag as Tag), ["MANIFEST_UNKNOWN"]),
    );
  } else {
    const { digest } = putOf(random.pick(IMAGES));
    const names = [digest, ...TAGS].map((each) => `${id} ${each}`);
    await model.ending(names, () =>
      outcomeOf(() => world.process().manifests.delete(inRepository(grant, id), digest), ["MANIFEST_UNKNOWN"]),
    );
  }
}

async function abandonUpload(world: World): Promise<void> {
  const { random } = world;
  const grant = world.grants("push", random.pick(world.repositories).name);
  const { bytes } = random.pick(BLOBS);
  await outcomeOf(async () => {
    const { id } = await world.process().sessions.begin(grant, "sha256");
    await world.process().sessions.append(grant, id, { body: bodyOf(bytes), startBytes: undefined, lengthBytes: bytes.length });
    if (random.chance(0.3)) await world.process().sessions.cancel(grant, id);
  });
}

async function collect(world: World): Promise<void> {
  const { random } = world;
  const { database, sessions, garbage } = world.process();
  const batch = 1 + random.below(5);
  await outcomeOf(() => foldUsage(database, batch));
  await outcomeOf(() => sessions.expire(batch));
  await outcomeOf(() => garbage.collectLinks(batch));
  await outcomeOf(() => garbage.reclaimBytes(batch));
}

/** Runs that many operations, chosen by the seed, one after the other. */
export async function act(world: World, operations: number): Promise<void> {
  const { random } = world;
  for (let i = 0; i < operations; i++) {
    const dice = random.below(20);
    if (dice < 8) await pushImage(world);
    else if (dice < 13) await deleteSomething(world);
    else if (dice < 14) await abandonUpload(world);
    else await collect(world);
  }
}
