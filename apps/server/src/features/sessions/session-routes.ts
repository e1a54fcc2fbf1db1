// The operations on sessions, joined to their rules. Not here: the rules (sessions.ts).
import * as operations from "@berth/api/sessions";
import { type ApiRoute, route, withHeaders } from "../api-route.ts";
import type { UserSessions } from "./sessions.ts";

/** The routes of sessions. */
export function sessionRoutes(sessions: UserSessions): ApiRoute[] {
  return [
    route(operations.createSession, async ({ body }, { caller, remoteAddress, browser }) => {
      const { answer, secret, maxAgeSeconds } = await sessions.signIn(body, { caller, remoteAddress, browserName: browser.name });
      return withHeaders(answer, { "set-cookie": browser.sessionCookie(secret, maxAgeSeconds) });
    }),
    route(operations.endSession, async (_, { grant, caller, browser }) => {
      await sessions.signOut(grant, caller);
      return withHeaders(undefined, { "set-cookie": browser.sessionCookie("", 0) });
    }),
    route(operations.listMySessions, ({ query }, { grant, caller }) => sessions.list(grant, undefined, caller, query)),
    route(operations.endMySession, async ({ params }, { grant }) => {
      await sessions.end(grant, undefined, params.session);
      return undefined;
    }),
    route(operations.endMySessions, (_, { grant }) => sessions.endAll(grant, undefined)),
    route(operations.listUserSessions, ({ params, query }, { grant, caller }) => sessions.list(grant, params.user, caller, query)),
    route(operations.endUserSession, async ({ params }, { grant }) => {
      await sessions.end(grant, params.user, params.session);
      return undefined;
    }),
    route(operations.endUserSessions, ({ params }, { grant }) => sessions.endAll(grant, params.user)),
  ];
}
