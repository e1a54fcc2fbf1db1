// The operations on jobs, joined to their rules. Not here: the rules (jobs.ts).
import * as operations from "@berth/api/jobs";
import { type ApiRoute, route } from "../api-route.ts";
import type { Jobs } from "./jobs.ts";

/** The routes of jobs. */
export function jobRoutes(jobs: Jobs): ApiRoute[] {
  return [
    route(operations.listJobs, ({ query }, { caller }) => jobs.list(caller, query)),
    route(operations.getJob, ({ params }) => jobs.get(Number(params.job))),
    route(operations.followJob, ({ params }, { grant, lastEventId, signal }) =>
      jobs.follow(grant, Number(params.job), lastEventId, signal),
    ),
    route(operations.cancelJob, ({ params }, { grant }) => jobs.cancel(grant, Number(params.job))),
    route(operations.retryJob, ({ params }, { grant }) => jobs.retry(grant, Number(params.job))),
  ];
}
