// What is measured on every size: reads at a fixed pace of connections, and writes one after the other. Each case says which figure must not
// grow. Not here: rounds, sizes and the table (scale.ts), the collector (collection.ts).
import { randomUUID } from "node:crypto";
import { artifactManifest, emptyBlob, manifestMediaType } from "../content.ts";
import type { Credentials } from "../http-exchange.ts";
import { percentile } from "../load.ts";
import { runRaw } from "../raw-client.ts";
import { openSession, pathOf, putManifest } from "../registry-session.ts";
import type { Session } from "../registry-session.ts";
import { knownDigest, numbered, places, referrerTypes } from "./seeds.ts";
import { visibleRepositories } from "./setup.ts";
import type { ScaledRegistry } from "./setup.ts";

/** One round's figures: milliseconds, and operations a second. */
export interface ScaleSample {
  readonly p50: number;
  readonly p99: number;
  readonly rate: number;
  readonly operations: number;
  readonly errors: number;
  readonly firstError?: string | undefined;
}

/** What may at most become of a figure from the smallest size to any other. */
export interface Bound {
  readonly figure: "p99" | "rate";
  /** p99: at most so many times; rate: at least that share. */
  readonly factor: number;
}

/** One kind of request. */
export interface ScaleCase {
  readonly name: string;
  readonly bound: Bound;
  run(scaled: ScaledRegistry, seconds: number): Promise<ScaleSample>;
}

const flat: Bound = { figure: "p99", factor: 1.3 };
const pageEntries = 1000;
const connections = 4;
/** Different tags that are asked for in turn, as many in every size: what differs is how far apart they lie. */
const spreadTags = 1000;

type Who = (scaled: ScaledRegistry) => Credentials | undefined;
const administrator: Who = (scaled) => scaled.registry.endpoint.credentials;
const nobody: Who = () => undefined;

interface Read {
  readonly name: string;
  readonly bound?: Bound;
  readonly who?: Who;
  /** Empty for the catalog. */
  readonly repository: string;
  /** The targets to ask for in turn. */
  readonly targets: (scaled: ScaledRegistry) => readonly string[];
  readonly method?: "GET" | "HEAD";
  /** How many entries the answer must have. */
  readonly entries?: { readonly key: "tags" | "repositories" | "manifests"; readonly least: number };
}

function readCase(read: Read): ScaleCase {
  return {
    name: read.name,
    bound: read.bound ?? flat,
    async run(scaled, seconds) {
      const { base } = scaled.registry.endpoint;
      const session = openSession({ base, credentials: (read.who ?? administrator)(scaled) }, 1);
      const targets = read.targets(scaled);
      const headers = { accept: manifestMediaType };
      const method = read.method ?? "GET";
      const answer = await session.request({ method, repository: read.repository, target: targets[0] ?? "", headers }, [200]);
      const authorization = await session.authorization(read.repository);
      session.close();
      if (read.entries !== undefined) {
        const page = (JSON.parse(answer.body.toString("utf8")) as Record<string, unknown[]>)[read.entries.key] ?? [];
        const least = Math.min(read.entries.least, scaled.count / 4);
        if (page.length < least) throw new Error(`${read.name}: ${page.length} entries instead of ${least}`);
      }
      const paths = targets.map((target) => pathOf(read.repository, target));
      const all = { ...headers, ...(authorization !== undefined && { authorization }) };
      return sampleOf(await runRaw({ origin: base, method, paths, once: false, headers: all, connections, seconds }));
    },
  };
}

interface Write {
  readonly name: string;
  readonly who?: Who;
  readonly write: (session: Session, scaled: ScaledRegistry, turn: number) => Promise<void>;
}

/** One write after the other for so long: the pace of a single pusher, where a statement that grew shows most. */
function writeCase({ name, who, write }: Write): ScaleCase {
  return {
    name,
    bound: flat,
    async run(scaled, seconds) {
      const session = openSession({ base: scaled.registry.endpoint.base, credentials: (who ?? administrator)(scaled) }, 1);
      const latencies: number[] = [];
      const startedAt = performance.now();
      const elapsed = (): number => (performance.now() - startedAt) / 1000;
      try {
        // The first one fetches the token.
        await write(session, scaled, -1);
        for (let turn = 0; elapsed() < seconds; turn++) {
          const sentAt = performance.now();
          await write(session, scaled, turn);
          latencies.push(performance.now() - sentAt);
        }
      } finally {
        session.close();
      }
      return sampleOf({ latencies, seconds: elapsed(), errors: 0, firstError: undefined });
    },
  };
}

function sampleOf(outcome: {
  readonly latencies: readonly number[];
  readonly seconds: number;
  readonly errors: number;
  readonly firstError: string | undefined;
}): ScaleSample {
  const sorted = outcome.latencies.toSorted((a, b) => a - b);
  return {
    p50: percentile(sorted, 0.5),
    p99: percentile(sorted, 0.99),
    rate: sorted.length / outcome.seconds,
    operations: sorted.length,
    errors: outcome.errors,
    firstError: outcome.firstError,
  };
}

/** A place in the middle with a whole page behind it. */
const middle = (scaled: ScaledRegistry): string => numbered(Math.floor(Math.max(0, scaled.count - pageEntries) / 2));
const page = (parameters: Readonly<Record<string, string>>): string =>
  new URLSearchParams({ n: String(pageEntries), ...parameters }).toString();
const uniqueManifest = () => artifactManifest(randomUUID());

/** Everything that is measured, in the order of the table. */
export const scaleCases: readonly ScaleCase[] = [
  readCase({
    name: "tags n=1000, first page",
    repository: places.tags,
    targets: () => [`tags/list?${page({})}`],
    entries: { key: "tags", least: pageEntries },
  }),
  readCase({
    name: "tags n=1000, from the middle",
    repository: places.tags,
    targets: (scaled) => [`tags/list?${page({ last: `t${middle(scaled)}` })}`],
    entries: { key: "tags", least: pageEntries },
  }),
  readCase({
    name: "catalog n=1000, administrator, one project",
    repository: "",
    targets: (scaled) => [`_catalog?${page({ last: `${places.wide}/r${middle(scaled)}` })}`],
    entries: { key: "repositories", least: pageEntries },
  }),
  readCase({
    name: "catalog n=1000, administrator, a project each",
    repository: "",
    targets: (scaled) => [`_catalog?${page({ last: `${places.narrow}${middle(scaled)}/app` })}`],
    entries: { key: "repositories", least: pageEntries },
  }),
  readCase({
    name: "catalog, member of 10 projects",
    who: (scaled) => scaled.member,
    repository: "",
    targets: () => [`_catalog?${page({})}`],
    entries: { key: "repositories", least: visibleRepositories },
  }),
  readCase({
    name: "catalog, robot of 10 repositories",
    who: (scaled) => scaled.robot,
    repository: "",
    targets: () => [`_catalog?${page({})}`],
    entries: { key: "repositories", least: visibleRepositories },
  }),
  readCase({
    name: "catalog, anonymous",
    who: nobody,
    repository: "",
    targets: () => [`_catalog?${page({})}`],
    entries: { key: "repositories", least: 1 },
  }),
  readCase({
    name: "referrers, first page",
    repository: places.referrers,
    targets: (scaled) => [`referrers/${scaled.anchors.subject.digest}`],
    entries: { key: "manifests", least: 100 },
  }),
  readCase({
    name: "referrers of a rare type",
    repository: places.referrers,
    targets: (scaled) => [`referrers/${scaled.anchors.subject.digest}?artifactType=${encodeURIComponent(referrerTypes.rare)}&n=1`],
    entries: { key: "manifests", least: 1 },
  }),
  readCase({
    name: "manifest GET by one tag",
    bound: { figure: "rate", factor: 0.95 },
    repository: places.tags,
    targets: (scaled) => [`manifests/t${middle(scaled)}`],
  }),
  readCase({
    name: "manifest GET by many tags",
    bound: { figure: "rate", factor: 0.95 },
    repository: places.tags,
    targets: ({ count }) =>
      Array.from({ length: spreadTags }, (_, index) => `manifests/t${numbered(Math.floor((index * count) / spreadTags))}`),
  }),
  readCase({
    name: "blob HEAD, many",
    repository: places.blobs,
    method: "HEAD",
    targets: (scaled) =>
      Array.from({ length: 1000 }, (_, index) => `blobs/${knownDigest(Math.floor((index * scaled.blobs) / 1000), scaled.blobs)}`),
  }),
  writeCase({
    name: "push a manifest under a new tag",
    write: (session) => putManifest(session, places.tags, `new-${randomUUID()}`, uniqueManifest()),
  }),
  writeCase({
    name: "push a manifest where all blobs are",
    write: (session) => putManifest(session, places.blobs, `new-${randomUUID()}`, uniqueManifest()),
  }),
  writeCase({
    name: "push a referrer",
    write: async (session, scaled) => {
      const manifest = artifactManifest(randomUUID(), scaled.anchors.subject);
      await putManifest(session, places.referrers, manifest.digest, manifest);
    },
  }),
  writeCase({
    name: "push and delete a referrer",
    write: async (session, scaled) => {
      const manifest = artifactManifest(randomUUID(), scaled.anchors.subject);
      await putManifest(session, places.referrers, manifest.digest, manifest);
      await session.request({ method: "DELETE", repository: places.referrers, target: `manifests/${manifest.digest}` }, [202]);
    },
  }),
  writeCase({
    name: "set and delete a tag",
    write: async (session, scaled) => {
      const tag = `gone-${randomUUID()}`;
      await putManifest(session, places.tags, tag, scaled.anchors.tagged);
      await session.request({ method: "DELETE", repository: places.tags, target: `manifests/${tag}` }, [202]);
    },
  }),
  writeCase({
    name: "begin an upload and give it up",
    write: async (session) => {
      const begun = await session.request({ method: "POST", repository: places.tags, target: "blobs/uploads/", body: [] }, [202]);
      await session.request({ method: "DELETE", repository: places.tags, target: begun.headers.location ?? "" }, [204]);
    },
  }),
  writeCase({
    name: "mount a blob that all repositories have",
    write: async (session) => {
      await session.request(
        { method: "POST", repository: places.referrers, target: `blobs/uploads/?mount=${emptyBlob.digest}`, body: [] },
        [201],
      );
    },
  }),
];
