// What the tokens that a caller came by let through, whatever its account may: registry tokens name repositories, personal ones have patterns.
// Not here: what a pattern reaches (personal-bound.ts), decisions (authorize.ts).
import type { RepositoryName } from "@berth/oci/reference";
import type { Action, Caller } from "./caller.ts";
import { UnauthorizedError } from "./challenge.ts";
import { boundActions, touchesProject, type PersonalBound } from "./personal-bound.ts";
import { WHOLE, type Reach } from "./readable-projects.ts";
import { apiBeyondToken } from "./refusals.ts";
import { pullableRanges } from "./robot-scopes.ts";
import { NO_ACTIONS } from "./roles.ts";

/** What the caller's tokens let through in a repository; undefined where it came without one. */
export function boundOf(caller: Caller, repository: RepositoryName): ReadonlySet<Action> | undefined {
  const named = caller.access === undefined ? undefined : (caller.access.get(repository) ?? NO_ACTIONS);
  const bound = personalOf(caller);
  const personal = bound === undefined ? undefined : boundActions(bound, repository);
  return named === undefined || personal === undefined ? (named ?? personal) : named.intersection(personal);
}

/** Whether the caller came by a personal token that lets nothing through in a project. */
export function isBeyondToken(caller: Caller, projectName: string): boolean {
  const personal = personalOf(caller);
  return personal !== undefined && !touchesProject(personal, projectName);
}

/** How far the caller's personal token reaches into what its user may read. */
export function reachOf(caller: Caller): Reach {
  const personal = personalOf(caller);
  if (personal === undefined) return WHOLE;
  return { ranges: pullableRanges(personal.scopes), mayPull: (repository) => boundActions(personal, repository).has("pull") };
}

/** A token of the data plane says nothing about the control plane, so it opens none of it; a personal token says how much. Errors: UNAUTHORIZED, DENIED. */
export function refuseToken(caller: Caller): void {
  if (caller.access !== undefined)
    throw new UnauthorizedError({ message: "a registry token does not open the API; send Basic credentials" });
  const personal = personalOf(caller);
  if (personal?.api === "none") throw apiBeyondToken(personal, false);
}

/** What the personal token lets through that the caller came by; undefined: there is none. */
export function personalOf(caller: Caller): PersonalBound | undefined {
  return caller.kind === "account" ? caller.personal : undefined;
}
