// How a registry differs from files, as the calls that would make it the same, in their order; settings among them. Pure. Not here: reading
// (read-documents.ts, registry-state.ts), calling (../commands/apply.ts), the other kinds (plan-*.ts).
import type { ApplyDocument, SettingsDocumentValue } from "@berth/api/apply";
import { updateSettings } from "@berth/api/settings";
import { Stopped } from "../misuse.ts";
import { planGroup, planIssuer } from "./plan-identities.ts";
import { planProject } from "./plan-project.ts";
import { planRegistryRobot } from "./plan-robots.ts";
import { planRegistryWebhook } from "./plan-webhooks.ts";
import type { RegistryState } from "./registry-state.ts";
import type { Step } from "./step.ts";

/** What is to be done with what a list of the registry has and the list of the files does not. */
export interface PlanOptions {
  readonly prune: boolean;
}

/** The order of kinds: each names only what stands before it. */
const ORDER: readonly ApplyDocument["kind"][] = ["Settings", "Issuer", "Group", "Project", "Robot", "Webhook"];

/**
 * The differences, in the order in which they can be ended. Errors: `Stopped` for settings that the registry does not have, and for what
 * cannot be changed.
 */
export function makePlan(documents: readonly ApplyDocument[], state: RegistryState, { prune }: PlanOptions): readonly Step[] {
  const ordered = documents.toSorted((one, other) => ORDER.indexOf(one.kind) - ORDER.indexOf(other.kind));
  const steps = ordered.flatMap((document) => planDocument(document, state));
  const [staying, others] = [steps.filter(isExtra), steps.filter((step) => !isExtra(step))];
  if (!prune) return [...others, ...staying.map((step) => ({ ...step, call: undefined }))];
  const isOwn = ({ kind, name }: Step): boolean => kind === "member" && name.endsWith(`/${state.caller}`);
  // What is taken away comes last, and the caller's own rights behind everything that needs them.
  const gone = staying.map((step): Step => ({ ...step, action: "delete" }));
  return [...others, ...gone.filter((step) => !isOwn(step)), ...gone.filter(isOwn)];
}

const isExtra = ({ action }: Step): boolean => action === "extra";

function planDocument(document: ApplyDocument, state: RegistryState): readonly Step[] {
  switch (document.kind) {
    case "Project":
      return planProject(document, state.projects.get(document.name), state.caller);
    case "Robot":
      return planRegistryRobot(document, state);
    case "Group":
      return planGroup(document, state.groups?.get(document.name));
    case "Issuer":
      return planIssuer(
        document,
        state.issuers?.find(({ name }) => name === document.name),
      );
    case "Webhook":
      return planRegistryWebhook(document, state.webhooks ?? []);
    case "Settings":
      return planSettings(document, state);
  }
}

function planSettings({ values }: SettingsDocumentValue, { settings = [] }: RegistryState): readonly Step[] {
  return values.flatMap(({ path, value }): readonly Step[] => {
    const found = settings.find((setting) => setting.path === path);
    if (found === undefined) throw new Stopped(`the registry has no setting ${path} that can be changed here: see berth settings list`);
    const from = found.source === "api" ? found.value : null;
    if (from === value || (from === null && found.value === value)) return [];
    const changes = [{ field: "value", from: found.value, to: value ?? found.configured }];
    return [{ action: "update", kind: "setting", name: path, changes, call: { operation: updateSettings, body: { [path]: value } } }];
  });
}
