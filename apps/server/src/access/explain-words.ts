// The sentences of explanations (explain.ts): what roles, scopes and tokens give, and what would help. Pure; nothing is decided here.
import type { ReasonView } from "@berth/api/explain";
import { type ProjectPermission, type SystemPermission, whoMay } from "@berth/api/permissions";
import { projectOf, type RepositoryName } from "@berth/oci/reference";
import type { Account } from "./account-store.ts";
import type { Action } from "./caller.ts";
import type { Facts, ProjectCreation, ProjectRuling, Ruling, SystemRuling } from "./judge.ts";
import type { PersonalBound } from "./personal-bound.ts";
import { EVERYTHING, matchesPattern, type RobotScope } from "./robot-scopes.ts";
import type { Role } from "./roles.ts";
import type { Membership, ProjectStanding } from "./standing-store.ts";

/** Words that follow "may". */
export const DOES: Readonly<Record<Action, string>> = { pull: "pull from", push: "push to", delete: "delete from" };
const ROLE_DOES: Readonly<Record<Role, string>> = {
  guest: "pulls",
  developer: "pulls and pushes",
  maintainer: "pulls, pushes and deletes",
  owner: "does everything there",
};
/** The weakest role that gives an action. */
export const ROLE_FOR: Readonly<Record<Action, Role>> = { pull: "guest", push: "developer", delete: "maintainer" };

const IN_PROJECT: Readonly<Record<ProjectPermission, string>> = {
  "project.read": "see",
  "project.update": "change",
  "project.delete": "delete",
  "members.read": "see the members of",
  "members.write": "change the members of",
  "robots.read": "see the robots of",
  "robots.write": "change the robots of",
  "policies.read": "see the policies of",
  "policies.write": "change the policies of",
  "audit.read": "read the audit log of",
  "webhooks.read": "see the webhooks of",
  "webhooks.write": "change the webhooks of",
};
const IN_REGISTRY: Readonly<Record<SystemPermission | "administer", string>> = {
  administer: "administer the registry",
  "audit.read": "read the audit log of the registry",
  "groups.read": "see the groups",
  "jobs.read": "see the jobs",
  "metrics.read": "read the metrics",
  "projects.create": "create projects",
  "robots.read": "see the robots of the registry",
  "settings.read": "see the settings of the registry",
  "uploads.read": "see the uploads in flight",
  "usage.read": "see what the registry stores",
  "users.read": "see the users",
  "webhooks.read": "see the webhooks of the registry",
};

/** What is asked about in a repository. */
export interface AskedInRepository {
  readonly action: Action;
  readonly repository: RepositoryName;
  readonly tag: string | undefined;
}

/** An action in a repository, in words that follow "may". */
export function inRepository(action: Action, repository: RepositoryName, tag?: string): string {
  if (tag === undefined) return `${DOES[action]} ${repository}`;
  return action === "pull" ? `pull ${repository}:${tag}` : `${action} ${repository}:${tag}`;
}

/** A permission in a project, in words that follow "may". */
export function inProject(permission: ProjectPermission, project: string): string {
  return `${IN_PROJECT[permission]} the project ${project}`;
}

/** A permission in the registry, in words that follow "may". */
export function inRegistry(may: SystemPermission | "administer"): string {
  return IN_REGISTRY[may];
}

/** Why somebody who sees a project has no right there, in words that follow "may not push to it:". */
export function shortReason({ kind, isAuditor }: Account, standing: ProjectStanding | undefined, action: Action): string {
  if (kind === "robot") return `no scope of the robot lets it ${action} there`;
  if (standing === undefined || standing.memberships.length === 0)
    return isAuditor ? "an auditor reads, and changes nothing" : "the project is public, but that takes a role in it";
  const roles = standing.memberships.map(({ role, group, scopes }) => {
    const of = group === undefined ? `the role ${role}` : `the role ${role} of the group ${group}`;
    return scopes === undefined ? of : `${of} (narrowed)`;
  });
  return `${[...new Set(roles)].slice(0, 3).join(", ")} ${roles.length === 1 ? "does" : "do"} not let anybody ${action} there`;
}

/** Whether a scope has anything to do with a project. */
export function isAbout({ repositoryPattern }: RobotScope, project: string): boolean {
  return repositoryPattern === EVERYTHING || repositoryPattern.startsWith(`${project}/`);
}

function scopeWords({ repositoryPattern, actions, tagPatterns }: RobotScope): string {
  const tags = tagPatterns === undefined ? "" : `, of the tags ${tagPatterns.join(", ")} only`;
  return `${repositoryPattern} (${[...actions].toSorted().join(", ")}${tags})`;
}

/** A membership, and what it is narrowed to. */
export function membershipText(name: string, { role, group, scopes }: Membership, project: string): string {
  const holder = group === undefined ? `${name} has` : `The group ${group}, whose member ${name} is, has`;
  const given = `${holder} the role ${role} in the project ${project}, which ${ROLE_DOES[role]}`;
  if (scopes === undefined) return `${given}.`;
  return scopes.length === 0 ? `${given}, and is narrowed to nothing.` : `${given}, narrowed to ${scopes.map(scopeWords).join("; ")}.`;
}

/** The same where the project as a whole is asked about. */
export function projectMembershipText(name: string, { role, group, scopes }: Membership, project: string): string {
  const holder = group === undefined ? `${name} has` : `The group ${group}, whose member ${name} is, has`;
  const given = `${holder} the role ${role} in the project ${project}`;
  return scopes === undefined ? `${given}.` : `${given}, narrowed to some of it, which counts as the role guest in the project as a whole.`;
}

/** A robot's scope. */
export function scopeText(name: string, scope: RobotScope, repository: RepositoryName): string {
  const reaches = matchesPattern(scope.repositoryPattern, repository) ? "" : `, which does not name ${repository}`;
  return `${name} has the scope ${scopeWords(scope)}${reaches}.`;
}

/** What a personal token does; `what`: words that follow "may". */
export function tokenText({ token, scopes, api }: PersonalBound, isThrough: boolean, what: string): string {
  const bounded = `${scopes.map(scopeWords).join("; ")}; of the API ${api}`;
  return isThrough
    ? `The personal token ${token} lets through what its user may of ${bounded}.`
    : `The personal token ${token} lets nobody ${what}, whatever its user may: it lets through ${bounded}.`;
}

/** Who may create projects. */
export function creationText(creation: ProjectCreation): string {
  return creation === "everyone"
    ? "The setting projects.creation lets every user create projects."
    : `The setting projects.creation (${creation}) lets administrators and creators create projects.`;
}

/** A project that is not there, or is not told of. */
export function missingReason({ isSeeingAll }: { readonly isSeeingAll: boolean }, project: string): ReasonView {
  return isSeeingAll
    ? { code: "PROJECT_MISSING", effect: "refuses", text: `There is no project ${project}.` }
    : { code: "PROJECT_HIDDEN", effect: "refuses", text: `There is no project ${project}, or nothing lets the account see it.` };
}

// ---- What would help ----

/** For an account that is let in by nothing. */
export function enableRemedy({ name, kind, isDisabled }: Account): string {
  if (kind === "robot")
    return `Who keeps the robot ${name} can ${isDisabled ? "enable it again" : "set another time"} (berth robot update).`;
  return `An administrator can enable ${name} again (berth user update ${name} --enable).`;
}

/** In a repository. */
export function remediesIn(
  { account, standing, isSeeingAll }: Facts & { readonly isSeeingAll: boolean },
  ruling: Ruling,
  { action, repository, tag }: AskedInRepository,
  isTagIn: boolean,
): string[] {
  const project = projectOf(repository);
  if (ruling === "project-newer") return ["Update all replicas to the newest release that is in use."];
  if (ruling === "project-closed") return ["Push to another project."];
  if (ruling === "personal-token") return ["Use a personal token that reaches so far, or the password."];
  if (account === undefined) return ["Log in."];
  if (standing === undefined && isSeeingAll) return [`Create the project ${project} (berth project create ${project}).`];
  if (account.kind === "robot") {
    const scope = `${repository}:${action === "push" ? "pull,push" : action}`;
    if (account.projectId !== undefined && !account.name.startsWith(`${project}+`))
      return ["Use a robot of that project, or one of the registry."];
    return [`Who keeps the robot ${account.name} can give it a scope such as ${scope} (berth robot update ${account.name} --scope …).`];
  }
  const owner = standing === undefined ? "If there is one, an owner of it" : `An owner of the project ${project}`;
  if (!isTagIn) return [`${owner} can widen the tags to ${tag}.`, "Use a tag that is let through."];
  const isNarrowed = standing?.memberships.some(({ scopes }) => scopes !== undefined) === true;
  const role = `${owner} can give ${account.name} the role ${ROLE_FOR[action]} (berth member set ${project} ${account.name} --role ${ROLE_FOR[action]}).`;
  const widen = isNarrowed ? [`${owner} can widen what the role is narrowed to.`] : [];
  const open = action === "pull" && standing !== undefined ? [`${owner} can make it public.`] : [];
  return [role, ...widen, ...open];
}

/** In a project. */
export function projectRemedies(
  { account, standing, isSeeingAll }: Facts & { readonly isSeeingAll: boolean },
  ruling: ProjectRuling,
  permission: ProjectPermission,
  project: string,
): string[] {
  if (ruling === "personal-token") return ["Use a personal token that reaches so far, or the password."];
  if (account === undefined) return ["Log in."];
  if (standing === undefined && isSeeingAll) return [`Create the project ${project} (berth project create ${project}).`];
  const may = whoMay({ kind: "project", may: permission });
  if (account.kind === "robot") return [`Robots do not do that: it is for ${may}.`];
  return [
    `An owner of the project, if there is one, can give ${account.name} a role (berth member set ${project} ${account.name} --role …): it is for ${may}.`,
  ];
}

/** In the registry. */
export function registryRemedies(ruling: SystemRuling, name: string, action: SystemPermission | "administer"): string[] {
  if (ruling === "personal-token") return ["Use a personal token that reaches so far, or the password."];
  const may = action === "administer" ? "administrators" : whoMay({ kind: "system", may: action });
  const others = action === "projects.create" ? ["An administrator can set projects.creation to everyone."] : [];
  return [
    `An administrator can make ${name} more in the registry (berth user update ${name} --system-role …): it is for ${may}.`,
    ...others,
  ];
}
