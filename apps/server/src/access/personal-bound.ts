// What a personal token lets its user do at the most: actions in repositories, and how much of the API. Pure.
// Not here: rows (credential-store.ts), decisions (authorize.ts).
import type { RepositoryName } from "@berth/oci/reference";
import type { Action } from "./caller.ts";
import { EVERYTHING, isRepositoryPattern, type RobotScope, rightsOfScopes } from "./robot-scopes.ts";
import { ALL_ACTIONS } from "./roles.ts";

/** How much of the API: nothing; what changes nothing; all. */
export const API_BOUNDS = ["none", "read", "write"] as const;
export type ApiBound = (typeof API_BOUNDS)[number];

/** The bound of a personal token. */
export interface PersonalBound {
  /** The token's name, for refusals. */
  readonly token: string;
  readonly scopes: readonly RobotScope[];
  readonly api: ApiBound;
}

/** The actions that it lets through in a repository. */
export function boundActions({ scopes }: PersonalBound, repository: RepositoryName): ReadonlySet<Action> {
  return rightsOfScopes(scopes, undefined, repository).actions;
}

/** Whether it lets through anything in a project. What it lets nothing through in looks like what is not there. */
export function touchesProject({ scopes }: PersonalBound, projectName: string): boolean {
  return scopes.some(({ repositoryPattern: pattern }) => pattern === EVERYTHING || pattern.startsWith(`${projectName}/`));
}

/**
 * Whether it lets through as much as the API's bound is worth in a project, or in all of the registry where it is undefined: pulling where the API
 * is only read; everything where it is written, so that nobody makes a robot, a member or a user by a token that may do more than the token.
 */
export function coversProject({ scopes, api }: PersonalBound, projectName: string | undefined): boolean {
  const wanted: readonly Action[] = api === "write" ? [...ALL_ACTIONS] : ["pull"];
  const whole = scopes.filter(
    ({ repositoryPattern: pattern }) => pattern === EVERYTHING || (projectName !== undefined && pattern === `${projectName}/**`),
  );
  return wanted.every((action) => whole.some(({ actions }) => actions.has(action)));
}

/** The text of a bound, as its row has it. */
export function formatBound({ scopes, api }: Omit<PersonalBound, "token">): string {
  return JSON.stringify({ scopes: scopes.map((each) => [each.repositoryPattern, ...each.actions]), api });
}

/** Reads it. What is not understood, such as what a later version wrote, lets nothing through. */
export function parseBound(text: string, token: string): PersonalBound {
  const value = JSON.parse(text) as { readonly scopes?: unknown; readonly api?: unknown } | null;
  const rows = Array.isArray(value?.scopes) ? (value.scopes as unknown[]) : [];
  const scopes = rows.flatMap((row): RobotScope[] => {
    const [pattern, ...actions] = Array.isArray(row) ? (row as unknown[]) : [];
    if (typeof pattern !== "string" || !isRepositoryPattern(pattern, undefined)) return [];
    return [{ repositoryPattern: pattern, actions: new Set(actions.filter((each): each is Action => ALL_ACTIONS.has(each as Action))) }];
  });
  return { token, scopes, api: API_BOUNDS.find((each) => each === value?.api) ?? "none" };
}

/** Whether it opens the API for a request. */
export function opensApi({ api }: Pick<PersonalBound, "api">, isWrite: boolean): boolean {
  return api === "write" || (api === "read" && !isWrite);
}

/** The same for a request that changes nothing. */
export function asReader(bound: PersonalBound): PersonalBound {
  return bound.api === "write" ? { ...bound, api: "read" } : bound;
}
