// The operation that says whether somebody may do something, and why. Not here: the rules (the server's access/judge.ts and access/explain.ts).
import Type, { type Static } from "typebox";
import { type ActionField, closed, Nothing, ProjectNameField } from "./fields.ts";
import { operation } from "./operation.ts";
import { PROJECT_PERMISSIONS, type ProjectPermission, SYSTEM_PERMISSIONS, type SystemPermission } from "./permissions.ts";

/** What can be asked about: in a repository, in a project, in the registry. */
export const REPOSITORY_ACTIONS = ["pull", "push", "delete"] as const satisfies readonly Static<typeof ActionField>[];
/** Some are of a project and of the registry, whichever is asked about. */
export type ExplainedAction = (typeof REPOSITORY_ACTIONS)[number] | ProjectPermission | SystemPermission | "administer";
export const EXPLAINED_ACTIONS: readonly ExplainedAction[] = [
  ...new Set<ExplainedAction>([...REPOSITORY_ACTIONS, ...PROJECT_PERMISSIONS, ...SYSTEM_PERMISSIONS, "administer"]),
];

/** Why, one step each. */
export const REASON_CODES = [
  "ACCOUNT_DISABLED",
  "ACCOUNT_EXPIRED",
  "SIGN_IN_BY_TRUST_RULE",
  "TOKEN_ENDED",
  "ADMINISTRATOR",
  "AUDITOR",
  "CREATOR",
  "SETTING",
  "PROJECT_PUBLIC",
  "PROJECT_HIDDEN",
  "PROJECT_MISSING",
  "PROJECT_CLOSED",
  "PROJECT_NEWER",
  "ROLE",
  "GROUP_ROLE",
  "ROBOT_SCOPE",
  "ROBOT_ELSEWHERE",
  "TAG_OUTSIDE",
  "PERSONAL_TOKEN",
  "NO_CREDENTIALS",
  "NO_RIGHT",
] as const;
/** One of `REASON_CODES`. */
export type ReasonCode = (typeof REASON_CODES)[number];

export const Reason = closed({
  code: Type.Enum([...REASON_CODES], { description: "Which kind of step it is. More may come." }),
  effect: Type.Enum(["allows", "refuses", "none"], {
    description: "What it does to the question: one that allows is enough where none refuses.",
  }),
  text: Type.String({ description: "The step as a sentence." }),
});
/** One step of an explanation. */
export type ReasonView = Static<typeof Reason>;

export const Explanation = closed(
  {
    account: Type.Union([Type.String(), Type.Null()], { description: "Who: a login name; null for somebody without credentials." }),
    action: Type.Enum([...EXPLAINED_ACTIONS]),
    project: Type.Union([Type.String(), Type.Null()]),
    repository: Type.Union([Type.String(), Type.Null()]),
    tag: Type.Union([Type.String(), Type.Null()]),
    isAllowed: Type.Boolean(),
    onlyTags: Type.Union([Type.Array(Type.String()), Type.Null()], {
      description: "Patterns of the only tags that may be moved, where it is allowed for some and no tag was asked about; null for any.",
    }),
    summary: Type.String({ description: "The answer as a sentence." }),
    reasons: Type.Array(Reason, { description: "What decided, in the order in which it is looked at." }),
    remedies: Type.Array(Type.String(), { description: "What would make it allowed, each by itself; empty where it is." }),
  },
  {
    description: "Whether somebody may do something now, and why. Rights are by name: whether there is such a repository does not matter.",
  },
);
/** The answer. */
export type ExplanationView = Static<typeof Explanation>;

const Query = closed({
  action: Type.Enum([...EXPLAINED_ACTIONS], {
    description:
      "pull, push and delete are asked about a repository; administer and what is the registry's about nothing; the others about a project.",
  }),
  repository: Type.Optional(Type.String({ minLength: 1, maxLength: 255, description: "PROJECT/NAME." })),
  tag: Type.Optional(Type.String({ minLength: 1, maxLength: 128, description: "The tag that a push or a deletion would move." })),
  project: Type.Optional(ProjectNameField),
  account: Type.Optional(
    Type.String({
      pattern: "^[a-z0-9._@+-]+$",
      minLength: 1,
      maxLength: 200,
      description: "The login name of a user, or of a robot (PROJECT+NAME, +NAME); the caller where it is not given.",
    }),
  ),
  isAnonymous: Type.Optional(Type.Boolean({ description: "Ask about somebody without credentials." })),
  token: Type.Optional(
    Type.String({
      pattern: "^[1-9][0-9]{0,14}$",
      maxLength: 15,
      description: "The number of a token of the account: ask about who comes by it.",
    }),
  ),
});
/** The question. */
export type ExplainQuery = Static<typeof Query>;

export const explainAccess = operation({
  id: "explainAccess",
  tag: "registry",
  method: "GET",
  path: "/explain",
  summary:
    "Say whether somebody may do something, why, and what would change that: everybody about himself, owners about anybody in their project, administrators and auditors about all",
  permission: { kind: "account" },
  params: Nothing,
  query: Query,
  body: undefined,
  status: 200,
  answer: Explanation,
  errors: ["DENIED", "NAME_INVALID", "PROJECT_UNKNOWN", "ROBOT_UNKNOWN", "TAG_INVALID", "TOKEN_UNKNOWN", "USER_UNKNOWN"],
});
