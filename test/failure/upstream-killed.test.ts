// Kills a registry with SIGKILL while blobs come from an upstream: what is stored is whole and right, what is not comes again, and nothing is left in the
// data directory. Not here: the registry (upstream-worker.ts), upstreams that fail (test/flows/upstream.test.ts).
import assert from "node:assert/strict";
import { randomBytes, randomInt } from "node:crypto";
import { readdir } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { it, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ENGINES } from "../flows/engines.testing.ts";
import { sha256 } from "../flows/registry.testing.ts";
import { startRegistryWorker } from "./registry-worker.ts";
import { roundsOf } from "./rounds.ts";

const rounds = roundsOf({ usual: 5, long: 100 });
const SIZE = 4_000_000;
const PIECES = 20;

/** Another registry with blobs alone, each of which takes its time. */
async function startOrigin(t: TestContext) {
  const blobs = new Map<string, Buffer>();
  let isAway = false;
  const server = createServer((request, response) => {
    const blob = blobs.get(request.url!.split("/").at(-1)!);
    if (isAway || blob === undefined) return void response.writeHead(isAway ? 500 : 404).end();
    response.writeHead(200, { "content-length": blob.length });
    if (request.method === "HEAD") return void response.end();
    void (async () => {
      for (let at = 0; at < SIZE && !response.destroyed; at += SIZE / PIECES) {
        response.write(blob.subarray(at, at + SIZE / PIECES));
        await sleep(10);
      }
      response.end();
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    put: (blob: Buffer) => void blobs.set(sha256(blob), blob),
    away: (is: boolean) => (isAway = is),
  };
}

for (const engine of ENGINES) {
  it(`blobs that come while the registry is killed, on ${engine.name} (${rounds} rounds)`, { skip: engine.skip }, async (t) => {
    const origin = await startOrigin(t);
    const { settings } = await engine.make(t);
    const path = (blob: Buffer): string => `/v2/hub/app/blobs/${sha256(blob)}`;
    const blobs: Buffer[] = [];
    let worker = await startRegistryWorker("upstream-worker.ts", [origin.address], settings);
    try {
      for (let round = 0; round < rounds; round++) {
        const blob = randomBytes(SIZE);
        blobs.push(blob);
        origin.put(blob);
        const delayMs = randomInt(400);
        t.diagnostic(`round ${round}: killed ${delayMs} ms after the blob was asked for`);
        const reading = worker.ask("GET", path(blob)).then(async (answer) => Buffer.from(await answer.arrayBuffer()));
        const read = reading.catch(() => undefined);
        await sleep(delayMs);
        await worker.kill();
        // A whole answer is the right one.
        const got = await read;
        if (got !== undefined) assert.ok(got.equals(blob));
        worker = await startRegistryWorker("upstream-worker.ts", [origin.address], settings);
        assert.deepEqual(
          (await readdir(settings["data"]!)).filter((name) => name.startsWith("incoming")),
          [],
        );
        origin.away(true);
        for (const each of blobs) {
          // Stored or not, but nothing in between.
          const answer = await worker.ask("GET", path(each));
          if (answer.status === 200) assert.ok(Buffer.from(await answer.arrayBuffer()).equals(each));
          else assert.equal(answer.status, 502);
        }
        origin.away(false);
        const again = await worker.ask("GET", path(blob));
        assert.equal(again.status, 200);
        assert.ok(Buffer.from(await again.arrayBuffer()).equals(blob));
      }
    } finally {
      await worker.kill();
    }
  });
}
