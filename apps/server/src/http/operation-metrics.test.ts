// Operations are counted by kind and status; kinds that were not declared are refused.
import assert from "node:assert/strict";
import { it } from "node:test";
import { createMetrics } from "../platform/metrics.ts";
import { createOperationMeters } from "./operation-metrics.ts";

it("operation metrics: counts operations by kind and status, bytes, and what is in flight", async () => {
  const metrics = createMetrics();
  const pull = createOperationMeters(metrics, ["pull-manifest", "push-blob"])("pull-manifest");
  for (let i = 0; i < 4; i++) pull.begin();
  pull.end(200, 0.002, 0, 100);
  pull.end(404, 1000, 7, 50);
  pull.end(7, 0, 0, 0);
  const { page } = await metrics.render();
  for (const [series, value] of Object.entries({
    'berth_operations_total{kind="pull-manifest",status="200"}': 1,
    'berth_operations_total{kind="pull-manifest",status="404"}': 1,
    'berth_operations_total{kind="pull-manifest",status="599"}': 1,
    'berth_operations_in_flight{kind="pull-manifest"}': 1,
    'berth_operations_in_flight{kind="push-blob"}': 0,
    'berth_sent_bytes_total{kind="pull-manifest"}': 150,
    'berth_received_bytes_total{kind="pull-manifest"}': 7,
    'berth_operation_duration_seconds_count{kind="pull-manifest"}': 3,
  }))
    assert.ok(page.includes(`\n${series} ${value}\n`), `${series} is not ${value}:\n${page}`);
});

it("operation metrics: refuses a kind that was not declared", () => {
  assert.throws(() => createOperationMeters(createMetrics(), ["pull-manifest"])("pull"), /not a kind/);
});
