// The clock that decides when leases end: it accepts a step forward only after a delay, and a step that is undone at once.
// Not here: servers whose clock is set (test/failure/clock.test.ts).
import assert from "node:assert/strict";
import { it } from "node:test";
import { createSteadyClock } from "./clock.ts";

const HOUR_MS = 3_600_000;
const STEP_DELAY_MS = 10_000;

function createClocks() {
  let elapsed = 0;
  let wall = 1_000_000_000_000;
  const clock = { now: () => wall };
  const steady = createSteadyClock(clock, STEP_DELAY_MS, () => elapsed);
  const startedAt = wall;
  return {
    /** Since the start, on the plain clock, which writers use. */
    write: () => steady.shown.now() - startedAt,
    /** Since the start, on the steady clock. */
    read: () => steady.now() - startedAt,
    pass: (ms: number) => {
      elapsed += ms;
      wall += ms;
    },
    set: (ms: number) => {
      wall += ms;
    },
  };
}

it("clock: goes with a clock that nobody sets, also through small corrections", () => {
  const { read, pass, set } = createClocks();
  pass(5_000);
  assert.equal(read(), 5_000);
  set(300);
  pass(1_000);
  assert.equal(read(), 6_300);
  set(-300);
  assert.equal(read(), 6_000);
});

it("clock: believes a step forward after its delay, each one by itself", () => {
  const { read, pass, set } = createClocks();
  set(HOUR_MS);
  pass(1_000);
  assert.equal(read(), 1_000);
  set(2 * HOUR_MS);
  assert.equal(read(), 1_000);
  pass(STEP_DELAY_MS - 1);
  assert.equal(read(), 1_000 + STEP_DELAY_MS - 1);
  pass(1);
  assert.equal(read(), 3 * HOUR_MS + 1_000 + STEP_DELAY_MS);
});

it("clock: forgets a step that is taken back, whole or in part", () => {
  const { read, pass, set } = createClocks();
  set(2 * HOUR_MS);
  assert.equal(read(), 0);
  set(-HOUR_MS);
  assert.equal(read(), 0);
  set(-HOUR_MS);
  assert.equal(read(), 0);
  pass(1_000);
  assert.equal(read(), 1_000);
  pass(STEP_DELAY_MS);
  assert.equal(read(), 1_000 + STEP_DELAY_MS);
});

it("clock: follows a step back at once", () => {
  const { read, pass, set } = createClocks();
  pass(5_000);
  set(-HOUR_MS);
  assert.equal(read(), 5_000 - HOUR_MS);
  set(HOUR_MS);
  pass(STEP_DELAY_MS + 1);
  assert.equal(read(), 5_000 - HOUR_MS + STEP_DELAY_MS + 1);
});

it("clock: keeps a promise that was made by a clock which was behind between two looks", () => {
  const { read, write, pass, set } = createClocks();
  assert.equal(read(), 0);
  set(-24 * HOUR_MS);
  const promisedUntil = write() + STEP_DELAY_MS;
  set(24 * HOUR_MS);
  pass(STEP_DELAY_MS - 1);
  assert.ok(read() < promisedUntil);
  // The step was just seen for the first time, so it is accepted after another delay.
  pass(STEP_DELAY_MS);
  assert.equal(read(), 2 * STEP_DELAY_MS - 1);
});
