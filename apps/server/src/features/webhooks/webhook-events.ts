// What webhooks can be told of: the kinds of change, where each is, and which webhook wants it. Pure. Not here: who is asked (subscriptions.ts), what is
// sent (webhook-forms.ts).
import type { AccountChange } from "../../access/account-changes.ts";
import type { Actor } from "../../access/actor.ts";
import type { ContentChange } from "../../content/changes.ts";
import { fitsWildcards } from "../../platform/wildcards.ts";
import type { SettingChange } from "../settings/settings.ts";

/** Everything that can happen. */
export type RegistryChange = ContentChange | AccountChange | SettingChange;

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
