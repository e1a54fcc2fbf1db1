// What roles allow, in projects and in the whole registry, and the names that accounts may have: pure tables. Not here: who holds a role (member-store.ts), decisions (authorize.ts).
import type { ProjectPermission, SystemPermission } from "@berth/api/permissions";
import type { Action } from "./caller.ts";

/** A member's role in a project, weakest first. */
export const ROLES = ["guest", "developer", "maintainer", "owner"] as const;
/** One of `ROLES`. */
export type Role = (typeof ROLES)[number];

/** A role that was stored; undefined, which is no member's, for what is none: an unknown role gives no rights. */
export function parseRole(stored: string | null): Role | undefined {
  return ROLES.find((role) => role === stored);
}

/** The strongest role of some; undefined of none. */
export function strongestRole(memberships: readonly { readonly role: Role }[]): Role | undefined {
  let strongest = -1;
  for (const { role } of memberships) strongest = Math.max(strongest, ROLES.indexOf(role));
  return ROLES[strongest];
}

/** All actions. */
export const ALL_ACTIONS: ReadonlySet<Action> = new Set<Action>(["pull", "push", "delete"]);
/** No action. */
export const NO_ACTIONS: ReadonlySet<Action> = new Set<Action>();
/** Pulling only. */
export const PULL_ONLY: ReadonlySet<Action> = new Set<Action>(["pull"]);

const ACTIONS_OF_ROLE: Readonly<Record<Role, ReadonlySet<Action>>> = {
  guest: PULL_ONLY,
  developer: new Set<Action>(["pull", "push"]),
  maintainer: ALL_ACTIONS,
  owner: ALL_ACTIONS,
};

// Each role has the rights of the one before it. Robots hold secrets that outlive a membership, so that only owners make them.
const GUEST: readonly ProjectPermission[] = ["project.read", "members.read", "policies.read"];
const MAINTAINER: readonly ProjectPermission[] = [
  ...GUEST,
  "policies.write",
  "robots.read",
  "audit.read",
  "webhooks.read",
  "webhooks.write",
];
const OWNER: readonly ProjectPermission[] = [...MAINTAINER, "project.update", "project.delete", "members.write", "robots.write"];

const PERMISSIONS_OF_ROLE: Readonly<Record<Role, ReadonlySet<ProjectPermission>>> = {
  guest: new Set(GUEST),
  developer: new Set(GUEST),
  maintainer: new Set(MAINTAINER),
  owner: new Set(OWNER),
};

/** What a role may do to every repository of its project. */
export function actionsOfRole(role: Role): ReadonlySet<Action> {
  return ACTIONS_OF_ROLE[role];
}

/** What a role may do to its project. */
export function permissionsOfRole(role: Role): ReadonlySet<ProjectPermission> {
  return PERMISSIONS_OF_ROLE[role];
}

/** What an account can be in the whole registry. */
export const SYSTEM_ROLES = ["administrator", "auditor", "creator"] as const;
/** One of `SYSTEM_ROLES`. */
export type SystemRole = (typeof SYSTEM_ROLES)[number];

/** A system role that was stored; undefined for what is none: an unknown one gives no rights. */
export function parseSystemRole(stored: string | null): SystemRole | undefined {
  return SYSTEM_ROLES.find((role) => role === stored);
}

/** What an account is in the whole registry, by itself and by its groups. */
export interface SystemStanding {
  readonly isAdmin: boolean;
  /** Reads and pulls everything, and changes nothing by it. */
  readonly isAuditor: boolean;
  /** May create projects. */
  readonly isCreator: boolean;
}

/** Whether that lets somebody do it in the registry. */
export function permitsInSystem({ isAdmin, isAuditor, isCreator }: SystemStanding, may: SystemPermission): boolean {
  return isAdmin || (may === "projects.create" ? isCreator : isAuditor);
}

/** What an auditor may do to every project. */
export const PERMISSIONS_OF_AUDITOR: ReadonlySet<ProjectPermission> = new Set<ProjectPermission>([
  "project.read",
  "members.read",
  "policies.read",
  "robots.read",
  "audit.read",
  "webhooks.read",
]);

// No "+", which marks robots, and no ":", which ends the name in Basic credentials. Lower case only, so that no two names look alike.
const USER_NAME = /^[a-z0-9]+(?:[._@-][a-z0-9]+)*$/;

/** Longest name of a user, and of a robot's own part. */
export const MAX_ACCOUNT_NAME_LENGTH = 64;

/** Whether the text can be a user's name. */
export function isUserName(text: string): boolean {
  return text.length <= MAX_ACCOUNT_NAME_LENGTH && USER_NAME.test(text);
}

/** A robot's login name: `project+name`, or `+name` for a robot of the whole registry. */
export function robotLoginName(projectName: string | undefined, suffix: string): string {
  return `${projectName ?? ""}+${suffix}`;
}

/** Whether a login name has a robot's form. */
export function isRobotLoginName(name: string): boolean {
  return name.includes("+");
}
