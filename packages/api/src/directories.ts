// Operations on directories (LDAP) whose people sign in here: which there are, and what somebody would become by one. They are configured, and not
// made here. Not here: their rules (the server's features/directories).
import Type, { type Static } from "typebox";
import { closed, Nothing, page, PageQuery, SystemRoleField } from "./fields.ts";
import { operation } from "./operation.ts";

const DirectoryNameField = Type.String({
  pattern: "^[a-z0-9]+(?:-[a-z0-9]+)*$",
  minLength: 1,
  maxLength: 64,
  description: "A directory's name in the settings (auth.ldap).",
});

export const Directory = closed({
  name: DirectoryNameField,
  urls: Type.Array(Type.String(), { description: "Its servers, in the order in which they are asked." }),
  isAway: Type.Boolean({ description: "Whether the replica that answers leaves it alone now, since it did not answer." }),
});
/** A directory. */
export type DirectoryView = Static<typeof Directory>;

/** What becomes of somebody. */
export const DIRECTORY_TEST_OUTCOMES = [
  "signs-in",
  "refused",
  "password-wrong",
  "password-not-tried",
  "unknown",
  "several",
  "unavailable",
  "misconfigured",
] as const;

const Found = closed({
  dn: Type.String({ description: "The entry's name." }),
  subject: Type.String({ description: "What the entry keeps when it is renamed, and no later one gets." }),
  name: Type.String(),
  email: Type.Union([Type.String(), Type.Null()]),
  fullName: Type.Union([Type.String(), Type.Null()]),
  isDisabled: Type.Boolean({ description: "Whether the entry says that it may not be used." }),
  groups: Type.Array(
    closed({
      key: Type.String({ description: "As groups of this directory are called here." }),
      group: Type.Union([Type.String(), Type.Null()], { description: "The group here that it gives; null where there is none." }),
    }),
  ),
  systemRole: Type.Union([SystemRoleField, Type.Null()], { description: "What auth.ldap's roles make of them in the whole registry." }),
});

export const DirectoryTest = closed({
  outcome: Type.Enum([...DIRECTORY_TEST_OUTCOMES]),
  reason: Type.String({ description: "Why, for people." }),
  found: Type.Union([Found, Type.Null()]),
  account: Type.Union([Type.String(), Type.Null()], {
    description: "The account that it is; null where one would be made, or nobody signs in.",
  }),
});
/** What was found. */
export type DirectoryTestView = Static<typeof DirectoryTest>;

const TestBody = closed({
  user: Type.String({ minLength: 1, maxLength: 256, description: "What somebody types as their name." }),
  password: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 256,
      description: "Tried once in the directory, where a wrong one counts towards a lock. Not kept.",
    }),
  ),
});
/** Who is tried. */
export type TestDirectoryBody = Static<typeof TestBody>;

export const listDirectories = operation({
  id: "listDirectories",
  tag: "directories",
  method: "GET",
  path: "/directories",
  summary: "List the directories whose people sign in here",
  permission: { kind: "administrator" },
  params: Nothing,
  query: PageQuery,
  body: undefined,
  status: 200,
  answer: page(Directory),
  errors: ["DENIED"],
});

export const testDirectory = operation({
  id: "testDirectory",
  tag: "directories",
  method: "POST",
  path: "/directories/{directory}/tests",
  summary: "Look somebody up in a directory and say what would become of them, without signing anybody in",
  permission: { kind: "administrator" },
  params: closed({ directory: DirectoryNameField }),
  query: Nothing,
  body: TestBody,
  status: 200,
  answer: DirectoryTest,
  errors: ["DENIED", "DIRECTORY_UNKNOWN"],
});
