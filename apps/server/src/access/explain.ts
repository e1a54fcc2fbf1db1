// Explanations of decisions: whether somebody may do something, what decided, and what would change it. Pure: the answer is the ruling itself
// (judge.ts), the steps are what gives the rights that it rules on. Not here: looking up (features/explain), the words (explain-words.ts).
import type { ReasonView } from "@berth/api/explain";
import type { ProjectPermission, SystemPermission } from "@berth/api/permissions";
import { projectOf, type RepositoryName } from "@berth/oci/reference";
import type { Account } from "./account-store.ts";
import { isUsable } from "./accounts.ts";
import type { Action } from "./caller.ts";
import * as words from "./explain-words.ts";
import {
  type Facts,
  judge,
  judgeProject,
  judgeSystem,
  type ProjectCreation,
  type ProjectRuling,
  rightsOfRobot,
  type Ruling,
  robotReads,
} from "./judge.ts";
import { personalOf } from "./bounds.ts";
import { asReader, boundActions, coversProject, opensApi, touchesProject } from "./personal-bound.ts";
import { ALL_RIGHTS, NO_RIGHTS, PULL_RIGHTS, rightsIn, rightsOfMembership } from "./rights.ts";
import { type RepositoryRights, rightsOfScopes, type RobotScope } from "./robot-scopes.ts";
import { PERMISSIONS_OF_AUDITOR, permissionsOfRole } from "./roles.ts";
import type { Membership, ProjectStanding } from "./standing-store.ts";
import { matchesTag } from "./tag-patterns.ts";

/** What is known of somebody. */
export interface Subject extends Facts {
  /** A robot's scopes, and its own project: undefined for one of the registry. */
  readonly scopes: readonly RobotScope[];
  readonly ownProject: string | undefined;
  readonly now: number;
  /** Who asks sees all projects, so that it may know that there is none. */
  readonly isSeeingAll: boolean;
}

/** What is asked about. */
export type Question =
  | { readonly kind: "repository"; readonly action: Action; readonly repository: RepositoryName; readonly tag: string | undefined }
  | { readonly kind: "project"; readonly action: ProjectPermission; readonly project: string }
  | { readonly kind: "registry"; readonly action: SystemPermission | "administer" };

/** The answer. */
export interface Explained {
  readonly isAllowed: boolean;
  /** Patterns of the only tags for which it is, where none was asked about; undefined: any. */
  readonly onlyTags: readonly string[] | undefined;
  readonly reasons: readonly ReasonView[];
  readonly remedies: readonly string[];
}

/** Explains. `projectCreation`: who may create projects. */
export function explain(subject: Subject, question: Question, projectCreation: ProjectCreation): Explained {
  const gone = accountReasons(subject);
  const answer =
    question.kind === "repository"
      ? explainRepository(subject, question)
      : question.kind === "project"
        ? explainProject(subject, question)
        : explainRegistry(subject, question.action, projectCreation);
  const blocking = gone.filter(({ effect }) => effect === "refuses");
  if (blocking.length === 0) return { ...answer, reasons: [...gone, ...answer.reasons] };
  return {
    isAllowed: false,
    onlyTags: undefined,
    reasons: [...gone, ...answer.reasons],
    remedies: [words.enableRemedy(subject.account!), ...answer.remedies],
  };
}

function reason(code: ReasonView["code"], effect: ReasonView["effect"], text: string): ReasonView {
  return { code, effect, text };
}

/** What speaks against an account whatever it wants. */
function accountReasons({ account, now }: Subject): ReasonView[] {
  if (account === undefined) return [];
  const reasons: ReasonView[] = [];
  if (account.isDisabled) reasons.push(reason("ACCOUNT_DISABLED", "refuses", `${account.name} is disabled, so that nothing lets it in.`));
  else if (!isUsable(account, now))
    reasons.push(reason("ACCOUNT_EXPIRED", "refuses", `The time of ${account.name} was over at ${account.expiresAt?.toISOString()}.`));
  if (account.kind === "robot" && account.secretHash === undefined)
    reasons.push(reason("SIGN_IN_BY_TRUST_RULE", "none", `${account.name} has no secret: it signs in by its trust rules only.`));
  return reasons;
}

// ---- In a repository ----

/** A source of rights there, and what it gives. */
interface Source {
  readonly code: ReasonView["code"];
  readonly gives: RepositoryRights;
  readonly text: string;
}

function explainRepository(subject: Subject, { action, repository, tag }: Extract<Question, { kind: "repository" }>): Explained {
  const { account, standing } = subject;
  const scoped = account?.kind === "robot" ? rightsOfRobot(account, subject.ownProject, subject.scopes, repository) : undefined;
  const rights = rightsIn(account, scoped, standing, repository);
  const ruling = judge(subject, rights.actions, action, repository);
  const patterns = rights.tags?.get(action);
  const isTagIn = tag === undefined || patterns === undefined || patterns.some((pattern) => matchesTag(pattern, tag));
  // What may not be seen is explained like what is not there.
  const seen = ruling === "allowed" || sees(subject, projectOf(repository)) ? subject : { ...subject, standing: undefined };
  const reasons = sourcesIn(seen, repository).map(({ code, gives, text }) => {
    const only = gives.tags?.get(action);
    const helps =
      gives.actions.has(action) && (tag === undefined || only === undefined || only.some((pattern) => matchesTag(pattern, tag)));
    return reason(code, helps ? "allows" : "none", text);
  });
  reasons.push(...boundReasons(subject, action, repository));
  const isAllowed = ruling === "allowed" && isTagIn;
  if (!isAllowed) reasons.push(...rulingReasons(seen, ruling, { action, repository, tag }, patterns));
  return {
    isAllowed,
    onlyTags: isAllowed && tag === undefined ? patterns : undefined,
    reasons,
    remedies: isAllowed ? [] : words.remediesIn(seen, ruling, { action, repository, tag }, isTagIn),
  };
}

/** Whether the subject may know that the project exists, by what it came by; who sees all may anyway. */
function sees(subject: Subject, project: string): boolean {
  const reads = subject.account?.kind === "robot" && robotReads(subject.scopes, subject.ownProject, project);
  const reader = onApi(subject, false);
  return subject.isSeeingAll || (reader !== undefined && judgeProject(reader, reads, "project.read", project) === "allowed");
}

/** Who comes to the API by what the subject comes by; undefined where that does not open it. */
function onApi(subject: Subject, isWrite: boolean): Subject | undefined {
  const { caller } = subject;
  if (caller.kind !== "account" || caller.personal === undefined) return subject;
  if (!opensApi(caller.personal, isWrite)) return undefined;
  // What only reads need not reach as far as what writes.
  return isWrite ? subject : { ...subject, caller: { ...caller, personal: asReader(caller.personal) } };
}

/** Everything that gives rights in a repository or might: their union is what `rightsIn` gives. */
function sourcesIn({ account, standing, scopes, ownProject }: Subject, repository: RepositoryName): Source[] {
  const project = projectOf(repository);
  const sources: Source[] = [];
  if (account?.isAdmin === true)
    sources.push({
      code: "ADMINISTRATOR",
      gives: standing === undefined ? NO_RIGHTS : ALL_RIGHTS,
      text: `${account.name} is an administrator of the registry, who may do everything.`,
    });
  if (account?.kind === "robot") sources.push(...scopeSources(account, ownProject, { scopes, standing }, repository));
  else if (standing !== undefined && account !== undefined)
    for (const membership of standing.memberships)
      sources.push({
        code: membership.group === undefined ? "ROLE" : "GROUP_ROLE",
        gives: rightsOfMembership(membership, standing.name, repository),
        text: words.membershipText(account.name, membership, project),
      });
  if (account?.isAuditor === true)
    sources.push({
      code: "AUDITOR",
      gives: standing === undefined ? NO_RIGHTS : PULL_RIGHTS,
      text: `${account.name} is an auditor, who pulls and reads everything and changes nothing.`,
    });
  if (standing?.isPublic === true)
    sources.push({ code: "PROJECT_PUBLIC", gives: PULL_RIGHTS, text: `The project ${project} is public: anybody may pull from it.` });
  return sources;
}

function scopeSources(
  robot: Account,
  ownProject: string | undefined,
  { scopes, standing }: Pick<Subject, "scopes" | "standing">,
  repository: RepositoryName,
): Source[] {
  const project = projectOf(repository);
  if (robot.projectId !== undefined && ownProject !== project)
    return [
      { code: "ROBOT_ELSEWHERE", gives: NO_RIGHTS, text: `${robot.name} is a robot of another project, and may do nothing outside of it.` },
    ];
  return scopes
    .filter((scope) => words.isAbout(scope, project))
    .map((scope) => ({
      code: "ROBOT_SCOPE" as const,
      gives: standing === undefined ? NO_RIGHTS : rightsOfScopes([scope], ownProject, repository),
      text: words.scopeText(robot.name, scope, repository),
    }));
}

function boundReasons({ caller }: Subject, action: Action, repository: RepositoryName): ReasonView[] {
  const personal = personalOf(caller);
  if (personal === undefined) return [];
  const isThrough = boundActions(personal, repository).has(action);
  return [
    reason("PERSONAL_TOKEN", isThrough ? "none" : "refuses", words.tokenText(personal, isThrough, words.inRepository(action, repository))),
  ];
}

/** The step that stands against it. */
function rulingReasons(
  subject: Subject,
  ruling: Ruling,
  asked: words.AskedInRepository,
  patterns: readonly string[] | undefined,
): ReasonView[] {
  const { account, standing } = subject;
  const { action, repository, tag } = asked;
  const project = projectOf(repository);
  if (ruling === "allowed")
    return [
      reason(
        "TAG_OUTSIDE",
        "refuses",
        `What lets ${account?.name} ${words.DOES[action]} ${repository} is narrowed to the tags ${patterns?.join(", ")}, and ${tag} is none of them.`,
      ),
    ];
  if (ruling === "project-closed")
    return [reason("PROJECT_CLOSED", "refuses", `Nobody can push to the project ${project}: ${standing?.traits?.pushRefusal}.`)];
  if (ruling === "project-newer")
    return [reason("PROJECT_NEWER", "refuses", `The project ${project} has settings of a newer release, so that this one lets nobody in.`)];
  if (standing === undefined) return [words.missingReason(subject, project), ...anonymousReasons(account)];
  // The bound has been said, and what the account may do beyond it as well.
  if (ruling === "personal-token") return [];
  return account === undefined
    ? anonymousReasons(account)
    : [reason("NO_RIGHT", "refuses", `Nothing else lets ${account.name} ${words.inRepository(action, repository)}.`)];
}

function anonymousReasons(account: Account | undefined): ReasonView[] {
  return account === undefined ? [reason("NO_CREDENTIALS", "refuses", "Without credentials only public projects can be pulled from.")] : [];
}

// ---- In a project ----

function explainProject(subject: Subject, { action, project }: Extract<Question, { kind: "project" }>): Explained {
  const { account } = subject;
  const reads = account?.kind === "robot" && robotReads(subject.scopes, subject.ownProject, project);
  const asking = onApi(subject, !action.endsWith(".read"));
  const ruling = asking === undefined ? "personal-token" : judgeProject(asking, reads, action, project);
  const seen = ruling === "allowed" || sees(subject, project) ? subject : { ...subject, standing: undefined };
  const reasons = sourcesOfProject(seen, reads, project).map(({ code, gives, text }) =>
    reason(code, gives(action) ? "allows" : "none", text),
  );
  const personal = personalOf(subject.caller);
  if (personal !== undefined) {
    const bound = asking === undefined ? undefined : personalOf(asking.caller);
    const isThrough = bound !== undefined && (action === "project.read" ? touchesProject(bound, project) : coversProject(bound, project));
    reasons.push(
      reason("PERSONAL_TOKEN", isThrough ? "none" : "refuses", words.tokenText(personal, isThrough, words.inProject(action, project))),
    );
  }
  if (ruling !== "allowed") reasons.push(...projectRulingReasons(seen, ruling, action, project));
  return {
    isAllowed: ruling === "allowed",
    onlyTags: undefined,
    reasons,
    remedies: ruling === "allowed" ? [] : words.projectRemedies(seen, ruling, action, project),
  };
}

interface ProjectSource {
  readonly code: ReasonView["code"];
  readonly gives: (permission: ProjectPermission) => boolean;
  readonly text: string;
}

function sourcesOfProject({ account, standing }: Subject, reads: boolean, project: string): ProjectSource[] {
  const sources: ProjectSource[] = [];
  const isThere = standing !== undefined;
  if (account?.isAdmin === true)
    sources.push({
      code: "ADMINISTRATOR",
      gives: () => isThere,
      text: `${account.name} is an administrator of the registry, who may do everything.`,
    });
  if (account?.isAuditor === true)
    sources.push({
      code: "AUDITOR",
      gives: (permission) => isThere && PERMISSIONS_OF_AUDITOR.has(permission),
      text: `${account.name} is an auditor, who pulls and reads everything and changes nothing.`,
    });
  for (const membership of memberships(account, standing))
    sources.push({
      code: membership.group === undefined ? "ROLE" : "GROUP_ROLE",
      gives: (permission) =>
        permission === "project.read" || permissionsOfRole(membership.scopes === undefined ? membership.role : "guest").has(permission),
      text: words.projectMembershipText(account!.name, membership, project),
    });
  if (standing?.isPublic === true)
    sources.push({
      code: "PROJECT_PUBLIC",
      gives: (permission) => permission === "project.read",
      text: `The project ${project} is public: anybody may see it.`,
    });
  if (account?.kind === "robot" && reads)
    sources.push({
      code: "ROBOT_SCOPE",
      gives: (permission) => isThere && permission === "project.read",
      text: `${account.name} has a scope in the project ${project}, so that it sees it; robots manage nothing.`,
    });
  return sources;
}

function memberships(account: Account | undefined, standing: ProjectStanding | undefined): readonly Membership[] {
  return account === undefined || standing === undefined ? [] : standing.memberships;
}

function projectRulingReasons(subject: Subject, ruling: ProjectRuling, action: ProjectPermission, project: string): ReasonView[] {
  const { account, standing } = subject;
  if (standing === undefined) return [words.missingReason(subject, project), ...anonymousReasons(account)];
  if (ruling === "personal-token") return [];
  return account === undefined
    ? anonymousReasons(account)
    : [reason("NO_RIGHT", "refuses", `Nothing else lets ${account.name} ${words.inProject(action, project)}.`)];
}

// ---- In the registry ----

function explainRegistry(subject: Subject, action: SystemPermission | "administer", projectCreation: ProjectCreation): Explained {
  const { account } = subject;
  const asking = onApi(subject, !action.endsWith(".read"));
  const ruling = asking === undefined && account !== undefined ? "personal-token" : judgeSystem(asking ?? subject, action, projectCreation);
  if (account === undefined) return { isAllowed: false, onlyTags: undefined, reasons: anonymousReasons(account), remedies: ["Log in."] };
  const { name, isAdmin, isAuditor, isCreator, kind } = account;
  const reasons: ReasonView[] = [];
  const creates = action === "projects.create";
  if (isAdmin) reasons.push(reason("ADMINISTRATOR", "allows", `${name} is an administrator of the registry, who may do everything.`));
  if (isAuditor)
    reasons.push(
      reason(
        "AUDITOR",
        action === "administer" || creates ? "none" : "allows",
        `${name} is an auditor, who pulls and reads everything and changes nothing.`,
      ),
    );
  if (isCreator) reasons.push(reason("CREATOR", creates ? "allows" : "none", `${name} is a creator, who may create projects.`));
  if (creates)
    reasons.push(
      reason("SETTING", projectCreation === "everyone" && kind === "user" ? "allows" : "none", words.creationText(projectCreation)),
    );
  const personal = personalOf(subject.caller);
  if (personal !== undefined) {
    const bound = asking === undefined ? undefined : personalOf(asking.caller);
    const isThrough = bound !== undefined && coversProject(bound, undefined);
    reasons.push(reason("PERSONAL_TOKEN", isThrough ? "none" : "refuses", words.tokenText(personal, isThrough, words.inRegistry(action))));
  }
  if (ruling === "right-missing") reasons.push(reason("NO_RIGHT", "refuses", `Nothing else lets ${name} ${words.inRegistry(action)}.`));
  return {
    isAllowed: ruling === "allowed",
    onlyTags: undefined,
    reasons,
    remedies: ruling === "allowed" ? [] : words.registryRemedies(ruling, name, action),
  };
}
