// Projects that come by the first push, where a setting lets them: who may create projects may push to one that does not exist, which is then made.
// Decisions are those of the authorizer around which this lies; it is asked only where that one refuses. Not here: making a project (features/projects).
import { RegistryError } from "@berth/oci/errors";
import { projectOf, type RepositoryName } from "@berth/oci/reference";
import type { Accounts } from "./accounts.ts";
import type { AccountGrant, Authorizer } from "./authorize.ts";
import type { Action, Caller, Grant } from "./caller.ts";
import type { ProjectCreation } from "./judge.ts";
import { opensApi } from "./personal-bound.ts";

/** What it needs. */
export interface FirstPushParts {
  readonly authorizer: Authorizer;
  readonly accounts: Pick<Accounts, "findStanding" | "forget">;
  /** `projects.createOnPush`. */
  readonly isOn: boolean;
  readonly projectCreation: () => ProjectCreation;
}

/** Makes a project of this name. Errors: PROJECT_EXISTS, PROJECTS_EXCEEDED. */
export type MakeProject = (grant: AccountGrant, name: string) => Promise<unknown>;

/** Proof that the caller may create the project to which it would push; undefined where it may not, or there is one. */
async function mayCreate(parts: FirstPushParts, caller: Caller, repository: RepositoryName): Promise<AccountGrant | undefined> {
  if (!parts.isOn || caller.kind === "anonymous") return undefined;
  // What a personal token may not create on the API it does not create by pushing.
  if (caller.personal !== undefined && !opensApi(caller.personal, true)) return undefined;
  if ((await parts.accounts.findStanding(caller.accountId, projectOf(repository))) !== undefined) return undefined;
  try {
    // A registry token says what may be done in repositories, and has been looked at.
    return await parts.authorizer.authorizeSystem({ ...caller, access: undefined }, "projects.create", parts.projectCreation());
  } catch (error) {
    if (error instanceof RegistryError && (error.code === "DENIED" || error.code === "UNAUTHORIZED")) return undefined;
    throw error;
  }
}

/** The authorizer of the token endpoint: tokens for a project that its first push would make let it be pushed. */
export function withFirstPushTokens(parts: FirstPushParts): Authorizer {
  const { authorizer, isOn } = parts;
  if (!isOn) return authorizer;
  return {
    ...authorizer,
    async allowed(caller, repository) {
      const rights = await authorizer.allowed(caller, repository);
      if (rights.size > 0 || (await mayCreate(parts, caller, repository)) === undefined) return rights;
      return new Set<Action>(["pull", "push"]);
    },
  };
}

/** The authorizer of pushes, which makes a project that is missing. */
export function withFirstPush(parts: FirstPushParts, make: MakeProject): Authorizer {
  const { authorizer, accounts, isOn } = parts;
  if (!isOn) return authorizer;

  async function afterRefusal<A extends Action>(
    refusal: unknown,
    caller: Caller,
    action: A,
    repository: RepositoryName,
  ): Promise<Grant<A>> {
    const isRefused = refusal instanceof RegistryError && (refusal.code === "DENIED" || refusal.code === "NAME_UNKNOWN");
    const isNamed = caller.access === undefined || caller.access.get(repository)?.has(action) === true;
    const grant = isRefused && isNamed ? await mayCreate(parts, caller, repository) : undefined;
    if (grant === undefined) throw refusal;
    const project = projectOf(repository);
    try {
      await make(grant, project);
    } catch (error) {
      const { code, message } = error as { readonly code?: string; readonly message: string };
      if (code === "PROJECTS_EXCEEDED") throw new RegistryError("DENIED", { message, detail: { project } });
      // Somebody was quicker, perhaps the caller by another request: what is there now decides.
      if (code !== "PROJECT_EXISTS") throw error;
      accounts.forget({ project });
    }
    return authorizer.authorize(caller, action, repository);
  }

  return {
    ...authorizer,
    authorize<A extends Action>(caller: Caller, action: A, repository: RepositoryName): Grant<A> | Promise<Grant<A>> {
      if (action !== "push") return authorizer.authorize(caller, action, repository);
      try {
        const granted = authorizer.authorize(caller, action, repository);
        return granted instanceof Promise
          ? granted.catch(async (error: unknown) => afterRefusal(error, caller, action, repository))
          : granted;
      } catch (error) {
        return afterRefusal(error, caller, action, repository);
      }
    },
  };
}
