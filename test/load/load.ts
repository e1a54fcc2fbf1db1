// The jobs that a load generator takes and what it gives back, and the bench's side of it: a generator runs in a child
// process of its own, prepares what it will send (hashing included), and only then is told to begin.
import { fork } from "node:child_process";
import { join } from "node:path";
import type { RawRun } from "./raw-client.ts";
import type { Endpoint } from "./registry-session.ts";

/** Blobs of one size, all unique, `count` of them or as many as go in `seconds`. */
export interface PushBlobsJob {
  readonly kind: "push-blobs";
  readonly endpoint: Endpoint;
  readonly repository: string;
  readonly size: number;
  readonly chunkBytes?: number;
  readonly count: number;
  readonly concurrency: number;
  readonly seconds: number;
}

/** Unique images of one layer, spread over the repositories in turn. */
export interface PushImagesJob {
  readonly kind: "push-images";
  readonly endpoint: Endpoint;
  readonly repositories: readonly string[];
  readonly layerBytes: number;
  readonly count: number;
  readonly concurrency: number;
  readonly seconds: number;
}

/** Pulls of a set of images, and pushes of unique ones of the same size in `pushShare` of the operations. */
export interface MixedJob {
  readonly kind: "mixed";
  readonly endpoint: Endpoint;
  readonly repository: string;
  readonly layerBytes: number;
  readonly pulledImages: number;
  readonly pushShare: number;
  readonly concurrency: number;
  readonly seconds: number;
}

/** One manifest under the tags t000000.. from `from` up to `to`; seeding, not a measurement. */
export interface TagJob {
  readonly kind: "tag";
  readonly endpoint: Endpoint;
  readonly repository: string;
  readonly from: number;
  readonly to: number;
  readonly concurrency: number;
  readonly seconds: number;
}

/** Repositories PREFIXr000000.. from `from` up to `to` with one manifest each; seeding, not a measurement. */
export interface RepositoriesJob {
  readonly kind: "repositories";
  readonly endpoint: Endpoint;
  readonly prefix: string;
  readonly from: number;
  readonly to: number;
  readonly concurrency: number;
  readonly seconds: number;
}

/** Requests without a body, see raw-client.ts. */
export interface RawJob extends RawRun {
  readonly kind: "raw";
}

export type LoadJob = PushBlobsJob | PushImagesJob | MixedJob | TagJob | RepositoriesJob | RawJob;

/** Something that a generator pushed, for cases that go on with it. */
export interface Pushed {
  readonly repository: string;
  readonly tag: string;
  readonly digest: string;
}

/** What a generator did: operations, bytes of content, time, latencies in ms, and its own CPU seconds. */
export interface LoadResult {
  readonly operations: number;
  readonly bytes: number;
  readonly seconds: number;
  readonly p50: number;
  readonly p99: number;
  readonly errors: number;
  readonly firstError: string | undefined;
  readonly clientCpuSeconds: number;
  readonly pushed: readonly Pushed[];
}

/** What passes between the bench and a generator. */
export type GeneratorMessage =
  | { readonly type: "ready" }
  | { readonly type: "result"; readonly result: LoadResult }
  | { readonly type: "failed"; readonly message: string };

/** A generator that has prepared its job; `go` runs it and ends the process, `cancel` only ends it. */
export interface PreparedLoad {
  go(): Promise<LoadResult>;
  cancel(): void;
}

/** Starts a generator and waits until it could begin. Errors: what the generator failed with. */
export async function prepareLoad(job: LoadJob): Promise<PreparedLoad> {
  const child = fork(join(import.meta.dirname, "generator.ts"), { serialization: "advanced" });
  const next = (): Promise<GeneratorMessage> =>
    new Promise((resolve, reject) => {
      const ended = (code: number | null): void => reject(new Error(`a load generator ended with ${code}`));
      child.once("exit", ended);
      child.once("message", (message) => {
        child.removeListener("exit", ended);
        const received = message as GeneratorMessage;
        if (received.type === "failed") reject(new Error(received.message));
        else resolve(received);
      });
    });
  const ready = next();
  child.send(job);
  await ready;
  return {
    go: async () => {
      const done = next();
      child.send("go");
      const message = await done;
      if (message.type !== "result") throw new Error("a load generator answered out of turn");
      return message.result;
    },
    cancel: () => child.kill("SIGKILL"),
  };
}

/** Runs a job at once: for seeding. */
export async function runLoad(job: LoadJob): Promise<LoadResult> {
  return (await prepareLoad(job)).go();
}

/** The value below which `share` of the sorted values lie; 0 when there is none. */
export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)] ?? 0;
}
