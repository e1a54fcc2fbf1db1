// Metrics: counts appear on the page with their labels; histograms add up; duplicate and malformed names are refused.
import assert from "node:assert/strict";
import { it } from "node:test";
import { createMetrics } from "./metrics.ts";

const valueOf = (page: string, series: string) => {
  const line = page.split("\n").find((candidate) => candidate.startsWith(`${series} `));
  assert.ok(line, `${series} is not on the page:\n${page}`);
  return Number(line.slice(series.length + 1));
};

it("metrics: counts what falls into each bucket of each kind, and leaves kinds out that never ran", async () => {
  const metrics = createMetrics();
  const { read } = metrics.addHistogram({
    name: "store_seconds",
    help: "Accesses.",
    kinds: ["read", "write"],
    buckets: [0.001, 0.0025, 300],
  });
  read(0.002);
  read(1000);
  const { page, contentType } = await metrics.render();
  assert.match(contentType, /^text\/plain/);
  assert.equal(valueOf(page, 'berth_store_seconds_bucket{kind="read",le="0.001"}'), 0);
  assert.equal(valueOf(page, 'berth_store_seconds_bucket{kind="read",le="0.0025"}'), 1);
  assert.equal(valueOf(page, 'berth_store_seconds_bucket{kind="read",le="300"}'), 1);
  assert.equal(valueOf(page, 'berth_store_seconds_bucket{kind="read",le="+Inf"}'), 2);
  assert.equal(valueOf(page, 'berth_store_seconds_count{kind="read"}'), 2);
  assert.equal(valueOf(page, 'berth_store_seconds_sum{kind="read"}'), 1000.002);
  assert.doesNotMatch(page, /kind="write"/);
});

it("metrics: reads added numbers when the page is read, puts the tag on all, and knows the process", async () => {
  const metrics = createMetrics({ tag: "eu/one" });
  let size = 1;
  metrics.addGauge("hot_cache_bytes", "What the cache holds.", () => size);
  metrics.addCounters("failures_total", "Failures.", () => [{ labels: { kind: "open" }, value: 1 }]);
  size = 9;
  const { page } = await metrics.render();
  assert.equal(valueOf(page, 'berth_failures_total{kind="open",tag="eu/one"}'), 1);
  assert.equal(valueOf(page, 'berth_hot_cache_bytes{tag="eu/one"}'), 9);
  assert.ok(valueOf(page, 'process_resident_memory_bytes{tag="eu/one"}') > 1e6);
  assert.match(page, /^nodejs_eventloop_lag_p99_seconds\{tag="eu\/one"\} /m);
  assert.equal((await metrics.render()).page.match(/^# TYPE berth_failures_total counter$/gm)?.length, 1);
});

it("metrics: refuses names that it has already or that are none", () => {
  const metrics = createMetrics();
  metrics.addGauge("connections", "", () => 0);
  assert.throws(() => metrics.addGauge("connections", "", () => 0), /not a new metric/);
  assert.throws(() => metrics.addHistogram({ name: "connections", help: "", kinds: [], buckets: [] }), /not a new metric/);
  assert.throws(() => metrics.addCounter("Bad name", "", () => 0), /not a new metric/);
});
