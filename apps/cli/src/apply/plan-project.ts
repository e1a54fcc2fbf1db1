// How a project differs from its document: its fields, its members and groups, and what its lists have. Pure. Not here: robots
// (plan-robots.ts), webhooks (plan-webhooks.ts).
import type { ProjectDocumentValue } from "@berth/api/apply";
import { deleteProjectGroup, putProjectGroup } from "@berth/api/groups";
import { projectNetworks } from "@berth/api/networks";
import { createProject, deleteMember, putMember, updateProject } from "@berth/api/projects";
import { projectRobots } from "@berth/api/robots";
import { projectTrust } from "@berth/api/trust";
import { projectWebhooks } from "@berth/api/webhooks";
import { planRobots } from "./plan-robots.ts";
import { planWebhooks } from "./plan-webhooks.ts";
import type { ProjectState } from "./registry-state.ts";
import { type Call, changed, changesOf, type FieldChange, given, planList, scopeTexts, type Step } from "./step.ts";

const FIELDS = ["visibility", "description", "contact", "labels"] as const;

/** The order of a file makes no difference. */
const networkTexts = (networks: readonly string[]): readonly string[] => networks.toSorted();
const EVERYWHERE = { allow: [], deny: [] };

type Label = NonNullable<ProjectDocumentValue["labels"]>[number];
const labelTexts = (labels: readonly Label[]): readonly string[] => labels.map(({ key, value }) => `${key}=${value}`).toSorted();

/** The differences of a project; `caller` becomes the owner of one that is created. */
export function planProject(document: ProjectDocumentValue, found: ProjectState | undefined, caller: string): readonly Step[] {
  const { name } = document;
  const params = { project: name };
  const steps: Step[] = [];
  const changes = changesOf(FIELDS, document, found, { labels: labelTexts });
  if (found === undefined) {
    const call = { operation: createProject, body: { name, ...given(document, FIELDS) } };
    // A project without labels is what it would be without the field.
    const shown = changes.filter(({ to }) => to !== null && !(Array.isArray(to) && to.length === 0));
    steps.push({ action: "create", kind: "project", name, changes: shown, call });
  } else if (changes.length > 0) {
    const body = changed(document, changes);
    steps.push({ action: "update", kind: "project", name, changes, call: { operation: updateProject, params, body } });
  }
  if (document.groups !== undefined) {
    const known = (found?.groups ?? []).map(({ group, ...entry }) => ({ name: group, ...entry }));
    const wanted = document.groups.map(({ group, ...entry }) => ({ name: group, ...entry }));
    steps.push(...planEntries(name, wanted, known, GROUPS));
  }
  if (document.members !== undefined) {
    // Who creates a project is its owner.
    const members = found === undefined ? [{ user: caller, role: "owner" as const }] : (found.members ?? []);
    const known = members.map(({ user, ...entry }) => ({ name: user, ...entry }));
    const wanted = document.members.map(({ user, ...entry }) => ({ name: user, ...entry }));
    steps.push(...planEntries(name, wanted, known, MEMBERS));
  }
  // Behind the rights that it takes; a list that would exclude whoever applies it is refused.
  if (document.networks !== undefined) {
    const lists = document.networks ?? EVERYWHERE;
    const differing = changesOf(["allow", "deny"], lists, found?.networks ?? EVERYWHERE, { allow: networkTexts, deny: networkTexts });
    const call = { operation: projectNetworks.put, params, body: lists };
    if (differing.length > 0) steps.push({ action: "update", kind: "networks", name, changes: differing, call });
  }
  if (document.robots !== undefined) {
    const robots = { operations: projectRobots, trust: projectTrust, params, prefix: `${name}+` };
    steps.push(...planRobots(document.robots, found?.robots ?? [], robots));
  }
  if (document.webhooks !== undefined) {
    const place = { operations: projectWebhooks, params, prefix: `${name}/` };
    steps.push(...planWebhooks(document.webhooks, found?.webhooks ?? [], place));
  }
  return steps;
}

type Scopes = Parameters<typeof scopeTexts>[0];

interface WantedEntry {
  readonly name: string;
  readonly role: string;
  /** Null: all of the project. */
  readonly scopes?: Scopes | null;
}

interface FoundEntry {
  readonly name: string;
  readonly role: string;
  readonly scopes?: Scopes;
}

/** Users and groups are members in the same way. */
interface EntryKind {
  readonly kind: "member" | "group";
  put(project: string, name: string, body: object): Call;
  delete(project: string, name: string): Call;
}

const MEMBERS: EntryKind = {
  kind: "member",
  put: (project, user, body) => ({ operation: putMember, params: { project, user }, body }),
  delete: (project, user) => ({ operation: deleteMember, params: { project, user } }),
};
const GROUPS: EntryKind = {
  kind: "group",
  put: (project, group, body) => ({ operation: putProjectGroup, params: { project, group }, body }),
  delete: (project, group) => ({ operation: deleteProjectGroup, params: { project, group } }),
};

function planEntries(
  project: string,
  wanted: readonly WantedEntry[],
  found: readonly FoundEntry[],
  { kind, put, delete: take }: EntryKind,
): readonly Step[] {
  // Owners first: a project is never without one on the way.
  const ordered = wanted.toSorted((one, other) => Number(other.role === "owner") - Number(one.role === "owner"));
  return planList(
    ordered,
    found,
    ({ name, role, scopes }, before): readonly Step[] => {
      const changes: FieldChange[] = [];
      if (before?.role !== role) changes.push({ field: "role", from: before?.role, to: role });
      // The call says both, and without scopes it would give the role in all of the project.
      const only = scopes === undefined ? before?.scopes : (scopes ?? undefined);
      const [from, to] = [before?.scopes, only].map((each) => each && scopeTexts(each));
      if (String(from) !== String(to)) changes.push({ field: "scopes", from, to });
      if (changes.length === 0) return [];
      const body = { role, ...(only === undefined ? {} : { scopes: only }) };
      const action = before === undefined ? "create" : "update";
      return [{ action, kind, name: `${project}/${name}`, changes, call: put(project, name, body) }];
    },
    ({ name, role }) => {
      const changes = [{ field: "role", from: role, to: undefined }];
      return { kind, name: `${project}/${name}`, changes, call: take(project, name) };
    },
  );
}
