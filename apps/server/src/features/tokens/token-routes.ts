// The operations on people's tokens, joined to their rules. Not here: the rules (tokens.ts).
import * as operations from "@berth/api/tokens";
import { type ApiRoute, route } from "../api-route.ts";
import type { PersonalTokens } from "./tokens.ts";

/** The routes of tokens. */
export function tokenRoutes(tokens: PersonalTokens): ApiRoute[] {
  return [
    route(operations.listMyTokens, ({ query }, { grant }) => tokens.list(grant, undefined, query)),
    route(operations.createMyToken, ({ body }, { grant }) => tokens.create(grant, body)),
    route(operations.revokeMyToken, async ({ params }, { grant }) => {
      await tokens.revoke(grant, undefined, params.token);
      return undefined;
    }),
    route(operations.listUserTokens, ({ params, query }, { grant }) => tokens.list(grant, params.user, query)),
    route(operations.revokeUserToken, async ({ params }, { grant }) => {
      await tokens.revoke(grant, params.user, params.token);
      return undefined;
    }),
  ];
}
