// What a registry has, as the documents that would make it so. Pure. Not here: reading it (registry-state.ts).
import { APPLY_VERSION, type ApplyDocument } from "@berth/api/apply";
import type { IssuerView } from "@berth/api/issuers";
import type { TrustRuleView } from "@berth/api/trust";
import type { WebhookView } from "@berth/api/webhooks";
import type { GroupState, ProjectState, RegistryState, RobotState } from "./registry-state.ts";

const apiVersion = APPLY_VERSION;

/** The documents: what others name first, and each kind in the order of names. */
export function documentsOf({ projects, groups, issuers, robots, webhooks, settings }: RegistryState): readonly ApplyDocument[] {
  const values = (settings ?? []).filter(({ source }) => source === "api").map(({ path, value }) => ({ path, value }));
  return [
    ...(values.length === 0 ? [] : [{ apiVersion, kind: "Settings" as const, values }]),
    ...(issuers ?? []).map((issuer) => ({ apiVersion, kind: "Issuer" as const, ...issuerOf(issuer) })),
    ...[...(groups?.values() ?? [])].map((group) => ({ apiVersion, kind: "Group" as const, ...groupOf(group) })),
    ...(robots ?? []).map((robot) => ({ apiVersion, kind: "Robot" as const, ...robotOf(robot) })),
    ...(webhooks ?? []).map((webhook) => ({ apiVersion, kind: "Webhook" as const, ...webhookOf(webhook) })),
    ...[...projects.values()].map((project) => ({ apiVersion, kind: "Project" as const, ...projectOf(project) })),
  ];
}

function projectOf({ name, visibility, description, contact, labels, networks, members, groups, robots, webhooks }: ProjectState) {
  return {
    name,
    visibility,
    description,
    contact,
    labels,
    // Empty lists as well: what is added later is drift.
    ...(networks === undefined ? {} : { networks: networks.allow.length + networks.deny.length === 0 ? null : networks }),
    ...(members === undefined ? {} : { members: [...members] }),
    ...(groups === undefined ? {} : { groups: [...groups] }),
    ...(robots === undefined ? {} : { robots: robots.map(robotOf) }),
    ...(webhooks === undefined ? {} : { webhooks: webhooks.map(webhookOf) }),
  };
}

function robotOf({ name, scopes, expiresAt, isDisabled, hasSecret, trust }: RobotState) {
  return {
    name,
    scopes,
    expiresAt,
    ...(isDisabled ? { isDisabled } : {}),
    ...(hasSecret ? {} : { withoutSecret: true }),
    ...(trust === undefined ? {} : { trust: trust.map(ruleOf) }),
  };
}

function ruleOf({ name, issuer, conditions, warnings }: TrustRuleView) {
  // The other warnings are what the registry refuses until it is said to be meant.
  const isWide = warnings.some(({ code }) => code !== "any-branch");
  return { name, issuer, conditions, ...(isWide ? { isWide } : {}) };
}

function webhookOf({ name, address, form, kinds, repositories, tags, template, isEnabled }: WebhookView) {
  return { name, address, form, kinds, repositories, tags, template, isEnabled };
}

function groupOf({ name, description, source, systemRole, members }: GroupState) {
  return { name, description, source, systemRole, ...(members === undefined ? {} : { members: [...members] }) };
}

/** Keys that were given are not shown by the registry. */
function issuerOf({ name, url, audiences, algorithms, isSingleUse, isDisabled }: IssuerView) {
  return { name, url, audiences, algorithms, isSingleUse, ...(isDisabled ? { isDisabled } : {}) };
}
