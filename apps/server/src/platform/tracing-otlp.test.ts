// Traces: only the configured share is recorded, a trace is bounded, and a collector that is slow, refuses or is down costs nothing but
// spans.
import assert from "node:assert/strict";
import { it } from "node:test";
import { RegistryError } from "@berth/oci/errors";
import { forEachDatabase } from "./database/databases.testing.ts";
import { createDatabaseMeter, observeDatabase } from "./database/observed-database.ts";
import { statement } from "./database/statement.ts";
import { createMetrics } from "./metrics.ts";
import { startOtlpReceiver } from "./otlp-receiver.testing.ts";
import { openTracing, type TracingOptions } from "./tracing-otlp.ts";

const optionsFor = (endpoint: string, more: Partial<TracingOptions> = {}): TracingOptions => ({
  endpoint,
  headers: undefined,
  sampleRatio: 1,
  serviceName: "test",
  version: "1",
  onFailure: () => undefined,
  ...more,
});

it("tracing otlp: sends spans below each other, with kinds, failures and the headers that the collector wants", async () => {
  const receiver = await startOtlpReceiver();
  const tracing = openTracing(optionsFor(`${receiver.endpoint}/prefix`, { headers: "authorization=Bearer%20abc,x-team=a" }));
  try {
    await tracing.job("round", async () => {
      await tracing.span("read", "client", { "db.system.name": "sqlite", absent: undefined }, async () => undefined);
      await assert.rejects(tracing.span("denied", "internal", {}, () => Promise.reject(new RegistryError("DENIED"))));
      await assert.rejects(tracing.span("broken", "internal", {}, () => Promise.reject(new TypeError("postgres://u:secret@h"))));
      const end = tracing.begin("stream", "client", {});
      end(new RegistryError("UNAVAILABLE"));
    });
    assert.deepEqual(tracing.logFields(), {});
    await tracing.close();
    const round = receiver.spans.find((span) => span.name === "round")!;
    assert.deepEqual([round.parentSpanId, round.kind, round.status], ["", 1, 0]);
    assert.equal(round.resource["service.name"], "test");
    const shown = receiver.spans
      .filter((span) => span !== round)
      .map(({ name, kind, status, attributes, traceId, parentSpanId }) => {
        assert.deepEqual([traceId, parentSpanId], [round.traceId, round.spanId]);
        return { name, kind, status, attributes };
      });
    assert.deepEqual(shown, [
      { name: "read", kind: 3, status: 0, attributes: { "db.system.name": "sqlite" } },
      { name: "denied", kind: 1, status: 0, attributes: { "error.type": "DENIED" } },
      { name: "broken", kind: 1, status: 2, attributes: { "error.type": "TypeError" } },
      { name: "stream", kind: 3, status: 2, attributes: { "error.type": "UNAVAILABLE" } },
    ]);
    assert.equal(receiver.requests[0]!.path, "/prefix/v1/traces");
    assert.equal(receiver.requests[0]!.headers["authorization"], "Bearer abc");
    assert.equal(receiver.requests[0]!.headers["x-team"], "a");
    assert.ok(!receiver.text().includes("secret"));
    assert.deepEqual(tracing.counts(), { kept: 5, sent: 5, failed: 0 });
  } finally {
    await receiver.stop();
  }
});

const listBlobs = statement<{ name: string }>()("test.list", (db, p) => db.selectFrom("blob").selectAll().where("digest", "=", p.name));

forEachDatabase("tracing of transactions", (create) => {
  it("puts each statement below its own transaction, also where several share a commit", async () => {
    const receiver = await startOtlpReceiver();
    const tracing = openTracing(optionsFor(receiver.endpoint));
    const test = await create();
    try {
      const observed = observeDatabase(test.database, createDatabaseMeter(createMetrics()), tracing);
      const jobs = ["first", "second", "third"];
      await Promise.all(
        jobs.map((job) => tracing.job(job, () => observed.transaction((tx) => tx.first(listBlobs, { name: `sha256:${job}` })))),
      );
      await tracing.close();
      const named = (name: string) => receiver.spans.filter((span) => span.name === name);
      for (const job of jobs) {
        const [round] = named(job);
        const [transaction] = named("transaction").filter(({ traceId }) => traceId === round!.traceId);
        const listed = named("test.list").filter(({ traceId }) => traceId === round!.traceId);
        assert.deepEqual(
          listed.map(({ parentSpanId }) => parentSpanId),
          [transaction!.spanId],
          job,
        );
      }
    } finally {
      await test.end();
      await receiver.stop();
    }
  });
});

it("tracing otlp: keeps the part that was asked for, and nothing below what is not kept", async () => {
  const receiver = await startOtlpReceiver();
  const none = openTracing(optionsFor(receiver.endpoint, { sampleRatio: 0 }));
  const some = openTracing(optionsFor(receiver.endpoint, { sampleRatio: 0.5 }));
  try {
    let ids = 0;
    for (let i = 0; i < 400; i++) {
      await none.job("none", () =>
        none.span("below", "internal", {}, async () => void (none.logFields()["trace_flags"] === "00" && ids++)),
      );
      await some.job("some", () => some.span("below some", "internal", {}, async () => undefined));
    }
    assert.equal(ids, 400, "a line of the log has the trace's id also where the trace is not kept");
    await none.close();
    await some.close();
    const kept = receiver.spans.filter((span) => span.name === "some").length;
    // 400 coin tosses: outside 100 to 300 once in 10^23.
    assert.ok(kept > 100 && kept < 300, `${kept} of 400`);
    assert.equal(receiver.spans.filter((span) => span.name === "below some").length, kept);
    assert.ok(receiver.spans.every((span) => !span.name.endsWith("none") && span.name !== "below"));
  } finally {
    await receiver.stop();
  }
});

it("tracing otlp: ends a trace that grows without end", async () => {
  const receiver = await startOtlpReceiver();
  const tracing = openTracing(optionsFor(receiver.endpoint));
  try {
    let runs = 0;
    await tracing.job("collection", async () => {
      for (let i = 0; i < 2000; i++) await tracing.span("batch", "internal", {}, async () => void runs++);
    });
    await tracing.close();
    assert.equal(runs, 2000);
    assert.equal(receiver.spans.length, 500);
  } finally {
    await receiver.stop();
  }
});

it("tracing otlp: drops spans, and holds nobody up, while the collector does not answer; then goes on", async () => {
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  const receiver = await startOtlpReceiver(() => released);
  const tracing = openTracing(optionsFor(receiver.endpoint));
  const jobs = 30_000;
  try {
    // The collector has not answered when all of them have ended: none of them waited for it.
    for (let i = 0; i < jobs; i++) await tracing.job("job", async () => undefined);
    assert.equal(receiver.spans.length, 0);
    release();
    await tracing.close();
    const { kept, sent, failed } = tracing.counts();
    assert.equal(kept, jobs);
    assert.ok(sent > 0 && sent + failed <= 8192 + 2 * 512, `the queue is bounded: ${sent} sent, ${failed} failed`);
    assert.equal(receiver.spans.length, sent);
  } finally {
    await receiver.stop();
  }
});

it("tracing otlp: says once that the collector refuses, and ends without it", async () => {
  const failures: unknown[] = [];
  const receiver = await startOtlpReceiver(async (response) => void response.writeHead(400).end());
  const tracing = openTracing(optionsFor(receiver.endpoint, { onFailure: (error) => failures.push(error) }));
  try {
    for (let i = 0; i < 3000; i++) await tracing.job("job", async () => undefined);
    await tracing.close();
    assert.equal(failures.length, 1);
    assert.ok(failures[0] instanceof Error);
    const { kept, sent, failed } = tracing.counts();
    assert.deepEqual([kept, sent], [3000, 0]);
    assert.ok(failed >= 512, `${failed} failed`);
  } finally {
    await receiver.stop();
  }
});
