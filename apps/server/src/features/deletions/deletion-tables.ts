// The tables of plans to delete. Not here: the statements (deletion-store.ts).
import { defineTables, id, integer, looseText, names, nullable, refersTo, type RowsOf } from "../../platform/database/table.ts";

export const deletionTables = defineTables({
  deletion_plan: {
    columns: {
      id: id(),
      repository_id: refersTo("repository", "cascade"),
      account_id: nullable(names("account", "stays")),
      action: looseText<"untag" | "delete">(),
      state: looseText<"planned" | "running" | "done" | "failed" | "cancelled">(),
      error: nullable(looseText()),
      created_at: integer(),
      expires_at: integer(),
      tags: integer(),
      manifests: integer(),
      stays: integer(),
      freed_bytes: integer(),
      /** Where a plan of the rest goes on. */
      next: nullable(looseText()),
      deleted: integer(),
      kept: integer(),
    },
    key: ["id"],
    indexes: { deletion_plan_by_repository: "(repository_id, state, id)", deletion_plan_by_expiry: "(expires_at, id)" },
    // What was planned for a state that is undone.
    backup: "left out",
  },
  deletion_item: {
    columns: {
      plan_id: refersTo("deletion_plan", "cascade"),
      number: integer(),
      /** Null: a manifest. */
      tag: nullable(looseText()),
      digest: looseText(),
      /** Why it stays, and because of what. */
      because: nullable(looseText<StayReason>()),
      because_of: nullable(looseText()),
      outcome: nullable(looseText<"deleted" | "changed" | "refused">()),
    },
    key: ["plan_id", "number"],
    isClustered: true,
    backup: "left out",
  },
});

/** Why something that was chosen stays. */
export type StayReason = "tagged" | "in-index" | "attached" | "too-many";

declare module "../../platform/database/schema.ts" {
  interface Schema extends RowsOf<typeof deletionTables> {}
}
