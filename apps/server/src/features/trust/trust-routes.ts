// The operations on issuers and trust rules, joined to their rules. Not here: the rules (issuers.ts, trust.ts).
import * as operations from "@berth/api/issuers";
import { addressOf } from "@berth/api/operation";
import { projectTrust, registryTrust } from "@berth/api/trust";
import { type ApiRoute, route, withHeaders } from "../api-route.ts";
import type { Issuers } from "./issuers.ts";
import type { Trust } from "./trust.ts";

/** The routes of issuers. */
export function issuerRoutes(issuers: Issuers): ApiRoute[] {
  return [
    route(operations.listIssuers, ({ query }) => issuers.list(query)),
    route(operations.createIssuer, async ({ body }, { grant }) => {
      const issuer = await issuers.create(grant, body);
      return withHeaders(issuer, { location: addressOf(operations.getIssuer, { issuer: issuer.name }) });
    }),
    route(operations.getIssuer, ({ params }) => issuers.get(params.issuer)),
    route(operations.updateIssuer, ({ params, body }, { grant }) => issuers.update(grant, params.issuer, body)),
    route(operations.fetchIssuerKeys, ({ params }) => issuers.fetchKeys(params.issuer)),
    route(operations.deleteIssuer, async ({ params }, { grant }) => {
      await issuers.delete(grant, params.issuer);
      return undefined;
    }),
  ];
}

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
