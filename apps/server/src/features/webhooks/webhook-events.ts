// What webhooks can be told of: the kinds of change, where each is, and which webhook wants it. Pure. Not here: who is asked (subscriptions.ts), what is
// sent (webhook-forms.ts).
import type { AccountChange } from "../../access/account-changes.ts";
import type { Actor } from "../../access/actor.ts";
import type { ContentChange } from "../../content/changes.ts";
import { fitsWildcards } from "../../platform/wildcards.ts";
import type { SettingChange } from "../settings/settings.ts";

/** Everything that can happen. */
export type RegistryChange = ContentChange | AccountChange | SettingChange;

/** Every kind of change there is, so that one of a newer program is told from those. */
const KINDS: Readonly<Record<RegistryChange["kind"], true>> = {
  "manifest.pushed": true,
  "manifest.deleted": true,
  "tag.moved": true,
  "tag.deleted": true,
  "repository.created": true,
  "repository.deleted": true,
  "project.created": true,
  "project.updated": true,
  "project.described": true,
  "project.networks-changed": true,
  "project.deleted": true,
  "member.changed": true,
  "member.removed": true,
  "user.created": true,
  "user.updated": true,
  "user.password-changed": true,
  "user.deleted": true,
  "session.begun": true,
  "session.ended": true,
  "identity.added": true,
  "identity.changed": true,
  "identity.removed": true,
  "robot.created": true,
  "robot.updated": true,
  "robot.secret-rotated": true,
  "robot.networks-changed": true,
  "robot.trust-changed": true,
  "robot.trust-removed": true,
  "robot.deleted": true,
  "issuer.created": true,
  "issuer.updated": true,
  "issuer.deleted": true,
  "group.created": true,
  "group.deleted": true,
  "group.member-added": true,
  "project.group-changed": true,
  "project.group-removed": true,
  "group.member-removed": true,
  "group.updated": true,
  "token.created": true,
  "token.revoked": true,
  "token.issued": true,
  "setting.changed": true,
  "webhook.created": true,
  "webhook.updated": true,
  "webhook.secret-rotated": true,
  "webhook.deleted": true,
};

/** Whether there is such a change. */
export const isKind = (kind: string): boolean => Object.hasOwn(KINDS, kind);

/** Whether an entry of a list of kinds, `tag.*` and `*` among them, names any change. */
export function namesKinds(entry: string): boolean {
  return entry === "*" || isKind(entry) || (entry.endsWith(".*") && Object.keys(KINDS).some((kind) => kind.startsWith(entry.slice(0, -1))));
}

/** What an entry that names no change could have been, in words that follow it. */
export function wrongKind(entry: string): string {
  const thing = entry.split(".", 1)[0]!;
  const known = Object.keys(KINDS);
  const ofThing = known.filter((kind) => kind.startsWith(`${thing}.`));
  if (ofThing.length > 0) return `names no change: those of ${thing} are ${ofThing.join(", ")}`;
  return `names no change: they are of ${[...new Set(known.map((kind) => kind.slice(0, kind.indexOf("."))))].toSorted().join(", ")}`;
}

/** A trial that somebody asked for. */
export interface Ping {
  readonly kind: "ping";
  readonly webhook: string;
}

/** What is sent. */
export interface WebhookEvent<C = RegistryChange | Ping> {
  /** Unique, and the same in each attempt. Rising among changes of one thing. */
  readonly id: string;
  /** In milliseconds since 1970. */
  readonly at: number;
  readonly actor: Pick<Actor, "kind" | "name">;
  readonly change: C;
}

/** What a webhook wants. */
export interface WebhookFilter {
  readonly kinds: readonly string[];
  readonly repositories: string;
  readonly tags: string;
}

/** Whether a list of kinds, `tag.*` and `*` among them, has one. */
export function wantsKind(kinds: readonly string[], kind: string): boolean {
  return kinds.includes("*") || kinds.includes(kind) || kinds.includes(`${kind.slice(0, kind.indexOf("."))}.*`);
}

/** Whether a pattern fits the whole of a text: `**` for any characters, `*` for any but `/`. */
export function fits(pattern: string, text: string): boolean {
  return fitsWildcards(pattern, text, "/");
}

/** Whether a webhook wants a change. */
export function wantsChange({ kinds, repositories, tags }: WebhookFilter, change: RegistryChange): boolean {
  if (!wantsKind(kinds, change.kind)) return false;
  if (repositories !== "" && !("repository" in change && fits(repositories, change.repository))) return false;
  return tags === "" || ("tag" in change && fits(tags, change.tag));
}

/** The project of a change: 0 for the registry's. */
export function projectOfChange(change: RegistryChange): number {
  return "projectId" in change ? (change.projectId ?? 0) : 0;
}

/** The account's or the system's name for whoever reads it. */
export function actorName({ actor }: WebhookEvent): string {
  return actor.kind === "anonymous" ? "anonymous" : actor.name;
}
