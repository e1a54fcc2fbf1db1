// Operations on trust rules: which tokens of other issuers become a robot, which then needs no secret. Not here: the issuers (issuers.ts), the
// rules' rule (the server's features/trust).
import Type, { type Static, type TObject } from "typebox";
import { closed, Nothing, page, PageQuery, ProjectNameField, RobotNameField, TimeField } from "./fields.ts";
import { IssuerNameField } from "./issuers.ts";
import type { Home } from "./home.ts";
import { operation } from "./operation.ts";
import type { Permission } from "./permissions.ts";

export const TrustRuleNameField = Type.String({
  pattern: "^[a-z0-9]+(?:[._-][a-z0-9]+)*$",
  minLength: 1,
  maxLength: 64,
  description: "The rule's name, of those of its robot.",
});
const ValueField = Type.String({ minLength: 1, maxLength: 1024 });

export const TrustCondition = closed({
  claim: Type.String({
    minLength: 1,
    maxLength: 200,
    description: "A claim's name, such as repository_id; or its path through objects, such as /kubernetes.io/serviceaccount/uid.",
  }),
  equals: Type.Optional(ValueField),
  oneOf: Type.Optional(Type.Array(ValueField, { minItems: 1, maxItems: 50 })),
  matches: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 256,
      description: "A pattern for the whole value: * is anything without / and :, ** anything. It begins with what is no star.",
    }),
  ),
});
/** A demand on a claim: one of `equals`, `oneOf` and `matches`. */
export type TrustConditionView = Static<typeof TrustCondition>;
const Conditions = Type.Array(TrustCondition, { minItems: 1, maxItems: 20, description: "A token must meet all of them." });

export const TrustWarning = closed({
  code: Type.Enum(["identifies-nobody", "whole-owner", "names-can-change", "identity-by-pattern", "any-branch"]),
  message: Type.String(),
});

export const TrustRule = closed({
  name: TrustRuleNameField,
  issuer: IssuerNameField,
  conditions: Type.Array(TrustCondition),
  warnings: Type.Array(TrustWarning, { description: "What makes the rule wider than it may look." }),
  createdAt: TimeField,
});
/** A rule. */
export type TrustRuleView = Static<typeof TrustRule>;

export const NewTrustRule = closed({
  issuer: IssuerNameField,
  conditions: Conditions,
  isWide: Type.Optional(
    Type.Boolean({
      description: "Says that a rule is meant which names no one project or service account. Without it such a rule is refused.",
    }),
  ),
});
/** What a rule is made of. */
export type PutTrustRuleBody = Static<typeof NewTrustRule>;

const TestBody = closed({
  token: Type.String({ minLength: 1, maxLength: 8192, description: "The ID token. It is not kept, and not used up." }),
  robot: Type.Optional(Type.String({ minLength: 1, maxLength: 200, description: "The robot's login name, where the client names one." })),
});
/** A token to be tested. */
export type TestTokenBody = Static<typeof TestBody>;

export const TokenTest = closed({
  becomes: Type.Union([Type.String(), Type.Null()], {
    description: "The login name of the robot that it becomes; null where it becomes none.",
  }),
  reason: Type.Union([Type.String(), Type.Null()], { description: "Why it becomes none." }),
  fault: Type.Union([Type.String(), Type.Null()], { description: "The same as a word." }),
  expiresAt: Type.Union([TimeField, Type.Null()]),
  issuers: Type.Array(Type.String(), { description: "The issuers here whose token it is." }),
  claims: Type.Array(closed({ claim: Type.String(), value: Type.String() }), {
    description: "What it says, as conditions compare it: ready to be copied into a rule. Only of a token that is genuine.",
  }),
  rules: Type.Array(
    closed({
      robot: Type.String(),
      rule: Type.String(),
      isMet: Type.Boolean(),
      conditions: Type.Array(
        closed({
          claim: Type.String(),
          wanted: Type.String(),
          found: Type.Array(Type.String()),
          isMet: Type.Boolean(),
        }),
      ),
    }),
    {
      description: "The rules that it was held against, with each condition: those of the robot that was named, else those that could fit.",
    },
  ),
});
/** What a token would become. */
export type TokenTestView = Static<typeof TokenTest>;

// The same operations twice: below a project, and for the registry.
function define<L extends TObject, I extends TObject, J extends TObject, const R extends Permission, const W extends Permission>(
  kind: Home<"ProjectRobot" | "RegistryRobot", R, W>,
  ofHome: L,
  ofRobot: I,
  ofRule: J,
) {
  const { suffix, path, of, read, write, missing } = kind;
  const common = { tag: "robots", query: Nothing } as const;
  const errors = ["DENIED", ...missing, "ROBOT_UNKNOWN"] as const;
  return {
    list: operation({
      ...common,
      permission: read,
      id: `list${suffix}TrustRules`,
      method: "GET",
      path: `${path}/robots/{robot}/trust`,
      summary: `List the trust rules of a robot of ${of}: which tokens of other issuers become it`,
      params: ofRobot,
      query: PageQuery,
      body: undefined,
      status: 200,
      answer: page(TrustRule),
      errors,
    }),
    put: operation({
      ...common,
      permission: write,
      id: `put${suffix}TrustRule`,
      method: "PUT",
      path: `${path}/robots/{robot}/trust/{rule}`,
      summary: `Add a trust rule to a robot of ${of}, or replace it, which ends the robot's tokens`,
      params: ofRule,
      body: NewTrustRule,
      status: 200,
      answer: TrustRule,
      errors: [...errors, "ISSUER_UNKNOWN", "TRUST_RULE_TOO_WIDE", "TRUST_RULES_TOO_MANY"],
    }),
    delete: operation({
      ...common,
      permission: write,
      id: `delete${suffix}TrustRule`,
      method: "DELETE",
      path: `${path}/robots/{robot}/trust/{rule}`,
      summary: `Delete a trust rule of a robot of ${of}; the robot's tokens end at once`,
      params: ofRule,
      body: undefined,
      status: 204,
      answer: undefined,
      errors: [...errors, "TRUST_RULE_UNKNOWN"],
    }),
    test: operation({
      ...common,
      permission: write,
      id: `test${suffix}Token`,
      method: "POST",
      path: `${path}/token-tests`,
      summary: `Say which robot of ${of} an ID token would become, or why none`,
      params: ofHome,
      body: TestBody,
      status: 200,
      answer: TokenTest,
      errors: ["DENIED", ...missing],
    }),
  };
}

/** Operations on the trust rules of a project's robots. */
export const projectTrust = define(
  {
    suffix: "ProjectRobot",
    path: "/projects/{project}",
    of: "a project",
    read: { kind: "project", may: "robots.read" },
    write: { kind: "project", may: "robots.write" },
    missing: ["PROJECT_UNKNOWN"],
  },
  closed({ project: ProjectNameField }),
  closed({ project: ProjectNameField, robot: RobotNameField }),
  closed({ project: ProjectNameField, robot: RobotNameField, rule: TrustRuleNameField }),
);

/** Operations on the trust rules of the registry's robots. */
export const registryTrust = define(
  {
    suffix: "RegistryRobot",
    path: "",
    of: "the registry",
    read: { kind: "system", may: "robots.read" },
    write: { kind: "administrator" },
    missing: [],
  },
  Nothing,
  closed({ robot: RobotNameField }),
  closed({ robot: RobotNameField, rule: TrustRuleNameField }),
);
