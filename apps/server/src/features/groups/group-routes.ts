// The operations on groups, joined to their rules. Not here: the rules (groups.ts).
import * as operations from "@berth/api/groups";
import { addressOf } from "@berth/api/operation";
import { type ApiRoute, route, withHeaders } from "../api-route.ts";
import type { Groups } from "./groups.ts";

/** The routes of groups, and of groups in projects. */
export function groupRoutes(groups: Groups): ApiRoute[] {
  return [
    route(operations.listGroups, ({ query }) => groups.list(query)),
    route(operations.createGroup, async ({ body }, { grant }) => {
      const group = await groups.create(grant, body);
      return withHeaders(group, { location: addressOf(operations.getGroup, { group: group.name }) });
    }),
    route(operations.getGroup, ({ params }) => groups.get(params.group)),
    route(operations.updateGroup, ({ params, body }, { grant }) => groups.update(grant, params.group, body)),
    route(operations.deleteGroup, async ({ params }, { grant }) => {
      await groups.delete(grant, params.group);
      return undefined;
    }),
    route(operations.listGroupMembers, ({ params, query }) => groups.listMembers(params.group, query)),
    route(operations.addGroupMember, ({ params }, { grant }) => groups.addMember(grant, params.group, params.user)),
    route(operations.removeGroupMember, async ({ params }, { grant }) => {
      await groups.removeMember(grant, params.group, params.user);
      return undefined;
    }),
    route(operations.listProjectGroups, ({ query }, { grant }) => groups.listOfProject(grant, query)),
    route(operations.putProjectGroup, ({ params, body }, { grant }) => groups.putInProject(grant, params.group, body)),
    route(operations.deleteProjectGroup, async ({ params }, { grant }) => {
      await groups.removeFromProject(grant, params.group);
      return undefined;
    }),
  ];
}
