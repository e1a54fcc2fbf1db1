// The files of `berth apply`: what a registry is to have, as documents that people keep in Git. Not here: what is done about the difference
// (the program's apply/), what a registry has (projects.ts, groups.ts, robots.ts and so on).
import Type, { type Static } from "typebox";
import { closed, GroupNameField, ProjectNameField, RobotNameField, RoleField, TimeField, UserNameField } from "./fields.ts";
import { NewGroup } from "./groups.ts";
import { IssuerUpdate, NewIssuer } from "./issuers.ts";
import { Networks } from "./networks.ts";
import { MemberScopes, ProjectFields } from "./projects.ts";
import { RobotScope } from "./robots.ts";
import { NewTrustRule, TrustRuleNameField } from "./trust.ts";
import { NewWebhook } from "./webhooks.ts";

/** The format's version, the first line of each document. */
export const APPLY_VERSION = "berth/v1" as const;

const Version = Type.Enum([APPLY_VERSION], { description: "The version of this format." });

const TrustRule = closed({ name: TrustRuleNameField, ...NewTrustRule.properties });

const robotFields = {
  scopes: Type.Array(RobotScope, { minItems: 1, maxItems: 100, description: "What the robot may do; each pattern once." }),
  expiresAt: Type.Optional(
    Type.Union([TimeField, Type.Null()], { description: "When the robot ends; null for never. Without it, it stays as it is." }),
  ),
  isDisabled: Type.Optional(Type.Boolean({ description: "Without it, it stays as it is." })),
  withoutSecret: Type.Optional(
    Type.Boolean({ description: "Made without a secret: it signs in by its trust rules only. Says nothing of a robot that is there." }),
  ),
  trust: Type.Optional(
    Type.Array(TrustRule, {
      maxItems: 100,
      description: "All rules by which tokens of other issuers become the robot. Without the list, rules stay as they are.",
    }),
  ),
};

const right = {
  role: RoleField,
  scopes: Type.Optional(
    Type.Union([MemberScopes, Type.Null()], {
      description: "What the role is narrowed to; null for all of the project. Without it, it stays as it is.",
    }),
  ),
};
const ProjectMember = closed({ user: UserNameField, ...right });
const ProjectGroup = closed({ group: GroupNameField, ...right });
const ProjectRobot = closed({ name: RobotNameField, ...robotFields });

// What receivers are told besides is no matter for a file: it would stand there in the clear.
const { authorization: _, ...webhookFields } = NewWebhook.properties;
const ProjectWebhook = closed(webhookFields);

export const ProjectDocument = closed(
  {
    apiVersion: Version,
    kind: Type.Enum(["Project"]),
    name: ProjectNameField,
    ...ProjectFields,
    networks: Type.Optional(
      Type.Union([Networks, Type.Null()], {
        description: "From where it may be used; null for from everywhere. Without it, that stays as it is.",
      }),
    ),
    members: Type.Optional(
      Type.Array(ProjectMember, { maxItems: 10_000, description: "All members. Without the list, members stay as they are." }),
    ),
    groups: Type.Optional(
      Type.Array(ProjectGroup, { maxItems: 10_000, description: "All groups with a role. Without the list, groups stay as they are." }),
    ),
    robots: Type.Optional(
      Type.Array(ProjectRobot, { maxItems: 10_000, description: "All robots. Without the list, robots stay as they are." }),
    ),
    webhooks: Type.Optional(
      Type.Array(ProjectWebhook, { maxItems: 1000, description: "All webhooks. Without the list, webhooks stay as they are." }),
    ),
  },
  { description: "A project with its members, groups, robots and webhooks, and from where it may be used." },
);
/** A project as a file says it. */
export type ProjectDocumentValue = Static<typeof ProjectDocument>;

export const RobotDocument = closed(
  { apiVersion: Version, kind: Type.Enum(["Robot"]), name: RobotNameField, ...robotFields },
  { description: "A robot of the whole registry." },
);
/** A robot of the registry as a file says it. */
export type RobotDocumentValue = Static<typeof RobotDocument>;

export const WebhookDocument = closed(
  { apiVersion: Version, kind: Type.Enum(["Webhook"]), ...webhookFields },
  { description: "A webhook of the whole registry." },
);
/** A webhook of the registry as a file says it. */
export type WebhookDocumentValue = Static<typeof WebhookDocument>;

export const GroupDocument = closed(
  {
    apiVersion: Version,
    kind: Type.Enum(["Group"]),
    ...NewGroup.properties,
    members: Type.Optional(
      Type.Array(UserNameField, {
        maxItems: 10_000,
        description:
          "All members that are added here; those by a provider are the provider's matter. Without the list, members stay as they are.",
      }),
    ),
  },
  { description: "A group of users." },
);
/** A group as a file says it. */
export type GroupDocumentValue = Static<typeof GroupDocument>;

export const IssuerDocument = closed(
  {
    apiVersion: Version,
    kind: Type.Enum(["Issuer"]),
    ...NewIssuer.properties,
    keys: IssuerUpdate.properties.keys,
    isDisabled: IssuerUpdate.properties.isDisabled,
  },
  { description: "An issuer whose tokens count in place of a stored secret." },
);
/** An issuer as a file says it. */
export type IssuerDocumentValue = Static<typeof IssuerDocument>;

const SettingValue = closed({
  path: Type.String({ minLength: 1, maxLength: 128, description: "As in the configuration, such as projects.creation." }),
  value: Type.Union([Type.String({ minLength: 1, maxLength: 256 }), Type.Null()], { description: "Null: what is configured counts." }),
});

export const SettingsDocument = closed(
  {
    apiVersion: Version,
    kind: Type.Enum(["Settings"]),
    values: Type.Array(SettingValue, { minItems: 1, maxItems: 100, description: "Others stay as they are." }),
  },
  { description: "Settings of the registry that change while it runs." },
);
/** Settings as a file says them. */
export type SettingsDocumentValue = Static<typeof SettingsDocument>;

/** The kinds of documents. */
export const APPLY_KINDS = {
  Project: ProjectDocument,
  Robot: RobotDocument,
  Group: GroupDocument,
  Issuer: IssuerDocument,
  Webhook: WebhookDocument,
  Settings: SettingsDocument,
} as const;
/** A document that was checked. */
export type ApplyDocument =
  | ProjectDocumentValue
  | RobotDocumentValue
  | GroupDocumentValue
  | IssuerDocumentValue
  | WebhookDocumentValue
  | SettingsDocumentValue;

/** The JSON schema for editors, draft 2020-12. */
export function applySchema(): object {
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "A file of berth apply",
    oneOf: Object.values(APPLY_KINDS),
  };
}
