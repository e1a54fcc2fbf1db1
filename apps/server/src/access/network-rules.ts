// From which addresses a project, a robot and the registry may be used: the rules that each may have, and the refusals. A project's is a trait, so that
// one without any pays nothing; a robot's stands with its account. Whoever may not know of a project is answered as if it were not there, and the
// reason goes to the records alone. Pure. Not here: networks themselves (platform/networks.ts), where it is asked (authorize.ts), lists that are
// changed (features/networks).
import { RegistryError } from "@berth/oci/errors";
import type { RepositoryName } from "@berth/oci/reference";
import { createNetworkRules, type NetworkLists, type NetworkRules } from "../platform/networks.ts";
import type { Account } from "./account-store.ts";
import type { Origin } from "./actor.ts";
import type { Caller } from "./caller.ts";
import { isBeyondToken } from "./bounds.ts";
import { UnauthorizedError } from "./challenge.ts";
import type { Facts } from "./judge.ts";
import { boundActions } from "./personal-bound.ts";
import type { ProjectTrait, ReadTraits } from "./project-traits.ts";
import { NOTHING, type ReadableProject } from "./readable-projects.ts";
import type { RepositoryRights } from "./robot-scopes.ts";
import type { ProjectStanding } from "./standing-store.ts";

/** Rules that cannot be read, as of a newer release: nothing may be used. */
const CLOSED: NetworkRules = { allow: [], deny: ["0.0.0.0/0", "::/0"], permits: () => false };

/** Reads stored lists. Errors: TypeError. */
function readLists(stored: unknown): NetworkLists {
  const { allow, deny, ...others } = stored as Partial<NetworkLists> & object;
  const isList = (value: unknown): value is string[] => Array.isArray(value) && value.every((item) => typeof item === "string");
  // What this program does not know may forbid more.
  if (!isList(allow) || !isList(deny) || Object.keys(others).length > 0) throw new TypeError("these are no lists of networks");
  return { allow, deny };
}

/** From where a project may be used. */
export const PROJECT_NETWORKS: ProjectTrait<NetworkRules> = {
  name: "networks",
  read: (stored) => createNetworkRules(readLists(stored)) ?? CLOSED,
};

/** From where an account may be used, as its row says it; undefined for from everywhere. */
export function readAccountNetworks(stored: string | null): NetworkRules | undefined {
  if (stored === null) return undefined;
  try {
    return createNetworkRules(readLists(JSON.parse(stored))) ?? CLOSED;
  } catch {
    return CLOSED;
  }
}

const addressOf = ({ origin }: Caller): string => origin?.address ?? "";

/** For an address from which the whole registry may not be used. */
export function registryAway(address: string): RegistryError {
  const message = `this registry may not be used from ${address}: ask its operator, or come from a network that it takes`;
  return new RegistryError("NETWORK_REFUSED", { message, detail: { address } });
}

/** For who may know of a project that may not be used from where he is. */
function projectAway({ name: project }: Pick<ProjectStanding, "name">, caller: Caller): RegistryError {
  const address = addressOf(caller);
  const message = `project ${project} may not be used from ${address}: its owners say from where (berth project networks ${project})`;
  return new RegistryError("NETWORK_REFUSED", { message, detail: { address, project } });
}

function robotAway(robot: string, address: string): RegistryError {
  const message = `the robot ${robot} may not be used from ${address}: who keeps it says from where (berth robot networks ${robot})`;
  return new RegistryError("NETWORK_REFUSED", { message, detail: { address } });
}

/** Refuses an account at an address from which it may not be used. Errors: NETWORK_REFUSED. */
export function refuseAway({ name, networks }: Pick<Account, "name" | "networks">, caller: Caller): void {
  if (networks !== undefined && !networks.permits(addressOf(caller))) throw robotAway(name, addressOf(caller));
}

/** The caller of a request, with where it came from. Errors: NETWORK_REFUSED. */
export function placeCaller(caller: Caller, origin: Origin): Caller {
  const placed = { ...caller, origin };
  if (placed.kind === "account") refuseAway(placed, placed);
  return placed;
}

/** Whether a caller is where a project may not be used. */
export function isAway({ traits }: Pick<ProjectStanding, "traits">, caller: Caller): boolean {
  return traits?.find(PROJECT_NETWORKS)?.permits(addressOf(caller)) === false;
}

/** A listed project, of which nothing is shown where it may not be used from where the caller is; administrators see all names. */
export function hideAway(project: ReadableProject, readTraits: ReadTraits, caller: Caller): ReadableProject {
  const { stored } = project;
  if (stored.traits === null || (caller.kind === "account" && caller.isAdmin)) return project;
  return isAway({ traits: readTraits(stored) }, caller) ? { ...project, reach: NOTHING, isAway: true } : project;
}

/**
 * Refuses who is where a project may not be used and has a right of his own in the repository, not only what all have. For others it gives the reason,
 * which goes to the records; undefined: it may be used. Errors: NETWORK_REFUSED.
 */
export function awayIn(
  standing: ProjectStanding,
  caller: Caller,
  { actions, isByAll = false }: RepositoryRights,
  repository: RepositoryName,
): RegistryError | undefined {
  if (!isAway(standing, caller)) return undefined;
  const error = projectAway(standing, caller);
  if (caller.kind === "anonymous" || actions.size === 0 || isByAll) return error;
  if (caller.personal !== undefined && boundActions(caller.personal, repository).size === 0) return error;
  throw error;
}

/** The same refusal, of which the records say the true reason. */
export function because(error: RegistryError, cause: RegistryError): RegistryError {
  if (error instanceof UnauthorizedError) return new UnauthorizedError({ ...error.options, cause });
  error.cause = cause;
  return error;
}

/**
 * The same on the control plane. Administrators are let through there, since somebody has to be able to put lists right: they get to what a project is
 * set to, and not to what is in its repositories. Errors: NETWORK_REFUSED, not for who reads it because all may.
 */
export function awayInProject({ caller, account, standing }: Facts, robotReads: boolean): RegistryError | undefined {
  if (standing?.traits === undefined || account?.isAdmin === true || !isAway(standing, caller)) return undefined;
  const error = projectAway(standing, caller);
  const isOwn = standing.role !== undefined || account?.isAuditor === true || robotReads;
  if (isOwn && !isBeyondToken(caller, standing.name)) throw error;
  return error;
}
