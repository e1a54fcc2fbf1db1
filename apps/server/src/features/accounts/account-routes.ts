// The user operations, joined to their rules. Not here: the rules (accounts.ts).
import * as operations from "@berth/api/users";
import { addressOf } from "@berth/api/operation";
import { type ApiRoute, route, withHeaders } from "../api-route.ts";
import type { Users } from "./accounts.ts";

/** The routes of users. */
export function accountRoutes(users: Users): ApiRoute[] {
  return [
    route(operations.listUsers, ({ query }, { grant }) => users.list(grant, query)),
    route(operations.createUser, async ({ body }, { grant }) => {
      const user = await users.create(grant, body);
      return withHeaders(user, { location: addressOf(operations.getUser, { user: user.name }) });
    }),
    route(operations.getMe, (_, { grant }) => users.getMe(grant)),
    route(operations.changeMyPassword, async ({ body }, { grant, remoteAddress }) => {
      await users.changeMyPassword(grant, remoteAddress, body.currentPassword, body.newPassword);
      return undefined;
    }),
    route(operations.getUser, ({ params }, { grant }) => users.get(grant, params.user)),
    route(operations.updateUser, ({ params, body }, { grant, precondition }) => users.update(grant, params.user, body, precondition)),
    route(operations.deleteUser, async ({ params }, { grant, precondition }) => {
      await users.delete(grant, params.user, precondition);
      return undefined;
    }),
  ];
}
