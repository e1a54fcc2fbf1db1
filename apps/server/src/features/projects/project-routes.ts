// The project operations, joined to their rules. Not here: the rules (projects.ts).
import * as operations from "@berth/api/projects";
import { addressOf } from "@berth/api/operation";
import { type ApiRoute, route, withHeaders } from "../api-route.ts";
import type { Projects } from "./projects.ts";

/** The routes of projects and members. */
export function projectRoutes(projects: Projects): ApiRoute[] {
  return [
    route(operations.listProjects, ({ query }, { caller }) => projects.list(caller, query)),
    route(operations.createProject, async ({ body }, { grant }) => {
      const project = await projects.create(grant, body);
      return withHeaders(project, { location: addressOf(operations.getProject, { project: project.name }) });
    }),
    route(operations.getProject, (_, { grant }) => projects.get(grant)),
    route(operations.updateProject, ({ body }, { grant }) => projects.update(grant, body)),
    route(operations.transferProject, ({ body }, { grant }) => projects.transfer(grant, body)),
    route(operations.deleteProject, async (_, { grant }) => {
      await projects.delete(grant);
      return undefined;
    }),
    route(operations.listMembers, ({ query }, { grant }) => projects.listMembers(grant, query)),
    route(operations.putMember, ({ params, body }, { grant }) => projects.putMember(grant, params.user, body)),
    route(operations.deleteMember, async ({ params }, { grant }) => {
      await projects.deleteMember(grant, params.user);
      return undefined;
    }),
  ];
}
