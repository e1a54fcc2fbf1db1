// Deletes of manifests, tags and blobs, and pulls while a registry collects what was deleted.
import type { Case, Measure, Plan } from "../case.ts";
import { Unsupported, sampleOf } from "../case.ts";
import { manifestMediaType } from "../content.ts";
import { prepareLoad, runLoad } from "../load.ts";
import type { Pushed } from "../load.ts";
import type { Registry } from "../registries.ts";
import { openSession, pathOf } from "../registry-session.ts";
import { runReads } from "../wrk.ts";
import { authorizationFor, checkedRead, seedImage } from "./seeds.ts";

const deletedPerRound = 300;
const deleters = 8;
/** Deletions per second while pulls are measured: a clean-up job of a busy day, not an attack. */
const deletesPerSecond = 200;

type Kind = "manifest" | "tag" | "blob";

async function arrangeDeletes(kind: Kind, registry: Registry): Promise<Measure> {
  const repository = `library/bench-delete-${kind}`;
  // One more than is measured: the first shows whether the registry deletes this kind at all.
  const [first, ...rest] = await seedDeletable(kind, registry, repository, deletedPerRound + 1);
  if (first === undefined) throw new Error("nothing was seeded");
  const session = openSession(registry.endpoint, 1);
  const request = { method: "DELETE", repository, target: targetOf(kind, first) };
  const { status } = await session.request(request, [200, 202, 204, 400, 404, 405, 501]);
  session.close();
  if (status >= 400) throw new Unsupported(`none (answers ${status})`);
  const generator = await prepareLoad({
    kind: "raw",
    method: "DELETE",
    origin: registry.endpoint.base,
    paths: rest.map((pushed) => pathOf(repository, targetOf(kind, pushed))),
    once: true,
    headers: await authorizationFor(registry, repository),
    connections: deleters,
    // A guard: the round is over when everything is deleted.
    seconds: 120,
  });
  return async () => sampleOf(await generator.go());
}

function targetOf(kind: Kind, pushed: Pushed): string {
  if (kind === "blob") return `blobs/${pushed.digest}`;
  return `manifests/${kind === "tag" ? pushed.tag : pushed.digest}`;
}

async function seedDeletable(kind: Kind, registry: Registry, repository: string, count: number): Promise<readonly Pushed[]> {
  const common = { endpoint: registry.endpoint, count, concurrency: 8, seconds: 300 };
  const result =
    kind === "blob"
      ? await runLoad({ ...common, kind: "push-blobs", repository, size: 1024 })
      : await runLoad({
          ...common,
          kind: "push-images",
          repositories: [repository],
          layerBytes: 1024,
        });
  if (result.operations < count) throw new Error(`seeding: ${result.firstError ?? "too slow"}`);
  return result.pushed;
}

async function arrangeCollection(registry: Registry, plan: Plan): Promise<Measure> {
  if (registry.collectsOnline === false) throw new Unsupported("none (offline only)");
  // Later cases restart their registries with the usual settings.
  await registry.process?.restart({ collectAtOnce: true });
  const repository = "library/bench-garbage";
  const count = deletesPerSecond * plan.seconds;
  const garbage = await seedDeletable("manifest", registry, repository, count);
  const image = await seedImage(registry);
  const checked = await checkedRead(registry, "manifests/latest", image.manifest, true);
  const load = {
    ...checked,
    origin: registry.endpoint.base,
    accept: manifestMediaType,
    connections: 16,
    seconds: plan.seconds,
  };
  const idle = await runReads(plan.wrk, load);
  const generator = await prepareLoad({
    kind: "raw",
    method: "DELETE",
    origin: registry.endpoint.base,
    paths: garbage.map((pushed) => pathOf(repository, targetOf("manifest", pushed))),
    once: true,
    headers: await authorizationFor(registry, repository),
    connections: deleters,
    seconds: plan.seconds,
    perSecond: deletesPerSecond,
  });
  const filesBefore = await registry.process?.countFiles();
  return async () => {
    const [reads, deletes] = await Promise.all([runReads(plan.wrk, load), generator.go()]);
    const sample = sampleOf(reads);
    const quiet = `p99 without deletes ${idle.p99.toFixed(1)} ms`;
    const files = filesBefore === undefined ? "" : `, files ${filesBefore} to ${await registry.process?.countFiles()}`;
    const note = `${deletes.operations} images deleted meanwhile${files}; ${quiet}`;
    const firstError = sample.firstError ?? deletes.firstError;
    return { ...sample, errors: sample.errors + deletes.errors, firstError, note };
  };
}

/** Deletes by kind, and pulls under collection. */
export const deletionCases: readonly Case[] = [
  ...(["manifest", "tag", "blob"] as const).map((kind): Case => ({
    name: `delete/${kind}`,
    unit: "op",
    quick: kind === "manifest",
    arrange: (registry) => arrangeDeletes(kind, registry),
  })),
  { name: "collection/manifest-get-tag", unit: "req", quick: true, arrange: arrangeCollection },
];
