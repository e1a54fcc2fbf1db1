// Authorization: the only code that creates grants. Every decision checks the caller's present rights and the token's bound, and it ages:
// writers have it renewed (granted-transaction.ts).
// Not here: who the caller is (authenticate.ts), the rules of rights (rights.ts, roles.ts, robot-scopes.ts).
import { ApiError } from "@berth/api/errors";
import type { ProjectPermission, SystemPermission } from "@berth/api/permissions";
import { RegistryError } from "@berth/oci/errors";
import { projectOf, type RepositoryName } from "@berth/oci/reference";
import type { Database, Executor } from "../platform/database/database.ts";
import type { Clock } from "../platform/clock.ts";
import type { Account } from "./account-store.ts";
import { type Actor, actorOf, systemActor } from "./actor.ts";
import { isUsable, type Accounts, type Rights } from "./accounts.ts";
import type { AccountCaller, Action, Caller, Grant, Renewable } from "./caller.ts";
import { CATALOG_SCOPE, scopeOf, UnauthorizedError } from "./challenge.ts";
import { shortReason } from "./explain-words.ts";
import { type Facts, judge, judgeProject, judgeSystem, type ProjectCreation, rightsOfRobot, robotReads, type Ruling } from "./judge.ts";
import { type ProjectTrait, refuseUnknownTraits, traitsRefusal } from "./project-traits.ts";
import { listReadable, WHOLE, type Reach, type ReadableProject, type Reader } from "./readable-projects.ts";
import { isLive, type Credential } from "./credential-store.ts";
import { boundActions } from "./personal-bound.ts";
import { boundOf, personalOf, reachOf, refuseToken } from "./bounds.ts";
import { pullableProjects, pullableRanges, type RepositoryRights, rightsOfScopes } from "./robot-scopes.ts";
import {
  apiBeyondToken,
  INVALID_TOKEN,
  notLoggedIn,
  projectMissing,
  projectRightMissing,
  rightMissing,
  systemRightMissing,
} from "./refusals.ts";
import { NO_RIGHTS, rightsIn } from "./rights.ts";
import { awayIn, awayInProject, because, hideAway, isAway, refuseAway } from "./network-rules.ts";
import { NO_ACTIONS } from "./roles.ts";
import type { ProjectStanding } from "./standing-store.ts";

/** A decision of the control plane about a project. */
export interface ProjectGrant extends Renewable<ProjectGrant> {
  readonly permission: ProjectPermission;
  readonly projectId: number;
  readonly projectName: string;
  readonly isPublic: boolean;
  /** The actor; also an anonymous reader of a public project. */
  readonly actor: Actor;
}

/** A decision of the control plane about an account, for operations outside of projects. */
export interface AccountGrant extends Renewable<AccountGrant> {
  readonly account: Account;
  readonly actor: Actor;
}

/** Decides. Every method may also throw UNAVAILABLE. */
export interface Authorizer {
  /**
   * Proof that the caller may do the action. Errors: UNAUTHORIZED (anonymous, or a token that is bounded more than its account),
   * NAME_UNKNOWN (an account that may not pull, whether or not the repository exists), DENIED (it may not push or delete, or nobody may
   * push to the project), PROJECT_NEWER (it may, in a project with an unknown trait).
   * Synchronous if the caller's rights are cached.
   */
  authorize<A extends Action>(caller: Caller, action: A, repository: RepositoryName): Grant<A> | Promise<Grant<A>>;
  /** The actions that the caller may do in a repository, within its token's bound; none if the project does not exist. */
  allowed(caller: Caller, repository: RepositoryName): Promise<ReadonlySet<Action>>;
  /**
   * Projects with something that the caller may pull, in the order of `sortKey`, after one (empty for the start).
   * Errors: UNAUTHORIZED for a token that does not name the catalog.
   */
  listReadableProjects(caller: Caller, afterSortKey: string, limit: number): Promise<ReadableProject[]>;
  /** Whether the caller may read all projects completely. Errors: UNAUTHORIZED for a token that does not name the catalog. */
  readsEverything(caller: Caller): Promise<boolean>;
  /**
   * Proof that the caller has the permission for a project on the control plane. Errors: UNAUTHORIZED, PROJECT_UNKNOWN (also for a project
   * that the caller may not see), DENIED.
   */
  authorizeProject(caller: Caller, permission: ProjectPermission, projectName: string): Promise<ProjectGrant>;
  /** The caller's account, for operations that any account may do. Errors: UNAUTHORIZED. */
  authorizeAccount(caller: Caller): Promise<AccountGrant>;
  /** The caller's account, which is a system administrator's. Errors: UNAUTHORIZED, DENIED. */
  authorizeAdministrator(caller: Caller): Promise<AccountGrant>;
  /** The caller's account, if its role in the whole registry has the permission; `creation`: or everybody has it. Errors: UNAUTHORIZED, DENIED. */
  authorizeSystem(caller: Caller, may: SystemPermission, creation?: ProjectCreation): Promise<AccountGrant>;
}

/** Decides for work without a caller. No request handler has one, except the code that stores an upstream's answers. */
export interface SystemAuthorizer {
  /**
   * Proof that a job may do the action in a repository: always, as long as its project exists and is the same; and has the trait, if the
   * job is done for one. `job` is the actor's name in records. Errors: NAME_UNKNOWN, PROJECT_NEWER.
   */
  asSystem<A extends Action>(job: string, action: A, repository: RepositoryName, trait?: ProjectTrait): Promise<Grant<A>>;
}

/** The age at which a decision is renewed: together with the age of the cached rights (accounts.ts), a second. */
const RENEW_AFTER_MS = 500;

/** The basis of a decision, and its time. */
interface Asking {
  readonly caller: Caller;
  readonly rights: Rights;
  /** The value of `Accounts.changes` before anything was looked up. */
  readonly changes: number;
  readonly askedAt: number;
}

/** Creates the authorizer. */
export function createAuthorizer(options: { accounts: Accounts; database: Database; clock: Clock }): Authorizer & SystemAuthorizer {
  const { accounts, database, clock } = options;

  /** Prepares a decision, from the cache or in a transaction. */
  function ask(caller: Caller, tx?: Executor): Asking {
    const rights = tx === undefined ? accounts : accounts.seenBy(tx);
    return { caller, rights, changes: accounts.changes(), askedAt: clock.now() };
  }

  function isCurrent({ caller, changes, askedAt }: Asking): boolean {
    const now = clock.now();
    return (caller.accessEndsAt === undefined || caller.accessEndsAt > now) && isRecent(changes, askedAt, now);
  }

  function isRecent(changes: number, askedAt: number, now = clock.now()): boolean {
    // The clock may have been set back.
    return changes === accounts.changes() && now >= askedAt && now - askedAt < RENEW_AFTER_MS;
  }

  // Undefined for anonymous. An account that was deleted, or disabled, after the caller was authenticated is refused here.
  function presentAccount({ caller, rights, askedAt }: Asking): Account | undefined | Promise<Account | undefined> {
    if (caller.accessEndsAt !== undefined && caller.accessEndsAt <= askedAt) {
      throw new UnauthorizedError({ reason: "invalid_token", message: "the token has expired" });
    }
    if (caller.kind === "anonymous") return undefined;
    const found = rights.find(caller.accountId);
    const credential = caller.credentialId === undefined ? undefined : rights.findCredential(caller.credentialId);
    if (!(found instanceof Promise) && !(credential instanceof Promise)) return present(caller, found, credential, askedAt);
    return Promise.all([found, credential]).then(([account, made]) => present(caller, account, made, askedAt));
  }

  function rightsOf(
    rights: Rights,
    account: Account | undefined,
    standing: ProjectStanding | undefined,
    repository: RepositoryName,
  ): RepositoryRights | Promise<RepositoryRights> {
    // A robot's scopes are looked up whether the project exists or not: no difference in time either.
    if (account?.kind === "robot")
      return scopedRights(rights, account, repository).then((scoped) => rightsIn(account, scoped, standing, repository));
    return rightsIn(account, undefined, standing, repository);
  }

  async function allowed(caller: Caller, repository: RepositoryName): Promise<ReadonlySet<Action>> {
    const account = await presentAccount(ask(caller));
    const standing = await accounts.findStanding(account?.id, projectOf(repository));
    const { actions } = await rightsOf(accounts, account, standing, repository);
    if (standing?.traits !== undefined && isAway(standing, caller)) return NO_ACTIONS;
    const bound = boundOf(caller, repository);
    return bound === undefined ? actions : actions.intersection(bound);
  }

  function authorize<A extends Action>(asking: Asking, action: A, repository: RepositoryName): Grant<A> | Promise<Grant<A>> {
    const { rights } = asking;
    const account = presentAccount(asking);
    if (account instanceof Promise) return authorizeLater(asking, action, repository, account);
    const standing = rights.findStanding(account?.id, projectOf(repository));
    if (standing instanceof Promise) return authorizeLater(asking, action, repository, account, standing);
    const actions = rightsOf(rights, account, standing, repository);
    if (actions instanceof Promise) return actions.then((known) => decide(asking, action, repository, account, standing, known));
    return decide(asking, action, repository, account, standing, actions);
  }

  async function authorizeLater<A extends Action>(
    asking: Asking,
    action: A,
    repository: RepositoryName,
    finding: Account | undefined | Promise<Account | undefined>,
    findingStanding?: Promise<ProjectStanding | undefined>,
  ): Promise<Grant<A>> {
    const account = await finding;
    const standing = await (findingStanding ?? asking.rights.findStanding(account?.id, projectOf(repository)));
    return decide(asking, action, repository, account, standing, await rightsOf(asking.rights, account, standing, repository));
  }

  function decide<A extends Action>(
    asking: Asking,
    action: A,
    repository: RepositoryName,
    account: Account | undefined,
    standing: ProjectStanding | undefined,
    found: RepositoryRights,
  ): Grant<A> {
    const { caller } = asking;
    // Before what a registry token names: one that was given there names nothing of it. For who has no right of his own the project is not there.
    const away = standing?.traits === undefined ? undefined : awayIn(standing, caller, found, repository);
    const { actions: rights, tags } = away === undefined ? found : NO_RIGHTS;
    const facts: Facts = { caller, account, standing: away === undefined ? standing : undefined };
    const ruling = judge(facts, rights, action, repository);
    if (ruling === "allowed") {
      const { projectId, traits } = standing!;
      const grant = {
        action,
        repository,
        projectId,
        traits,
        tags: tags?.get(action),
        actor: actorOf(account, caller),
        renew: (tx?: Executor) => (isCurrent(asking) ? grant : authorize(ask(caller, tx), action, repository)),
      } as Grant<A>;
      return grant;
    }
    const refusal = refusalOf(ruling, facts, rights, { action, repository });
    throw away === undefined ? refusal : because(refusal, away);
  }

  /** `known`: the project of the first decision, which another project of the same name does not replace. */
  async function asSystem<A extends Action>(
    asked: { job: string; action: A; repository: RepositoryName; trait: ProjectTrait | undefined; known?: number },
    tx?: Executor,
  ): Promise<Grant<A>> {
    const { job, action, repository } = asked;
    const [changes, askedAt] = [accounts.changes(), clock.now()];
    const standing = await (tx === undefined ? accounts : accounts.seenBy(tx)).findStanding(undefined, projectOf(repository));
    if (!isProjectOf(asked, standing)) throw new RegistryError("NAME_UNKNOWN", { detail: { repository } });
    const { projectId, traits } = standing;
    if (traits !== undefined) refuseUnknownTraits(projectId, traits);
    const grant = {
      action,
      repository,
      projectId,
      traits,
      tags: undefined,
      actor: systemActor(job),
      renew: (later?: Executor) => (isRecent(changes, askedAt) ? grant : asSystem({ ...asked, known: projectId }, later)),
    } as Grant<A>;
    return grant;
  }

  /** Which projects the caller may read, and which part of them. */
  async function readerOf(caller: Caller): Promise<{ reader: Reader; reach: Reach }> {
    if (caller.access !== undefined && caller.namesCatalog !== true) {
      throw new UnauthorizedError({ scope: CATALOG_SCOPE, reason: "insufficient_scope", message: "insufficient scope" });
    }
    return readerFor(accounts, await presentAccount(ask(caller)), caller);
  }

  async function listReadableProjects(caller: Caller, afterSortKey: string, limit: number): Promise<ReadableProject[]> {
    const { reader, reach } = await readerOf(caller);
    const projects = await listReadable(database, reader, afterSortKey, limit, reach);
    // A personal token bounds what is public as well.
    const bound = caller.kind === "account" && caller.personal !== undefined ? reach : undefined;
    return projects.map((project) => hideAway(bound === undefined ? project : { ...project, reach: bound }, accounts.readTraits, caller));
  }

  async function authorizeAccount(asking: Asking): Promise<AccountGrant> {
    refuseToken(asking.caller);
    const account = await presentAccount(asking);
    if (account === undefined) throw new UnauthorizedError();
    const grant: AccountGrant = {
      account,
      actor: actorOf(account, asking.caller),
      renew: (tx) => (isCurrent(asking) ? grant : authorizeAccount(ask(asking.caller, tx))),
    };
    return grant;
  }

  async function authorizeSystem(asking: Asking, may: SystemPermission | "administer", creation: ProjectCreation): Promise<AccountGrant> {
    const { account, actor } = await authorizeAccount(asking);
    const ruling = judgeSystem({ caller: asking.caller, account }, may, creation);
    if (ruling === "personal-token") throw apiBeyondToken(personalOf(asking.caller)!, true);
    if (ruling !== "allowed") throw systemRightMissing(account, may);
    const grant: AccountGrant = {
      account,
      actor,
      renew: (tx) => (isCurrent(asking) ? grant : authorizeSystem(ask(asking.caller, tx), may, creation)),
    };
    return grant;
  }

  async function authorizeProject(asking: Asking, permission: ProjectPermission, projectName: string): Promise<ProjectGrant> {
    refuseToken(asking.caller);
    const account = await presentAccount(asking);
    const found = await asking.rights.findStanding(account?.id, projectName);
    const reads = account?.kind === "robot" && (await robotSees(asking.rights, account, projectName));
    const away = awayInProject({ caller: asking.caller, account, standing: found }, reads);
    const standing = away === undefined ? found : undefined;
    const ruling = judgeProject({ caller: asking.caller, account, standing }, reads, permission, projectName);
    if (ruling === "allowed") {
      const { projectId, name, isPublic } = standing!;
      const grant: ProjectGrant = {
        permission,
        projectId,
        projectName: name,
        isPublic,
        actor: actorOf(account, asking.caller),
        renew: (tx) => (isCurrent(asking) ? grant : authorizeProject(ask(asking.caller, tx), permission, projectName)),
      };
      return grant;
    }
    if (ruling === "personal-token") throw apiBeyondToken(personalOf(asking.caller)!, true);
    if (ruling === "right-missing") throw projectRightMissing(account!, permission, projectName);
    const refusal = ruling === "anonymous" ? new UnauthorizedError() : new ApiError("PROJECT_UNKNOWN");
    throw away === undefined ? refusal : because(refusal, away);
  }

  async function robotSees(rights: Rights, robot: Account, projectName: string): Promise<boolean> {
    const own = robot.projectId === undefined ? undefined : await rights.findProjectName(robot.projectId);
    if (robot.projectId !== undefined && own === undefined) return false;
    return robotReads(await rights.findScopes(robot.id), own, projectName);
  }

  return {
    authorize: (caller, action, repository) => authorize(ask(caller), action, repository),
    asSystem: (job, action, repository, trait) => asSystem({ job, action, repository, trait }),
    allowed,
    listReadableProjects,
    readsEverything: async (caller) => isEverything(await readerOf(caller)),
    authorizeAccount: async (caller) => authorizeAccount(ask(caller)),
    authorizeAdministrator: async (caller) => authorizeSystem(ask(caller), "administer", "administrators"),
    authorizeSystem: async (caller, may, creation = "administrators") => authorizeSystem(ask(caller), may, creation),
    authorizeProject: async (caller, permission, projectName) => authorizeProject(ask(caller), permission, projectName),
  };
}

/** Whether it is the project that a job's grant is for. */
function isProjectOf(
  { known, trait }: { readonly known?: number; readonly trait: ProjectTrait | undefined },
  standing: ProjectStanding | undefined,
): standing is ProjectStanding {
  const isWithout = trait !== undefined && standing?.traits?.has(trait) !== true;
  return !(standing === undefined || isWithout || (known !== undefined && known !== standing.projectId));
}

function present(caller: AccountCaller, account: Account | undefined, credential: Credential | undefined, now: number): Account {
  const isGone =
    account === undefined ||
    !isUsable(account, now) ||
    account.epoch !== caller.epoch ||
    // Revoked, or its time is over.
    (caller.credentialId !== undefined && !isLive(credential, account, now));
  if (isGone) {
    throw new UnauthorizedError(caller.access === undefined ? {} : { reason: "invalid_token", message: INVALID_TOKEN });
  }
  refuseAway(account, caller);
  return account;
}

function isEverything({ reader, reach }: { readonly reader: Reader; readonly reach: Reach }): boolean {
  return reader === "all" && reach === WHOLE;
}

/** Which projects an account may read, and which part of them; undefined: anonymous. */
async function readerFor(accounts: Accounts, account: Account | undefined, caller: Caller): Promise<{ reader: Reader; reach: Reach }> {
  if (account === undefined) return { reader: "public", reach: WHOLE };
  if (account.kind !== "robot")
    return { reader: account.isAdmin || account.isAuditor ? "all" : { memberId: account.id }, reach: reachOf(caller) };
  const projectName = account.projectId === undefined ? undefined : await accounts.findProjectName(account.projectId);
  if (account.projectId !== undefined && projectName === undefined) return { reader: "public", reach: WHOLE };
  const scopes = await accounts.findScopes(account.id);
  const names = pullableProjects(scopes, projectName);
  if (names === "all") return { reader: "all", reach: WHOLE };
  const mayPull = (repository: RepositoryName): boolean => rightsOfScopes(scopes, projectName, repository).actions.has("pull");
  return { reader: { names }, reach: { ranges: pullableRanges(scopes), mayPull } };
}

/** The error of a ruling that refuses. */
function refusalOf(
  ruling: Exclude<Ruling, "allowed">,
  { caller, account, standing }: Facts,
  rights: ReadonlySet<Action>,
  { action, repository }: { readonly action: Action; readonly repository: RepositoryName },
): RegistryError {
  switch (ruling) {
    case "project-closed":
    case "project-newer":
      return traitsRefusal(standing!.traits!, { repository, projectId: standing!.projectId });
    case "anonymous":
      return notLoggedIn(caller, action, repository);
    case "personal-token": {
      // The same whatever its user may and whatever is there, since who has the token alone is told no more than it lets through.
      const personal = (caller as AccountCaller).personal!;
      const sees = rights.has("pull") && boundActions(personal, repository).has("pull");
      return rightMissing(account!, action, repository, { sees, token: personal.token });
    }
    case "registry-token":
      return new UnauthorizedError({ scope: scopeOf(action, repository), reason: "insufficient_scope", message: "insufficient scope" });
    case "project-missing":
      return projectMissing(action, repository);
    case "right-missing":
      return rightMissing(account!, action, repository, { sees: rights.has("pull"), why: shortReason(account!, standing, action) });
  }
}

/** What a robot's scopes let it do; undefined where its project is gone. */
async function scopedRights(rights: Rights, robot: Account, repository: RepositoryName): Promise<RepositoryRights | undefined> {
  const projectName = robot.projectId === undefined ? undefined : await rights.findProjectName(robot.projectId);
  if (robot.projectId !== undefined && projectName === undefined) return undefined;
  return rightsOfRobot(robot, projectName, await rights.findScopes(robot.id), repository);
}
