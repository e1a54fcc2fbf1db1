// What a registry has of what files name. Not here: how it differs (plan.ts).
import type { ApplyDocument } from "@berth/api/apply";
import { type GroupView, getGroup, listGroupMembers, listGroups, listProjectGroups, type ProjectGroupView } from "@berth/api/groups";
import { type IssuerView, listIssuers } from "@berth/api/issuers";
import { type NetworksView, projectNetworks } from "@berth/api/networks";
import { getProject, listMembers, listProjects, type MemberView, type ProjectView } from "@berth/api/projects";
import { projectRobots, registryRobots, type RobotView } from "@berth/api/robots";
import { listSettings, type SettingView } from "@berth/api/settings";
import { projectTrust, registryTrust, type TrustRuleView } from "@berth/api/trust";
import { getMe } from "@berth/api/users";
import { projectWebhooks, registryWebhooks, type WebhookView } from "@berth/api/webhooks";
import type { Client } from "@berth/api-client/client";
import { CallError } from "@berth/api-client/errors";

/** A robot with its trust rules; undefined: not asked for. */
export interface RobotState extends RobotView {
  readonly trust: readonly TrustRuleView[] | undefined;
}

/** A project with what stands in lists of it. An undefined list was not asked for, or is not to be seen by the caller. */
export interface ProjectState extends Pick<ProjectView, "name" | "visibility" | "description" | "contact" | "labels"> {
  readonly networks: NetworksView | undefined;
  readonly members: readonly MemberView[] | undefined;
  readonly groups: readonly ProjectGroupView[] | undefined;
  readonly robots: readonly RobotState[] | undefined;
  readonly webhooks: readonly WebhookView[] | undefined;
}

/** A group with the members that were added here. */
export interface GroupState extends GroupView {
  readonly members: readonly string[] | undefined;
}

/** What there is. Undefined lists as above. */
export interface RegistryState {
  /** The login name of who asks: a project that it creates has it for its owner. */
  readonly caller: string;
  readonly projects: ReadonlyMap<string, ProjectState>;
  readonly groups: ReadonlyMap<string, GroupState> | undefined;
  readonly issuers: readonly IssuerView[] | undefined;
  /** Of the whole registry. */
  readonly robots: readonly RobotState[] | undefined;
  /** Of the whole registry. */
  readonly webhooks: readonly WebhookView[] | undefined;
  readonly settings: readonly SettingView[] | undefined;
}

interface Asked {
  readonly signal: AbortSignal;
}

/** Reads what documents name. Errors: the client's. */
export async function readStateOf(documents: readonly ApplyDocument[], client: Client, { signal }: Asked): Promise<RegistryState> {
  const read = readerOf(client, signal);
  const { name: caller } = await client.call(getMe, { signal });
  const projects = new Map<string, ProjectState>();
  const groups = new Map<string, GroupState>();
  for (const document of documents) {
    if (document.kind === "Group") {
      const found = await orUnknown("GROUP_UNKNOWN", client.call(getGroup, { params: { group: document.name }, signal }));
      if (found === undefined) continue;
      const members = document.members === undefined ? undefined : await read.groupMembers(document.name);
      groups.set(document.name, { ...found, members });
    }
    if (document.kind !== "Project") continue;
    const project = document.name;
    const found = await orUnknown("PROJECT_UNKNOWN", client.call(getProject, { params: { project }, signal }));
    if (found === undefined) continue;
    projects.set(project, {
      ...found,
      networks: document.networks === undefined ? undefined : await read.networks(project),
      members: document.members === undefined ? undefined : await read.members(project),
      groups: document.groups === undefined ? undefined : await read.projectGroups(project),
      robots: document.robots === undefined ? undefined : await read.robots(project, namesWithTrust(document.robots)),
      webhooks: document.webhooks === undefined ? undefined : await read.webhooks(project),
    });
  }
  const has = (kind: ApplyDocument["kind"]): boolean => documents.some((document) => document.kind === kind);
  return {
    caller,
    projects,
    groups,
    issuers: has("Issuer") ? await read.issuers() : undefined,
    robots: has("Robot") ? await read.registryRobots(namesWithTrust(documents.filter((document) => document.kind === "Robot"))) : undefined,
    webhooks: has("Webhook") ? await read.registryWebhooks() : undefined,
    settings: has("Settings") ? (await client.call(listSettings, { signal })).items : undefined,
  };
}

/** Reads everything that the caller may see, or some projects. Errors: the client's, for projects that are named. */
export async function readWholeState(names: readonly string[], client: Client, { signal }: Asked): Promise<RegistryState> {
  const read = readerOf(client, signal);
  const { name: caller } = await client.call(getMe, { signal });
  const found: ProjectView[] = [];
  if (names.length === 0) for await (const project of client.items(listProjects, { signal })) found.push(project);
  else for (const project of names) found.push(await client.call(getProject, { params: { project }, signal }));
  const projects = new Map<string, ProjectState>();
  for (const project of found) {
    projects.set(project.name, {
      ...project,
      networks: await orHidden(read.networks(project.name)),
      members: await orHidden(read.members(project.name)),
      groups: await orHidden(read.projectGroups(project.name)),
      robots: await orHidden(read.robots(project.name)),
      webhooks: await orHidden(read.webhooks(project.name)),
    });
  }
  const nothing = { groups: undefined, issuers: undefined, robots: undefined, webhooks: undefined, settings: undefined };
  if (names.length > 0) return { caller, projects, ...nothing };
  const settings = await orHidden(client.call(listSettings, { signal }));
  return {
    caller,
    projects,
    groups: await orHidden(read.groups()),
    issuers: await orHidden(read.issuers()),
    robots: await orHidden(read.registryRobots()),
    webhooks: await orHidden(read.registryWebhooks()),
    settings: settings?.items,
  };
}

/** The names of entries that say something of trust rules. */
function namesWithTrust(entries: readonly { readonly name?: string; readonly trust?: unknown }[]): ReadonlySet<string> {
  return new Set(entries.flatMap(({ name, trust }) => (name === undefined || trust === undefined ? [] : [name])));
}

/** Reads lists whole. Trust rules are read of the robots that are named, or of all. */
function readerOf(client: Client, signal: AbortSignal) {
  async function withTrust(
    robots: readonly RobotView[],
    names: ReadonlySet<string> | undefined,
    rulesOf: (robot: string) => Promise<TrustRuleView[]>,
  ): Promise<RobotState[]> {
    const found: RobotState[] = [];
    for (const robot of robots) {
      const isAsked = names === undefined || names.has(robot.name);
      found.push({ ...robot, trust: isAsked ? await rulesOf(robot.name) : undefined });
    }
    return found;
  }
  return {
    networks: (project: string) => client.call(projectNetworks.get, { params: { project }, signal }),
    members: (project: string) => Array.fromAsync(client.items(listMembers, { params: { project }, signal })),
    projectGroups: (project: string) => Array.fromAsync(client.items(listProjectGroups, { params: { project }, signal })),
    webhooks: (project: string) => Array.fromAsync(client.items(projectWebhooks.list, { params: { project }, signal })),
    async robots(project: string, names?: ReadonlySet<string>) {
      const robots = await Array.fromAsync(client.items(projectRobots.list, { params: { project }, signal }));
      const rulesOf = (robot: string) => Array.fromAsync(client.items(projectTrust.list, { params: { project, robot }, signal }));
      return withTrust(robots, names, rulesOf);
    },
    async registryRobots(names?: ReadonlySet<string>) {
      const robots = await Array.fromAsync(client.items(registryRobots.list, { signal }));
      const rulesOf = (robot: string) => Array.fromAsync(client.items(registryTrust.list, { params: { robot }, signal }));
      return withTrust(robots, names, rulesOf);
    },
    registryWebhooks: () => Array.fromAsync(client.items(registryWebhooks.list, { signal })),
    issuers: () => Array.fromAsync(client.items(listIssuers, { signal })),
    async groupMembers(group: string) {
      const members = await Array.fromAsync(client.items(listGroupMembers, { params: { group }, signal }));
      return members.flatMap(({ user, source }) => (source === "local" ? [user] : []));
    },
    async groups() {
      const groups = new Map<string, GroupState>();
      for await (const group of client.items(listGroups, { signal }))
        groups.set(group.name, { ...group, members: await this.groupMembers(group.name) });
      return groups;
    },
  };
}

/** Undefined for what is not there. */
async function orUnknown<T>(code: string, answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof CallError && error.code === code) return undefined;
    throw error;
  }
}

/** Undefined for what the caller may not see. */
async function orHidden<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof CallError && (error.code === "DENIED" || error.code === "UNAUTHORIZED")) return undefined;
    throw error;
  }
}
