// What webhooks can be told of: the kinds of change, where each is, and which webhook wants it. Pure. Not here: who is asked (subscriptions.ts), what is
// sent (webhook-forms.ts).
import type { AccountChange } from "../../access/account-changes.ts";
import type { Actor } from "../../access/actor.ts";
import type { ContentChange } from "../../content/changes.ts";

/** Everything that can happen. */
type RegistryChange = ContentChange | AccountChange;

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

/** Whether a pattern fits the whole of a text: `**` for any characters, `*` for any but `/`. In time that grows with the product of both lengths. */
export function fits(pattern: string, text: string): boolean {
  // What can have been read so far: one pass over the pattern for each character, and no going back.
  const parts = [...pattern.matchAll(/\*\*|\*|[^*]/g)].map(([part]) => part);
  let reached = new Set<number>();
  const reach = (set: Set<number>, at: number): void => {
    for (let i = at; ; i++) {
      set.add(i);
      if (parts[i] !== "*" && parts[i] !== "**") return;
    }
  };
  reach(reached, 0);
  for (const character of text) {
    const next = new Set<number>();
    for (const at of reached) {
      const part = parts[at];
      if (part === "**" || (part === "*" && character !== "/")) reach(next, at);
      else if (part === character) reach(next, at + 1);
    }
    reached = next;
  }
  return reached.has(parts.length);
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
