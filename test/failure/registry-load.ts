// Clients that push, mount, delete and look things up as fast as they can, and remember what they were answered, so that after a crash
// everything acknowledged can be asked for again. Not here: the crash.
import assert from "node:assert/strict";
import { createHash, randomBytes, randomInt } from "node:crypto";
import { PASSWORD } from "./server-process.ts";

const MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json";
const REPOSITORIES = ["crash/one", "crash/two", "crash/three"] as const;
/** Kept at a time in a repository: the more, the longer each check takes. */
const MAX_KEPT = 12;
/** On both sides of what lies in the database (16 KiB), and over several pieces of a body. */
const BLOB_SIZES = [10, 5_000, 16_384, 16_385, 100_000, 700_000];

interface Image {
  readonly repository: string;
  readonly digest: string;
  readonly manifest: string;
  readonly tag: string;
}

/** What was sent and answered. */
export interface RegistryLoad {
  /** Runs clients against a server until `signal`; what is under way then fails and proves nothing. */
  run(origin: string, signal: AbortSignal): Promise<void>;
  /**
   * Asks for everything: the acknowledged must be there whole, the rest whole or not at all. Gives how many images and blobs were read.
   * `learns` false forgets what it found out of the rest: for several looks at one crash.
   */
  check(origin: string, options?: { readonly learns?: boolean }): Promise<{ readonly images: number; readonly blobs: number }>;
  readonly acknowledged: number;
}

/** A digest of bytes. */
export function sha256(bytes: Uint8Array | string): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

const authorization = `Basic ${Buffer.from(`admin:${PASSWORD}`).toString("base64")}`;

/** Sends a request as the administrator. */
export function send(
  origin: string,
  method: string,
  path: string,
  options: { body?: Uint8Array | string; type?: string; signal?: AbortSignal } = {},
): Promise<Response> {
  return fetch(new URL(path, origin), {
    method,
    headers: { authorization, ...(options.type === undefined ? {} : { "content-type": options.type }) },
    ...(options.body === undefined ? {} : { body: options.body as string }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
}

/** Makes the project that the load pushes into; fine where it is there. */
export async function createProject(origin: string): Promise<void> {
  const answer = await send(origin, "POST", "/api/v1/projects", { body: JSON.stringify({ name: "crash" }), type: "application/json" });
  const text = await answer.text();
  assert.ok(answer.status === 201 || answer.status === 409, `${answer.status}: ${text}`);
}

/** Makes a load of so many clients, with deletions or without; what it knows outlives the servers. */
export function createRegistryLoad({ clients, deletes }: { readonly clients: number; readonly deletes: boolean }): RegistryLoad {
  // Acknowledged and never asked to go.
  const kept = new Map<string, Image>();
  // Sent, or asked to go, without an answer: there whole, or not there.
  const doubtful = new Map<string, Image>();
  const blobs = new Map<string, Uint8Array>();
  const doubtfulBlobs = new Set<string>();
  let acknowledged = 0;

  const pick = <T>(list: readonly T[]): T => list[randomInt(list.length)]!;
  const nameOf = ({ repository, digest }: { repository: string; digest: string }): string => `${repository}@${digest}`;

  async function expect(response: Promise<Response>, ...statuses: number[]): Promise<Response> {
    const answer = await response;
    const text = await answer.text();
    assert.ok(statuses.includes(answer.status), `${answer.url} answered ${answer.status}: ${text}`);
    return answer;
  }

  async function upload(origin: string, repository: string, digest: string, signal: AbortSignal): Promise<void> {
    const bytes = blobs.get(digest)!;
    doubtfulBlobs.add(`${repository} ${digest}`);
    const begun = await expect(send(origin, "POST", `/v2/${repository}/blobs/uploads/`, { signal }), 202);
    let location = begun.headers.get("location")!;
    const cut = randomInt(3) === 0 ? randomInt(bytes.length) : 0;
    if (cut > 0) {
      const patched = await expect(
        send(origin, "PATCH", location, { body: bytes.subarray(0, cut), type: "application/octet-stream", signal }),
        202,
      );
      location = patched.headers.get("location")!;
    }
    const separator = location.includes("?") ? "&" : "?";
    await expect(
      send(origin, "PUT", `${location}${separator}digest=${digest}`, {
        body: bytes.subarray(cut),
        type: "application/octet-stream",
        signal,
      }),
      201,
    );
  }

  async function push(origin: string, signal: AbortSignal): Promise<void> {
    const repository = pick(REPOSITORIES);
    const layers: string[] = [];
    for (let i = randomInt(3); i >= 0; i--) {
      const known = [...blobs.keys()];
      // Half of the layers are old ones, so that look-ups, mounts and the collector meet.
      if (known.length > 0 && randomInt(2) === 0) layers.push(pick(known.slice(-40)));
      else {
        const bytes = randomBytes(pick(BLOB_SIZES));
        const digest = sha256(bytes);
        blobs.set(digest, bytes);
        layers.push(digest);
      }
    }
    for (const digest of layers) {
      const head = await expect(send(origin, "HEAD", `/v2/${repository}/blobs/${digest}`, { signal }), 200, 404);
      if (head.status === 200) continue;
      if (randomInt(2) === 0) {
        const mounted = await expect(
          send(origin, "POST", `/v2/${repository}/blobs/uploads/?mount=${digest}&from=${pick(REPOSITORIES)}`, { signal }),
          201,
          202,
        );
        if (mounted.status === 201) continue;
      }
      await upload(origin, repository, digest, signal);
    }
    const [config, ...rest] = layers.map((digest) => ({
      mediaType: "application/vnd.oci.image.layer.v1.tar",
      digest,
      size: blobs.get(digest)!.length,
    }));
    const tag = `t${randomInt(20)}`;
    const manifest = JSON.stringify({
      schemaVersion: 2,
      mediaType: MANIFEST_TYPE,
      config: { ...config, mediaType: "application/vnd.oci.image.config.v1+json" },
      layers: rest,
      annotations: { made: randomBytes(4).toString("hex") },
    });
    const image = { repository, digest: sha256(manifest), manifest, tag };
    doubtful.set(nameOf(image), image);
    await expect(send(origin, "PUT", `/v2/${repository}/manifests/${tag}`, { body: manifest, type: MANIFEST_TYPE, signal }), 201);
    doubtful.delete(nameOf(image));
    kept.set(nameOf(image), image);
    acknowledged++;
  }

  async function remove(origin: string, signal: AbortSignal): Promise<void> {
    const repository = pick(REPOSITORIES);
    const images = [...kept.values()].filter((image) => image.repository === repository);
    if (images.length <= MAX_KEPT) return;
    const image = pick(images);
    kept.delete(nameOf(image));
    doubtful.set(nameOf(image), image);
    await expect(send(origin, "DELETE", `/v2/${repository}/manifests/${image.digest}`, { signal }), 202);
    doubtful.delete(nameOf(image));
  }

  async function client(origin: string, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await push(origin, signal);
        if (deletes) await remove(origin, signal);
      } catch (error) {
        // The kill cuts connections some moments before the signal says so.
        if (error instanceof assert.AssertionError) throw error;
        if (signal.aborted) return;
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }
  }

  /** Reads an image with all its blobs; false where there is none. */
  async function isWhole(origin: string, image: Image): Promise<boolean> {
    const { repository, digest, manifest } = image;
    const answer = await send(origin, "GET", `/v2/${repository}/manifests/${digest}`);
    const text = await answer.text();
    if (answer.status === 404) return false;
    assert.equal(answer.status, 200, text);
    assert.equal(text, manifest);
    const { config, layers } = JSON.parse(manifest) as { config: { digest: string }; layers: { digest: string }[] };
    for (const blob of [config, ...layers])
      assert.equal(await isBlobThere(origin, repository, blob.digest), true, `${nameOf(image)} lacks ${blob.digest}`);
    return true;
  }

  async function isBlobThere(origin: string, repository: string, digest: string): Promise<boolean> {
    const answer = await send(origin, "GET", `/v2/${repository}/blobs/${digest}`);
    const bytes = Buffer.from(await answer.arrayBuffer());
    if (answer.status === 404) return false;
    assert.equal(answer.status, 200, `${repository} ${digest}: ${bytes.toString().slice(0, 300)}`);
    assert.equal(sha256(bytes), digest);
    return true;
  }

  return {
    get acknowledged() {
      return acknowledged;
    },
    async run(origin, signal) {
      const failure = new AbortController();
      const either = AbortSignal.any([signal, failure.signal]);
      const done = Array.from({ length: clients }, () => client(origin, either));
      try {
        await Promise.all(done);
      } finally {
        failure.abort();
        await Promise.allSettled(done);
      }
    },
    async check(origin, { learns = true } = {}) {
      const found = new Map(kept);
      for (const image of kept.values()) assert.ok(await isWhole(origin, image), `acknowledged, and gone: ${nameOf(image)}`);
      for (const [name, image] of doubtful) if (await isWhole(origin, image)) found.set(name, image);
      for (const name of doubtfulBlobs) {
        const [repository, digest] = name.split(" ");
        await isBlobThere(origin, repository!, digest!);
      }
      for (const repository of REPOSITORIES) {
        const list = await send(origin, "GET", `/v2/${repository}/tags/list`);
        const { tags } = list.status === 200 ? ((await list.json()) as { tags: string[] }) : { tags: [] };
        for (const tag of tags) {
          const digest = (await send(origin, "HEAD", `/v2/${repository}/manifests/${tag}`)).headers.get("docker-content-digest")!;
          assert.ok(found.has(nameOf({ repository, digest })), `tag ${tag} names ${digest}, of which nobody knows`);
        }
      }
      if (learns) {
        // What turns out to be there stays, as from any answer.
        for (const [name, image] of found) kept.set(name, image);
        doubtful.clear();
        doubtfulBlobs.clear();
      }
      const used = new Set([...kept.values()].flatMap(({ manifest }) => manifest.match(/sha256:[0-9a-f]{64}/g) ?? []));
      // What no image uses any more is forgotten, so that memory stays small.
      for (const digest of [...blobs.keys()].slice(0, -40)) if (!used.has(digest)) blobs.delete(digest);
      return { images: kept.size, blobs: used.size };
    },
  };
}
