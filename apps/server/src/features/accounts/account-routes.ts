// The user operations, joined to their rules. Not here: the rules (accounts.ts).
import * as operations from "@berth/api/users";
import { type ApiRoute, route } from "../api-route.ts";
import type { Users } from "./accounts.ts";

/** The routes of users. */
export function accountRoutes(users: Users): ApiRoute[] {
  return [
    route(operations.listUsers, ({ query }, { grant }) => users.list(grant, query)),
    route(operations.createUser, ({ body }, { grant }) => users.create(grant, body)),
    route(operations.getMe, (_, { grant }) => users.getMe(grant)),
    route(operations.changeMyPassword, async ({ body }, { grant, remoteAddress }) => {
      await users.changeMyPassword(grant, remoteAddress, body.currentPassword, body.newPassword);
      return undefined;
    }),
    route(operations.getUser, ({ params }, { grant }) => users.get(grant, params.user)),
    route(operations.updateUser, ({ params, body }, { grant }) => users.update(grant, params.user, body)),
    route(operations.deleteUser, async ({ params }, { grant }) => {
      await users.delete(grant, params.user);
      return undefined;
    }),
  ];
}
