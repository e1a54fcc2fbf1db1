// The user operations, joined to their rules. Not here: the rules (accounts.ts).
import { route, type Route } from "@berth/api/operation";
import * as operations from "@berth/api/users";
import type { ApiContext } from "../api-context.ts";
import type { Users } from "./accounts.ts";

/** The routes of users. */
export function accountRoutes(users: Users): Route<ApiContext>[] {
  return [
    route(operations.listUsers, ({ query }, { caller }: ApiContext) => users.list(caller, query)),
    route(operations.createUser, ({ body }, { caller }: ApiContext) => users.create(caller, body)),
    route(operations.getMe, (_, { caller }: ApiContext) => users.getMe(caller)),
    route(operations.changeMyPassword, async ({ body }, { caller, remoteAddress }: ApiContext) => {
      await users.changeMyPassword(caller, remoteAddress, body.currentPassword, body.newPassword);
      return undefined;
    }),
    route(operations.getUser, ({ params }, { caller }: ApiContext) => users.get(caller, params.user)),
    route(operations.updateUser, ({ params, body }, { caller }: ApiContext) => users.update(caller, params.user, body)),
    route(operations.deleteUser, async ({ params }, { caller }: ApiContext) => {
      await users.delete(caller, params.user);
      return undefined;
    }),
  ];
}
