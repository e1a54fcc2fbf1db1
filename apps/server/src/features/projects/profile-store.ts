// The rows of what projects say of themselves. Not here: the rules (projects.ts), the table (profile-tables.ts).
import type { Executor } from "../../platform/database/database.ts";
import { statement } from "../../platform/database/statement.ts";

/** What a project says of itself. */
export interface Profile {
  readonly description: string | null;
  readonly contact: string | null;
  readonly labels: readonly { readonly key: string; readonly value: string }[];
}

/** Nothing. */
export const NO_PROFILE: Profile = { description: null, contact: null, labels: [] };

const list = statement<{ ids: number[] }>()("profile.list", (db, p, tools) =>
  db
    .selectFrom("project_profile")
    .select(["project_id", "description", "contact", "labels"])
    .where(({ ref }) => tools.inList(ref("project_id"), p.ids, "bigint")),
);
const put = statement<{ id: number; description: string | null; contact: string | null; labels: string }>()("profile.put", (db, p) =>
  db
    .insertInto("project_profile")
    .values({ project_id: p.id, description: p.description, contact: p.contact, labels: p.labels })
    .onConflict((conflict) =>
      conflict.column("project_id").doUpdateSet({ description: p.description, contact: p.contact, labels: p.labels }),
    )
    .returning("project_id"),
);

/** The profiles of those projects that have one, by their ids. */
export async function findProfiles(executor: Executor, ids: number[]): Promise<ReadonlyMap<number, Profile>> {
  const rows = await executor.all(list, { ids });
  return new Map(
    rows.map(({ project_id, description, contact, labels }) => [
      project_id,
      { description, contact, labels: JSON.parse(labels) as Profile["labels"] },
    ]),
  );
}

/** Writes a project's profile. */
export async function putProfile(tx: Executor, id: number, { description, contact, labels }: Profile): Promise<void> {
  await tx.first(put, { id, description, contact, labels: JSON.stringify(labels) });
}
