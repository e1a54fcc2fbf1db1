// Kills a registry with SIGKILL while tags move, are put on record and are sent on: each confirmed change is on record once, the chain is whole, everything
// on record arrives at the other side, always the same, and each killed process leaves word of its gap. Not here: the registry (webhook-worker.ts), deletion
// of old records (features/audit/audit-retention.test.ts).
import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { it, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { AuditRecordView, AuditVerificationView } from "@berth/api/audit";
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

/** Takes lines, and its time, so that the registry dies before, during and after an answer. */
async function startReceiver(t: TestContext) {
  const received = new Map<string, Set<string>>();
  const server = createServer(async (request, response) => {
    let body = "";
    try {
      for await (const piece of request.setEncoding("utf8")) body += piece as string;
    } catch {
      // The registry was killed while it sent.
      return;
    }
    assert.equal(request.headers["content-type"], "application/x-ndjson");
    for (const line of body.trimEnd().split("\n")) {
      const { id } = JSON.parse(line) as AuditRecordView;
      received.set(id, (received.get(id) ?? new Set()).add(line));
    }
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

for (const engine of ENGINES) {
  it(`the audit log of a registry that is killed, on ${engine.name} (${rounds} rounds)`, { skip: engine.skip }, async (t) => {
    const { address, received } = await startReceiver(t);
    const made = await engine.make(t);
    const settings = { ...made.settings, "audit.forward.http": address };
    const confirmed: string[] = [];
    let worker = await startRegistryWorker("webhook-worker.ts", [], settings);
    try {
      const begin = `/v2/library/app/blobs/uploads/?digest=${sha256(CONFIG)}`;
      const upload = await worker.ask("POST", begin, CONFIG, "application/octet-stream");
      assert.equal(upload.status, 201, await upload.text());
      for (let round = 0; round < rounds; round++) {
        const [before, had] = [received.size, confirmed.length];
        const moving = moveTags(worker, `r${round}`, confirmed);
        // In some rounds records are certainly on their way.
        while (round % 2 === 1 && (received.size === before || confirmed.length === had)) await sleep(5);
        const delayMs = randomInt(600);
        t.diagnostic(`round ${round}: killed after ${delayMs} ms, ${confirmed.length} tags confirmed, ${received.size} records received`);
        await sleep(delayMs);
        await worker.kill();
        await moving;
        worker = await startRegistryWorker("webhook-worker.ts", [], settings);
      }
      assert.ok(confirmed.length > 0);
      const records = async (): Promise<AuditRecordView[]> => {
        const text = await (await worker.ask("GET", "/api/v1/audit/records")).text();
        return text
          .trimEnd()
          .split("\n")
          .map((line) => JSON.parse(line) as AuditRecordView);
      };
      const giveUpAt = performance.now() + DONE_WITHIN_MS;
      let all = await records();
      const tagsOf = (found: readonly AuditRecordView[]) =>
        found.flatMap(({ action, reference }) => (action === "tag.moved" ? [reference] : []));
      // What was exported was on record before, and has to arrive.
      while (confirmed.some((tag) => !tagsOf(all).includes(tag)) || all.some(({ id }) => !received.has(id))) {
        assert.ok(performance.now() < giveUpAt, "changes are missing on record, or records do not arrive");
        await sleep(200);
        if (confirmed.some((tag) => !tagsOf(all).includes(tag))) all = await records();
      }
      assert.deepEqual(
        all.map(({ id }) => Number(id)),
        all.map((_, at) => at + 1),
        "no number is missing, and none is there twice",
      );
      const moved = tagsOf(all);
      assert.equal(new Set(moved).size, moved.length, "each change is on record once");
      for (const [id, lines] of received) assert.equal(lines.size, 1, `record ${id} was sent as one and the same`);
      // On SQLite the next process knows at once that the one before is gone; on PostgreSQL it may be another replica for two minutes.
      if (engine.name === "sqlite") {
        const gaps = all.filter(({ action }) => action === "audit.gap");
        assert.equal(gaps.length, rounds, "each process that was killed left word of it");
      }
      const verification = (await (await worker.ask("GET", "/api/v1/audit/verification")).text()).trimEnd().split("\n").at(-1)!;
      const { isDone, problems } = JSON.parse(verification) as AuditVerificationView;
      assert.deepEqual([isDone, problems], [true, []]);
    } finally {
      await worker.kill();
    }
  });
}
