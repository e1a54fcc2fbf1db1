// How a registry differs from files, as the calls that would make it the same. Pure. Not here: reading (read-documents.ts, registry-state.ts),
// calling (../commands/apply.ts).
import type { ApplyDocument, ProjectDocumentValue, RobotDocumentValue, SettingsDocumentValue } from "@berth/api/apply";
import type { Operation } from "@berth/api/operation";
import { createProject, deleteMember, type MemberView, putMember, updateProject } from "@berth/api/projects";
import { projectRobots, registryRobots, type RobotView } from "@berth/api/robots";
import { updateSettings } from "@berth/api/settings";
import { Stopped } from "../misuse.ts";
import type { ProjectState, RegistryState } from "./registry-state.ts";

/** A field that differs. */
export interface FieldChange {
  readonly field: string;
  /** Undefined: it is not there. */
  readonly from: unknown;
  readonly to: unknown;
}

/** One difference, and the call that ends it. */
export interface Step {
  /** `extra`: the registry has it and the files do not; it stays. */
  readonly action: "create" | "update" | "delete" | "extra";
  readonly kind: "project" | "member" | "robot" | "setting";
  /** As people write it: `team`, `team/ada`, `team+ci`, `log.level`. */
  readonly name: string;
  readonly changes: readonly FieldChange[];
  /** Undefined for what stays. */
  readonly call: { readonly operation: Operation; readonly params?: object; readonly body?: object } | undefined;
}

/** What is to be done with members and robots that a list of the files does not have. */
export interface PlanOptions {
  readonly prune: boolean;
}

/** The differences, in the order in which they can be ended. Errors: `Stopped` for settings that the registry does not have. */
export function makePlan(documents: readonly ApplyDocument[], state: RegistryState, { prune }: PlanOptions): readonly Step[] {
  const steps = documents.flatMap((document): readonly Step[] => {
    if (document.kind === "Project") return planProject(document, state.projects.get(document.name), state.caller);
    if (document.kind === "Robot") return planRegistryRobot(document, state);
    return planSettings(document, state);
  });
  const [staying, others] = [steps.filter(isExtra), steps.filter((step) => !isExtra(step))];
  if (!prune) return [...others, ...staying.map((step) => ({ ...step, call: undefined }))];
  const isOwn = ({ kind, name }: Step): boolean => kind === "member" && name.endsWith(`/${state.caller}`);
  // What is taken away comes last, and the caller's own rights behind everything that needs them.
  const gone = staying.map((step): Step => ({ ...step, action: "delete" }));
  return [...others, ...gone.filter((step) => !isOwn(step)), ...gone.filter(isOwn)];
}

const isExtra = ({ action }: Step): boolean => action === "extra";

function planProject(document: ProjectDocumentValue, found: ProjectState | undefined, caller: string): readonly Step[] {
  const { name, visibility } = document;
  const steps: Step[] = [];
  if (found === undefined) {
    const body = { name, ...(visibility === undefined ? {} : { visibility }) };
    const changes = visibility === undefined ? [] : [{ field: "visibility", from: undefined, to: visibility }];
    steps.push({ action: "create", kind: "project", name, changes, call: { operation: createProject, body } });
  } else if (visibility !== undefined && visibility !== found.visibility) {
    const changes = [{ field: "visibility", from: found.visibility, to: visibility }];
    const call = { operation: updateProject, params: { project: name }, body: { visibility } };
    steps.push({ action: "update", kind: "project", name, changes, call });
  }
  // Who creates a project is its owner.
  const members = found === undefined ? [{ user: caller, role: "owner" as const }] : (found.members ?? []);
  if (document.members !== undefined) steps.push(...planMembers(name, document.members, members));
  if (document.robots !== undefined) {
    const robots = found?.robots ?? [];
    const addressOf = (robot: string) => ({ project: name, robot });
    for (const wanted of document.robots) {
      const known = robots.find((robot) => robot.name === wanted.name);
      steps.push(...planRobot(`${name}+${wanted.name}`, wanted, known, { operations: projectRobots, list: { project: name }, addressOf }));
    }
    const listed = new Set(document.robots.map((robot) => robot.name));
    for (const robot of robots.filter((each) => !listed.has(each.name))) {
      const call = { operation: projectRobots.delete, params: addressOf(robot.name) };
      steps.push({ action: "extra", kind: "robot", name: `${name}+${robot.name}`, changes: [], call });
    }
  }
  return steps;
}

type WantedMember = NonNullable<ProjectDocumentValue["members"]>[number];

function planMembers(project: string, wanted: readonly WantedMember[], found: readonly MemberView[]): readonly Step[] {
  const members = new Map(found.map((member) => [member.user, member]));
  const steps: Step[] = [];
  // Owners first: a project is never without one on the way.
  for (const { user, role, scopes } of wanted.toSorted((one, other) => Number(other.role === "owner") - Number(one.role === "owner"))) {
    const known = members.get(user);
    const changes: FieldChange[] = [];
    if (known?.role !== role) changes.push({ field: "role", from: known?.role, to: role });
    // The call says both, and without scopes it would give the role in all of the project.
    const only = scopes === undefined ? known?.scopes : (scopes ?? undefined);
    const [from, to] = [known?.scopes, only].map((each) => each && scopeTexts(each));
    if (String(from) !== String(to)) changes.push({ field: "scopes", from, to });
    if (changes.length === 0) continue;
    const body = { role, ...(only === undefined ? {} : { scopes: only }) };
    const call = { operation: putMember, params: { project, user }, body };
    steps.push({ action: known === undefined ? "create" : "update", kind: "member", name: `${project}/${user}`, changes, call });
  }
  const listed = new Set(wanted.map(({ user }) => user));
  for (const { user, role } of found.filter((member) => !listed.has(member.user))) {
    const changes = [{ field: "role", from: role, to: undefined }];
    const call = { operation: deleteMember, params: { project, user } };
    steps.push({ action: "extra", kind: "member", name: `${project}/${user}`, changes, call });
  }
  return steps;
}

type WantedRobot = Omit<RobotDocumentValue, "apiVersion" | "kind">;

interface RobotPlace {
  readonly operations: typeof projectRobots | typeof registryRobots;
  /** The parameters of where robots are made. */
  readonly list: object;
  addressOf(robot: string): object;
}

function planRobot(name: string, wanted: WantedRobot, found: RobotView | undefined, place: RobotPlace): readonly Step[] {
  const { operations, list, addressOf } = place;
  const changes: FieldChange[] = [];
  const note = (field: keyof WantedRobot, from: unknown, to: unknown): void => void changes.push({ field, from, to });
  const [scopes, known] = [scopeTexts(wanted.scopes), found === undefined ? undefined : scopeTexts(found.scopes)];
  if (String(known) !== String(scopes)) note("scopes", known, scopes);
  const expiresAt = timeOf(wanted.expiresAt);
  if (expiresAt !== undefined && expiresAt !== timeOf(found?.expiresAt)) note("expiresAt", timeOf(found?.expiresAt), expiresAt);
  const isDisabled = found?.isDisabled ?? false;
  if (wanted.isDisabled !== undefined && wanted.isDisabled !== isDisabled) note("isDisabled", isDisabled, wanted.isDisabled);
  if (changes.length === 0) return [];
  if (found !== undefined) {
    const body = Object.fromEntries(changes.map(({ field }) => [field, wanted[field as keyof WantedRobot]]));
    return [
      { action: "update", kind: "robot", name, changes, call: { operation: operations.update, params: addressOf(wanted.name), body } },
    ];
  }
  const { name: own, isDisabled: _, ...made } = wanted;
  const body = { name: own, ...made };
  const created: Step = { action: "create", kind: "robot", name, changes, call: { operation: operations.create, params: list, body } };
  if (wanted.isDisabled !== true) return [created];
  // A robot is made enabled.
  const disabling = { operation: operations.update, params: addressOf(own), body: { isDisabled: true } };
  return [created, { action: "update", kind: "robot", name, changes: [{ field: "isDisabled", from: false, to: true }], call: disabling }];
}

/** In one order, so that the order of a file makes no difference. */
function scopeTexts(scopes: WantedRobot["scopes"]): readonly string[] {
  return scopes
    .map(({ repositories, actions, tags = [] }) => [repositories, actions.toSorted().join(","), ...tags.toSorted()].join(":"))
    .toSorted();
}

/** One spelling for one moment. */
function timeOf(time: string | null | undefined): string | null | undefined {
  return typeof time === "string" ? new Date(time).toISOString() : time;
}

function planRegistryRobot(
  { apiVersion: _version, kind: _kind, name, ...rest }: RobotDocumentValue,
  state: RegistryState,
): readonly Step[] {
  const found = state.robots?.find((robot) => robot.name === name);
  const place = { operations: registryRobots, list: {}, addressOf: (robot: string) => ({ robot }) };
  return planRobot(`+${name}`, { name, ...rest }, found, place);
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
