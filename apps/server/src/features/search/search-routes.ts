// The operation that searches, joined to its rule. Not here: the rule (search.ts).
import { search as operation } from "@berth/api/search";
import { type ApiRoute, route } from "../api-route.ts";
import type { Search } from "./search.ts";

/** The routes of searches. */
export function searchRoutes(search: Search): ApiRoute[] {
  return [route(operation, ({ query }, { caller }) => search(caller, query))];
}
