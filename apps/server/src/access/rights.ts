// The rules of rights in one project: pure functions of looked-up values. Not here: the look-ups and grants (authorize.ts), the permissions
// of roles (roles.ts), robots' patterns (robot-scopes.ts).
import type { ProjectPermission } from "@berth/api/permissions";
import type { Account } from "./account-store.ts";

import type { Action } from "./caller.ts";
import { actionsOfRole, ALL_ACTIONS, NO_ACTIONS, PERMISSIONS_OF_AUDITOR, permissionsOfRole, PULL_ONLY } from "./roles.ts";
import type { ProjectStanding } from "./standing-store.ts";

/**
 * The actions that an account may do in a repository of a project. `account`: undefined for anonymous. `scoped`: the actions of a robot's
 * scopes there. `standing`: undefined if there is no such project.
 */
export function actionsIn(
  account: Account | undefined,
  scoped: ReadonlySet<Action>,
  standing: ProjectStanding | undefined,
): ReadonlySet<Action> {
  if (standing === undefined) return NO_ACTIONS;
  if (account?.isAdmin === true) return ALL_ACTIONS;
  const own = account?.kind === "robot" ? scoped : standing.role === undefined ? NO_ACTIONS : actionsOfRole(standing.role);
  if (own.has("pull") || !(standing.isPublic || account?.isAuditor === true)) return own;
  return own.size === 0 ? PULL_ONLY : new Set<Action>([...own, "pull"]);
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
  return standing.role !== undefined && permissionsOfRole(standing.role).has(permission) ? "yes" : "no";
}
