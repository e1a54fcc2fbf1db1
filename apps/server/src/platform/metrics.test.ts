// Metrics: what is counted appears on the page with its labels; histograms add up; unknown kinds and doubled names are refused.
import assert from "node:assert/strict";
import { it } from "node:test";
import { createMetrics } from "./metrics.ts";

const create = (tag?: string) =>
  createMetrics({ operations: ["pull-manifest", "push-blob"], databaseOperations: ["read"], storeOperations: ["open", "commit"], tag });
const valueOf = (page: string, series: string) => {
  const line = page.split("\n").find((candidate) => candidate.startsWith(`${series} `));
  assert.ok(line, `${series} is not on the page:\n${page}`);
  return Number(line.slice(series.length + 1));
};

it("counts operations by kind and status, bytes, and what is in flight", async () => {
  const metrics = create();
  const pull = metrics.operation("pull-manifest");
  pull.begin();
  pull.begin();
  pull.begin();
  pull.end(200, 0.002, 0, 100);
  pull.end(404, 1000, 7, 50);
  const { page, contentType } = await metrics.render();
  assert.match(contentType, /^text\/plain/);
  assert.equal(valueOf(page, 'berth_operations_total{kind="pull-manifest",status="200"}'), 1);
  assert.equal(valueOf(page, 'berth_operations_total{kind="pull-manifest",status="404"}'), 1);
  assert.equal(valueOf(page, 'berth_operations_in_flight{kind="pull-manifest"}'), 1);
  assert.equal(valueOf(page, 'berth_sent_bytes_total{kind="pull-manifest"}'), 150);
  assert.equal(valueOf(page, 'berth_received_bytes_total{kind="pull-manifest"}'), 7);
  assert.equal(valueOf(page, 'berth_operation_duration_seconds_bucket{kind="pull-manifest",le="0.001"}'), 0);
  assert.equal(valueOf(page, 'berth_operation_duration_seconds_bucket{kind="pull-manifest",le="0.0025"}'), 1);
  assert.equal(valueOf(page, 'berth_operation_duration_seconds_bucket{kind="pull-manifest",le="300"}'), 1);
  assert.equal(valueOf(page, 'berth_operation_duration_seconds_bucket{kind="pull-manifest",le="+Inf"}'), 2);
  assert.equal(valueOf(page, 'berth_operation_duration_seconds_count{kind="pull-manifest"}'), 2);
  assert.equal(valueOf(page, 'berth_operation_duration_seconds_sum{kind="pull-manifest"}'), 1000.002);
});

it("counts the store, collection and added numbers, and knows the process", async () => {
  const metrics = create("eu/one");
  let size = 1;
  metrics.addGauge("hot_cache_bytes", "What the cache holds.", () => size);
  metrics.store("open").end(false, 0.1);
  metrics.setCollectionBacklog(5, 60);
  metrics.addReclaimed(2, 300);
  metrics.addReclaimed(1, 30);
  size = 9;
  const { page } = await metrics.render();
  assert.equal(valueOf(page, 'berth_store_failures_total{kind="open",tag="eu/one"}'), 1);
  assert.equal(valueOf(page, 'berth_store_duration_seconds_count{kind="open",tag="eu/one"}'), 1);
  assert.equal(valueOf(page, 'berth_collection_backlog_blobs{tag="eu/one"}'), 5);
  assert.equal(valueOf(page, 'berth_collection_reclaimed_bytes_total{tag="eu/one"}'), 330);
  assert.equal(valueOf(page, 'berth_hot_cache_bytes{tag="eu/one"}'), 9);
  assert.ok(valueOf(page, 'process_resident_memory_bytes{tag="eu/one"}') > 1e6);
  assert.match(page, /^nodejs_eventloop_lag_p99_seconds\{tag="eu\/one"\} /m);
  assert.equal((await metrics.render()).page.match(/^# TYPE berth_operations_total counter$/gm)?.length, 1);
});

it("refuses kinds and names that it does not know or has already", () => {
  const metrics = create();
  assert.throws(() => metrics.operation("pull"), /not a kind/);
  assert.throws(() => metrics.addGauge("collection_backlog_blobs", "", () => 0), /not a new metric/);
  assert.throws(() => metrics.addCounter("Bad name", "", () => 0), /not a new metric/);
});
