// A semaphore: never more than its permits, first come first served, and bounds on waiters. Not here: the memory of uploads, which uses it
// (content/blobs/upload-memory.test.ts).
import assert from "node:assert/strict";
import { it } from "node:test";
import { createSemaphore } from "./semaphore.ts";

const refusal = (): Error => new Error("refused");

it("semaphore: serves those that wait in order, and lets nobody overtake", async () => {
  const semaphore = createSemaphore({ permits: 3, refusal });
  assert.equal(semaphore.tryTake(2), true);
  const order: string[] = [];
  const large = semaphore.take(3).then(() => void order.push("large"));
  const small = semaphore.take(1).then(() => void order.push("small"));
  // One permit is free, but a caller that came later still has to wait.
  assert.equal(semaphore.tryTake(1), false);
  semaphore.give(2);
  await large;
  assert.deepEqual(order, ["large"]);
  semaphore.give(3);
  await small;
  assert.deepEqual(order, ["large", "small"]);
  assert.equal(semaphore.taken, 1);
});

it("semaphore: refuses who would be one too many in the queue, and gives back after work that fails", async () => {
  const semaphore = createSemaphore({ permits: 1, maxWaiting: 1, refusal });
  const gate = Promise.withResolvers<void>();
  const first = semaphore.run(() => gate.promise);
  const second = semaphore.run(async () => Promise.reject(new Error("of the work")));
  await assert.rejects(
    semaphore.run(async () => undefined),
    /refused/,
  );
  gate.resolve();
  await first;
  await assert.rejects(second, /of the work/);
  assert.equal(semaphore.taken, 0);
});

it("semaphore: refuses who waited too long, and admits the next, who may want less", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const semaphore = createSemaphore({ permits: 2, waitMs: 100, refusal });
  semaphore.tryTake(1);
  const large = semaphore.take(2);
  const refused = assert.rejects(large, /refused/);
  t.mock.timers.tick(50);
  const small = semaphore.take(1);
  t.mock.timers.tick(50);
  await refused;
  await small;
  assert.equal(semaphore.taken, 2);
  await assert.rejects(semaphore.take(3), /asked for 3 of 2/);
});
