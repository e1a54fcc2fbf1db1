// Rulings: whether an action is allowed, and if not, what alone stands against it. Pure; decisions (authorize.ts) and what explains them (explain.ts)
// both come from here, so that they cannot differ. Not here: the look-ups and grants (authorize.ts), what roles and scopes give (rights.ts).
import type { ProjectPermission, SystemPermission } from "@berth/api/permissions";
import type { RepositoryName } from "@berth/oci/reference";
import type { Account } from "./account-store.ts";
import { boundOf, isBeyondToken, personalOf } from "./bounds.ts";
import type { Action, Caller } from "./caller.ts";
import { boundActions, coversProject } from "./personal-bound.ts";
import { permitsInProject } from "./rights.ts";
import { pullableProjects, type RepositoryRights, type RobotScope, rightsOfScopes } from "./robot-scopes.ts";
import { permitsInSystem } from "./roles.ts";
import type { ProjectStanding } from "./standing-store.ts";

/** What a decision is made of. */
export interface Facts {
  readonly caller: Caller;
  /** Undefined for anonymous. */
  readonly account: Account | undefined;
  /** Undefined if there is no such project. */
  readonly standing: ProjectStanding | undefined;
}

/**
 * What decides about a repository: `project-closed`: nobody pushes there; `project-newer`: it has a trait that this program does not know;
 * `personal-token`, `registry-token`: what the caller came by does not reach it; `project-missing`: told to those only who see all projects.
 */
export type Ruling =
  | "allowed"
  | "project-closed"
  | "project-newer"
  | "anonymous"
  | "personal-token"
  | "registry-token"
  | "project-missing"
  | "right-missing";

/** Rules on an action in a repository. `rights`: what the account may do there (`rightsIn`). */
export function judge(
  { caller, account, standing }: Facts,
  rights: ReadonlySet<Action>,
  action: Action,
  repository: RepositoryName,
): Ruling {
  const isWithinBound = boundOf(caller, repository)?.has(action) ?? true;
  if (standing !== undefined && isWithinBound && rights.has(action)) {
    const { traits } = standing;
    if (traits === undefined) return "allowed";
    if (traits.unknown.length > 0) return "project-newer";
    return action === "push" && traits.pushRefusal !== undefined ? "project-closed" : "allowed";
  }
  if (account === undefined) return "anonymous";
  const personal = personalOf(caller);
  if (personal !== undefined && !boundActions(personal, repository).has(action)) return "personal-token";
  const { access } = caller;
  // A better token helps if this one does not name the repository, or names less than the account may do.
  if (access !== undefined && (!access.has(repository) || (!isWithinBound && rights.has(action)))) return "registry-token";
  const seesNone = account.isAdmin || (account.isAuditor && action === "pull");
  return seesNone && standing === undefined ? "project-missing" : "right-missing";
}

/** What decides about a project on the control plane; `unseen`: the caller may not know that it exists, or there is none. */
export type ProjectRuling = "allowed" | "anonymous" | "personal-token" | "right-missing" | "unseen";

/** Rules on a permission in a project. `scopes`: a robot's, and its project (`robotReads`). */
export function judgeProject(
  { caller, account, standing: found }: Facts,
  robotReads: boolean,
  permission: ProjectPermission,
  project: string,
): ProjectRuling {
  // What a personal token reaches nothing of is not there for who has it.
  const standing = isBeyondToken(caller, project) ? undefined : found;
  const decision = permitsInProject(account, standing, robotReads, permission);
  if (decision === "yes") {
    const personal = personalOf(caller);
    const isBounded = permission !== "project.read" && personal !== undefined && !coversProject(personal, project);
    return isBounded ? "personal-token" : "allowed";
  }
  if (account === undefined) return "anonymous";
  return decision === "no" ? "right-missing" : "unseen";
}

/** Whether a robot's scopes let it pull something in a project; `own`: the robot's project, undefined for one of the registry. */
export function robotReads(scopes: readonly RobotScope[], own: string | undefined, project: string): boolean {
  const names = pullableProjects(scopes, own);
  return names === "all" || names.includes(project);
}

/** What a robot's scopes let it do; undefined where its project is gone. `own`: that one's name. */
export function rightsOfRobot(
  { projectId }: Account,
  own: string | undefined,
  scopes: readonly RobotScope[],
  repository: RepositoryName,
): RepositoryRights | undefined {
  return projectId !== undefined && own === undefined ? undefined : rightsOfScopes(scopes, own, repository);
}

/** Who may create projects besides administrators and creators: names go to the first who takes them, so by default nobody else may. */
export type ProjectCreation = "administrators" | "creators" | "everyone";

/** What decides about the registry as a whole. */
export type SystemRuling = "allowed" | "anonymous" | "personal-token" | "right-missing";

/** Rules on a permission in the registry; `administer`: what administrators alone do. */
export function judgeSystem(
  { caller, account }: Pick<Facts, "caller" | "account">,
  may: SystemPermission | "administer",
  creation: ProjectCreation,
): SystemRuling {
  if (account === undefined) return "anonymous";
  // Robots would own what nobody answers for.
  const createsAsAnyone = may === "projects.create" && creation === "everyone" && account.kind === "user";
  if (!(may === "administer" ? account.isAdmin : createsAsAnyone || permitsInSystem(account, may))) return "right-missing";
  const personal = personalOf(caller);
  return personal === undefined || coversProject(personal, undefined) ? "allowed" : "personal-token";
}
