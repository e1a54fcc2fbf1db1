// What an operator's tools rely on: the page of metrics is as its guide says, dashboard and alarms name what is served, every alarm has its page,
// and Prometheus itself takes the expressions, keeps the rules' own tests, and raises an alarm when a real registry loses its store.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { globSync, readFileSync } from "node:fs";
import { cp, mkdir, rename, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { it } from "node:test";
import { promisify } from "node:util";
import { parse } from "yaml";
import { listSettings } from "../../apps/server/src/config-names.ts";
import { addServerMetrics, type ServerMetricsParts } from "../../apps/server/src/http/server-metrics.ts";
import { createMetrics } from "../../apps/server/src/platform/metrics.ts";
import { requireTool } from "../tools/install.ts";
import { freePort, startProgram } from "../tools/processes.ts";
import { startTestRegistry, temporaryFolder } from "./registry.testing.ts";

const run = promisify(execFile);
const ROOT = join(import.meta.dirname, "../..");
const RULES = join(ROOT, "deploy/prometheus/berth.rules.yaml");
const RULE_TESTS = join(ROOT, "deploy/prometheus/berth.rules.test.yaml");
const DASHBOARD = join(ROOT, "deploy/grafana/berth.json");

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: { readonly severity: string };
  readonly annotations: { readonly summary: string; readonly description: string; readonly runbook: string };
}
interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly { readonly expr: string; readonly refId: string; readonly datasource: { readonly uid: string } }[];
}
interface Dashboard {
  readonly schemaVersion: number;
  readonly uid: string;
  readonly templating: { readonly list: readonly { readonly name: string; readonly type: string }[] };
  readonly panels: readonly Panel[];
}

const rules = (parse(readFileSync(RULES, "utf8")) as { groups: { rules: Rule[] }[] }).groups.flatMap((group) => group.rules);
const dashboard = JSON.parse(readFileSync(DASHBOARD, "utf8")) as Dashboard;
const expressions = [
  ...rules.map(({ alert, expr }) => [alert, expr] as const),
  ...dashboard.panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => [title, expr] as const)),
];

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

/** What a server has only with PostgreSQL, TLS and traces, from the code that serves it. */
async function conditionalPage(): Promise<string> {
  const metrics = createMetrics({ operations: [], storeOperations: [], databaseOperations: [] });
  const slots = { active: 0, waiting: 0, refused: 0 };
  const parts = {
    config: { storage: { kind: "s3" }, http: {}, limits: {}, database: { maxConnections: 10 } },
    database: { dialect: "postgres", connections: () => ({ open: 2, idle: 1, waiting: 0 }) },
    health: { state: async () => ({ isReady: true, checks: { database: "ok" } }) },
    keyPair: { expiresAt: () => new Date() },
    requestSlots: slots,
    uploadSlots: slots,
    connections: () => 0,
    countUploads: async () => 0,
    tracing: { counts: () => ({ kept: 0, sent: 0, failed: 0 }) },
    version: "0",
  };
  addServerMetrics(metrics, parts as unknown as ServerMetricsParts);
  return (await metrics.render()).page;
}

async function servedPages(): Promise<Map<string, { type: string; labels: Set<string> }>> {
  const registry = await startTestRegistry();
  try {
    await registry.pushImage("library/seen", "v1");
    await registry.send("GET", "/v2/library/seen/tags/list");
    const page = await (await registry.send("GET", "/metrics")).text();
    return new Map([...readPage(await conditionalPage()), ...readPage(page)]);
  } finally {
    await registry.stop();
  }
}

it("serves the metrics that the guide lists, and no others", async () => {
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

it("names in dashboard and alarms only what is served", async () => {
  const served = new Set((await servedPages()).keys());
  for (const [where, expression] of expressions) {
    const names = expression.replaceAll(/"[^"]*"/g, "").match(/\b(?:berth|process|nodejs)_\w+/g) ?? [];
    for (const name of names) {
      const family = name.replace(/_(?:bucket|sum|count)$/, "");
      assert.ok(served.has(name) || served.has(family), `${where}: nobody serves ${name}`);
    }
  }
});

it("has a page for each alarm, and an alarm for each page", () => {
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

it("has a dashboard whose panels stand apart, each with a data source that is asked for", () => {
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

it("has rules that promtool takes and whose tests pass", async (t) => {
  const promtool = await requireTool(t, "promtool");
  if (promtool === undefined) return;
  await run(promtool, ["check", "rules", RULES]);
  await run(promtool, ["test", "rules", RULE_TESTS]);
});

it("raises an alarm in a real Prometheus when a real registry loses its store, and clears it again", async (t) => {
  const prometheus = await requireTool(t, "prometheus");
  if (prometheus === undefined) return;
  const folder = await temporaryFolder();
  const [metricsPort, port] = [await freePort(), await freePort()];
  const data = join(folder.path, "data");
  await mkdir(data);
  const registry = await startTestRegistry({ data, "metrics.listen": `127.0.0.1:${metricsPort}` });
  // The alarms as they are delivered, but for their patience.
  await writeFile(join(folder.path, "rules.yaml"), readFileSync(RULES, "utf8").replaceAll(/^( +for:) .*$/gm, "$1 0s"));
  await writeFile(
    join(folder.path, "prometheus.yml"),
    JSON.stringify({
      global: { scrape_interval: "1s", evaluation_interval: "1s", scrape_timeout: "1s" },
      rule_files: ["rules.yaml"],
      scrape_configs: [{ job_name: "berth", static_configs: [{ targets: [`127.0.0.1:${metricsPort}`] }] }],
    }),
  );
  const origin = `http://127.0.0.1:${port}`;
  const program = await startProgram({
    command: prometheus,
    args: ["--config.file=prometheus.yml", `--web.listen-address=127.0.0.1:${port}`, `--storage.tsdb.path=${join(folder.path, "tsdb")}`],
    folder: folder.path,
    // It answers before it is ready, with 503.
    ready: async () => (await fetch(`${origin}/-/ready`, { signal: AbortSignal.timeout(2000) })).ok,
  });
  const firing = async (): Promise<string[]> => {
    const answer = (await (await fetch(`${origin}/api/v1/alerts`)).json()) as {
      data: { alerts: { state: string; labels: Record<string, string> }[] };
    };
    return answer.data.alerts
      .filter(({ state }) => state === "firing")
      .map(({ labels }) => `${labels["alertname"]} ${labels["backend"] ?? ""}`.trim());
  };
  const until = async (holds: () => Promise<boolean>): Promise<void> => {
    // The suite's own limit ends a wait in vain.
    while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 250));
  };
  const query = async (expression: string): Promise<{ status: string; data: { result: unknown[] } }> =>
    (await (await fetch(`${origin}/api/v1/query?query=${encodeURIComponent(expression)}`)).json()) as never;
  try {
    await until(async () => (await query("berth_ready == 1")).data.result.length === 1);
    assert.deepEqual(await firing(), []);
    for (const [where, expression] of expressions) {
      const concrete = expression.replaceAll("$__rate_interval", "1m").replaceAll("$instance", ".*");
      assert.equal((await query(concrete)).status, "success", `${where}: ${expression}`);
    }
    await rename(join(data, "content"), join(data, "away"));
    await writeFile(join(data, "content"), "");
    await until(async () => (await firing()).includes("BerthNotReady"));
    assert.ok((await firing()).includes("BerthBackendDown store"));
    await cp(join(data, "away"), join(data, "back"), { recursive: true });
    await rename(join(data, "content"), join(data, "in-the-way"));
    await rename(join(data, "back"), join(data, "content"));
    await until(async () => (await firing()).length === 0);
  } finally {
    await program.stop();
    await registry.stop();
    await folder.end();
  }
});
