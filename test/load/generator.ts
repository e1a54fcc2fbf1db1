// The load generator's process: takes one job from its parent, prepares it, waits for "go", runs it, reports, ends.
// The jobs' shapes are in load.ts.
import { artifactManifest, createContentSource, emptyBlob, imageOf } from "./content.ts";
import type { Content, Image } from "./content.ts";
import { percentile } from "./load.ts";
import type {
  GeneratorMessage,
  LoadJob,
  LoadResult,
  MixedJob,
  Pushed,
  PushBlobsJob,
  PushImagesJob,
  RawJob,
  RepositoriesJob,
  TagJob,
} from "./load.ts";
import { runRaw } from "./raw-client.ts";
import { mountBlob, openSession, pullImage, pushBlob, pushImage, putManifest } from "./registry-session.ts";

/** What a job did; the rest of a LoadResult is the same for all. */
interface Outcome {
  readonly latencies: readonly number[];
  readonly bytes: number;
  readonly seconds: number;
  readonly errors: number;
  readonly firstError: string | undefined;
  readonly pushed: readonly Pushed[];
}

type Run = () => Promise<Outcome>;

function prepare(job: LoadJob): Promise<Run> {
  switch (job.kind) {
    case "push-blobs":
      return preparePushBlobs(job);
    case "push-images":
      return preparePushImages(job);
    case "mixed":
      return prepareMixed(job);
    case "tag":
      return prepareTags(job);
    case "repositories":
      return prepareRepositories(job);
    case "raw":
      return prepareRaw(job);
  }
}

async function preparePushBlobs(job: PushBlobsJob): Promise<Run> {
  const session = openSession(job.endpoint, job.concurrency);
  const make = createContentSource(job.size);
  const blobs = Array.from({ length: job.count }, () => make(job.size));
  await session.authorization(job.repository);
  return async () => {
    const pushed: Pushed[] = [];
    const outcome = await runOperations(job, async (index) => {
      const blob = blobs[index] as Content;
      await pushBlob(session, job.repository, blob, job.chunkBytes);
      pushed.push({ repository: job.repository, tag: "", digest: blob.digest });
      return blob.size;
    });
    session.close();
    return { ...outcome, pushed };
  };
}

async function preparePushImages(job: PushImagesJob): Promise<Run> {
  const session = openSession(job.endpoint, job.concurrency);
  const make = createContentSource(job.layerBytes);
  const images = Array.from({ length: job.count }, () => imageOf(make(job.layerBytes)));
  for (const repository of job.repositories) await session.authorization(repository);
  return async () => {
    const pushed: Pushed[] = [];
    const outcome = await runOperations(job, async (index) => {
      const image = images[index] as Image;
      const repository = job.repositories[index % job.repositories.length] as string;
      const tag = uniqueTag(image);
      await pushImage(session, repository, tag, image);
      pushed.push({ repository, tag, digest: image.manifest.digest });
      return bytesOf(image);
    });
    session.close();
    return { ...outcome, pushed };
  };
}

async function prepareMixed(job: MixedJob): Promise<Run> {
  const session = openSession(job.endpoint, job.concurrency);
  const make = createContentSource(job.layerBytes);
  const pulled = Array.from({ length: job.pulledImages }, () => imageOf(make(job.layerBytes)));
  for (const image of pulled) await pushImage(session, job.repository, uniqueTag(image), image);
  // Hashing must not count for any registry: further pushes of a run create their images on the way.
  const ahead = Array.from({ length: 400 }, () => imageOf(make(job.layerBytes)));
  return async () => {
    let turn = 0;
    const outcome = await runOperations({ ...job, count: Number.POSITIVE_INFINITY }, async () => {
      // Every 1/share-th operation is a push: the same mix for every registry, whatever its speed.
      const push = Math.floor((turn + 1) * job.pushShare) > Math.floor(turn * job.pushShare);
      const image = push ? (ahead.pop() ?? imageOf(make(job.layerBytes))) : (pulled[turn % pulled.length] as Image);
      turn++;
      if (push) await pushImage(session, job.repository, uniqueTag(image), image);
      else await pullImage(session, job.repository, uniqueTag(image), image);
      return bytesOf(image);
    });
    session.close();
    return { ...outcome, pushed: [] };
  };
}

async function prepareTags(job: TagJob): Promise<Run> {
  const session = openSession(job.endpoint, job.concurrency);
  const manifest = artifactManifest(job.repository);
  await pushBlob(session, job.repository, emptyBlob);
  return async () => {
    const outcome = await runOperations({ ...job, count: job.to - job.from }, async (index) => {
      await putManifest(session, job.repository, `t${numbered(job.from + index)}`, manifest);
      return 0;
    });
    session.close();
    return { ...outcome, pushed: [] };
  };
}

async function prepareRepositories(job: RepositoriesJob): Promise<Run> {
  const session = openSession(job.endpoint, job.concurrency);
  const manifest = artifactManifest(job.prefix);
  const origin = `${job.prefix}origin`;
  await pushBlob(session, origin, emptyBlob);
  await putManifest(session, origin, "latest", manifest);
  return async () => {
    const outcome = await runOperations({ ...job, count: job.to - job.from }, async (index) => {
      const repository = `${job.prefix}r${numbered(job.from + index)}`;
      await mountBlob(session, repository, origin, emptyBlob);
      await putManifest(session, repository, "latest", manifest);
      return 0;
    });
    session.close();
    return { ...outcome, pushed: [] };
  };
}

async function prepareRaw(job: RawJob): Promise<Run> {
  return async () => ({ ...(await runRaw(job)), pushed: [] });
}

/** Runs `operate(0)`, `operate(1)` .. that many at a time, until the count or the time is reached. */
async function runOperations(
  limits: { readonly count: number; readonly concurrency: number; readonly seconds: number },
  operate: (index: number) => Promise<number>,
): Promise<Omit<Outcome, "pushed">> {
  const latencies: number[] = [];
  const startedAt = performance.now();
  const deadline = startedAt + limits.seconds * 1000;
  let next = 0;
  let bytes = 0;
  let errors = 0;
  let firstError: string | undefined;
  const worker = async (): Promise<void> => {
    while (next < limits.count && performance.now() < deadline) {
      const index = next++;
      const sentAt = performance.now();
      try {
        bytes += await operate(index);
        latencies.push(performance.now() - sentAt);
      } catch (error) {
        errors++;
        firstError ??= error instanceof Error ? error.message : String(error);
        // A registry that is down would fail for ever: this is enough to see the problem.
        if (errors >= 100) return;
      }
    }
  };
  await Promise.all(Array.from({ length: limits.concurrency }, worker));
  return { latencies, bytes, seconds: (performance.now() - startedAt) / 1000, errors, firstError };
}

function uniqueTag(image: Image): string {
  return image.manifest.digest.slice("sha256:".length, "sha256:".length + 24);
}

function bytesOf(image: Image): number {
  return image.layer.size + image.config.size + image.manifest.size;
}

function numbered(index: number): string {
  return String(index).padStart(6, "0");
}

function report(message: GeneratorMessage): Promise<void> {
  return new Promise((resolve, reject) => {
    if (process.send === undefined) throw new Error("a generator is started by load.ts only");
    process.send(message, undefined, undefined, (error) => (error ? reject(error) : resolve()));
  });
}

async function serve(job: LoadJob, started: Promise<unknown>): Promise<void> {
  const run = await prepare(job);
  await report({ type: "ready" });
  await started;
  const before = process.cpuUsage();
  const outcome = await run();
  const used = process.cpuUsage(before);
  const sorted = outcome.latencies.toSorted((a, b) => a - b);
  const result: LoadResult = {
    operations: sorted.length,
    bytes: outcome.bytes,
    seconds: outcome.seconds,
    p50: percentile(sorted, 0.5),
    p99: percentile(sorted, 0.99),
    errors: outcome.errors,
    firstError: outcome.firstError,
    clientCpuSeconds: (used.user + used.system) / 1_000_000,
    pushed: outcome.pushed,
  };
  await report({ type: "result", result });
}

// Without the bench there is nobody to report to.
process.once("disconnect", () => process.exit());

process.once("message", (job: LoadJob) => {
  const started = new Promise((resolve) => process.once("message", resolve));
  serve(job, started)
    .catch((error: unknown) => report({ type: "failed", message: error instanceof Error ? error.message : String(error) }))
    .finally(() => process.disconnect?.());
});
