// Kills a registry with SIGKILL while tags move and webhooks are told of it: what was committed is delivered at least once, always with the same id
// and body, what was not committed is never delivered, and no change, job or delivery is left over. Not here: the registry (webhook-worker.ts),
// jobs and changes without webhooks (jobs-killed.test.ts), receivers that fail (test/flows/webhooks.test.ts).
import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { it, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ENGINES } from "../flows/engines.testing.ts";
import { sha256 } from "../flows/registry.testing.ts";
import { type RegistryWorker, startRegistryWorker } from "./registry-worker.ts";
import { roundsOf } from "./rounds.ts";

const rounds = roundsOf({ usual: 5, long: 100 });
/** A lease, a check for expired ones, and delays of attempts, on a busy machine. */
const DONE_WITHIN_MS = 300_000;
const MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json";
const CONFIG = "{}";
const MANIFEST = JSON.stringify({
  schemaVersion: 2,
  mediaType: MANIFEST_TYPE,
  config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: sha256(CONFIG), size: CONFIG.length },
  layers: [],
});

/** What was received of one tag: every id, and every body. */
interface Received {
  readonly ids: Set<string>;
  readonly bodies: Set<string>;
  times: number;
}

/** A receiver that takes its time, so that the registry dies before, during and after its answer. */
async function startReceiver(t: TestContext) {
  const received = new Map<string, Received>();
  const server = createServer(async (request, response) => {
    let body = "";
    try {
      for await (const piece of request.setEncoding("utf8")) body += piece as string;
    } catch {
      // The registry was killed while it sent.
      return;
    }
    const { tag } = (JSON.parse(body) as { readonly data: { readonly tag: string } }).data;
    const one = received.get(tag) ?? { ids: new Set(), bodies: new Set(), times: 0 };
    one.ids.add(String(request.headers["webhook-id"]));
    one.bodies.add(body);
    one.times++;
    received.set(tag, one);
    await sleep(randomInt(60));
    response.writeHead(204).end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { address: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, received };
}

/** Moves new tags until the registry is gone; gives those that it confirmed. */
async function moveTags(worker: RegistryWorker, prefix: string, confirmed: string[]): Promise<void> {
  try {
    for (let n = 0; ; n++) {
      const tag = `${prefix}-${n}`;
      const answer = await worker.ask("PUT", `/v2/library/app/manifests/${tag}`, MANIFEST, MANIFEST_TYPE);
      assert.equal(answer.status, 201, await answer.text());
      confirmed.push(tag);
    }
  } catch (error) {
    // `fetch` says so when the connection ends.
    if (!(error instanceof TypeError)) throw error;
  }
}

async function tagsOf(worker: RegistryWorker): Promise<string[]> {
  const tags: string[] = [];
  for (let last = ""; ;) {
    const answer = await worker.ask("GET", `/v2/library/app/tags/list?n=100${last === "" ? "" : `&last=${last}`}`);
    const page = ((await answer.json()) as { readonly tags: readonly string[] }).tags;
    tags.push(...page);
    if (page.length < 100) return tags;
    last = page.at(-1)!;
  }
}

const LEFT = `select (select count(*) from outbox) + (select count(*) from webhook_delivery where state <> 'delivered')
  + (select count(*) from job where kind in ('webhook-delivery', 'reaction') and state <> 'succeeded') as count`;

for (const engine of ENGINES) {
  it(`webhooks of a registry that is killed, on ${engine.name} (${rounds} rounds)`, { skip: engine.skip }, async (t) => {
    const { address, received } = await startReceiver(t);
    const { settings, sql } = await engine.make(t);
    const confirmed: string[] = [];
    let worker = await startRegistryWorker("webhook-worker.ts", [], settings);
    try {
      const upload = await worker.ask(
        "POST",
        `/v2/library/app/blobs/uploads/?digest=${sha256(CONFIG)}`,
        CONFIG,
        "application/octet-stream",
      );
      assert.equal(upload.status, 201, await upload.text());
      const hook = JSON.stringify({ name: "ci", address, kinds: ["tag.moved"] });
      assert.equal((await worker.ask("POST", "/api/v1/projects/library/webhooks", hook)).status, 201);
      for (let round = 0; round < rounds; round++) {
        const before = received.size;
        const moving = moveTags(worker, `r${round}`, confirmed);
        // It dies between the first change and the last delivery; in some rounds deliveries are certainly on their way.
        while (round % 2 === 1 && received.size === before) await sleep(5);
        const delayMs = randomInt(400);
        t.diagnostic(`round ${round}: killed after ${delayMs} ms, ${confirmed.length} tags confirmed, ${received.size} delivered`);
        await sleep(delayMs);
        await worker.kill();
        await moving;
        worker = await startRegistryWorker("webhook-worker.ts", [], settings);
      }
      const giveUpAt = performance.now() + DONE_WITHIN_MS;
      while (Number((await sql(LEFT))[0]!["count"]) > 0) {
        assert.ok(performance.now() < giveUpAt, "changes, jobs or deliveries are stuck");
        await sleep(100);
      }
      const tags = await tagsOf(worker);
      assert.ok(confirmed.length > 0);
      assert.deepEqual(new Set(received.keys()), new Set(tags), "each committed change is delivered, and no other");
      assert.deepEqual(
        confirmed.filter((tag) => !received.has(tag)),
        [],
      );
      for (const [tag, { ids, bodies }] of received) assert.deepEqual([ids.size, bodies.size], [1, 1], tag);
      // Each change has an id of its own.
      assert.equal(new Set([...received.values()].flatMap(({ ids }) => [...ids])).size, tags.length);
      const again = [...received.values()].filter(({ times }) => times > 1).length;
      t.diagnostic(`${tags.length} changes, ${again} of them delivered more than once`);
    } finally {
      await worker.kill();
    }
  });
}
