// The next times of a calendar: fields, days, time zones, clock changes, and what is refused.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseCron } from "./cron.ts";

/** The next times after a moment. */
function times(expression: string, timeZone: string, from: string, count: number): string[] {
  const cron = parseCron(expression, timeZone);
  const found: string[] = [];
  let at = Date.parse(from);
  for (let i = 0; i < count; i++) {
    at = cron.next(at);
    found.push(new Date(at).toISOString().slice(0, 16));
  }
  return found;
}

describe("times of a calendar", () => {
  for (const [expression, from, expected] of [
    ["30 3 * * *", "2026-01-01T03:30:00Z", ["2026-01-02T03:30", "2026-01-03T03:30"]],
    ["30 3 * * *", "2026-01-01T03:29:59.999Z", ["2026-01-01T03:30"]],
    ["*/20 * * * *", "2026-01-01T23:30:00Z", ["2026-01-01T23:40", "2026-01-02T00:00", "2026-01-02T00:20"]],
    ["5/25 1 * * *", "2026-01-01T00:00:00Z", ["2026-01-01T01:05", "2026-01-01T01:30", "2026-01-01T01:55", "2026-01-02T01:05"]],
    ["0 9-11/2 * * mon-fri", "2026-01-02T10:00:00Z", ["2026-01-02T11:00", "2026-01-05T09:00"]],
    ["0 0 * * 7", "2026-01-01T00:00:00Z", ["2026-01-04T00:00"]],
    ["0 0 29 feb *", "2096-03-01T00:00:00Z", ["2104-02-29T00:00"]],
    // Either of two days.
    ["0 0 13 * FRI", "2026-01-01T00:00:00Z", ["2026-01-02T00:00", "2026-01-09T00:00", "2026-01-13T00:00", "2026-01-16T00:00"]],
    ["0 0 31 * *", "2026-01-31T00:00:00Z", ["2026-03-31T00:00"]],
  ] as const) {
    it(`${expression} after ${from}`, () => assert.deepEqual(times(expression, "UTC", from, expected.length), expected));
  }

  it("go by the place's clocks", () => {
    assert.deepEqual(times("0 2 * * *", "Asia/Kolkata", "2026-06-01T00:00:00Z", 1), ["2026-06-01T20:30"]);
    assert.deepEqual(times("0 23 * * *", "Pacific/Kiritimati", "2026-06-01T08:59:00Z", 2), ["2026-06-01T09:00", "2026-06-02T09:00"]);
  });

  it("that a change to summer time leaves out come as much later, once", () => {
    assert.deepEqual(times("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3), [
      "2026-03-28T01:30",
      "2026-03-29T01:30",
      "2026-03-30T00:30",
    ]);
  });

  it("that come twice count once, unless they are of each hour", () => {
    assert.deepEqual(times("30 2 * * *", "Europe/Berlin", "2026-10-24T22:00:00Z", 2), ["2026-10-25T00:30", "2026-10-26T01:30"]);
    assert.deepEqual(times("30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", 3), [
      "2026-10-25T00:30",
      "2026-10-25T01:30",
      "2026-10-25T02:30",
    ]);
    assert.deepEqual(times("30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 2), ["2026-03-29T00:30", "2026-03-29T01:30"]);
  });

  for (const expression of [
    "",
    "* * * *",
    "* * * * * *",
    "60 * * * *",
    "* 24 * * *",
    "* * 0 * *",
    "* * * 13 *",
    "* * * * 8",
    "*/0 * * * *",
    "5-3 * * * *",
    "1-2-3 * * * *",
    "-1 * * * *",
    "a * * * *",
    "1,, * * * *",
    "1.5 * * * *",
    "0 0 30 feb *",
    "mon * * * *",
    "*/ * * * *",
    "@daily",
  ]) {
    it(`refuse "${expression}"`, () => assert.throws(() => parseCron(expression, "UTC"), RangeError));
  }

  it("refuse a place that there is not", () => {
    assert.throws(() => parseCron("* * * * *", "Europe/Nowhere"), RangeError);
  });
});
