// Operations on users. Not here: their rules (the server's features/accounts).
import Type, { type Static } from "typebox";
import { closed, NewPasswordField, Nothing, page, PageQuery, PasswordField, SystemRoleField, TimeField, UserNameField } from "./fields.ts";
import { LOCATION, operation } from "./operation.ts";

const SystemRoleOrNone = Type.Union([SystemRoleField, Type.Null()], {
  description: "The user's own role in the whole registry; null for none. It adds to what the user may in projects.",
});

export const User = closed({
  name: UserNameField,
  isAdmin: Type.Boolean({ description: "Whether systemRole is administrator." }),
  systemRole: SystemRoleOrNone,
  isDisabled: Type.Boolean({ description: "Whether the user is kept from logging in." }),
  hasPassword: Type.Boolean({ description: "Whether the user has a password here; who has none cannot sign in with one." }),
  createdAt: TimeField,
});
/** A user, without anything secret. */
export type UserView = Static<typeof User>;

export const Me = closed({
  name: Type.String({ description: "The login name." }),
  kind: Type.Enum(["user", "robot"]),
  isAdmin: Type.Boolean({ description: "Whether the caller may do everything." }),
  systemRoles: Type.Array(SystemRoleField, { description: "What the caller is in the whole registry." }),
});

/** Who the caller is. */
export type MeView = Static<typeof Me>;

const PasswordOrNone = Type.Union([NewPasswordField, Type.Null()], {
  description: "A password, or null for a user who has none here and cannot sign in with one.",
});

const WithSystemRole = {
  isAdmin: Type.Optional(Type.Boolean({ description: "true is the system role administrator, false none where it was that one." })),
  systemRole: Type.Optional(SystemRoleOrNone),
};

const OfUser = closed({ user: UserNameField });

export const listUsers = operation({
  id: "listUsers",
  tag: "users",
  method: "GET",
  path: "/users",
  summary: "List the users",
  permission: { kind: "system", may: "users.read" },
  params: Nothing,
  query: PageQuery,
  body: undefined,
  status: 200,
  answer: page(User),
  errors: ["DENIED"],
});

export const createUser = operation({
  id: "createUser",
  tag: "users",
  method: "POST",
  path: "/users",
  summary: "Create a user",
  permission: { kind: "administrator" },
  params: Nothing,
  query: Nothing,
  body: closed({ name: UserNameField, password: PasswordOrNone, ...WithSystemRole }),
  status: 201,
  answer: User,
  headers: LOCATION,
  errors: ["DENIED", "USER_EXISTS"],
});

export const getMe = operation({
  id: "getMe",
  tag: "users",
  method: "GET",
  path: "/users/me",
  summary: "Read who the caller is",
  permission: { kind: "account" },
  params: Nothing,
  query: Nothing,
  body: undefined,
  status: 200,
  answer: Me,
  errors: [],
});

export const changeMyPassword = operation({
  id: "changeMyPassword",
  tag: "users",
  method: "PUT",
  path: "/users/me/password",
  summary: "Change the caller's own password, which ends the caller's sessions and all tokens but personal ones",
  permission: { kind: "user", inPerson: true },
  params: Nothing,
  query: Nothing,
  body: closed({ currentPassword: PasswordField, newPassword: NewPasswordField }),
  status: 204,
  answer: undefined,
  errors: ["DENIED", "PASSWORD_WRONG"],
});

export const getUser = operation({
  id: "getUser",
  tag: "users",
  method: "GET",
  path: "/users/{user}",
  summary: "Read a user",
  permission: { kind: "system", may: "users.read" },
  params: OfUser,
  query: Nothing,
  body: undefined,
  status: 200,
  answer: User,
  revision: "read",
  errors: ["DENIED", "USER_UNKNOWN"],
});

export const updateUser = operation({
  id: "updateUser",
  tag: "users",
  method: "PATCH",
  path: "/users/{user}",
  summary:
    "Change a user's password, disable a user, or change the role in the registry; a new password or a disablement ends the user's tokens",
  permission: { kind: "administrator" },
  params: OfUser,
  query: Nothing,
  body: closed({
    password: Type.Optional(PasswordOrNone),
    isDisabled: Type.Optional(Type.Boolean()),
    ...WithSystemRole,
  }),
  status: 200,
  answer: User,
  revision: "write",
  errors: ["DENIED", "USER_UNKNOWN", "LAST_ADMINISTRATOR"],
});

export const deleteUser = operation({
  id: "deleteUser",
  tag: "users",
  method: "DELETE",
  path: "/users/{user}",
  summary: "Delete a user with all memberships",
  permission: { kind: "administrator" },
  params: OfUser,
  query: Nothing,
  body: undefined,
  status: 204,
  answer: undefined,
  revision: "write",
  errors: ["DENIED", "USER_UNKNOWN", "LAST_ADMINISTRATOR", "LAST_OWNER"],
});
