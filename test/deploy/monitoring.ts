// The content of deploy/prometheus and deploy/grafana, read once for the tests of both. Not here: the checks.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";

const ROOT = join(import.meta.dirname, "../..");
/** The alarms, and Prometheus's own tests of them. */
export const RULES = join(ROOT, "deploy/prometheus/berth.rules.yaml");
export const RULE_TESTS = join(ROOT, "deploy/prometheus/berth.rules.test.yaml");
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

/** Every alarm. */
export const rules = (parse(readFileSync(RULES, "utf8")) as { groups: { rules: Rule[] }[] }).groups.flatMap((group) => group.rules);
/** The dashboard. */
export const dashboard = JSON.parse(readFileSync(DASHBOARD, "utf8")) as Dashboard;
/** Every expression of both, with its place. */
export const expressions = [
  ...rules.map(({ alert, expr }) => [alert, expr] as const),
  ...dashboard.panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => [title, expr] as const)),
];
