// Reactions to changes: one table, from a change to the jobs that are requested. Not here: the jobs themselves (compose/jobs.ts).
import type { AccountChange } from "./access/account-changes.ts";
import type { ContentChange } from "./content/changes.ts";
import type { SettingChange } from "./features/settings/settings.ts";
import type { Reactions } from "./events/outbox.ts";

/** The kinds of jobs that reactions request. */
export const REPOSITORY_REMOVAL = "repository-removal";

/** All changes. */
export type RegistryChange = ContentChange | AccountChange | SettingChange;

export const reactions: Reactions<RegistryChange> = {
  // At once instead of with the next scheduled round.
  "repository.deleted": () => [{ kind: REPOSITORY_REMOVAL, subject: "" }],
};
