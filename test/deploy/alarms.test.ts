// The alarms in a real Prometheus: it accepts every expression, passes the rules' own tests, and raises an alarm when a real registry loses
// its store. Not here: whether the named metrics are served (test/flows/observability.test.ts).
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { cp, mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { it } from "node:test";
import { promisify } from "node:util";
import { startTestRegistry, temporaryFolder } from "../flows/registry.testing.ts";
import { requireTool } from "../tools/install.ts";
import { freePort, startProgram } from "../tools/processes.ts";
import { expressions, RULE_TESTS, RULES } from "./monitoring.ts";

const run = promisify(execFile);

it("alarms: has rules that promtool takes and whose tests pass", async (t) => {
  const promtool = await requireTool(t, "promtool");
  if (promtool === undefined) return;
  await run(promtool, ["check", "rules", RULES]);
  await run(promtool, ["test", "rules", RULE_TESTS]);
});

it("alarms: raises an alarm in a real Prometheus when a real registry loses its store, and clears it again", async (t) => {
  const prometheus = await requireTool(t, "prometheus");
  if (prometheus === undefined) return;
  const folder = await temporaryFolder();
  const [metricsPort, port] = [await freePort(), await freePort()];
  const data = join(folder.path, "data");
  await mkdir(data);
  const registry = await startTestRegistry({ data, "metrics.listen": `127.0.0.1:${metricsPort}` });
  // The delivered alarms, except for their `for` time.
  await writeFile(join(folder.path, "rules.yaml"), readFileSync(RULES, "utf8").replaceAll(/^( +for:) .*$/gm, "$1 0s"));
  await writeFile(
    join(folder.path, "prometheus.yml"),
    JSON.stringify({
      // A busy machine may need seconds for a page; one that came too late would count as a server that is down.
      global: { scrape_interval: "3s", evaluation_interval: "1s", scrape_timeout: "3s" },
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
    // The suite's own limit ends a wait that never succeeds.
    while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 250));
  };
  const query = async (expression: string): Promise<{ status: string; data: { result: unknown[] } }> =>
    (await (await fetch(`${origin}/api/v1/query?query=${encodeURIComponent(expression)}`)).json()) as never;
  try {
    await until(async () => (await query("berth_ready == 1")).data.result.length === 1);
    await until(async () => (await firing()).length === 0);
    for (const [where, expression] of expressions) {
      const concrete = expression.replaceAll("$__rate_interval", "1m").replaceAll("$instance", ".*");
      assert.equal((await query(concrete)).status, "success", `${where}: ${expression}`);
    }
    await rename(join(data, "content"), join(data, "away"));
    await writeFile(join(data, "content"), "");
    // Ready all the same: with the embedded database no other replica would serve better.
    await until(async () => (await firing()).includes("BerthBackendDown store"));
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
