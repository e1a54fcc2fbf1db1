// Two upstreams that a test decides for: one that speaks the distribution API to another registry, through a proxy that can break what passes, and an
// obvious fake that has its images in memory. Both say what they were asked in the same words. Not here: what is tested with them
// (upstream.test.ts), the client of the other registry (registry-upstream.testing.ts).
import { createServer, request as sendRequest, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { digestOf, isDigest, type Digest } from "../../packages/oci/src/digest.ts";
import { projectOf } from "../../packages/oci/src/reference.ts";
import type { ProjectTraits } from "../../apps/server/src/access/project-traits.ts";
import type { ReferrerDescriptor } from "../../apps/server/src/distribution/lists.ts";
import { type Upstream, UpstreamError, type UpstreamQuestion } from "../../apps/server/src/distribution/upstream.ts";
import { connectRegistry, failureOfStatus, mirrorTrait } from "./registry-upstream.testing.ts";
import { ADMIN_PASSWORD, expectStatus, sha256, startTestRegistry } from "./registry.testing.ts";

export const OCI = "application/vnd.oci.image.manifest.v1+json";
export const INDEX = "application/vnd.oci.image.index.v1+json";

/** What goes wrong with the questions that it says. */
export type Fault = { readonly on: RegExp } & (
  | { readonly kind: "status"; readonly status: number; readonly retryAfter?: number }
  /** The body ends too early. */
  | { readonly kind: "cut"; readonly afterBytes: number }
  /** One byte is another. */
  | { readonly kind: "wrong" }
  /** So many bytes, and then none until it is time. */
  | { readonly kind: "hold"; readonly afterBytes: number; readonly until: Promise<unknown> }
  /** It does not say how many will come. */
  | { readonly kind: "unsized" }
  /** Nobody is there, whatever is asked. */
  | { readonly kind: "away" }
);

/** Content for an upstream. */
export interface Content {
  readonly manifests: readonly { readonly bytes: Buffer; readonly mediaType: string; readonly tag?: string }[];
  readonly blobs: readonly Buffer[];
}

/** An upstream, what it was asked, and what goes wrong. */
export interface TestUpstream {
  readonly upstream: Upstream;
  /** As `GET blobs/sha256:…`, in order. */
  readonly asked: string[];
  fault: Fault | undefined;
  /** How long tags are known. */
  ttlMs: number;
  /** What is stored as the trait of the project. */
  readonly trait: unknown;
  put(repository: string, content: Content): Promise<void>;
  deleteTag(repository: string, tag: string): Promise<void>;
  end(): Promise<void>;
}

/** An image of these layers, with a config of its own. */
export function imageOf(tag: string, layers: readonly Buffer[], more: object = {}) {
  const config = Buffer.from(JSON.stringify({ architecture: "amd64", os: "linux", tag }));
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: OCI,
      config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: sha256(config), size: config.length },
      layers: layers.map((layer) => ({ mediaType: "application/vnd.oci.image.layer.v1.tar", digest: sha256(layer), size: layer.length })),
      ...more,
    }),
  );
  return {
    tag,
    digest: sha256(bytes),
    bytes,
    config,
    layers,
    content: { manifests: [{ bytes, mediaType: OCI, tag }], blobs: [config, ...layers] },
  };
}

/** The pieces of a body as a fault lets them pass. */
async function* broken(bytes: Buffer, fault: Fault | undefined): AsyncGenerator<Buffer, void, void> {
  switch (fault?.kind) {
    case "cut":
      yield bytes.subarray(0, fault.afterBytes);
      throw new Error("cut");
    case "hold":
      yield bytes.subarray(0, fault.afterBytes);
      await fault.until;
      yield bytes.subarray(fault.afterBytes);
      return;
    case "wrong": {
      const other = Buffer.from(bytes);
      // A manifest is one still, of another config.
      const at = bytes.indexOf("sha256:");
      if (at === -1) other[other.length - 1]! ^= 1;
      else other[at + 7] = other[at + 7] === 0x30 ? 0x31 : 0x30;
      yield other;
      return;
    }
    default:
      for (let at = 0; at < bytes.length; at += 100_000) yield bytes.subarray(at, at + 100_000);
  }
}

/** The fake: maps, and nothing between. */
export async function fakeUpstream(): Promise<TestUpstream> {
  const manifests = new Map<string, { readonly bytes: Buffer; readonly mediaType: string }>();
  const tags = new Map<string, string>();
  const blobs = new Map<string, Buffer>();
  const nameOf = ({ repository }: UpstreamQuestion): string => repository.slice(projectOf(repository).length + 1);

  function ask(method: string, path: string): Fault | undefined {
    const label = `${method} ${path}`;
    test.asked.push(label);
    const fault = test.fault?.on.test(label) === true ? test.fault : undefined;
    if (fault?.kind === "away") throw new UpstreamError("unreachable", "nobody is there");
    if (fault?.kind === "status" && fault.status !== 404) throw failureOfStatus(fault.status, fault.retryAfter);
    return fault;
  }
  const isGone = (fault: Fault | undefined): boolean => fault?.kind === "status";
  const page = <T>(all: readonly T[], at: { after: string; place: string | undefined; limit: number }, from: number) => ({
    items: all.slice(from, from + at.limit),
    next: from + at.limit < all.length ? String(from + at.limit) : undefined,
  });

  const upstream: Upstream = {
    trait: mirrorTrait,
    tagTtlMs: () => test.ttlMs,
    async checkTag(question, tag) {
      const fault = ask("HEAD", `manifests/${tag}`);
      const digest = tags.get(`${nameOf(question)}:${tag}`);
      return digest === undefined || isGone(fault) ? undefined : { digest: digest as Digest };
    },
    async fetchManifest(question, reference) {
      const named = reference.kind === "tag" ? tags.get(`${nameOf(question)}:${reference.tag}`) : reference.digest;
      const fault = ask("GET", `manifests/${reference.kind === "tag" ? reference.tag : reference.digest}`);
      const found = manifests.get(`${nameOf(question)}@${named}`);
      if (found === undefined || isGone(fault)) return undefined;
      const pieces = await Array.fromAsync(broken(found.bytes, fault)).catch((cause: unknown) => {
        throw new UpstreamError("wrong", "it was cut off", { cause });
      });
      return { bytes: Buffer.concat(pieces), mediaType: found.mediaType };
    },
    async checkBlob(question, digest) {
      const fault = ask("HEAD", `blobs/${digest}`);
      const found = blobs.get(`${nameOf(question)}@${digest}`);
      return found === undefined || isGone(fault) ? undefined : { sizeBytes: found.length };
    },
    async openBlob(question, digest) {
      const fault = ask("GET", `blobs/${digest}`);
      const found = blobs.get(`${nameOf(question)}@${digest}`);
      if (found === undefined || isGone(fault)) return undefined;
      return { sizeBytes: fault?.kind === "unsized" ? undefined : found.length, body: broken(found, fault) };
    },
    async listTags(question, at) {
      const fault = ask("GET", "tags/list");
      const prefix = `${nameOf(question)}:`;
      const all = [...tags.keys()]
        .filter((key) => key.startsWith(prefix))
        .map((key) => key.slice(prefix.length))
        .toSorted();
      if (all.length === 0 || isGone(fault)) return undefined;
      return page(all, at, at.place === undefined ? all.filter((tag) => tag <= at.after).length : Number(at.place));
    },
    async listReferrers(question, subject, at) {
      ask("GET", `referrers/${subject}`);
      const all: ReferrerDescriptor[] = [];
      for (const [key, { bytes, mediaType }] of manifests) {
        const parsed = JSON.parse(bytes.toString()) as { subject?: { digest: string }; artifactType?: string };
        if (!key.startsWith(`${nameOf(question)}@`) || parsed.subject?.digest !== subject) continue;
        all.push({ mediaType, digest: digestOf(bytes), size: bytes.length, artifactType: parsed.artifactType! });
      }
      return page(all, at, Number(at.place ?? 0));
    },
  };
  const test: TestUpstream = {
    upstream,
    asked: [],
    fault: undefined,
    ttlMs: Infinity,
    trait: { origin: "fake" },
    async put(repository, content) {
      for (const { bytes, mediaType, tag } of content.manifests) {
        manifests.set(`${repository}@${sha256(bytes)}`, { bytes, mediaType });
        if (tag !== undefined) tags.set(`${repository}:${tag}`, sha256(bytes));
      }
      for (const blob of content.blobs) blobs.set(`${repository}@${sha256(blob)}`, blob);
    },
    deleteTag: async (repository, tag) => void tags.delete(`${repository}:${tag}`),
    end: async () => undefined,
  };
  return test;
}

/** A private one, so that it wants to know who asks. */
const PROJECT = "source";

/** The real shape: another Berth, whose answers come through a proxy that breaks them. */
export async function registryUpstream(): Promise<TestUpstream> {
  const origin = await startTestRegistry();
  const made = { body: JSON.stringify({ name: PROJECT }), headers: { "content-type": "application/json" } };
  await expectStatus(await origin.send("POST", "/api/v1/projects", made), 201);
  const proxy = createServer((request, response) => void pass(request, response));
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));

  async function pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url!;
    const found = /\/(manifests\/[^/?]+|blobs\/[^/?]+|tags\/list|referrers\/[^/?]+)/.exec(path)?.[1];
    const label = `${request.method} ${found ?? path}`;
    // What a client asks first: whether it may.
    const isAuthorized = request.headers.authorization !== undefined;
    if (found !== undefined && isAuthorized) test.asked.push(label);
    const fault = found !== undefined && isAuthorized && test.fault?.on.test(label) === true ? test.fault : undefined;
    if (fault?.kind === "status") {
      response.writeHead(fault.status, fault.retryAfter === undefined ? {} : { "retry-after": String(fault.retryAfter) });
      return void response.end();
    }
    const passed = sendRequest(new URL(path, origin.origin), { method: request.method!, headers: request.headers, agent: false });
    passed.on("error", () => response.destroy());
    passed.on("response", (answer) => {
      void (async () => {
        const bytes = Buffer.concat(await Array.fromAsync(answer as AsyncIterable<Buffer>));
        const { "content-length": length, "transfer-encoding": _, ...headers } = answer.headers;
        const sized = fault?.kind === "unsized" || length === undefined ? {} : { "content-length": length };
        response.writeHead(answer.statusCode!, { ...headers, ...sized });
        for await (const piece of broken(bytes, fault)) if (piece.length > 0) response.write(piece);
        response.end();
      })().catch(() => response.destroy());
    });
    request.pipe(passed);
  }

  const address = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  const trait = { origin: address, prefix: `${PROJECT}/`, name: "admin", password: ADMIN_PASSWORD };
  // Nobody listens there.
  const client = connectRegistry(() => (test.fault?.kind === "away" ? "http://127.0.0.1:1" : undefined));
  const test: TestUpstream = {
    upstream: { ...client.upstream, tagTtlMs: (_: ProjectTraits) => test.ttlMs },
    asked: [],
    fault: undefined,
    ttlMs: Infinity,
    trait,
    async put(repository, content) {
      for (const blob of content.blobs) await origin.pushBlob(`${PROJECT}/${repository}`, blob);
      for (const { bytes, mediaType, tag } of content.manifests) {
        const sent = { body: bytes, headers: { "content-type": mediaType } };
        await expectStatus(await origin.send("PUT", `/v2/${PROJECT}/${repository}/manifests/${tag ?? sha256(bytes)}`, sent), 201);
      }
    },
    async deleteTag(repository, tag) {
      if (isDigest(tag)) throw new Error("a tag");
      await expectStatus(await origin.send("DELETE", `/v2/${PROJECT}/${repository}/manifests/${tag}`), 202);
    },
    async end() {
      client.close();
      proxy.closeAllConnections();
      await new Promise((resolve) => proxy.close(resolve));
      await origin.stop();
    },
  };
  return test;
}
