// What follows from what happened: one table, from a change to the jobs that are asked for. Not here: the jobs themselves (compose/jobs.ts).
import type { AccountChange } from "./access/account-changes.ts";
import type { ContentChange } from "./content/changes.ts";
import type { Reactions } from "./events/outbox.ts";

/** Kinds of jobs that reactions ask for. */
export const REPOSITORY_REMOVAL = "repository-removal";

/** Everything that can happen. */
export type RegistryChange = ContentChange | AccountChange;

export const reactions: Reactions<RegistryChange> = {
  // At once instead of with the next of its rounds.
  "repository.deleted": () => [{ kind: REPOSITORY_REMOVAL, subject: "" }],
};
