// The repository operations, joined to their rules. Not here: the rules (repositories.ts).
import * as operations from "@berth/api/repositories";
import { type ApiRoute, route } from "../api-route.ts";
import type { ProjectRepositories } from "./repositories.ts";

/** The routes of repositories and of the registry's usage. */
export function repositoryRoutes(repositories: ProjectRepositories): ApiRoute[] {
  return [
    route(operations.listRepositories, ({ query }, { caller, grant }) => repositories.list(caller, grant, query)),
    route(operations.exportRepositories, (_, { caller, grant }) => repositories.listAll(caller, grant)),
    route(operations.getRepository, (_, { grant }) => repositories.get(grant)),
    route(operations.deleteRepository, async (_, { grant }) => {
      await repositories.delete(grant);
      return undefined;
    }),
    route(operations.getUsage, () => repositories.getUsage()),
  ];
}
