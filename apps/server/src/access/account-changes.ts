// The changes of accounts, memberships and projects, in the terms of the parts that react to them. They contain no secret. Not here:
// recording them (changes.ts, events/outbox.ts), changes of content (content/changes.ts).
import type { Executor } from "../platform/database/database.ts";
import type { NetworkLists } from "../platform/networks.ts";
import type { Account } from "./account-store.ts";
import type { Actor } from "./actor.ts";
import type { ChangeSink } from "./changes.ts";
import type { ApiBound } from "./personal-bound.ts";
import type { RobotScope } from "./robot-scopes.ts";
import type { Role, SystemRole } from "./roles.ts";
import type { Condition } from "./trust-rules.ts";

interface OfProject {
  /** Its name. */
  readonly project: string;
  readonly projectId: number;
}

interface OfAccount {
  /** Its login name. */
  readonly account: string;
  readonly accountId: number;
}

/** A token of a user. */
interface OfToken extends OfAccount {
  /** Its name. */
  readonly token: string;
  readonly tokenId: number;
}

/** A robot and its project: null for a robot of the registry. */
interface OfRobot extends OfAccount {
  readonly project: string | null;
  readonly projectId: number | null;
}

/** An issuer of tokens that count here. */
interface OfIssuer {
  /** Its name here. */
  readonly issuer: string;
  readonly url: string;
}

/** Who somebody is at a provider of sign-ins. */
interface OfIdentity {
  /** `KIND:NAME`, as members of groups have it. */
  readonly provider: string;
  readonly subject: string;
}

interface OfGroup {
  /** Its name. */
  readonly group: string;
  readonly groupId: number;
}

/** The scopes of a robot. */
interface ChangedScope {
  readonly repositories: string;
  readonly actions: readonly string[];
  /** Patterns of the only tags that may be moved. */
  readonly tags?: readonly string[];
}

/** What a role is narrowed to; nothing where it is whole. */
interface Narrowed {
  readonly scopes?: readonly ChangedScope[];
}

/** A webhook, and whose it is: null for the registry's. */
interface OfWebhook {
  readonly webhook: string;
  readonly webhookId: number;
  readonly project: string | null;
  readonly projectId: number | null;
}

/** Where a webhook sends what. */
interface WebhookSettings {
  /** Its origin: the rest of an address may be a secret. */
  readonly address: string;
  readonly form: string;
  readonly kinds: readonly string[];
  readonly repositories: string;
  readonly tags: string;
  readonly isEnabled: boolean;
}

/** What a project says of itself. */
interface DescribedProject {
  readonly description: string | null;
  readonly contact: string | null;
  readonly labels: readonly { readonly key: string; readonly value: string }[];
}

/** The networks from which something may be used, and those before. */
interface ChangedNetworks extends NetworkLists {
  readonly before: NetworkLists;
}

/** One change of rights. */
export type AccountChange =
  | (OfProject & { readonly kind: "project.created"; readonly isPublic: boolean })
  | (OfProject & { readonly kind: "project.updated"; readonly isPublic: boolean })
  | (OfProject & { readonly kind: "project.described"; readonly from: DescribedProject; readonly to: DescribedProject })
  /** From where it may be used. */
  | (OfProject & ChangedNetworks & { readonly kind: "project.networks-changed" })
  /** It comes after its members and robots, each of which is reported as removed. */
  | (OfProject & { readonly kind: "project.deleted" })
  /** `from`: undefined for a new member. */
  | (OfProject & OfAccount & { readonly kind: "member.changed"; readonly from: Role | undefined; readonly to: Role } & Narrowed)
  /** Alone, with its account, or with its project. */
  | (OfProject & OfAccount & { readonly kind: "member.removed" })
  | (OfAccount & { readonly kind: "user.created"; readonly isAdmin: boolean; readonly systemRole: SystemRole | null })
  /** Its present state. */
  | (OfAccount & {
      readonly kind: "user.updated";
      readonly isAdmin: boolean;
      readonly systemRole: SystemRole | null;
      readonly isDisabled: boolean;
    })
  /** By the user, by an administrator, or on the machine: the actor says which. */
  | (OfAccount & { readonly kind: "user.password-changed" })
  /** It comes after its memberships, each of which is reported as removed. */
  | (OfAccount & { readonly kind: "user.deleted" })
  /** Somebody at a provider of sign-ins is this account: by the first sign-in, or by an administrator. */
  | (OfAccount & OfIdentity & { readonly kind: "identity.added"; readonly email: string | null })
  /** The provider says something else of somebody than before. */
  | (OfAccount & OfIdentity & { readonly kind: "identity.changed"; readonly email: string | null })
  | (OfAccount & OfIdentity & { readonly kind: "identity.removed" })
  | (OfGroup & { readonly kind: "group.created" | "group.updated"; readonly systemRole: SystemRole | null })
  /** With all memberships by it. */
  | (OfGroup & { readonly kind: "group.deleted" })
  /** `source`: who says so, `local` or a provider. */
  | (OfGroup & OfAccount & { readonly kind: "group.member-added" | "group.member-removed"; readonly source: string })
  | (OfProject & OfGroup & { readonly kind: "project.group-changed"; readonly from: Role | undefined; readonly to: Role } & Narrowed)
  | (OfProject & OfGroup & { readonly kind: "project.group-removed" })
  | (OfToken & {
      readonly kind: "token.created";
      readonly api: ApiBound;
      readonly scopes: readonly ChangedScope[];
      readonly expiresAt: string;
    })
  /** A refresh token, at a login. */
  | (OfToken & { readonly kind: "token.issued" })
  /** By its owner, or by an administrator: the actor says which. */
  | (OfToken & { readonly kind: "token.revoked"; readonly tokenKind: "personal" | "refresh" })
  /** A browser has signed in; `provider`: `oidc:NAME`, or null for a password. */
  | (OfAccount & { readonly kind: "session.begun"; readonly session: number; readonly provider: string | null })
  /** By a logout, by its user, by an administrator, or by its provider: the actor says which. */
  | (OfAccount & { readonly kind: "session.ended"; readonly session: number })
  | (OfRobot & { readonly kind: "robot.created"; readonly scopes: readonly ChangedScope[]; readonly expiresAt: string | null })
  /** Its present state; `scopes` if they were set. */
  | (OfRobot & {
      readonly kind: "robot.updated";
      readonly isDisabled: boolean;
      readonly expiresAt: string | null;
      readonly scopes?: readonly ChangedScope[];
    })
  | (OfRobot & { readonly kind: "robot.secret-rotated" })
  | (OfRobot & ChangedNetworks & { readonly kind: "robot.networks-changed" })
  /** A new rule, or another in its place: tokens of the issuer that meet the conditions become the robot. */
  | (OfRobot & {
      readonly kind: "robot.trust-changed";
      readonly rule: string;
      readonly issuer: string;
      readonly conditions: readonly Condition[];
    })
  | (OfRobot & { readonly kind: "robot.trust-removed"; readonly rule: string })
  /** Alone or with its project. */
  | (OfRobot & { readonly kind: "robot.deleted" })
  /** Its present state. */
  | (OfIssuer & { readonly kind: "issuer.created"; readonly audiences: readonly string[] })
  | (OfIssuer & {
      readonly kind: "issuer.updated";
      readonly audiences: readonly string[];
      readonly algorithms: readonly string[];
      readonly isDisabled: boolean;
      readonly isSingleUse: boolean;
      /** Whether its keys were given, or its keys are fetched again. */
      readonly hasNewKeys: boolean;
    })
  | (OfIssuer & { readonly kind: "issuer.deleted" })
  | (OfWebhook & WebhookSettings & { readonly kind: "webhook.created" })
  /** What it is now. */
  | (OfWebhook & WebhookSettings & { readonly kind: "webhook.updated" })
  | (OfWebhook & { readonly kind: "webhook.secret-rotated" })
  /** Alone: those that go with their project are not said. */
  | (OfWebhook & { readonly kind: "webhook.deleted" });

/** Scopes as changes report them. */
export function changedScopes(scopes: readonly RobotScope[]): ChangedScope[] {
  return scopes.map(({ repositoryPattern, actions, tagPatterns }) => ({
    repositories: repositoryPattern,
    actions: [...actions].toSorted(),
    ...(tagPatterns === undefined ? {} : { tags: tagPatterns }),
  }));
}

/** Records the changes of a user: nothing if nothing changed. */
export async function recordUserUpdate(
  tx: Executor,
  actor: Actor,
  changes: ChangeSink<AccountChange>,
  before: Account,
  { id: accountId, name: account, systemRole, isDisabled, secretHash }: Account,
): Promise<void> {
  const found: AccountChange[] = [];
  if (secretHash !== before.secretHash) found.push({ kind: "user.password-changed", account, accountId });
  if (systemRole !== before.systemRole || isDisabled !== before.isDisabled) {
    const isAdmin = systemRole === "administrator";
    found.push({ kind: "user.updated", account, accountId, isAdmin, systemRole: systemRole ?? null, isDisabled });
  }
  await changes.record(tx, actor, found);
}
