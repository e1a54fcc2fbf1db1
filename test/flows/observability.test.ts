// What an operator's tools rely on: the metrics page agrees with its guide, dashboard and alarms name existing metrics, every alarm has its
// page. Not here: Prometheus itself (test/deploy/alarms.test.ts).
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { it } from "node:test";
import { parse } from "yaml";
import { listSettings } from "../../apps/server/src/config-names.ts";
import { addServerMetrics, type ServerMetricsParts } from "../../apps/server/src/http/server-metrics.ts";
import { countDirectories, countDirectorySignIns } from "../../apps/server/src/compose/directories.ts";
import { createMetrics } from "../../apps/server/src/platform/metrics.ts";
import { dashboard, expressions, RULE_TESTS, rules } from "../deploy/monitoring.ts";
import { startTestRegistry } from "./registry.testing.ts";

const ROOT = join(import.meta.dirname, "../..");
/** Name, type and labels (without `le`) of every metric on a page. */
function readPage(page: string): Map<string, { type: string; labels: Set<string> }> {
  const found = new Map<string, { type: string; labels: Set<string> }>();
  let current: { labels: Set<string> } | undefined;
  for (const line of page.split("\n")) {
    const [, name, type] = /^# TYPE (\S+) (\S+)/.exec(line) ?? [];
    if (name !== undefined) {
      const metric = { type: type!, labels: new Set<string>() };
      found.set(name, metric);
      current = metric;
    } else if (!line.startsWith("#")) {
      for (const [, label] of line.matchAll(/(\w+)="/g)) if (label !== "le") current?.labels.add(label!);
    }
  }
  return found;
}

/** Metrics that a server has only with PostgreSQL, TLS, tracing and directories, from the code that serves them. */
async function conditionalPage(): Promise<string> {
  const metrics = createMetrics();
  const slots = { active: 0, waiting: 0, refused: 0, brokenOff: 0 };
  const parts = {
    config: { storage: { kind: "s3" }, http: {}, limits: {}, database: { maxConnections: 10 } },
    database: { dialect: "postgres", connections: () => ({ open: 2, idle: 1, waiting: 0 }) },
    health: { state: async () => ({ isReady: true, checks: { database: "ok" } }) },
    keyPair: { expiresAt: () => new Date() },
    places: { requests: slots, uploads: slots, manifests: slots },
    connections: () => 0,
    connectionsClosed: () => 0,
    countUploads: async () => 0,
    countDamagedBlobs: async () => 0,
    tracing: { counts: () => ({ kept: 0, sent: 0, failed: 0 }) },
    version: "0",
    maxConnections: 1,
  };
  addServerMetrics(metrics, parts as unknown as ServerMetricsParts);
  countDirectories(metrics, ["corp"]).asked("corp", "search", 0, true);
  countDirectorySignIns(metrics, ["corp"]);
  return (await metrics.render()).page;
}

async function servedPages(): Promise<Map<string, { type: string; labels: Set<string> }>> {
  // A number of each target is served where there is one.
  const registry = await startTestRegistry({ "audit.forward.file": join(tmpdir(), "berth-observed.jsonl") });
  try {
    await registry.pushImage("library/seen", "v1");
    await registry.send("GET", "/v2/library/seen/tags/list");
    const page = await (await registry.send("GET", "/metrics")).text();
    return new Map([...readPage(await conditionalPage()), ...readPage(page)]);
  } finally {
    await registry.stop();
  }
}

it("observability: serves the metrics that the guide lists, and no others", async () => {
  const served = await servedPages();
  const listed = [
    ...readFileSync(join(ROOT, "docs/guide/metrics.md"), "utf8").matchAll(/^\| `(berth_\w+)` \| (\w+) \| ([^|]*) \| (.+) \|$/gm),
  ];
  const own = [...served].filter(([name]) => name.startsWith("berth_"));
  assert.deepEqual(
    listed.map(([, name, type, labels]) => `${name} ${type} ${labels!.replaceAll(/[`\s]/g, "")}`).toSorted(),
    own.map(([name, { type, labels }]) => `${name} ${type} ${[...labels].toSorted().join(",")}`).toSorted(),
  );
  for (const [name, { type }] of own) {
    assert.equal(name.endsWith("_total"), type === "counter", `${name} is a ${type}: counters alone end in _total`);
  }
});

it("observability: names in dashboard and alarms only what is served", async () => {
  const served = new Set((await servedPages()).keys());
  for (const [where, expression] of expressions) {
    const names = expression.replaceAll(/"[^"]*"/g, "").match(/\b(?:berth|process|nodejs)_\w+/g) ?? [];
    for (const name of names) {
      const family = name.replace(/_(?:bucket|sum|count)$/, "");
      assert.ok(served.has(name) || served.has(family), `${where}: nobody serves ${name}`);
    }
  }
});

it("observability: has a page for each alarm, and an alarm for each page", () => {
  const pages = globSync("docs/runbook/Berth*.md", { cwd: ROOT }).map((path) => basename(path, ".md"));
  assert.deepEqual(pages.toSorted(), rules.map(({ alert }) => alert).toSorted());
  for (const { alert, labels, annotations } of rules) {
    assert.equal(annotations.runbook, `docs/runbook/${alert}.md`);
    assert.ok(["critical", "warning", "info"].includes(labels.severity), alert);
    const text = readFileSync(join(ROOT, annotations.runbook), "utf8");
    for (const part of [`# ${alert}`, "## What it means", "## What users see", "## Find the cause", "## What to do", "## When it clears"]) {
      assert.ok(text.includes(`${part}\n`), `${alert} lacks: ${part}`);
    }
  }
  const settings = new Set(listSettings().map(([path]) => path));
  for (const page of pages) {
    const text = readFileSync(join(ROOT, "docs/runbook", `${page}.md`), "utf8");
    for (const [, path] of text.matchAll(/`((?:http|database|storage|limits|gc|auth|log|metrics|tracing)\.[a-zA-Z0-9.]+)`/g)) {
      assert.ok(settings.has(path!), `${page}: ${path} is no setting`);
    }
  }
  const tested = (parse(readFileSync(RULE_TESTS, "utf8")) as { tests: { name: string }[] }).tests.map(({ name }) => name);
  assert.deepEqual(tested.toSorted(), pages.toSorted(), "each alarm has its test");
});

it("observability: has a dashboard whose panels stand apart, each with a data source that is asked for", () => {
  assert.ok(dashboard.schemaVersion >= 36);
  assert.deepEqual(
    dashboard.templating.list.map(({ name, type }) => `${name} ${type}`),
    ["datasource datasource", "instance query"],
  );
  assert.equal(new Set(dashboard.panels.map(({ id }) => id)).size, dashboard.panels.length);
  const taken = new Set<string>();
  for (const { title, type, gridPos, targets = [] } of dashboard.panels) {
    assert.ok(["row", "stat", "timeseries"].includes(type) && gridPos.x + gridPos.w <= 24, title);
    for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
      for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
        assert.ok(!taken.has(`${x} ${y}`), `${title} covers another panel`);
        taken.add(`${x} ${y}`);
      }
    }
    assert.equal(targets.length === 0, type === "row", title);
    assert.equal(new Set(targets.map(({ refId }) => refId)).size, targets.length, title);
    assert.ok(
      targets.every(({ datasource }) => datasource.uid === "${datasource}"),
      title,
    );
  }
});
