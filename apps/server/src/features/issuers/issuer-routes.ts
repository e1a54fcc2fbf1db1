// The operations on issuers, joined to their rules. Not here: the rules (issuers.ts).
import * as operations from "@berth/api/issuers";
import { addressOf } from "@berth/api/operation";
import { type ApiRoute, route, withHeaders } from "../api-route.ts";
import type { Issuers } from "./issuers.ts";

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
