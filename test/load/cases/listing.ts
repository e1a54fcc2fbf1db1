// Pages of tags and of the catalog at 10^3 and 10^5 entries, n=1000, and the referrers of one image.
// A registry that cannot be seeded to 10^5 within the plan's time is measured at what it reached, and the table says so.
import type { Case, Measure, Plan } from "../case.ts";
import { Unsupported, sampleOf } from "../case.ts";
import { artifactManifest, emptyBlob } from "../content.ts";
import { runLoad } from "../load.ts";
import type { LoadResult } from "../load.ts";
import type { Registry } from "../registries.ts";
import { openSession, pathOf, pushBlob, putManifest } from "../registry-session.ts";
import { runReads } from "../wrk.ts";
import { seedImage, readRepository } from "./seeds.ts";

const pageEntries = 1000;
const connections = 4;
const catalogPrefix = "library/catalog/";
const referrerCount = 100;

/** What has been seeded so far, and what seeding reached. */
interface Seeded {
  readonly reached: number;
}

type Range = { readonly from: number; readonly to: number; readonly seconds: number };

function seedTags(registry: Registry, range: Range): Promise<LoadResult> {
  const job = { kind: "tag", repository: "library/bench-tags", concurrency: 8, ...range } as const;
  return runLoad({ ...job, endpoint: registry.endpoint });
}

function seedRepositories(registry: Registry, range: Range): Promise<LoadResult> {
  const job = { kind: "repositories", prefix: catalogPrefix, concurrency: 8, ...range } as const;
  return runLoad({ ...job, endpoint: registry.endpoint });
}

/** Seeds the first thousand, then up to `count` for as long as the plan allows. */
async function seedUpTo(
  registry: Registry,
  plan: Plan,
  key: string,
  count: number,
  seed: (registry: Registry, range: Range) => Promise<LoadResult>,
): Promise<Seeded> {
  const thousand = await registry.once(`${key}-1000`, async () => {
    const result = await seed(registry, { from: 0, to: 1000, seconds: 300 });
    if (result.errors > 0) throw new Error(`seeding: ${result.firstError}`);
    return result.operations;
  });
  if (count === 1000) return { reached: thousand };
  return registry.once(`${key}-${count}`, async () => {
    const result = await seed(registry, { from: 1000, to: count, seconds: plan.seedSeconds });
    if (result.errors > 0) throw new Error(`seeding: ${result.firstError}`);
    return { reached: thousand + result.operations };
  });
}

interface Listing {
  readonly kind: "tags" | "catalog";
  readonly count: 1000 | 100_000;
}

async function arrangeListing(listing: Listing, registry: Registry, plan: Plan): Promise<Measure> {
  const seed = listing.kind === "tags" ? seedTags : seedRepositories;
  const { reached } = await seedUpTo(registry, plan, listing.kind, listing.count, seed);
  const repository = listing.kind === "tags" ? "library/bench-tags" : "";
  // From the middle of a long list, where a registry that walks from its beginning shows it.
  const middle = String(Math.floor(reached / 2)).padStart(6, "0");
  const last = listing.kind === "tags" ? `t${middle}` : `${catalogPrefix}r${middle}`;
  const query = new URLSearchParams({
    n: String(pageEntries),
    ...(listing.count > pageEntries && { last }),
  });
  const target = `${listing.kind === "tags" ? "tags/list" : "_catalog"}?${query.toString()}`;
  const session = openSession(registry.endpoint, 1);
  const answer = await session.request({ method: "GET", repository, target }, [200]);
  const authorization = await session.authorization(repository);
  session.close();
  const page = JSON.parse(answer.body.toString("utf8")) as Record<string, unknown>;
  const entries = page[listing.kind === "tags" ? "tags" : "repositories"];
  const length = Array.isArray(entries) ? entries.length : 0;
  if (length < Math.min(pageEntries, reached / 3)) throw new Error(`a page of ${length} entries out of ${reached}`);
  const notes = [
    ...(reached < listing.count ? [`only ${reached} seeded in ${plan.seedSeconds} s`] : []),
    ...(length > pageEntries ? [`answers ${length} entries for n=${pageEntries}`] : []),
  ];
  return async () => {
    const load = {
      origin: registry.endpoint.base,
      path: pathOf(repository, target),
      authorization,
    };
    const result = await runReads(plan.wrk, { ...load, connections, seconds: plan.seconds });
    return { ...sampleOf(result), ...(notes.length > 0 && { note: notes.join("; ") }) };
  };
}

async function arrangeReferrers(registry: Registry, plan: Plan): Promise<Measure> {
  const image = await seedImage(registry);
  const target = `referrers/${image.manifest.digest}`;
  const session = openSession(registry.endpoint, 4);
  try {
    const found = await session.request({ method: "GET", repository: readRepository, target }, [200, 404, 405]);
    if (found.status !== 200) throw new Unsupported(`none (answers ${found.status})`);
    await registry.once("referrers", async () => {
      await pushBlob(session, readRepository, emptyBlob);
      for (let index = 0; index < referrerCount; index++) {
        const manifest = artifactManifest(`referrer ${index}`, image.manifest);
        await putManifest(session, readRepository, manifest.digest, manifest);
      }
    });
    const answer = await session.request({ method: "GET", repository: readRepository, target }, [200]);
    const { manifests } = JSON.parse(answer.body.toString("utf8")) as { manifests: unknown[] };
    if (manifests.length === 0) throw new Error("no referrers in the answer");
    const note = manifests.length === referrerCount ? {} : { note: `a page of ${manifests.length}` };
    const authorization = await session.authorization(readRepository);
    const load = {
      origin: registry.endpoint.base,
      path: pathOf(readRepository, target),
      authorization,
    };
    return async () => ({
      ...sampleOf(await runReads(plan.wrk, { ...load, connections, seconds: plan.seconds })),
      ...note,
    });
  } finally {
    session.close();
  }
}

const listings: readonly (Listing & { readonly label: string; readonly quick: boolean })[] = [
  { kind: "tags", count: 1000, label: "1e3", quick: true },
  { kind: "catalog", count: 1000, label: "1e3", quick: false },
  { kind: "tags", count: 100_000, label: "1e5", quick: false },
  { kind: "catalog", count: 100_000, label: "1e5", quick: false },
];

/** Pages of tags and of the catalog, and referrers. */
export const listingCases: readonly Case[] = [
  {
    name: `referrers/${referrerCount}`,
    unit: "req",
    quick: false,
    arrange: arrangeReferrers,
  },
  ...listings.map((listing): Case => ({
    name: `list/${listing.kind}-${listing.label}`,
    unit: "req",
    quick: listing.quick,
    arrange: (registry, plan) => arrangeListing(listing, registry, plan),
  })),
];
