// The repository operations, joined to their rules. Not here: the rules (repositories.ts).
import { route, type Route } from "@berth/api/operation";
import * as operations from "@berth/api/repositories";
import type { ApiContext } from "../api-context.ts";
import type { ProjectRepositories } from "./repositories.ts";

/** The routes of repositories and of the registry's usage. */
export function repositoryRoutes(repositories: ProjectRepositories): Route<ApiContext>[] {
  return [
    route(operations.listRepositories, ({ params, query }, { caller }: ApiContext) => repositories.list(caller, params.project, query)),
    route(operations.getRepository, ({ params }, { caller }: ApiContext) => repositories.get(caller, params.project, params.repository)),
    route(operations.deleteRepository, async ({ params }, { caller }: ApiContext) => {
      await repositories.delete(caller, params.project, params.repository);
      return undefined;
    }),
    route(operations.getUsage, (_input, { caller }: ApiContext) => repositories.getUsage(caller)),
  ];
}
