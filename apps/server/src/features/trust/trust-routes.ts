// The operations on trust rules, joined to their rules. Not here: the rules (trust.ts).
import { projectTrust, registryTrust } from "@berth/api/trust";
import { type ApiRoute, route } from "../api-route.ts";
import type { Trust } from "./trust.ts";

/** The routes of trust rules. */
export function trustRoutes(trust: Trust): ApiRoute[] {
  return [projectTrust, registryTrust].flatMap((each) => [
    route(each.list, ({ params, query }, { grant }) => trust.list(grant, params.robot, query)),
    route(each.put, ({ params, body }, { grant }) => trust.put(grant, params.robot, params.rule, body)),
    route(each.delete, async ({ params }, { grant }) => {
      await trust.delete(grant, params.robot, params.rule);
      return undefined;
    }),
    route(each.test, ({ body }, { grant }) => trust.test(grant, body)),
  ]);
}
