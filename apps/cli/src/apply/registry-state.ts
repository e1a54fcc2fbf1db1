// What a registry has of what files name. Not here: how it differs (plan.ts).
import type { ApplyDocument } from "@berth/api/apply";
import { getProject, listMembers, listProjects, type MemberView, type ProjectView } from "@berth/api/projects";
import { projectRobots, registryRobots, type RobotView } from "@berth/api/robots";
import { listSettings, type SettingView } from "@berth/api/settings";
import { getMe } from "@berth/api/users";
import type { Client } from "@berth/api-client/client";
import { CallError } from "@berth/api-client/errors";

/** A project with what stands in lists of it. */
export interface ProjectState {
  readonly name: string;
  readonly visibility: ProjectView["visibility"];
  /** Undefined: not asked for, or not to be seen by the caller. */
  readonly members: readonly MemberView[] | undefined;
  readonly robots: readonly RobotView[] | undefined;
}

/** What there is. */
export interface RegistryState {
  /** The login name of who asks: a project that it creates has it for its owner. */
  readonly caller: string;
  readonly projects: ReadonlyMap<string, ProjectState>;
  /** Of the whole registry; undefined as above. */
  readonly robots: readonly RobotView[] | undefined;
  readonly settings: readonly SettingView[] | undefined;
}

interface Asked {
  readonly signal: AbortSignal;
}

/** Reads what documents name. Errors: the client's. */
export async function readStateOf(documents: readonly ApplyDocument[], client: Client, { signal }: Asked): Promise<RegistryState> {
  const { name: caller } = await client.call(getMe, { signal });
  const projects = new Map<string, ProjectState>();
  for (const document of documents) {
    if (document.kind !== "Project") continue;
    const found = await findProject(client, document.name, signal);
    if (found === undefined) continue;
    const members = document.members === undefined ? undefined : await readMembers(client, document.name, signal);
    const robots = document.robots === undefined ? undefined : await readRobots(client, document.name, signal);
    projects.set(document.name, { name: found.name, visibility: found.visibility, members, robots });
  }
  const has = (kind: ApplyDocument["kind"]): boolean => documents.some((document) => document.kind === kind);
  const robots = has("Robot") ? await Array.fromAsync(client.items(registryRobots.list, { signal })) : undefined;
  const settings = has("Settings") ? (await client.call(listSettings, { signal })).items : undefined;
  return { caller, projects, robots, settings };
}

/** Reads everything that the caller may see, or some projects. Errors: the client's, for projects that are named. */
export async function readWholeState(names: readonly string[], client: Client, { signal }: Asked): Promise<RegistryState> {
  const { name: caller } = await client.call(getMe, { signal });
  const found: ProjectView[] = [];
  if (names.length === 0) for await (const project of client.items(listProjects, { signal })) found.push(project);
  else for (const project of names) found.push(await client.call(getProject, { params: { project }, signal }));
  const projects = new Map<string, ProjectState>();
  for (const { name, visibility } of found) {
    const members = await orHidden(readMembers(client, name, signal));
    const robots = await orHidden(readRobots(client, name, signal));
    projects.set(name, { name, visibility, members, robots });
  }
  if (names.length > 0) return { caller, projects, robots: undefined, settings: undefined };
  const robots = await orHidden(Array.fromAsync(client.items(registryRobots.list, { signal })));
  const settings = await orHidden(client.call(listSettings, { signal }));
  return { caller, projects, robots, settings: settings?.items };
}

const readMembers = (client: Client, project: string, signal: AbortSignal): Promise<MemberView[]> =>
  Array.fromAsync(client.items(listMembers, { params: { project }, signal }));
const readRobots = (client: Client, project: string, signal: AbortSignal): Promise<RobotView[]> =>
  Array.fromAsync(client.items(projectRobots.list, { params: { project }, signal }));

async function findProject(client: Client, project: string, signal: AbortSignal): Promise<ProjectView | undefined> {
  try {
    return await client.call(getProject, { params: { project }, signal });
  } catch (error) {
    if (error instanceof CallError && error.code === "PROJECT_UNKNOWN") return undefined;
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
