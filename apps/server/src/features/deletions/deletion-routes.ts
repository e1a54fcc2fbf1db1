// The operations on plans to delete, joined to their rules. Not here: the rules (deletions.ts).
import * as operations from "@berth/api/deletions";
import { addressOf } from "@berth/api/operation";
import { type ApiRoute, route, withHeaders } from "../api-route.ts";
import type { Deletions } from "./deletions.ts";

/** The routes of plans to delete. */
export function deletionRoutes(deletions: Deletions): ApiRoute[] {
  return [
    route(operations.createDeletionPlan, async ({ params, body }, { grant }) => {
      const plan = await deletions.create(grant, body);
      return withHeaders(plan, { location: addressOf(operations.getDeletionPlan, { ...params, plan: plan.id }) });
    }),
    route(operations.getDeletionPlan, ({ params }, { grant }) => deletions.get(grant, Number(params.plan))),
    route(operations.listDeletionItems, ({ params, query }, { grant }) => deletions.listItems(grant, Number(params.plan), query)),
    route(operations.runDeletionPlan, ({ params }, { caller, grant }) => deletions.run(caller, grant, Number(params.plan))),
    route(operations.cancelDeletionPlan, ({ params }, { grant }) => deletions.cancel(grant, Number(params.plan))),
  ];
}
