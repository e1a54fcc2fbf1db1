// Explanations: who may ask about whom, and what is looked up for the answer. Not here: the answer (access/explain.ts), its route (explain-routes.ts).
import { ApiError } from "@berth/api/errors";
import { type ExplainedAction, type ExplainQuery, type ExplanationView, REPOSITORY_ACTIONS } from "@berth/api/explain";
import { PROJECT_PERMISSIONS, type ProjectPermission, SYSTEM_PERMISSIONS, type SystemPermission } from "@berth/api/permissions";
import { RegistryError } from "@berth/oci/errors";
import { parseRepositoryName, parseTag, projectOf } from "@berth/oci/reference";
import type { Account } from "../../access/account-store.ts";
import type { Accounts } from "../../access/accounts.ts";
import type { AccountGrant, Authorizer } from "../../access/authorize.ts";
import { type AccountCaller, type Action, ANONYMOUS, type Caller } from "../../access/caller.ts";
import { isLive } from "../../access/credential-store.ts";
import { explain, type Question, type Subject } from "../../access/explain.ts";
import * as words from "../../access/explain-words.ts";
import { judgeSystem, type ProjectCreation } from "../../access/judge.ts";
import { isRobotLoginName } from "../../access/roles.ts";
import { BY_PASSWORD } from "../../access/sign-in.ts";
import type { Clock } from "../../platform/clock.ts";

/** What the rule needs. */
export interface ExplainParts {
  readonly accounts: Accounts;
  readonly authorizer: Authorizer;
  readonly clock: Clock;
  readonly runTimeSettings: { readonly projectCreation: () => ProjectCreation };
}

/** Answers a question of a caller. Errors: those of the operation. */
export type Explain = (grant: AccountGrant, caller: Caller, query: ExplainQuery) => Promise<ExplanationView>;

/** No account and no token has this number. */
const NOBODY = 0;

/** Creates the rule. */
export function createExplain({ accounts, authorizer, clock, runTimeSettings }: ExplainParts): Explain {
  /** Who is asked about, for somebody who may. */
  async function findSubject(grant: AccountGrant, caller: Caller, query: ExplainQuery, project: string | undefined): Promise<Subject> {
    const { account: name, isAnonymous = false, token } = query;
    const asksAll = judgeSystem({ caller, account: grant.account }, "users.read", "administrators") === "allowed";
    const isSelf = !isAnonymous && (name === undefined || name === grant.account.name);
    if (!asksAll && !isSelf) await proveOwner(caller, project);
    const account = isAnonymous ? undefined : isSelf ? grant.account : await findAccount(name!, asksAll, project);
    const found = project === undefined ? undefined : await accounts.findStanding(account?.id, project);
    const subject = {
      account,
      standing: found,
      scopes: account?.kind === "robot" ? await accounts.findScopes(account.id) : [],
      ownProject: account?.projectId === undefined ? undefined : await accounts.findProjectName(account.projectId),
      now: clock.now(),
      isSeeingAll: asksAll || !isSelf,
    };
    if (account === undefined) return { ...subject, caller: ANONYMOUS };
    if (token !== undefined) {
      // Of others' tokens an owner is told nothing.
      if (!asksAll && !isSelf)
        throw new RegistryError("DENIED", { message: "of a user's tokens only the user and administrators are told" });
      return { ...subject, caller: await byToken(account, token) };
    }
    return { ...subject, caller: isSelf ? await asSignedIn(caller) : callerOf(account) };
  }

  // Only who keeps the members of a project is told what others may do in it.
  async function proveOwner(caller: Caller, project: string | undefined): Promise<void> {
    if (project === undefined)
      throw new RegistryError("DENIED", { message: "you may ask about yourself, and about others where you own the project" });
    await authorizer.authorizeProject(caller, "members.write", project);
  }

  async function findAccount(name: string, asksAll: boolean, project: string | undefined): Promise<Account> {
    const isRobot = isRobotLoginName(name);
    const found = await accounts.findByName(name);
    const scopes = isRobot ? await accounts.findScopes(found?.id ?? NOBODY) : [];
    // An owner does not learn which robots there are that have nothing to do with the project.
    const isKnown = asksAll || !isRobot || name.startsWith(`${project}+`) || scopes.some((scope) => words.isAbout(scope, project!));
    if (found === undefined || !isKnown) throw new ApiError(isRobot ? "ROBOT_UNKNOWN" : "USER_UNKNOWN");
    return found;
  }

  /** The caller as it comes for anything: for this question, which changes nothing, its token counts as one that reads. */
  async function asSignedIn(caller: Caller): Promise<Caller> {
    if (caller.kind !== "account" || caller.personal === undefined || caller.credentialId === undefined) return caller;
    const credential = await accounts.findCredential(caller.credentialId);
    return { ...caller, personal: credential?.bound ?? caller.personal };
  }

  async function byToken(account: Account, token: string): Promise<AccountCaller> {
    const credential = await accounts.findCredential(Number(token));
    if (!isLive(credential, account, clock.now())) throw new ApiError("TOKEN_UNKNOWN");
    return { ...callerOf(account), personal: credential.bound };
  }

  return async (grant, caller, query) => {
    const question = readQuestion(query);
    const project =
      question.kind === "registry" ? undefined : question.kind === "project" ? question.project : projectOf(question.repository);
    const subject = await findSubject(grant, caller, query, project);
    const { isAllowed, onlyTags, reasons, remedies } = explain(subject, question, runTimeSettings.projectCreation());
    const who = subject.account?.name ?? "somebody without credentials";
    const tag = question.kind === "repository" ? question.tag : undefined;
    const what =
      question.kind === "repository"
        ? words.inRepository(question.action, question.repository, tag)
        : question.kind === "project"
          ? words.inProject(question.action, question.project)
          : words.inRegistry(question.action);
    const only = onlyTags === undefined ? "" : `, the tags ${onlyTags.join(", ")} only`;
    return {
      account: subject.account?.name ?? null,
      action: question.action,
      project: project ?? null,
      repository: question.kind === "repository" ? question.repository : null,
      tag: tag ?? null,
      isAllowed,
      onlyTags: onlyTags === undefined ? null : [...onlyTags],
      summary: `${who} ${isAllowed ? "may" : "may not"} ${what}${only}.`,
      reasons: [...reasons],
      remedies: [...remedies],
    };
  };
}

function callerOf({ id: accountId, name, isAdmin, epoch }: Account): AccountCaller {
  return { kind: "account", accountId, name, isAdmin, epoch, via: BY_PASSWORD, access: undefined };
}

/** Errors: FIELD_INVALID, NAME_INVALID, TAG_INVALID. */
function readQuestion({ action, repository, tag, project, account, isAnonymous, token }: ExplainQuery): Question {
  const invalid = (field: string, reason: string): ApiError =>
    new ApiError("FIELD_INVALID", { detail: [{ field: `query.${field}`, reason }] });
  if (isAnonymous === true && account !== undefined) throw invalid("account", "is given, and isAnonymous as well");
  if (isAnonymous === true && token !== undefined) throw invalid("token", "is given, and isAnonymous as well");
  if (isRepositoryAction(action)) {
    if (repository === undefined) throw invalid("repository", `is missing: ${action} is asked about a repository`);
    if (project !== undefined) throw invalid("project", "is in the name of the repository");
    return { kind: "repository", action, repository: parseRepositoryName(repository), tag: tag === undefined ? undefined : parseTag(tag) };
  }
  if (repository !== undefined) throw invalid("repository", `does not go with ${action}: give the project`);
  if (tag !== undefined) throw invalid("tag", `does not go with ${action}`);
  if (project === undefined) {
    if (isSystemAction(action)) return { kind: "registry", action };
    throw invalid("project", `is missing: ${action} is asked about a project`);
  }
  if (!isProjectAction(action)) throw invalid("project", `does not go with ${action}, which is asked about the registry`);
  return { kind: "project", action, project };
}

function isRepositoryAction(action: ExplainedAction): action is Action {
  return (REPOSITORY_ACTIONS as readonly string[]).includes(action);
}

function isProjectAction(action: ExplainedAction): action is ProjectPermission {
  return (PROJECT_PERMISSIONS as readonly string[]).includes(action);
}

function isSystemAction(action: ExplainedAction): action is SystemPermission | "administer" {
  return action === "administer" || (SYSTEM_PERMISSIONS as readonly string[]).includes(action);
}
