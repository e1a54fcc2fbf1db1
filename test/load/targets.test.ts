// Medians and verdicts: a target that is judged on the wrong figure would be worse than none.
import assert from "node:assert/strict";
import { test } from "node:test";
import { figuresOf } from "./results.ts";
import type { MeasuredSample, Row } from "./results.ts";
import { judge } from "./targets.ts";

function sample(units: number, cpuSeconds: number, peakBytes = 0): MeasuredSample {
  return { units, seconds: 1, p50: 1, p99: 2, errors: 0, cpuSeconds, peakBytes };
}

function row(caseName: string, subject: string, ...samples: MeasuredSample[]): Row {
  return { caseName, unit: "GB", subject, samples };
}

test("targets: takes medians of rates and of CPU for one unit, and the largest peak", () => {
  const figures = figuresOf(row("a", "berth", sample(10, 5, 1), sample(30, 3, 9), sample(20, 2, 4)));
  assert.equal(figures?.rate, 20);
  assert.equal(figures?.cpuPerUnit, 0.1);
  assert.equal(figures?.peakBytes, 9);
  assert.equal(figuresOf(row("a", "berth", sample(10, 1), sample(20, 1)))?.rate, 15);
  assert.equal(figuresOf(row("a", "berth")), undefined);
});

test("targets: judges rate, CPU and limit of the hot 100 MiB blob", () => {
  const name = "blob/get-100MiB/hot";
  const verdicts = judge([
    row(name, "berth", sample(2.6, 1.3)),
    row(name, "distribution", sample(2, 2)),
    row(name, "docker-registry", sample(1, 1)),
    row(name, "machine: loopback pipe", sample(4, 1)),
  ]);
  assert.deepEqual(
    verdicts.map(({ measured, met }) => [measured, met]),
    [
      ["1.30x", true],
      ["0.50x", true],
      ["65.0 %", false],
    ],
  );
});

test("targets: compares manifests with bare node:http by the core used, not by the rate", () => {
  const name = "manifest/get-tag/token";
  const verdicts = judge([row(name, "berth", sample(20_800, 0.8)), row(name, "machine: bare node:http GET", sample(60_000, 1.5))]);
  // 26,000 for a core-second against 40,000.
  assert.equal(verdicts.at(-1)?.measured, "65.0 %");
  assert.equal(verdicts.at(-1)?.met, true);
  assert.equal(verdicts[0]?.met, undefined);
});

test("targets: finds the peak under the whole load in any case of the run", () => {
  const verdicts = judge([row("push/monolithic-1KiB", "berth", sample(1, 1, 400e6)), row("start/loaded", "berth", sample(1, 1, 90e6))]);
  assert.deepEqual(verdicts, [
    {
      caseName: "start/loaded",
      text: "at most 350 MB resident under the whole load",
      measured: "400 MB",
      met: false,
    },
  ]);
});
