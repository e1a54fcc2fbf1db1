// Clients that push small images through the proxy and retry like real ones, and record what was acknowledged, so that all of it can be
// pulled and compared afterwards. Not here: the faults (the tests).
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { ask, expectStatus } from "./replicas.ts";

/** The media type of the manifests here. */
export const MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json";

/** A digest of bytes. */
export function sha256(bytes: Uint8Array | string): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/** An image of one config and one layer. */
export interface Image {
  readonly manifest: string;
  readonly digest: string;
  readonly blobs: readonly { readonly digest: string; readonly bytes: Buffer }[];
}

/** Makes an image with a layer of so many random bytes. */
export function makeImage(layerBytes: number): Image {
  const layer = randomBytes(layerBytes);
  const config = Buffer.from(JSON.stringify({ architecture: "amd64", os: "linux", rootfs: { type: "layers", diff_ids: [sha256(layer)] } }));
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: MANIFEST_TYPE,
    config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: sha256(config), size: config.length },
    layers: [{ mediaType: "application/vnd.oci.image.layer.v1.tar", digest: sha256(layer), size: layer.length }],
  });
  return { manifest, digest: sha256(manifest), blobs: [config, layer].map((bytes) => ({ digest: sha256(bytes), bytes })) };
}

/** Uploads a blob in three requests: the session's begin, one chunk, the rest with the digest. */
export async function pushBlob(
  origin: string,
  repository: string,
  { digest, bytes }: Image["blobs"][number],
  signal?: AbortSignal,
): Promise<void> {
  const more = signal === undefined ? {} : { signal };
  const headers = { "content-type": "application/octet-stream" };
  const begun = await expectStatus(await ask(origin, "POST", `/v2/${repository}/blobs/uploads/`, more), 202);
  const cut = Math.floor(bytes.length / 2);
  const chunk = { ...more, headers, body: bytes.subarray(0, cut) };
  const patched = await expectStatus(await ask(origin, "PATCH", begun.headers.get("location")!, chunk), 202);
  const rest = { ...more, headers, body: bytes.subarray(cut) };
  await expectStatus(await ask(origin, "PUT", `${patched.headers.get("location")}?digest=${digest}`, rest), 201);
}

/** Pushes an image under a tag. Fails at the first answer that is not a success. */
export async function pushImage(origin: string, repository: string, tag: string, image: Image, signal?: AbortSignal): Promise<void> {
  // The layer first: the lease of the small one after it is still valid when the manifest comes.
  for (const blob of image.blobs.toReversed()) await pushBlob(origin, repository, blob, signal);
  const put = { headers: { "content-type": MANIFEST_TYPE }, body: image.manifest, ...(signal === undefined ? {} : { signal }) };
  await expectStatus(await ask(origin, "PUT", `/v2/${repository}/manifests/${tag}`, put), 201);
}

/** Pulls a tag's image completely and compares every byte. */
export async function checkImage(origin: string, repository: string, tag: string, image: Image): Promise<void> {
  const answer = await expectStatus(await ask(origin, "GET", `/v2/${repository}/manifests/${tag}`), 200);
  assert.equal(answer.headers.get("docker-content-digest"), image.digest, `${repository}:${tag}`);
  assert.equal(await answer.text(), image.manifest);
  for (const { digest } of image.blobs) {
    const blob = await expectStatus(await ask(origin, "GET", `/v2/${repository}/blobs/${digest}`), 200);
    assert.equal(sha256(Buffer.from(await blob.arrayBuffer())), digest);
  }
}

/** A load that runs. */
export interface PushLoad {
  /** Images whose push was acknowledged so far. */
  readonly acknowledged: number;
  /** Pushes that were retried, by the reason: a status, or the connection's error. */
  readonly retries: ReadonlyMap<string, number>;
  /** Resolves when so many more images have been acknowledged. */
  more(images: number): Promise<void>;
  /** Ends the clients without checking their results, after a failed test. */
  abandon(): void;
  /** Ends the load; running pushes finish first. Then pulls everything that was acknowledged. */
  stopAndCheck(): Promise<void>;
}

/** Starts so many clients, each with a repository of its own, which push tag after tag. */
export function startPushLoad(
  origin: string,
  { clients, layerBytes }: { readonly clients: number; readonly layerBytes: number },
): PushLoad {
  const pushed: { repository: string; tag: string; image: Image }[] = [];
  const retries = new Map<string, number>();
  let isStopping = false;
  let failure: unknown;

  async function client(at: number): Promise<void> {
    const repository = `library/load-${at}`;
    for (let turn = 0; !isStopping; turn++) {
      const tag = `t${turn}`;
      const image = makeImage(layerBytes);
      for (let isDone = false; !isDone;) {
        try {
          // Like real clients: an answer that never comes is given up, and the push begins again.
          await pushImage(origin, repository, tag, image, AbortSignal.timeout(20_000));
          pushed.push({ repository, tag, image });
          isDone = true;
        } catch (error) {
          const reason = reasonOf(error);
          // Expected faults are a 5xx, a cut connection, or a session that its last writer still holds; a dead replica must cause nothing
          // else.
          if (reason === undefined) throw error;
          retries.set(reason, (retries.get(reason) ?? 0) + 1);
          if (isStopping) return;
          await sleep(100);
        }
      }
    }
  }

  const running = Promise.all(Array.from({ length: clients }, (_, at) => client(at))).catch((error: unknown) => {
    failure = error;
    isStopping = true;
  });

  return {
    get acknowledged() {
      return pushed.length;
    },
    retries,
    async more(images) {
      const goal = pushed.length + images;
      const giveUpAt = performance.now() + 300_000;
      while (pushed.length < goal) {
        if (failure !== undefined) throw failure;
        if (performance.now() > giveUpAt) {
          isStopping = true;
          await running;
          assert.fail(`the load stands at ${pushed.length}: ${JSON.stringify([...retries])}`);
        }
        await sleep(20);
      }
    },
    abandon() {
      isStopping = true;
    },
    async stopAndCheck() {
      isStopping = true;
      await running;
      if (failure !== undefined) throw failure;
      for (const { repository, tag, image } of pushed) await checkImage(origin, repository, tag, image);
    },
  };
}

function reasonOf(error: unknown): string | undefined {
  if (error instanceof assert.AssertionError) return /got (5\d\d|409)/.exec(error.message)?.[1];
  if (error instanceof TypeError) return String((error.cause as { code?: string } | undefined)?.code ?? error.message);
  return error instanceof DOMException ? error.name : undefined;
}
