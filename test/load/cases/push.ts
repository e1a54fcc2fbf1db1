// Pushes of unique content: blobs at four sizes in one PUT and in chunks, and many small images into one repository
// and into many.
import type { Case, Measure, Plan, Sample } from "../case.ts";
import { sampleOf } from "../case.ts";
import { prepareLoad } from "../load.ts";
import type { Registry } from "../registries.ts";
import { blobSizes } from "./seeds.ts";

type Size = (typeof blobSizes)[number];

/** Blobs a round and pushers: about a second on the slower peer, and one pusher for the size that fills a core. */
const pushPlans = {
  "1KiB": { count: 400, concurrency: 8 },
  "1MiB": { count: 150, concurrency: 4 },
  "10MiB": { count: 30, concurrency: 2 },
  "100MiB": { count: 6, concurrency: 1 },
} as const;

/** docker pushes in chunks of the whole layer; clients that chunk on purpose use 5 to 10 MiB. */
const chunkBytes = 8 * 1024 * 1024;
const pushers = 16;
const manyRepositories = 200;
const smallLayerBytes = 1024;

async function arrangePush(size: Size, chunked: boolean, registry: Registry, plan: Plan): Promise<Measure> {
  const { count, concurrency } = pushPlans[size.label];
  const generator = await prepareLoad({
    kind: "push-blobs",
    endpoint: registry.endpoint,
    repository: "library/bench-push",
    size: size.bytes,
    ...(chunked && { chunkBytes }),
    count,
    concurrency,
    // A guard: every registry pushes the same blobs, however long it takes; a slow one is cut at six rounds' time.
    seconds: plan.seconds * 6,
  });
  return async () => {
    const result = await generator.go();
    return sampleOf(result, size.bytes < 1024 * 1024 ? result.operations : result.bytes / 1e9);
  };
}

async function arrangeImages(repositories: readonly string[], registry: Registry, plan: Plan): Promise<Measure> {
  const generator = await prepareLoad({
    kind: "push-images",
    endpoint: registry.endpoint,
    repositories,
    layerBytes: smallLayerBytes,
    // More than any registry has taken in a second here, so that time and not the supply ends the round.
    count: plan.seconds * 2000,
    concurrency: pushers,
    seconds: plan.seconds,
  });
  return async () => sampleOf(await generator.go());
}

async function arrangeMixed(registry: Registry, plan: Plan): Promise<Measure> {
  const generator = await prepareLoad({
    kind: "mixed",
    endpoint: registry.endpoint,
    repository: "library/bench-mixed",
    layerBytes: 1024 * 1024,
    pulledImages: 50,
    pushShare: 0.25,
    concurrency: pushers,
    seconds: plan.seconds,
  });
  return async (): Promise<Sample> => sampleOf(await generator.go());
}

/** Pushes by size and way, small images, and the mix of three pulls to one push. */
export const pushCases: readonly Case[] = [
  ...(["monolithic", "chunked"] as const).flatMap((way) =>
    blobSizes.map((size): Case => ({
      name: `push/${way}-${size.label}`,
      unit: size.bytes < 1024 * 1024 ? "push" : "GB",
      quick: way === "monolithic" && size.label === "100MiB",
      ...(way === "monolithic" && size.label === "100MiB" && { limit: "hash-while-write+fsync 100 MiB" }),
      arrange: (registry, plan) => arrangePush(size, way === "chunked", registry, plan),
    })),
  ),
  {
    name: "images/one-repository",
    unit: "image",
    quick: true,
    arrange: (registry, plan) => arrangeImages(["library/bench-images"], registry, plan),
  },
  {
    name: "images/many-repositories",
    unit: "image",
    quick: false,
    arrange: (registry, plan) =>
      arrangeImages(
        Array.from({ length: manyRepositories }, (_, index) => `library/bench-many-${index}`),
        registry,
        plan,
      ),
  },
  { name: "mixed/75-pull-25-push-1MiB", unit: "op", quick: true, arrange: arrangeMixed },
];
