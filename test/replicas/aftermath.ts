// What must hold after a replica had a fault: all are ready and do their jobs, and a replica that lost its claim writes nothing. Not here:
// the faults (the tests).
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { pushBlob, sha256, startPushLoad, type PushLoad } from "./push-load.ts";
import { ask, expectStatus, until, type Replica, type Replicas } from "./replicas.ts";

/**
 * Pushes with four clients while `trouble` runs: afterwards everything acknowledged can be pulled completely, and every replica is as good
 * as before. `load.more` waits until that many more images were pushed.
 */
export async function loseNothing(
  t: TestContext,
  started: Replicas,
  layerBytes: number,
  trouble: (load: Pick<PushLoad, "more">) => Promise<void>,
): Promise<void> {
  const load = startPushLoad(started.proxy.origin, { clients: 4, layerBytes });
  t.after(load.abandon);
  await trouble(load);
  await load.stopAndCheck();
  t.diagnostic(`${load.acknowledged} images acknowledged and pulled; pushes tried again: ${JSON.stringify([...load.retries])}`);
  await everyoneCollects(started);
}

/** After trouble: every replica is ready, and its next rounds of collection succeed. */
export async function everyoneCollects({ replicas }: Replicas): Promise<void> {
  const metric = async (origin: string, name: string): Promise<number> => {
    const page = await (await expectStatus(await ask(origin, "GET", "/metrics"), 200)).text();
    return Number(new RegExp(`^berth_${name}(?:\\{[^}]*\\})? (\\S+)$`, "m").exec(page)?.[1]);
  };
  for (const { origin } of replicas) await until("ready", async () => (await fetch(`${origin}/readyz`)).status === 200);
  const failures = (): Promise<number[]> => Promise.all(replicas.map(({ origin }) => metric(origin, "collection_failed_rounds_total")));
  // A round that ran during the fault may fail now; later ones must not.
  await until("every round of collection succeeds", async () => {
    const before = await failures();
    // Three pauses between rounds: each replica has run at least one since.
    await sleep(3_000);
    return (await failures()).every((count, at) => count === before[at]);
  });
}

/** A write that has claimed an upload session and waits for the rest of its body. */
interface HeldWrite {
  /** Where the session is. */
  readonly path: string;
  letGo(): void;
  /** The answer's status, or why there is none. */
  readonly answer: Promise<number | string>;
}

/** Begins a session on one replica and a write whose second half is held back; another replica sees that it is claimed. */
async function holdWrite(late: Replica, other: Replica, repository: string, bytes: Buffer): Promise<HeldWrite> {
  const octets = { "content-type": "application/octet-stream" };
  for (;;) {
    const begun = await expectStatus(await ask(late.origin, "POST", `/v2/${repository}/blobs/uploads/`), 202);
    const path = begun.headers.get("location")!;
    const gate = Promise.withResolvers<void>();
    const body = new ReadableStream<Uint8Array>({
      async start(controller) {
        controller.enqueue(bytes.subarray(0, bytes.length / 2));
        await gate.promise;
        controller.enqueue(bytes.subarray(bytes.length / 2));
        controller.close();
      },
    });
    const answer = ask(late.origin, "PATCH", path, { headers: octets, body: body as unknown as Uint8Array, duplex: "half" }).then(
      (each) => each.status,
      (error: unknown) => String(error),
    );
    await sleep(200);
    const { status } = await ask(other.origin, "PATCH", path, { headers: octets, body: bytes.subarray(0, 1) });
    if (status === 409) return { path, letGo: gate.resolve, answer };
    // The check came first, and has written to the session itself: together with another one it may be the second.
    assert.equal(status, 202);
    gate.resolve();
    await answer;
  }
}

/**
 * One replica is cut off in the middle of a write (`interrupt`), its claim expires, another replica continues the upload, and the first one
 * comes back (`resume`): it must write nothing more, and be as good as the others afterwards.
 */
export async function lateWriterIsFenced(
  { replicas: [late, other, third] }: Replicas,
  interrupt: (late: Replica) => void | Promise<void>,
  resume: (late: Replica) => void | Promise<void>,
): Promise<void> {
  const repository = "library/fenced";
  const octets = { "content-type": "application/octet-stream" };
  const [wrong, right] = [randomBytes(2_000_000), randomBytes(2_000_000)];
  const { path, letGo, answer: lateAnswer } = await holdWrite(late, other, repository, wrong);
  await interrupt(late);
  // The claim expires; until then the session is taken.
  let location = path;
  await until("free again", async () => {
    const answer = await ask(other.origin, "PATCH", path, { headers: octets, body: right.subarray(0, 1_000_000) });
    location = answer.headers.get("location") ?? path;
    return answer.status === 202;
  });
  letGo();
  await resume(late);
  const status = await lateAnswer;
  assert.notEqual(status, 202, "the late writer was told that its bytes are there");
  const digest = sha256(right);
  await expectStatus(
    await ask(third.origin, "PUT", `${location}?digest=${digest}`, { headers: octets, body: right.subarray(1_000_000) }),
    201,
  );
  for (const { origin } of [late, other, third]) {
    const pulled = await expectStatus(await ask(origin, "GET", `/v2/${repository}/blobs/${digest}`), 200);
    assert.equal(sha256(Buffer.from(await pulled.arrayBuffer())), digest);
  }
  // The returned replica is as good as the others.
  const image = { digest: sha256("after"), bytes: Buffer.from("after") };
  await pushBlob(late.origin, repository, image);
}
