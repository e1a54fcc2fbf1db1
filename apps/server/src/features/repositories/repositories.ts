// Repositories on the control plane: who sees which, and who may delete one. What somebody may not pull from looks like what is not there.
// Not here: routes (repository-routes.ts), rows (repository-store.ts), what a deletion is (content/repositories.ts).
import { ApiError } from "@berth/api/errors";
import { DEFAULT_PAGE_SIZE } from "@berth/api/fields";
import type { RegistryUsageView, RepositoryView } from "@berth/api/repositories";
import { RegistryError } from "@berth/oci/errors";
import { MAX_REPOSITORY_NAME_LENGTH, parseRepositoryName, type RepositoryName } from "@berth/oci/reference";
import type { Authorizer } from "../../access/authorize.ts";
import type { Action, Caller } from "../../access/caller.ts";
import { UnauthorizedError } from "../../access/challenge.ts";
import type { Repositories } from "../../content/repositories.ts";
import { findRegistryUsage } from "../../content/usage.ts";
import type { ListPlaces } from "../../distribution/list-places.ts";
import { beforeKey, effortOfRequest, listNamesIn } from "../../distribution/readable-names.ts";
import type { Database } from "../../platform/database/database.ts";
import { listed, type Listed, type PageRequest } from "../paging.ts";
import { listRepositoryRows, type RepositoryRow } from "./repository-store.ts";

/** What the rules need. */
export interface ProjectRepositoriesParts {
  readonly database: Database;
  readonly authorizer: Authorizer;
  readonly repositories: Repositories;
  readonly places: ListPlaces;
}

/** The rules. Each method authorizes its caller first; their errors are those of the operations of the same name. */
export interface ProjectRepositories {
  list(caller: Caller, projectName: string, page: PageRequest): Promise<Listed<RepositoryView>>;
  get(caller: Caller, projectName: string, path: string): Promise<RepositoryView>;
  delete(caller: Caller, projectName: string, path: string): Promise<void>;
  getUsage(caller: Caller): Promise<RegistryUsageView>;
}

/** Makes the rules. */
export function createProjectRepositories({ database, authorizer, repositories, places }: ProjectRepositoriesParts): ProjectRepositories {
  /** A repository's name and what the caller may do there. Errors: PROJECT_UNKNOWN, REPOSITORY_UNKNOWN. */
  async function rightsIn(
    caller: Caller,
    projectName: string,
    path: string,
  ): Promise<{ name: RepositoryName; rights: ReadonlySet<Action> }> {
    await authorizer.authorizeProject(caller, "project.read", projectName);
    const text = `${projectName}/${path}`;
    if (text.length > MAX_REPOSITORY_NAME_LENGTH) throw new ApiError("REPOSITORY_UNKNOWN");
    const name = parseRepositoryName(text);
    const rights = await authorizer.allowed(caller, name);
    if (rights.size === 0) throw new ApiError("REPOSITORY_UNKNOWN");
    return { name, rights };
  }

  return {
    async list(caller, projectName, { after = "", limit = DEFAULT_PAGE_SIZE }) {
      const { projectId } = await authorizer.authorizeProject(caller, "project.read", projectName);
      const key = `${projectName}/`;
      const [project] = await authorizer.listReadableProjects(caller, beforeKey(key), 1);
      if (project?.id !== projectId) return { items: [], next: null };
      // Names are told whole, and a page goes on behind one, or where what a request may examine was examined.
      const { names, stoppedAt } = await listNamesIn(repositories, project, places.reveal(after), limit + 1, effortOfRequest());
      const toViews = async (shown: readonly string[]): Promise<(RepositoryView | undefined)[]> => {
        const views = new Map((await listRepositoryRows(database, shown)).map((row) => [row.name, toView(row)]));
        return shown.map((name) => views.get(name));
      };
      const { items, next } = await listed(names, limit, toViews, (name) => name);
      return { items, next: next ?? (stoppedAt === undefined ? null : places.hide(stoppedAt)) };
    },
    async get(caller, projectName, path) {
      const { name, rights } = await rightsIn(caller, projectName, path);
      const [row] = rights.has("pull") ? await listRepositoryRows(database, [name]) : [];
      if (row === undefined) throw new ApiError("REPOSITORY_UNKNOWN");
      return toView(row);
    },
    async delete(caller, projectName, path) {
      const { name, rights } = await rightsIn(caller, projectName, path);
      if (!rights.has("delete")) throw caller.kind === "anonymous" ? new UnauthorizedError() : new RegistryError("DENIED");
      const grant = await authorizer.authorize(caller, "delete", name);
      try {
        await repositories.delete(grant);
      } catch (error) {
        if (error instanceof RegistryError && error.code === "NAME_UNKNOWN") throw new ApiError("REPOSITORY_UNKNOWN");
        throw error;
      }
    },
    async getUsage(caller) {
      await authorizer.authorizeAdministrator(caller);
      const { blobs, bytes } = await findRegistryUsage(database);
      return { blobs, sizeBytes: bytes };
    },
  };
}

function toView({ name, manifests, tags, blobs, bytes, createdAt, pushedAt }: RepositoryRow): RepositoryView {
  return {
    name,
    usage: { manifests, tags, blobs, sizeBytes: bytes },
    createdAt: createdAt.toISOString(),
    updatedAt: (pushedAt ?? createdAt).toISOString(),
  };
}
