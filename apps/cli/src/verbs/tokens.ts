// Verbs on people's tokens. Not here: what runs them (../call.ts).
import * as tokens from "@berth/api/tokens";
import { timeText } from "../print.ts";
import type { Argument, CallVerb, Column } from "../verb.ts";
import { OWNER } from "./arguments.ts";

const TOKEN: Argument = { name: "TOKEN", kind: "text", into: "params.token", help: "a token's number: see berth token list" };

interface Row {
  readonly scopes: readonly { readonly repositories: string; readonly actions: readonly string[] }[] | null;
  readonly createdAt: string;
  readonly expiresAt: string;
  readonly lastUsedAt: string | null;
}
const COLUMNS: readonly Column[] = [
  { title: "ID", of: "id" },
  { title: "KIND", of: "kind" },
  { title: "NAME", of: "name" },
  {
    title: "SCOPES",
    of: ({ scopes }: Row) => (scopes === null ? "all" : scopes.map((each) => `${each.repositories}:${each.actions.join(",")}`).join(" ")),
  },
  { title: "API", of: "api" },
  { title: "EXPIRES", of: ({ expiresAt }: Row) => timeText(expiresAt) },
  { title: "LAST USED", of: ({ lastUsedAt }: Row) => (lastUsedAt === null ? "never" : timeText(lastUsedAt)) },
  { title: "FROM", of: "lastAddress", wide: true },
  { title: "CREATED", of: ({ createdAt }: Row) => timeText(createdAt), wide: true },
];

/** Verbs on tokens. */
export const TOKEN_VERBS: readonly CallVerb[] = [
  {
    words: "token list",
    summary: "List your tokens, or a user's",
    operations: [tokens.listUserTokens, tokens.listMyTokens],
    arguments: [OWNER],
    options: [],
    columns: COLUMNS,
  },
  {
    words: "token create",
    summary: "Make a personal token, for programs to log in with as you; its secret is printed this once",
    operations: [tokens.createMyToken],
    arguments: [{ name: "NAME", kind: "text", into: "body.name", help: "what you call it" }],
    options: [
      {
        name: "scope",
        kind: "scope",
        into: "body.scopes",
        value: "PATTERN:ACTION,…",
        help: "the most that it may do, such as team/**:pull,push; can be given several times",
        required: true,
      },
      { name: "api", kind: "text", into: "body.api", help: "how much of the API it opens" },
      {
        name: "expires",
        kind: "time",
        into: "body.expiresAt",
        value: "TIME",
        help: "when it ends: 90d, 12h, 2027-12-31T00:00:00Z; after 90 days where it is not given",
      },
    ],
    columns: [...COLUMNS, { title: "SECRET", of: "secret" }],
  },
  {
    words: "token revoke",
    summary: "Revoke a token of yours, or of a user, at once",
    operations: [tokens.revokeUserToken, tokens.revokeMyToken],
    arguments: [TOKEN, OWNER],
    options: [],
    columns: [],
    destroys: "Revoke the token {}? Who uses it is locked out at once.",
    done: "The token {} is revoked.",
  },
];
