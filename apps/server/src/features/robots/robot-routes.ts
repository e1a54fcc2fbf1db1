// The robot operations, joined to their rules: once for projects, once for the registry. Not here: the rules (robots.ts).
import { projectRobots, registryRobots } from "@berth/api/robots";
import { type ApiRoute, route } from "../api-route.ts";
import type { Robots } from "./robots.ts";

/** The routes of robots. */
export function robotRoutes(robots: Robots): ApiRoute[] {
  return [projectRobots, registryRobots].flatMap((operations) => [
    route(operations.list, ({ query }, { grant }) => robots.list(grant, query)),
    route(operations.create, ({ body }, { grant }) => robots.create(grant, body)),
    route(operations.get, ({ params }, { grant }) => robots.get(grant, params.robot)),
    route(operations.update, ({ params, body }, { grant }) => robots.update(grant, params.robot, body)),
    route(operations.rotateSecret, ({ params }, { grant }) => robots.rotateSecret(grant, params.robot)),
    route(operations.delete, async ({ params }, { grant }) => {
      await robots.delete(grant, params.robot);
      return undefined;
    }),
  ]);
}
