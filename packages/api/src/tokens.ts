// Operations on tokens of people: personal ones, which they make for programs, and refresh ones, which clients keep after a login.
// Not here: their rules (the server's features/tokens), the tokens of docker's flow, which last minutes.
import Type, { type Static } from "typebox";
import { closed, Nothing, page, PageQuery, TimeField, UserNameField } from "./fields.ts";
import { operation } from "./operation.ts";
import { RobotScope } from "./robots.ts";

const TokenIdField = Type.String({ pattern: "^[1-9][0-9]{0,14}$", maxLength: 15, description: "A token's number." });
const TokenNameField = Type.String({
  pattern: "^[A-Za-z0-9](?:[A-Za-z0-9 ._@:/-]*[A-Za-z0-9])?$",
  minLength: 1,
  maxLength: 64,
  description: "What its owner calls it: up to 64 letters, digits, spaces and . _ @ : / -",
});
const ApiBoundField = Type.Enum(["none", "read", "write"], {
  description:
    "How much of this API it opens. Beyond reading, what is in a project takes all three actions on PROJECT/** or **, and what is the registry's all three on **.",
});
const TokenScopes = Type.Array(RobotScope, {
  minItems: 1,
  maxItems: 100,
  description: "The most that it lets its user do in repositories; each pattern once.",
});
const TimeOrNull = Type.Union([TimeField, Type.Null()]);

const fields = {
  id: TokenIdField,
  kind: Type.Enum(["personal", "refresh"], { description: "Made by its user, or given to a client that logged in and asked for one." }),
  name: Type.String({ description: "What its owner calls it; of a refresh token the client." }),
  scopes: Type.Union([Type.Array(RobotScope), Type.Null()], { description: "Null: all that the user may." }),
  api: ApiBoundField,
  createdAt: TimeField,
  expiresAt: Type.String({ format: "date-time", description: "When it ends; a refresh token that is used ends later." }),
  lastUsedAt: Type.Union([TimeField, Type.Null()], { description: "Right within a minute." }),
  lastAddress: Type.Union([Type.String(), Type.Null()], { description: "From where it was used last." }),
};
export const Token = closed(fields);
/** A token, without its secret. */
export type TokenView = Static<typeof Token>;

export const TokenWithSecret = closed({ ...fields, secret: Type.String({ description: "Shown this once; only its hash is kept." }) });
/** A token with its secret. */
export type TokenWithSecretView = Static<typeof TokenWithSecret>;

const CreateBody = closed({
  name: TokenNameField,
  scopes: TokenScopes,
  api: Type.Optional(ApiBoundField),
  expiresAt: Type.Optional(TimeOrNull),
});
/** What a new token is made of. */
export type CreateTokenBody = Static<typeof CreateBody>;

const OfToken = closed({ token: TokenIdField });
const OfUser = closed({ user: UserNameField });
const OfUsersToken = closed({ user: UserNameField, token: TokenIdField });

export const listMyTokens = operation({
  id: "listMyTokens",
  tag: "tokens",
  method: "GET",
  path: "/users/me/tokens",
  summary: "List the caller's own tokens",
  permission: { kind: "user", inPerson: true },
  params: Nothing,
  query: PageQuery,
  body: undefined,
  status: 200,
  answer: page(Token),
  errors: ["DENIED"],
});

export const createMyToken = operation({
  id: "createMyToken",
  tag: "tokens",
  method: "POST",
  path: "/users/me/tokens",
  summary: "Make a personal token for the caller; the answer has its secret, which is not shown again",
  permission: { kind: "user", inPerson: true },
  params: Nothing,
  query: Nothing,
  body: CreateBody,
  status: 201,
  answer: TokenWithSecret,
  errors: ["DENIED", "TOKENS_TOO_MANY"],
});

export const revokeMyToken = operation({
  id: "revokeMyToken",
  tag: "tokens",
  method: "DELETE",
  path: "/users/me/tokens/{token}",
  summary: "Revoke one of the caller's own tokens, and what was given for it, at once",
  permission: { kind: "user", inPerson: true },
  params: OfToken,
  query: Nothing,
  body: undefined,
  status: 204,
  answer: undefined,
  errors: ["DENIED", "TOKEN_UNKNOWN"],
});

export const listUserTokens = operation({
  id: "listUserTokens",
  tag: "tokens",
  method: "GET",
  path: "/users/{user}/tokens",
  summary: "List a user's tokens",
  permission: { kind: "system", may: "users.read" },
  params: OfUser,
  query: PageQuery,
  body: undefined,
  status: 200,
  answer: page(Token),
  errors: ["DENIED", "USER_UNKNOWN"],
});

export const revokeUserToken = operation({
  id: "revokeUserToken",
  tag: "tokens",
  method: "DELETE",
  path: "/users/{user}/tokens/{token}",
  summary: "Revoke a user's token, and what was given for it, at once",
  permission: { kind: "administrator" },
  params: OfUsersToken,
  query: Nothing,
  body: undefined,
  status: 204,
  answer: undefined,
  errors: ["DENIED", "TOKEN_UNKNOWN", "USER_UNKNOWN"],
});
