// Who may do what: the only maker of grants. Every decision looks at the caller's present rights, and at the token's bound.
// Not here: who the caller is (authenticate.ts), the tables of rights (roles.ts, robot-scopes.ts).
import { ApiError } from "@berth/api/errors";
import { RegistryError } from "@berth/oci/errors";
import { projectOf, type RepositoryName } from "@berth/oci/reference";
import type { Database } from "../platform/database/database.ts";
import type { Clock } from "../platform/clock.ts";
import type { Account } from "./account-store.ts";
import { isUsable, type Accounts, type ProjectStanding } from "./accounts.ts";
import type { AccountCaller, Action, Caller, Grant } from "./caller.ts";
import { CATALOG_SCOPE, scopeOf, UnauthorizedError } from "./challenge.ts";
import { listReadable, WHOLE, type Reach, type ReadableProject, type Reader } from "./readable-projects.ts";
import { actionsOfScopes, pullableProjects, pullableRanges } from "./robot-scopes.ts";
import { actionsOfRole, ALL_ACTIONS, NO_ACTIONS, permissionsOfRole, PULL_ONLY, type ProjectPermission } from "./roles.ts";

/** A decision of the control plane about a project. */
export interface ProjectGrant {
  readonly permission: ProjectPermission;
  readonly projectId: number;
  readonly projectName: string;
  readonly isPublic: boolean;
  /** Who acts; null for an anonymous reader of a public project. */
  readonly accountId: number | null;
}

/** Decides. Every method may also throw UNAVAILABLE. */
export interface Authorizer {
  /**
   * Proof that the caller may do the action. Errors: UNAUTHORIZED (anonymous, or a token that is bounded more than its account),
   * NAME_UNKNOWN (an account that may not pull, whether the repository exists or not), DENIED (it may not push or delete).
   * At once where the caller's rights are at hand.
   */
  authorize<A extends Action>(caller: Caller, action: A, repository: RepositoryName): Grant<A> | Promise<Grant<A>>;
  /** What the caller may do in a repository, its token's bound included; nothing where the project does not exist. */
  allowed(caller: Caller, repository: RepositoryName): Promise<ReadonlySet<Action>>;
  /**
   * Projects with something that the caller may pull, in the order of `sortKey`, after one (empty for the start).
   * Errors: UNAUTHORIZED for a token that does not name the catalog.
   */
  listReadableProjects(caller: Caller, afterSortKey: string, limit: number): Promise<ReadableProject[]>;
  /** Whether those are all that there are, and all in them. Errors: UNAUTHORIZED for a token that does not name the catalog. */
  readsEverything(caller: Caller): Promise<boolean>;
  /**
   * Proof that the caller may do that to a project on the control plane. Errors: UNAUTHORIZED, PROJECT_UNKNOWN (which a project that the
   * caller may not see is as well), DENIED.
   */
  authorizeProject(caller: Caller, permission: ProjectPermission, projectName: string): Promise<ProjectGrant>;
  /** The caller's account, for what any account may do. Errors: UNAUTHORIZED. */
  authorizeAccount(caller: Caller): Promise<Account>;
  /** The caller's account, which is a system administrator's. Errors: UNAUTHORIZED, DENIED. */
  authorizeAdministrator(caller: Caller): Promise<Account>;
}

/** Makes the authorizer. */
export function createAuthorizer(options: { accounts: Accounts; database: Database; clock: Clock }): Authorizer {
  const { accounts, database, clock } = options;

  // Undefined for anonymous. An account that went away, or was disabled, since the caller was recognised is refused here.
  function presentAccount(caller: Caller): Account | undefined | Promise<Account | undefined> {
    if (caller.kind === "anonymous") return undefined;
    const found = accounts.find(caller.accountId);
    return found instanceof Promise ? found.then((account) => present(caller, account)) : present(caller, found);
  }

  function present(caller: AccountCaller, account: Account | undefined): Account {
    if (account === undefined || !isUsable(account, clock.now()) || account.epoch !== caller.epoch) {
      throw new UnauthorizedError(caller.access === undefined ? {} : { reason: "invalid_token" });
    }
    return account;
  }

  function rightsIn(
    account: Account | undefined,
    standing: ProjectStanding | undefined,
    repository: RepositoryName,
  ): ReadonlySet<Action> | Promise<ReadonlySet<Action>> {
    // A robot's scopes are looked up whether the project exists or not: no difference in time either.
    if (account?.kind === "robot") return scopedActions(account, repository).then((scoped) => rightsWith(account, scoped, standing));
    return rightsWith(account, NO_ACTIONS, standing);
  }

  function rightsWith(
    account: Account | undefined,
    scoped: ReadonlySet<Action>,
    standing: ProjectStanding | undefined,
  ): ReadonlySet<Action> {
    if (standing === undefined) return NO_ACTIONS;
    if (account?.isAdmin === true) return ALL_ACTIONS;
    const own = account?.kind === "robot" ? scoped : standing.role === undefined ? NO_ACTIONS : actionsOfRole(standing.role);
    if (!standing.isPublic || own.has("pull")) return own;
    return own.size === 0 ? PULL_ONLY : new Set<Action>([...own, "pull"]);
  }

  async function scopedActions(robot: Account, repository: RepositoryName): Promise<ReadonlySet<Action>> {
    const projectName = robot.projectId === undefined ? undefined : await accounts.findProjectName(robot.projectId);
    if (robot.projectId !== undefined && projectName === undefined) return NO_ACTIONS;
    return actionsOfScopes(await accounts.findScopes(robot.id), projectName, repository);
  }

  async function allowed(caller: Caller, repository: RepositoryName): Promise<ReadonlySet<Action>> {
    const account = await presentAccount(caller);
    const rights = await rightsIn(account, await accounts.findStanding(account?.id, projectOf(repository)), repository);
    if (caller.access === undefined) return rights;
    return rights.intersection(caller.access.get(repository) ?? NO_ACTIONS);
  }

  function authorize<A extends Action>(caller: Caller, action: A, repository: RepositoryName): Grant<A> | Promise<Grant<A>> {
    const account = presentAccount(caller);
    if (account instanceof Promise) return authorizeLater(caller, action, repository, account);
    const standing = accounts.findStanding(account?.id, projectOf(repository));
    if (standing instanceof Promise) return authorizeLater(caller, action, repository, account, standing);
    const rights = rightsIn(account, standing, repository);
    if (rights instanceof Promise) return rights.then((known) => decide(caller, action, repository, account, standing, known));
    return decide(caller, action, repository, account, standing, rights);
  }

  async function authorizeLater<A extends Action>(
    caller: Caller,
    action: A,
    repository: RepositoryName,
    finding: Account | undefined | Promise<Account | undefined>,
    findingStanding?: Promise<ProjectStanding | undefined>,
  ): Promise<Grant<A>> {
    const account = await finding;
    const standing = await (findingStanding ?? accounts.findStanding(account?.id, projectOf(repository)));
    return decide(caller, action, repository, account, standing, await rightsIn(account, standing, repository));
  }

  function decide<A extends Action>(
    caller: Caller,
    action: A,
    repository: RepositoryName,
    account: Account | undefined,
    standing: ProjectStanding | undefined,
    rights: ReadonlySet<Action>,
  ): Grant<A> {
    const bound = caller.access?.get(repository);
    const isWithinBound = caller.access === undefined || bound?.has(action) === true;
    if (standing !== undefined && isWithinBound && rights.has(action)) {
      return { action, repository, projectId: standing.projectId, accountId: account?.id ?? null } as Grant<A>;
    }
    const scope = scopeOf(action, repository);
    if (account === undefined) {
      throw new UnauthorizedError(
        caller.access === undefined ? { scope } : { scope, reason: "insufficient_scope", message: "insufficient scope" },
      );
    }
    // A better token helps where this one was not asked for the repository, or for less than the account has.
    if (caller.access !== undefined && (bound === undefined || (!isWithinBound && rights.has(action)))) {
      throw new UnauthorizedError({ scope, reason: "insufficient_scope", message: "insufficient scope" });
    }
    if (account.isAdmin && standing === undefined) {
      const projectName = projectOf(repository);
      throw new RegistryError("NAME_UNKNOWN", {
        message: `project ${projectName} does not exist; create it first: POST /api/v1/projects {"name":"${projectName}"}`,
        detail: { name: repository },
      });
    }
    throw new RegistryError(action === "pull" ? "NAME_UNKNOWN" : "DENIED", { detail: { name: repository } });
  }

  /** Whose projects the caller may read, and how far into them. */
  async function readerOf(caller: Caller): Promise<{ reader: Reader; reach: Reach }> {
    if (caller.access !== undefined && caller.namesCatalog !== true) {
      throw new UnauthorizedError({ scope: CATALOG_SCOPE, reason: "insufficient_scope", message: "insufficient scope" });
    }
    const account = await presentAccount(caller);
    if (account === undefined) return { reader: "public", reach: WHOLE };
    if (account.kind !== "robot") return { reader: account.isAdmin ? "all" : { memberId: account.id }, reach: WHOLE };
    const projectName = account.projectId === undefined ? undefined : await accounts.findProjectName(account.projectId);
    if (account.projectId !== undefined && projectName === undefined) return { reader: "public", reach: WHOLE };
    const scopes = await accounts.findScopes(account.id);
    const names = pullableProjects(scopes, projectName);
    if (names === "all") return { reader: "all", reach: WHOLE };
    const mayPull = (repository: RepositoryName): boolean => actionsOfScopes(scopes, projectName, repository).has("pull");
    return { reader: { names }, reach: { ranges: pullableRanges(scopes), mayPull } };
  }

  async function listReadableProjects(caller: Caller, afterSortKey: string, limit: number): Promise<ReadableProject[]> {
    const { reader, reach } = await readerOf(caller);
    return listReadable(database, reader, afterSortKey, limit, reach);
  }

  // A token of the data plane says nothing about the control plane, so it opens none of it.
  function refuseToken(caller: Caller): void {
    if (caller.access !== undefined)
      throw new UnauthorizedError({ message: "a registry token does not open the API; send Basic credentials" });
  }

  async function authorizeAccount(caller: Caller): Promise<Account> {
    refuseToken(caller);
    const account = await presentAccount(caller);
    if (account === undefined) throw new UnauthorizedError();
    return account;
  }

  return {
    authorize,
    allowed,
    listReadableProjects,
    readsEverything: async (caller) => (await readerOf(caller)).reader === "all",
    authorizeAccount,
    async authorizeAdministrator(caller) {
      const account = await authorizeAccount(caller);
      if (!account.isAdmin) throw new RegistryError("DENIED");
      return account;
    },
    async authorizeProject(caller, permission, projectName) {
      refuseToken(caller);
      const account = await presentAccount(caller);
      const standing = await accounts.findStanding(account?.id, projectName);
      const robotReads = account?.kind === "robot" && (await robotSees(account, projectName));
      const isVisible =
        standing !== undefined && (standing.isPublic || standing.role !== undefined || account?.isAdmin === true || robotReads);
      const isAllowed =
        isVisible &&
        (account?.isAdmin === true ||
          permission === "project.read" ||
          (standing.role !== undefined && permissionsOfRole(standing.role).has(permission)));
      if (isAllowed) {
        const { projectId, name, isPublic } = standing;
        return { permission, projectId, projectName: name, isPublic, accountId: account?.id ?? null };
      }
      if (account === undefined) throw new UnauthorizedError();
      throw isVisible ? new RegistryError("DENIED") : new ApiError("PROJECT_UNKNOWN");
    },
  };

  async function robotSees(robot: Account, projectName: string): Promise<boolean> {
    const own = robot.projectId === undefined ? undefined : await accounts.findProjectName(robot.projectId);
    if (robot.projectId !== undefined && own === undefined) return false;
    const names = pullableProjects(await accounts.findScopes(robot.id), own);
    return names === "all" || names.includes(projectName);
  }
}
