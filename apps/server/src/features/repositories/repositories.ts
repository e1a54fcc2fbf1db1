// Repositories on the control plane: lists of them, their content, their deletion.
// Not here: routes (repository-routes.ts), rows (repository-store.ts), the deletion itself (content/repositories.ts).
import { ApiError } from "@berth/api/errors";
import { DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE } from "@berth/api/limits";
import type { RegistryUsageView, RepositoryView } from "@berth/api/repositories";
import { RegistryError } from "@berth/oci/errors";
import type { Authorizer, ProjectGrant } from "../../access/authorize.ts";
import type { Caller, Grant } from "../../access/caller.ts";
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

/** The rules, for callers with the proof of their permission. Their errors are those of the operations of the same name. */
export interface ProjectRepositories {
  /** The repositories that the caller may pull from. */
  list(caller: Caller, grant: ProjectGrant, page: PageRequest): Promise<Listed<RepositoryView>>;
  /** The same one after the other. Errors: PROJECT_UNKNOWN, UNAUTHORIZED if the caller may not see them any more. */
  listAll(caller: Caller, grant: ProjectGrant): AsyncIterable<RepositoryView>;
  get(grant: Grant<"pull">): Promise<RepositoryView>;
  delete(grant: Grant<"delete">): Promise<void>;
  getUsage(): Promise<RegistryUsageView>;
}

/** Creates the rules. */
export function createProjectRepositories({ database, authorizer, repositories, places }: ProjectRepositoriesParts): ProjectRepositories {
  const rules: ProjectRepositories = {
    async list(caller, { projectId, projectName }, { after = "", limit = DEFAULT_PAGE_SIZE }) {
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
    async *listAll(caller, grant) {
      let after: string | null = "";
      let { renew } = grant;
      while (after !== null) {
        const page: Listed<RepositoryView> = await rules.list(caller, grant, { after, limit: MAX_PAGE_SIZE });
        // A page is empty if nothing is left, and also if the caller may see nothing any more: nobody may take a part for the whole.
        const present = await renew();
        if (present.projectId !== grant.projectId) throw new ApiError("PROJECT_UNKNOWN");
        ({ renew } = present);
        yield* page.items;
        after = page.next;
      }
    },
    async get({ repository }) {
      const [row] = await listRepositoryRows(database, [repository]);
      if (row === undefined) throw new ApiError("REPOSITORY_UNKNOWN");
      return toView(row);
    },
    async delete(grant) {
      try {
        await repositories.delete(grant);
      } catch (error) {
        if (error instanceof RegistryError && error.code === "NAME_UNKNOWN") throw new ApiError("REPOSITORY_UNKNOWN");
        throw error;
      }
    },
    async getUsage() {
      const { blobs, bytes } = await findRegistryUsage(database);
      return { blobs, sizeBytes: bytes };
    },
  };
  return rules;
}

function toView({ name, manifests, tags, blobs, bytes, createdAt, pushedAt, pulls, pulledAt }: RepositoryRow): RepositoryView {
  return {
    name,
    usage: { manifests, tags, blobs, sizeBytes: bytes },
    createdAt: createdAt.toISOString(),
    updatedAt: (pushedAt ?? createdAt).toISOString(),
    pulls,
    pulledAt: pulledAt?.toISOString() ?? null,
  };
}
