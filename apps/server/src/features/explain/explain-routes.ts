// The operation that explains decisions, joined to its rule. Not here: the rule (explain.ts).
import { explainAccess } from "@berth/api/explain";
import { type ApiRoute, route } from "../api-route.ts";
import type { Explain } from "./explain.ts";

/** The routes of explanations. */
export function explainRoutes(explain: Explain): ApiRoute[] {
  return [route(explainAccess, ({ query }, { grant, caller }) => explain(grant, caller, query))];
}
