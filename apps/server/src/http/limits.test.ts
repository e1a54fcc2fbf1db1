// Places are given in order and never exceed the limit; a wait ends with a place, a refusal or the client's leaving; while others wait,
// each address has its share. Not here: how slow a client is (transfer-rate.test.ts).
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { RegistryError } from "@berth/oci/errors";
import fc from "fast-check";
import { createPlaces } from "./limits.ts";
import { createTransfer, type BreakReason } from "./transfer-rate.ts";
import type { Party } from "./preemption.ts";

const LONG_MS = 3_600_000;
const party = (source = "10.0.0.1", isAnonymous = false): Party => ({ source, isAnonymous, transfer: undefined });
const create = (changes: Partial<Parameters<typeof createPlaces>[0]> = {}) =>
  createPlaces({ limit: 1, queueLimit: 1, waitMs: LONG_MS, code: "TOOMANYREQUESTS", retryAfterSeconds: 3, ...changes });
const isError = (code: string, status: number) => (error: unknown) =>
  error instanceof RegistryError && error.code === code && error.status === status;

describe("places", () => {
  it("refuse at once when the queue is full, with retry-after", async () => {
    const places = create();
    const first = party();
    const second = party();
    await places.enter(first);
    const waiting = places.enter(second);
    await assert.rejects(places.enter(party()), (error: unknown) => {
      assert.ok(error instanceof RegistryError);
      assert.deepEqual([error.code, error.status, error.headers["retry-after"]], ["TOOMANYREQUESTS", 429, "3"]);
      return true;
    });
    assert.deepEqual([places.active, places.waiting], [1, 1]);
    places.leave(first);
    await waiting;
    places.leave(second);
    assert.deepEqual([places.active, places.waiting, places.refused], [0, 0, 1]);
    assert.throws(() => places.leave(second), /more often/);
  });

  it("refuse who waited too long, and are not given to one who left", async () => {
    const short = create({ waitMs: 1, code: "UNAVAILABLE" });
    await short.enter(party());
    await assert.rejects(short.enter(party()), isError("UNAVAILABLE", 503));
    assert.equal(short.waiting, 0);

    const places = create({ queueLimit: 2 });
    const first = party();
    await places.enter(first);
    const client = new AbortController();
    const left = places.enter(party(), 1, client.signal);
    const second = places.enter(party());
    client.abort(new Error("gone"));
    await assert.rejects(left, /gone/);
    places.leave(first);
    await second;
    assert.equal(places.active, 1);
    await assert.rejects(places.enter(party(), 1, client.signal), /gone/);
    assert.equal(places.active, 1);
  });

  it("let nobody pass the queue", async () => {
    const places = create({ queueLimit: 2 });
    const [first, ...others] = [party(), party(), party()];
    await places.enter(first);
    const order: number[] = [];
    const waiters = others.map((other, n) => places.enter(other).then(() => order.push(n)));
    places.leave(first);
    assert.equal(places.tryEnter(party()), false);
    await turn();
    places.leave(others[0]);
    await Promise.all(waiters);
    assert.deepEqual(order, [0, 1]);
  });

  it("are all for one address while nobody else asks, and go to the address that holds least while others wait", async () => {
    const places = create({ limit: 4, queueLimit: 8 });
    const many = Array.from({ length: 4 }, () => party("10.0.0.1"));
    for (const one of many) assert.equal(places.tryEnter(one), true);
    const order: string[] = [];
    const client = new AbortController();
    const waiters = ["10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.3"].map((source) =>
      places.enter(party(source), 1, client.signal).then(() => order.push(source)),
    );
    const all = Promise.allSettled(waiters);
    for (const one of many.slice(0, 3)) places.leave(one);
    await turn();
    assert.deepEqual(order, ["10.0.0.2", "10.0.0.3", "10.0.0.1"]);
    assert.equal(places.waiting, 2);
    client.abort(new Error("enough"));
    await all;
  });

  it("take from who has most waiting where the queue is full", async () => {
    const places = create({ queueLimit: 3 });
    const first = party("10.0.0.1");
    await places.enter(first);
    const client = new AbortController();
    const flood = [1, 2, 3].map(() => places.enter(party("10.0.0.1"), 1, client.signal));
    const outcomes = Promise.allSettled(flood);
    const other = Promise.allSettled([places.enter(party("10.0.0.2"), 1, client.signal)]);
    const next = places.enter(party("10.0.0.2"));
    await assert.rejects(next, isError("TOOMANYREQUESTS", 429));
    await assert.rejects(flood[2]!, isError("TOOMANYREQUESTS", 429));
    places.leave(first);
    await flood[0];
    assert.equal(places.waiting, 2);
    client.abort(new Error("enough"));
    await Promise.all([outcomes, other]);
  });

  it("are kept for accounts while callers without one hold more than their part", async () => {
    const places = create({ limit: 4, anonymousLimit: 2, queueLimit: 8 });
    const strangers = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map((source) => party(source, true));
    for (const one of strangers) places.tryEnter(one);
    const claimed = party("10.0.0.4");
    places.tryEnter(claimed);
    // Its credentials turned out to be invalid.
    places.noteAnonymous(claimed);
    const order: string[] = [];
    void places.enter(party("10.0.0.5", true)).then(() => order.push("stranger"));
    void places.enter(party("10.0.0.1", false)).then(() => order.push("account"));
    places.leave(strangers[1]!);
    await turn();
    assert.deepEqual(order, ["account"]);
    places.leave(strangers[2]!);
    await turn();
    assert.deepEqual(order, ["account", "stranger"]);
    places.leave(claimed);
    assert.equal(places.active, 3);
  });

  it("count what each takes, and let the next in when one that wanted more has left", async () => {
    const places = create({ limit: 10, queueLimit: 4 });
    const first = party("10.0.0.1");
    assert.equal(places.tryEnter(first, 8), true);
    const client = new AbortController();
    const large = places.enter(party("10.0.0.2"), 5, client.signal);
    const small = places.enter(party("10.0.0.3"), 2);
    client.abort(new Error("gone"));
    await assert.rejects(large, /gone/);
    await small;
    assert.deepEqual([places.active, places.waiting], [10, 0]);
    await assert.rejects(places.enter(party(), 11), /asked for 11 of 10/);
  });

  it("break off the slowest of who holds most for one who holds none, and then no more than to the share of each", async () => {
    const places = create({ limit: 4, queueLimit: 8, lookEveryMs: 5 });
    const broken: [Party, BreakReason][] = [];
    const readers = Array.from({ length: 4 }, (_, n): Party => {
      const transfer = createTransfer({ kind: "download", bytesPerSecond: 0, windowMs: 10_000 });
      const reader = { source: "10.0.0.1", isAnonymous: true, transfer };
      const startedAt = performance.now();
      transfer.wait(startedAt, () => undefined);
      transfer.moved(startedAt + 1, n === 2 ? 1 : 1000);
      transfer.wait(startedAt + 1, (reason) => {
        broken.push([reader, reason]);
        places.leave(reader);
      });
      return reader;
    });
    for (const reader of readers) places.tryEnter(reader);
    const client = new AbortController();
    const others = Array.from({ length: 3 }, () => places.enter(party("10.0.0.2", true), 1, client.signal));
    const all = Promise.allSettled(others);
    await Promise.all(others.slice(0, 2));
    assert.deepEqual(broken[0], [readers[2], "share"]);
    assert.deepEqual([broken.length, places.brokenOff, places.waiting], [2, 2, 1]);
    client.abort(new Error("enough"));
    await all;
  });

  it("never admit more than their limit, whatever comes and goes", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 0, max: 4 }),
        fc.array(fc.tuple(fc.boolean(), fc.constantFrom("a", "b", "c"), fc.boolean())),
        async (limit, queueLimit, steps) => {
          const places = create({ limit, queueLimit, anonymousLimit: Math.ceil(limit / 2) });
          const inside: Party[] = [];
          let refused = 0;
          let entered = 0;
          for (const [isArrival, source, isAnonymous] of steps) {
            if (isArrival) {
              const one = party(source, isAnonymous);
              void places.enter(one).then(
                () => [entered++, inside.push(one)],
                () => refused++,
              );
            } else if (inside.length > 0) places.leave(inside.shift()!);
            await turn();
            assert.ok(inside.length <= limit && places.waiting <= queueLimit);
            assert.equal(inside.length, places.active);
            assert.ok(places.waiting === 0 || places.active === limit, "someone waits beside a free place");
          }
          assert.equal(entered + refused + places.waiting, steps.filter(([isArrival]) => isArrival).length);
          // Every waiter holds a timer.
          while (inside.length > 0) {
            places.leave(inside.shift()!);
            await turn();
          }
          assert.deepEqual([places.waiting, places.active], [0, 0]);
        },
      ),
      { seed: 17, numRuns: 100 },
    );
  });
});
