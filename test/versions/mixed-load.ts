// Clients that push, mount, pull, and delete tags and manifests through any replica, retry like real ones, and know what must exist. Not
// here: what runs behind the address (the tests).
import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { checkImage, makeImage, MANIFEST_TYPE, pushImage, type Image } from "../replicas/push-load.ts";
import { ask, expectStatus } from "../replicas/replicas.ts";

/** A load that runs. */
export interface MixedLoad {
  /** What was acknowledged, by kind. */
  readonly counts: ReadonlyMap<string, number>;
  /** Requests that were retried, by the reason. */
  readonly retries: ReadonlyMap<string, number>;
  /** Resolves when every client has done that many more operations. */
  more(turns: number): Promise<void>;
  /** Ends the load; running operations finish first. */
  stop(): Promise<void>;
  /** Ends it without waiting for an answer that may never come. */
  giveUp(): Promise<void>;
  /** Compares everything that was acknowledged with the content at an address. */
  check(origin: string): Promise<void>;
}

interface Client {
  readonly repository: string;
  readonly tags: Map<string, Image>;
  readonly gone: { readonly image: Image; readonly tag: string }[];
  turns: number;
}

/** A layer for the store and one for the database. */
const LAYER_BYTES = [60_000, 3_000];
/** The images that stay when a client has cleaned up: enough to pull from, few enough to check quickly. */
const MAX_KEPT = 8;

/** Starts that many clients. `leaseMs` is the servers' lease for a blob without a manifest. */
export function startMixedLoad(origin: string, { clients, leaseMs }: { readonly clients: number; readonly leaseMs: number }): MixedLoad {
  const all = Array.from({ length: clients }, (_, at): Client => ({
    repository: `library/mixed-${at}`,
    tags: new Map(),
    gone: [],
    turns: 0,
  }));
  const counts = new Map<string, number>();
  const retries = new Map<string, number>();
  const count = (map: Map<string, number>, kind: string): void => void map.set(kind, (map.get(kind) ?? 0) + 1);
  const ended = new AbortController();
  let isStopping = false;
  let failure: unknown;

  /** Repeats something until it is acknowledged. An error that is not expected on the way fails the load. */
  async function insist(kind: string, act: (signal: AbortSignal) => Promise<void>): Promise<void> {
    for (;;) {
      const startedAt = performance.now();
      try {
        await act(AbortSignal.any([AbortSignal.timeout(30_000), ended.signal]));
        count(counts, kind);
        return;
      } catch (error) {
        const isLate = performance.now() - startedAt > leaseMs / 2;
        const reason = reasonOf(error, isLate);
        if (reason === undefined || ended.signal.aborted) throw new Error(`${kind}: ${String(error)}`, { cause: error });
        count(retries, reason);
        await sleep(100);
      }
    }
  }

  async function push(client: Client, tag: string): Promise<void> {
    const image = makeImage(LAYER_BYTES[randomInt(LAYER_BYTES.length)]!);
    await insist("push", (signal) => pushImage(origin, client.repository, tag, image, signal));
    client.tags.set(tag, image);
  }

  /** Copies another client's image by mounts. */
  async function mount(client: Client, tag: string): Promise<void> {
    const other = all[randomInt(all.length)]!;
    const image = [...other.tags.values()].at(-1);
    if (other === client || image === undefined) return push(client, tag);
    await insist("mount", async (signal) => {
      for (const { digest } of image.blobs) {
        const path = `/v2/${client.repository}/blobs/uploads/?mount=${digest}&from=${other.repository}`;
        const answer = await ask(origin, "POST", path, { signal });
        // The other client deleted it meanwhile, and it was collected.
        if (answer.status === 202) return pushImage(origin, client.repository, tag, image, signal);
        await expectStatus(answer, 201);
      }
      const put = { headers: { "content-type": MANIFEST_TYPE }, body: image.manifest, signal };
      await expectStatus(await ask(origin, "PUT", `/v2/${client.repository}/manifests/${tag}`, put), 201);
    });
    client.tags.set(tag, image);
  }

  async function remove(client: Client): Promise<void> {
    const [tag, image] = [...client.tags][0]!;
    const byTag = randomInt(2) === 0;
    await insist(byTag ? "deletion of a tag" : "deletion of a manifest", async (signal) => {
      const answer = await ask(origin, "DELETE", `/v2/${client.repository}/manifests/${byTag ? tag : image.digest}`, { signal });
      // 404: the answer of the previous attempt was lost.
      if (answer.status !== 404) await expectStatus(answer, 202);
    });
    for (const [name, each] of client.tags) if (byTag ? name === tag : each.digest === image.digest) client.tags.delete(name);
    client.gone.push({ image, tag });
  }

  async function run(client: Client): Promise<void> {
    for (let turn = 0; !isStopping; turn++) {
      if (turn % 3 === 2) await mount(client, `t${turn}`);
      else await push(client, `t${turn}`);
      if (client.tags.size > MAX_KEPT) await remove(client);
      const [tag, image] = [...client.tags][randomInt(client.tags.size)]!;
      await insist("pull", () => checkImage(origin, client.repository, tag, image));
      client.turns++;
    }
  }

  const running = Promise.all(all.map(run)).catch((error: unknown) => {
    failure = error;
    isStopping = true;
  });

  async function stop(): Promise<void> {
    isStopping = true;
    await running;
    if (failure !== undefined) throw failure;
  }

  return {
    counts,
    retries,
    stop,
    async giveUp() {
      isStopping = true;
      ended.abort();
      await running;
    },
    async more(turns) {
      const goals = all.map((client) => client.turns + turns);
      const giveUpAt = performance.now() + 300_000;
      while (all.some((client, at) => client.turns < goals[at]!)) {
        if (failure !== undefined) throw failure;
        if (performance.now() > giveUpAt) {
          await this.giveUp();
          assert.fail(`the load does not go on: ${JSON.stringify([...retries])}`);
        }
        await sleep(20);
      }
    },
    async check(from) {
      for (const { repository, tags, gone } of all) {
        for (const [tag, image] of tags) await checkImage(from, repository, tag, image);
        for (const { tag } of gone) {
          if (!tags.has(tag)) await expectStatus(await ask(from, "GET", `/v2/${repository}/manifests/${tag}`), 404);
        }
      }
    },
  };
}

/** Why something is retried: a 5xx, a cut connection, a session that its last writer still holds, a lease that ended. */
function reasonOf(error: unknown, isLate: boolean): string | undefined {
  if (error instanceof assert.AssertionError) {
    const status = /got (5\d\d|409|404)/.exec(error.message)?.[1];
    return status === "404" && !isLate ? undefined : status;
  }
  if (error instanceof TypeError) return String((error.cause as { code?: string } | undefined)?.code ?? error.message);
  return error instanceof DOMException ? error.name : undefined;
}
