// The robot operations, joined to their rules: once for projects, once for the registry. Not here: the rules (robots.ts).
import { route, type Route } from "@berth/api/operation";
import { projectRobots, registryRobots } from "@berth/api/robots";
import type { ApiContext } from "../api-context.ts";
import type { Robots } from "./robots.ts";

/** The routes of robots. */
export function robotRoutes(robots: Robots): Route<ApiContext>[] {
  return [
    route(projectRobots.list, ({ params, query }, { caller }: ApiContext) => robots.list(caller, params.project, query)),
    route(projectRobots.create, ({ params, body }, { caller }: ApiContext) => robots.create(caller, params.project, body)),
    route(projectRobots.get, ({ params }, { caller }: ApiContext) => robots.get(caller, params.project, params.robot)),
    route(projectRobots.update, ({ params, body }, { caller }: ApiContext) => robots.update(caller, params.project, params.robot, body)),
    route(projectRobots.rotateSecret, ({ params }, { caller }: ApiContext) => robots.rotateSecret(caller, params.project, params.robot)),
    route(projectRobots.delete, async ({ params }, { caller }: ApiContext) => {
      await robots.delete(caller, params.project, params.robot);
      return undefined;
    }),
    route(registryRobots.list, ({ query }, { caller }: ApiContext) => robots.list(caller, undefined, query)),
    route(registryRobots.create, ({ body }, { caller }: ApiContext) => robots.create(caller, undefined, body)),
    route(registryRobots.get, ({ params }, { caller }: ApiContext) => robots.get(caller, undefined, params.robot)),
    route(registryRobots.update, ({ params, body }, { caller }: ApiContext) => robots.update(caller, undefined, params.robot, body)),
    route(registryRobots.rotateSecret, ({ params }, { caller }: ApiContext) => robots.rotateSecret(caller, undefined, params.robot)),
    route(registryRobots.delete, async ({ params }, { caller }: ApiContext) => {
      await robots.delete(caller, undefined, params.robot);
      return undefined;
    }),
  ];
}
