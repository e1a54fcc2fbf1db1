// Operations on sessions of browsers: signing in and out, and lists of them for their users and for administrators. Not here: their rules (the server's
// features/sessions), signing in by a provider, which is no operation but a page.
import Type, { type Static } from "typebox";
import { closed, Nothing, page, PageQuery, TimeField, UserNameField } from "./fields.ts";
import { operation } from "./operation.ts";

const SessionIdField = Type.String({ pattern: "^[1-9][0-9]{0,14}$", maxLength: 15, description: "A session's number." });

export const Session = closed({
  id: SessionIdField,
  browser: Type.String({ description: "What the browser called itself when it signed in." }),
  provider: Type.Union([Type.String(), Type.Null()], { description: "The provider that it was signed in by; null for a password." }),
  isCurrent: Type.Boolean({ description: "Whether it is the one that asks." }),
  createdAt: TimeField,
  expiresAt: Type.String({ format: "date-time", description: "When it ends; one that is used ends later." }),
  lastUsedAt: Type.Union([TimeField, Type.Null()], { description: "Right within a minute." }),
  lastAddress: Type.Union([Type.String(), Type.Null()], { description: "From where it was used last." }),
});
/** A session, without its secret. */
export type SessionView = Static<typeof Session>;

const SignedIn = closed({ user: UserNameField, expiresAt: TimeField });
const OfSession = closed({ session: SessionIdField });
const OfUser = closed({ user: UserNameField });
const OfUsersSession = closed({ user: UserNameField, session: SessionIdField });
const Ended = closed({ ended: Type.Integer({ minimum: 0, description: "How many were ended." }) });

const CreateBody = closed({
  name: Type.String({ minLength: 1, maxLength: 64, description: "The user's name." }),
  password: Type.String({ minLength: 1, maxLength: 256, description: "The user's password." }),
});

export const createSession = operation({
  id: "createSession",
  tag: "sessions",
  method: "POST",
  path: "/session",
  summary: "Sign a browser in with a password; the session's secret comes as a cookie that scripts do not see",
  permission: { kind: "anyone" },
  params: Nothing,
  query: Nothing,
  body: CreateBody,
  status: 201,
  answer: SignedIn,
  headers: { "Set-Cookie": "The session. It opens this API, not what clients push and pull with." },
  errors: ["CROSS_SITE_REFUSED"],
});

export const endSession = operation({
  id: "endSession",
  tag: "sessions",
  method: "DELETE",
  path: "/session",
  summary: "Sign the browser out that asks",
  permission: { kind: "account" },
  params: Nothing,
  query: Nothing,
  body: undefined,
  status: 204,
  answer: undefined,
  headers: { "Set-Cookie": "Takes the cookie away." },
  errors: ["CROSS_SITE_REFUSED", "SESSION_UNKNOWN"],
});

export const listMySessions = operation({
  id: "listMySessions",
  tag: "sessions",
  method: "GET",
  path: "/users/me/sessions",
  summary: "List the caller's own sessions",
  permission: { kind: "user", inPerson: true },
  params: Nothing,
  query: PageQuery,
  body: undefined,
  status: 200,
  answer: page(Session),
  errors: ["DENIED"],
});

export const endMySession = operation({
  id: "endMySession",
  tag: "sessions",
  method: "DELETE",
  path: "/users/me/sessions/{session}",
  summary: "End one of the caller's own sessions at once",
  permission: { kind: "user", inPerson: true },
  params: OfSession,
  query: Nothing,
  body: undefined,
  status: 204,
  answer: undefined,
  errors: ["DENIED", "SESSION_UNKNOWN"],
});

export const endMySessions = operation({
  id: "endMySessions",
  tag: "sessions",
  method: "DELETE",
  path: "/users/me/sessions",
  summary: "End all of the caller's own sessions at once, the one that asks too",
  permission: { kind: "user", inPerson: true },
  params: Nothing,
  query: Nothing,
  body: undefined,
  status: 200,
  answer: Ended,
  errors: ["DENIED"],
});

export const listUserSessions = operation({
  id: "listUserSessions",
  tag: "sessions",
  method: "GET",
  path: "/users/{user}/sessions",
  summary: "List a user's sessions",
  permission: { kind: "system", may: "users.read" },
  params: OfUser,
  query: PageQuery,
  body: undefined,
  status: 200,
  answer: page(Session),
  errors: ["DENIED", "USER_UNKNOWN"],
});

export const endUserSession = operation({
  id: "endUserSession",
  tag: "sessions",
  method: "DELETE",
  path: "/users/{user}/sessions/{session}",
  summary: "End a user's session at once",
  permission: { kind: "administrator" },
  params: OfUsersSession,
  query: Nothing,
  body: undefined,
  status: 204,
  answer: undefined,
  errors: ["DENIED", "SESSION_UNKNOWN", "USER_UNKNOWN"],
});

export const endUserSessions = operation({
  id: "endUserSessions",
  tag: "sessions",
  method: "DELETE",
  path: "/users/{user}/sessions",
  summary: "End all of a user's sessions at once",
  permission: { kind: "administrator" },
  params: OfUser,
  query: Nothing,
  body: undefined,
  status: 200,
  answer: Ended,
  errors: ["DENIED", "USER_UNKNOWN"],
});
