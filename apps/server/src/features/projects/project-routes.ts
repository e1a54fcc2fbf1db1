// The project operations, joined to their rules. Not here: the rules (projects.ts).
import { route, type Route } from "@berth/api/operation";
import * as operations from "@berth/api/projects";
import type { ApiContext } from "../api-context.ts";
import type { Projects } from "./projects.ts";

/** The routes of projects and members. */
export function projectRoutes(projects: Projects): Route<ApiContext>[] {
  return [
    route(operations.listProjects, ({ query }, { caller }: ApiContext) => projects.list(caller, query)),
    route(operations.createProject, ({ body }, { caller }: ApiContext) => projects.create(caller, body)),
    route(operations.getProject, ({ params }, { caller }: ApiContext) => projects.get(caller, params.project)),
    route(operations.updateProject, ({ params, body }, { caller }: ApiContext) => projects.update(caller, params.project, body)),
    route(operations.deleteProject, async ({ params }, { caller }: ApiContext) => {
      await projects.delete(caller, params.project);
      return undefined;
    }),
    route(operations.listMembers, ({ params, query }, { caller }: ApiContext) => projects.listMembers(caller, params.project, query)),
    route(operations.putMember, ({ params, body }, { caller }: ApiContext) =>
      projects.putMember(caller, params.project, params.user, body.role),
    ),
    route(operations.deleteMember, async ({ params }, { caller }: ApiContext) => {
      await projects.deleteMember(caller, params.project, params.user);
      return undefined;
    }),
  ];
}
