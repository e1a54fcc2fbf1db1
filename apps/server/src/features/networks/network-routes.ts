// The operations on networks, joined to their rules. Not here: the rules (networks.ts).
import { projectNetworks, projectRobotNetworks, registryRobotNetworks } from "@berth/api/networks";
import { type ApiRoute, route } from "../api-route.ts";
import type { Networks } from "./networks.ts";

/** The routes of networks. */
export function networkRoutes(networks: Networks): ApiRoute[] {
  return [
    route(projectNetworks.get, (_, { grant }) => networks.get(grant)),
    route(projectNetworks.put, ({ body }, { grant }) => networks.put(grant, body)),
    route(projectNetworks.delete, async (_, { grant }) => {
      await networks.delete(grant);
      return undefined;
    }),
    ...[projectRobotNetworks, registryRobotNetworks].flatMap((operations) => [
      route(operations.get, ({ params }, { grant }) => networks.getOfRobot(grant, params.robot)),
      route(operations.put, ({ params, body }, { grant }) => networks.putOfRobot(grant, params.robot, body)),
      route(operations.delete, async ({ params }, { grant }) => {
        await networks.deleteOfRobot(grant, params.robot);
        return undefined;
      }),
    ]),
  ];
}
