// Manifest GET and HEAD, by tag and by digest, with a token and without, over 16 connections; and GET with an access log.
import type { Case, Measure, Plan } from "../case.ts";
import { sampleOf, Unsupported } from "../case.ts";
import { manifestMediaType } from "../content.ts";
import { prepareLoad } from "../load.ts";
import type { Registry } from "../registries.ts";
import { runReads } from "../wrk.ts";
import { checkedRead, seedImage } from "./seeds.ts";

const connections = 16;

interface Read {
  readonly method: "GET" | "HEAD";
  readonly by: "tag" | "digest";
  readonly authorized: boolean;
}

const reads: readonly Read[] = [true, false].flatMap((authorized) =>
  (["tag", "digest"] as const).flatMap((by) => (["GET", "HEAD"] as const).map((method): Read => ({ method, by, authorized }))),
);

async function arrangeRead(read: Read, registry: Registry, plan: Plan): Promise<Measure> {
  const image = await seedImage(registry);
  const reference = read.by === "tag" ? "latest" : image.manifest.digest;
  const target = `manifests/${reference}`;
  const { path, authorization } = await checkedRead(registry, target, image.manifest, read.authorized);
  const load = { origin: registry.endpoint.base, connections, seconds: plan.seconds };
  if (read.method === "GET") {
    return async () => sampleOf(await runReads(plan.wrk, { ...load, path, authorization, accept: manifestMediaType }));
  }
  // wrk waits for the body that an answer to HEAD announces and does not have.
  const headers = {
    accept: manifestMediaType,
    ...(authorization !== undefined && { authorization }),
  };
  const generator = await prepareLoad({
    ...load,
    kind: "raw",
    method: "HEAD",
    paths: [path],
    once: false,
    headers,
  });
  return async () => sampleOf(await generator.go());
}

// A process that has just started is slower, so it gets a round that does not count.
async function arrangeLogged(registry: Registry, plan: Plan): Promise<Measure> {
  const { process } = registry;
  if (process === undefined) throw new Unsupported("a registry given by URL cannot be started with an access log");
  await process.restart({ accessLog: true });
  const measure = await arrangeRead({ method: "GET", by: "tag", authorized: true }, registry, plan);
  await measure();
  return async () => {
    const before = process.usage();
    const sample = await measure();
    const after = process.usage();
    // The other cases' process has none. What it uses is not this one's, so the figure is taken here.
    await process.restart();
    return { ...sample, ...(before && after && { cpuSeconds: after.cpuSeconds - before.cpuSeconds }) };
  };
}

const loggedCase: Case = { name: "manifest/get-tag/access-log", unit: "req", quick: false, arrange: arrangeLogged };

/** The eight manifest cases, and one with a line in the log for each request. */
export const manifestReadCases: readonly Case[] = [...reads.map(readCase), loggedCase];

function readCase(read: Read): Case {
  return {
    name: `manifest/${read.method.toLowerCase()}-${read.by}/${read.authorized ? "token" : "anonymous"}`,
    unit: "req",
    quick: read.by === "tag" && read.authorized,
    ...(read.by === "tag" && read.authorized && { limit: `bare node:http ${read.method}` as const }),
    arrange: (registry, plan) => arrangeRead(read, registry, plan),
  };
}
