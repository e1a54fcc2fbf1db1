// The rules of rights in one project: pure functions of looked-up values. Not here: the look-ups and grants (authorize.ts), the permissions
// of roles (roles.ts), robots' patterns (robot-scopes.ts).
import type { ProjectPermission } from "@berth/api/permissions";
import type { RepositoryName } from "@berth/oci/reference";
import type { Account } from "./account-store.ts";
import type { Action } from "./caller.ts";
import { joinRights, type RepositoryRights, rightsOfScopes } from "./robot-scopes.ts";
import {
  actionsOfRole,
  ALL_ACTIONS,
  NO_ACTIONS,
  PERMISSIONS_OF_AUDITOR,
  permissionsOfRole,
  PULL_ONLY,
  type Role,
  strongestRole,
} from "./roles.ts";
import type { Membership, ProjectStanding } from "./standing-store.ts";

/** Nothing. */
export const NO_RIGHTS: RepositoryRights = { actions: NO_ACTIONS, tags: undefined };
/** Everything. */
export const ALL_RIGHTS: RepositoryRights = { actions: ALL_ACTIONS, tags: undefined };
/** Pulling alone. */
export const PULL_RIGHTS: RepositoryRights = { actions: PULL_ONLY, tags: undefined };
const PUBLIC_RIGHTS: RepositoryRights = { ...PULL_RIGHTS, isByAll: true };
const OF_ROLE: Readonly<Record<Role, RepositoryRights>> = {
  guest: PULL_RIGHTS,
  developer: { actions: actionsOfRole("developer"), tags: undefined },
  maintainer: ALL_RIGHTS,
  owner: ALL_RIGHTS,
};

/**
 * The actions that an account may do in a repository of a project. `account`: undefined for anonymous. `scoped`: the actions of a robot's
 * scopes there. `standing`: undefined if there is no such project.
 */
export function rightsIn(
  account: Account | undefined,
  scoped: RepositoryRights | undefined,
  standing: ProjectStanding | undefined,
  repository: RepositoryName,
): RepositoryRights {
  if (standing === undefined) return NO_RIGHTS;
  if (account?.isAdmin === true) return ALL_RIGHTS;
  const own = account?.kind === "robot" ? (scoped ?? NO_RIGHTS) : rightsOfMember(standing, repository);
  if (own.actions.has("pull") || !(standing.isPublic || account?.isAuditor === true)) return own;
  if (own.actions.size === 0) return account?.isAuditor === true ? PULL_RIGHTS : PUBLIC_RIGHTS;
  return { actions: new Set<Action>([...own.actions, "pull"]), tags: own.tags };
}

/** What memberships let somebody do in a repository. */
export function rightsOfMember({ role, isNarrowed, memberships, name }: ProjectStanding, repository: RepositoryName): RepositoryRights {
  if (role === undefined) return NO_RIGHTS;
  if (!isNarrowed) return OF_ROLE[role];
  return joinRights(memberships.map((membership) => rightsOfMembership(membership, name, repository)));
}

/** The same of one. */
export function rightsOfMembership({ role, scopes }: Membership, projectName: string, repository: RepositoryName): RepositoryRights {
  return scopes === undefined ? OF_ROLE[role] : rightsOfScopes(scopes, projectName, repository, actionsOfRole(role));
}

/** Whether an account has a permission for a project on the control plane; `unseen`: it may not know that the project exists. */
export function permitsInProject(
  account: Account | undefined,
  standing: ProjectStanding | undefined,
  robotReads: boolean,
  permission: ProjectPermission,
): "yes" | "no" | "unseen" {
  if (standing === undefined) return "unseen";
  if (account?.isAdmin === true) return "yes";
  const isAuditor = account?.isAuditor === true;
  if (!(standing.isPublic || standing.role !== undefined || isAuditor || robotReads)) return "unseen";
  if (permission === "project.read" || (isAuditor && PERMISSIONS_OF_AUDITOR.has(permission))) return "yes";
  return standing.role !== undefined && permissionsOfRole(wholeRole(standing)).has(permission) ? "yes" : "no";
}

/** The role of a member in its project as a whole. A narrowed one is a guest's there: records, webhooks and policies are about all repositories. */
function wholeRole({ memberships }: ProjectStanding): Role {
  return strongestRole(memberships.filter(({ scopes }) => scopes === undefined)) ?? "guest";
}
