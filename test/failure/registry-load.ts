// Clients that push whole blobs and chunks, mount, tag, move and delete tags, delete manifests, look up and pull, as fast as they can.
// Their answers are recorded in the model (registry-model.ts). Not here: the crash, and the checks after it.
import assert from "node:assert/strict";
import { randomBytes, randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { type Change, createRegistryModel, type Image, isWhole, type RegistryModel, send, sha256 } from "./registry-model.ts";

const MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json";
const REPOSITORIES = ["crash/one", "crash/two"] as const;
/** Images of a client that are kept at a time in a repository: more would make each check longer. */
const MAX_KEPT = 4;
/** Tags of a client in each repository: few, so that they move. */
const TAGS = 5;
/** Sizes below and above the limit of the database (16 KiB), and over several pieces of a body. */
const BLOB_SIZES = [10, 5_000, 16_384, 16_385, 100_000, 700_000];

/**
 * The settings that the servers need: a lease that ends before its manifest comes then leads to a refusal. If it became a sparse image
 * instead, a busy machine's late push would look like a loss.
 */
export const LOAD_SETTINGS = { "push.sparseImages": "refuse" } as const;

/** A load; its knowledge outlives the servers. */
export interface RegistryLoad {
  /**
   * Runs clients against a server until `signal`. Operations in progress are then cut off and prove nothing, or finish first with
   * `isGentle`, as they must if the server lives on. Until `willDie` returns true no connection may break.
   */
  run(origin: string, signal: AbortSignal, options?: { readonly isGentle?: boolean; readonly willDie?: () => boolean }): Promise<void>;
  readonly check: RegistryModel["check"];
  /** Changes that were acknowledged. */
  readonly acknowledged: number;
  /** Operations by kind, acknowledged or not. */
  readonly counts: ReadonlyMap<string, number>;
}

/** An answer of 503. */
class Overloaded extends Error {}

/** Creates the project that the load pushes into, if it does not exist. */
export async function createProject(origin: string): Promise<void> {
  const answer = await send(origin, "POST", "/api/v1/projects", { body: JSON.stringify({ name: "crash" }), type: "application/json" });
  const text = await answer.text();
  assert.ok(answer.status === 201 || answer.status === 409, `${answer.status}: ${text}`);
}

/**
 * Runs a load against a server and kills the server under it: once that many changes have been acknowledged in all, or `deadlineMs` have
 * passed, and up to `lateMs` later, in the middle of others. Rejects if something was wrong before that.
 */
export async function killUnderLoad(
  load: RegistryLoad,
  server: { readonly origin: string; kill(): Promise<void> },
  { changes, lateMs, deadlineMs = Infinity }: { readonly changes: number; readonly lateMs: number; readonly deadlineMs?: number },
): Promise<void> {
  const stop = new AbortController();
  let willDie = false;
  const running = load.run(server.origin, stop.signal, { willDie: () => willDie });
  let isOver = false;
  running.then(
    () => (isOver = true),
    () => (isOver = true),
  );
  const startedAt = performance.now();
  // It ended before that: something was wrong, or every client is idle.
  while (load.acknowledged < changes && !isOver && performance.now() - startedAt < deadlineMs) await sleep(20);
  await sleep(randomInt(lateMs));
  willDie = true;
  await server.kill();
  stop.abort();
  await running;
}

/** Creates a load of that many clients. `leaseMs` is the servers' setting. */
export function createRegistryLoad({ clients, leaseMs }: { readonly clients: number; readonly leaseMs: number }): RegistryLoad {
  const model = createRegistryModel();
  const counts = new Map<string, number>();
  const pick = <T>(list: readonly T[]): T => list[randomInt(list.length)]!;
  const count = (kind: string): void => void counts.set(kind, (counts.get(kind) ?? 0) + 1);

  async function expect(response: Promise<Response>, ...statuses: number[]): Promise<Response> {
    const answer = await response;
    const text = await answer.text();
    // An overloaded store or database says so, and clients retry: that answer proves nothing, and is no fault.
    if (answer.status === 503) throw new Overloaded(text);
    assert.ok(statuses.includes(answer.status), `${answer.url} answered ${answer.status}: ${text}`);
    return answer;
  }

  async function upload(origin: string, repository: string, digest: string, signal: AbortSignal): Promise<void> {
    const bytes = model.blobs.get(digest)!;
    const type = "application/octet-stream";
    if (randomInt(4) === 0) {
      count("blob in one request");
      await expect(send(origin, "POST", `/v2/${repository}/blobs/uploads/?digest=${digest}`, { body: bytes, type, signal }), 201);
      return;
    }
    const begun = await expect(send(origin, "POST", `/v2/${repository}/blobs/uploads/`, { signal }), 202);
    let location = begun.headers.get("location")!;
    let sent = 0;
    for (let chunks = randomInt(3); chunks > 0; chunks--) {
      count("chunk");
      const end = sent + randomInt(bytes.length - sent + 1);
      const patched = await expect(send(origin, "PATCH", location, { body: bytes.subarray(sent, end), type, signal }), 202);
      location = patched.headers.get("location")!;
      sent = end;
    }
    // Sometimes a client gives up, and its session is left to the collector.
    if (randomInt(30) === 0) {
      count("session given up");
      return upload(origin, repository, digest, signal);
    }
    count("blob in a session");
    const separator = location.includes("?") ? "&" : "?";
    await expect(send(origin, "PUT", `${location}${separator}digest=${digest}`, { body: bytes.subarray(sent), type, signal }), 201);
  }

  /** Makes sure that the repository has a blob, as clients do. */
  async function bring(origin: string, repository: string, digest: string, signal: AbortSignal): Promise<void> {
    const head = await expect(send(origin, "HEAD", `/v2/${repository}/blobs/${digest}`, { signal }), 200, 404);
    count("HEAD of a blob");
    if (head.status === 200) return;
    model.mayHave(repository, digest);
    if (randomInt(2) === 0) {
      const query = `mount=${digest}&from=${pick(REPOSITORIES)}`;
      const mounted = await expect(send(origin, "POST", `/v2/${repository}/blobs/uploads/?${query}`, { signal }), 201, 202);
      count(mounted.status === 201 ? "mount" : "mount that became a session");
      if (mounted.status === 201) return;
    }
    await upload(origin, repository, digest, signal);
  }

  function makeImage(owner: number, repository: string): Image {
    const layers: string[] = [];
    for (let i = randomInt(3); i >= 0; i--) {
      const known = [...model.blobs.keys()];
      // Half of the layers are old ones, so that look-ups, mounts and the collector meet.
      if (known.length > 0 && randomInt(2) === 0) layers.push(pick(known.slice(-40)));
      else {
        const bytes = randomBytes(pick(BLOB_SIZES));
        const digest = sha256(bytes);
        model.blobs.set(digest, bytes);
        layers.push(digest);
      }
    }
    const blobs = [...new Set(layers)];
    const [config, ...rest] = blobs.map((digest) => ({
      mediaType: "application/vnd.oci.image.layer.v1.tar",
      digest,
      size: model.blobs.get(digest)!.length,
    }));
    const manifest = JSON.stringify({
      schemaVersion: 2,
      mediaType: MANIFEST_TYPE,
      config: { ...config, mediaType: "application/vnd.oci.image.config.v1+json" },
      layers: rest,
      annotations: { made: randomBytes(4).toString("hex") },
    });
    return { owner, repository, digest: sha256(manifest), manifest, blobs };
  }

  const tagOf = (client: number): string => `c${client}-t${randomInt(TAGS)}`;

  /** Puts a manifest under tags, by the first tag or by digest; false if the registry has deleted a blob whose lease had ended. */
  async function putManifest(origin: string, client: number, image: Image, tags: string[], promisedAt: number, signal: AbortSignal) {
    const change: Change = { image, isThere: true, tags, digest: image.digest };
    model.begin(client, change);
    const byDigest = `${image.digest}?${tags.map((tag) => `tag=${tag}`).join("&")}`;
    const reference = tags.length === 1 && randomInt(3) > 0 ? tags[0]! : byDigest;
    const path = `/v2/${image.repository}/manifests/${reference}`;
    const answer = await expect(send(origin, "PUT", path, { body: image.manifest, type: MANIFEST_TYPE, signal }), 201, 404);
    if (answer.status === 201) return model.done(client);
    const tookMs = performance.now() - promisedAt;
    assert.ok(tookMs > leaseMs / 2, `a promise of ${leaseMs / 2} ms was broken after ${tookMs} ms: ${image.repository}@${image.digest}`);
    count("lease that ended before the manifest came");
    model.refused(client);
  }

  async function push(origin: string, client: number, signal: AbortSignal): Promise<void> {
    const image = makeImage(client, pick(REPOSITORIES));
    const promisedAt = performance.now();
    for (const digest of image.blobs) await bring(origin, image.repository, digest, signal);
    count("push");
    const tags = randomInt(3) === 0 ? [...new Set([tagOf(client), tagOf(client), tagOf(client)])] : [tagOf(client)];
    await putManifest(origin, client, image, tags, promisedAt, signal);
  }

  async function change(origin: string, client: number, signal: AbortSignal): Promise<void> {
    // The first one with too many images: as many are deleted as were added.
    const repository = REPOSITORIES.find((name) => model.imagesOf(client, name).length > MAX_KEPT) ?? pick(REPOSITORIES);
    const images = model.imagesOf(client, repository);
    if (images.length === 0) return;
    const image = pick(images);
    const kind = images.length > MAX_KEPT ? 0 : randomInt(4);
    if (kind === 0) {
      count("deletion of a manifest");
      model.begin(client, { image, isThere: false, tags: model.tagsOf(image), digest: undefined });
      await expect(send(origin, "DELETE", `/v2/${repository}/manifests/${image.digest}`, { signal }), 202);
      return model.done(client);
    }
    if (kind === 1) {
      const tag = tagOf(client);
      const named = images.find(({ digest }) => digest === model.tagOf(repository, tag));
      if (named === undefined) return;
      count("deletion of a tag");
      model.begin(client, { image: named, isThere: true, tags: [tag], digest: undefined });
      await expect(send(origin, "DELETE", `/v2/${repository}/manifests/${tag}`, { signal }), 202);
      return model.done(client);
    }
    if (kind === 2) {
      count("move of a tag");
      // The image exists, so its blobs are held: no lease could end.
      return putManifest(origin, client, image, [tagOf(client)], performance.now(), signal);
    }
    count("pull");
    assert.ok(await isWhole(origin, image, signal), `acknowledged, and gone: ${repository}@${image.digest}`);
    const tag = model.tagsOf(image)[0];
    if (tag === undefined) return;
    const head = await expect(send(origin, "HEAD", `/v2/${repository}/manifests/${tag}`, { signal }), 200);
    assert.equal(head.headers.get("docker-content-digest"), image.digest, `${repository}:${tag} is stale`);
  }

  async function client(origin: string, at: number, end: AbortSignal, signal: AbortSignal, willDie: () => boolean): Promise<void> {
    try {
      while (!end.aborted) {
        await push(origin, at, signal);
        await change(origin, at, signal);
      }
    } catch (error) {
      if (error instanceof Overloaded) count("503");
      else if (error instanceof assert.AssertionError || !(signal.aborted || willDie())) throw error;
      // The result of the request is in doubt, so this client stops.
    }
  }

  return {
    check: model.check,
    counts,
    get acknowledged() {
      return model.acknowledged;
    },
    async run(origin, signal, { isGentle = false, willDie = () => false } = {}) {
      const failure = new AbortController();
      const either = AbortSignal.any([signal, failure.signal]);
      const done = Array.from({ length: clients }, (_, at) => client(origin, at, either, isGentle ? failure.signal : either, willDie));
      try {
        await Promise.all(done);
      } finally {
        failure.abort();
        await Promise.allSettled(done);
      }
    },
  };
}
