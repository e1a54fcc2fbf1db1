// Semaphores admit in order and never more than their limit; waiting ends by a place, a refusal or the client's leaving.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { RegistryError } from "@berth/oci/errors";
import fc from "fast-check";
import { createMinimumRate, createSemaphore } from "./limits.ts";

const LONG_MS = 3_600_000;
const create = (changes: Partial<Parameters<typeof createSemaphore>[0]> = {}) =>
  createSemaphore({ limit: 1, queueLimit: 1, waitMs: LONG_MS, code: "TOOMANYREQUESTS", retryAfterSeconds: 3, ...changes });
const isError = (code: string, status: number) => (error: unknown) =>
  error instanceof RegistryError && error.code === code && error.status === status;

describe("semaphore", () => {
  it("refuses at once when the queue is full, with retry-after", async () => {
    const semaphore = create();
    await semaphore.enter();
    const waiting = semaphore.enter();
    await assert.rejects(semaphore.enter(), (error: unknown) => {
      assert.ok(error instanceof RegistryError);
      assert.deepEqual([error.code, error.status, error.headers["retry-after"]], ["TOOMANYREQUESTS", 429, "3"]);
      return true;
    });
    assert.deepEqual([semaphore.active, semaphore.waiting], [1, 1]);
    semaphore.leave();
    await waiting;
    semaphore.leave();
    assert.deepEqual([semaphore.active, semaphore.waiting], [0, 0]);
    assert.throws(() => semaphore.leave(), /more often/);
  });

  it("refuses who waited too long, and does not give a place to one who left", async () => {
    const short = create({ waitMs: 1, code: "UNAVAILABLE" });
    await short.enter();
    await assert.rejects(short.enter(), isError("UNAVAILABLE", 503));
    assert.equal(short.waiting, 0);

    const semaphore = create({ queueLimit: 2 });
    await semaphore.enter();
    const client = new AbortController();
    const left = semaphore.enter(client.signal);
    const second = semaphore.enter();
    client.abort(new Error("gone"));
    await assert.rejects(left, /gone/);
    semaphore.leave();
    await second;
    assert.equal(semaphore.active, 1);
    await assert.rejects(semaphore.enter(client.signal), /gone/);
    assert.equal(semaphore.active, 1);
  });

  it("lets nobody pass the queue", async () => {
    const semaphore = create({ queueLimit: 2 });
    await semaphore.enter();
    const order: number[] = [];
    const waiters = [1, 2].map((n) => semaphore.enter().then(() => order.push(n)));
    semaphore.leave();
    assert.equal(semaphore.tryEnter(), false);
    await turn();
    semaphore.leave();
    await Promise.all(waiters);
    assert.deepEqual(order, [1, 2]);
  });

  it("never admits more than its limit, whatever comes and goes", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 0, max: 4 }),
        fc.array(fc.boolean()),
        async (limit, queueLimit, steps) => {
          const semaphore = create({ limit, queueLimit });
          let inside = 0;
          let refused = 0;
          let entered = 0;
          for (const isArrival of steps) {
            if (isArrival)
              void semaphore.enter().then(
                () => [entered++, inside++],
                () => refused++,
              );
            else if (inside > 0) {
              inside--;
              semaphore.leave();
            }
            await turn();
            assert.ok(inside <= limit && semaphore.waiting <= queueLimit);
            assert.equal(inside, semaphore.active);
            assert.ok(semaphore.waiting === 0 || semaphore.active === limit, "someone waits beside a free place");
          }
          assert.equal(entered + refused + semaphore.waiting, steps.filter(Boolean).length);
          // Whoever still waits holds a timer.
          while (semaphore.active > 0) semaphore.leave();
          await turn();
          assert.equal(semaphore.waiting, 0);
        },
      ),
      { numRuns: 50 },
    );
  });
});

describe("minimum rate", () => {
  const WINDOW_MS = 10_000;
  const watches = (waiting: number) => createMinimumRate({ bytesPerSecond: 100, windowMs: WINDOW_MS, slots: { waiting } });

  it("counts only while somebody waits, and only after its window", () => {
    for (const [waiting, waitedMs, expected] of [
      [1, 9_999, false],
      [1, 10_000, true],
      [0, 10_000, false],
    ] as const)
      assert.equal(watches(waiting)().isTooSlow(waitedMs), expected, `${waiting} wait, ${waitedMs} ms`);
  });

  it("leaves alone who is fast enough, whose time the reader took, and who makes up for a pause", () => {
    const watch = watches(1)();
    for (let second = 0; second < 60; second++) {
      watch.note(1000, 101);
      assert.equal(watch.isTooSlow(0), false);
    }
    // Bytes that were there at once: the reader was the slow one.
    const read = watches(1)();
    for (let piece = 0; piece < 1000; piece++) read.note(0, 1);
    assert.equal(read.isTooSlow(9_999), false);
    const paused = watches(1)();
    paused.note(9_500, 2_000);
    assert.equal(paused.isTooSlow(5_000), false);
  });

  it("forgets what was long ago", () => {
    const watch = watches(1)();
    watch.note(10, 1_000_000);
    for (let second = 0; second < 10; second++) watch.note(1000, 1);
    assert.equal(watch.isTooSlow(0), false);
    for (let second = 0; second < 10; second++) watch.note(1000, 1);
    assert.equal(watch.isTooSlow(0), true);
  });

  it("ends one body at a time", () => {
    const watch = watches(1);
    assert.deepEqual(
      [watch(), watch(), watch()].map((each) => each.isTooSlow(WINDOW_MS)),
      [true, false, false],
    );
  });
});
