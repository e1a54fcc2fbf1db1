// The tables of webhooks: where changes are sent, with which secrets, and what became of each. Not here: the statements (webhook-store.ts,
// delivery-store.ts).
import { defineTables, id, integer, looseText, nullable, refersTo, text, word, type RowsOf } from "../../platform/database/table.ts";

export const webhookTables = defineTables({
  webhook: {
    columns: {
      id: id(),
      /** Null: of the registry. */
      project_id: nullable(refersTo("project", "cascade")),
      name: text(),
      address: looseText(),
      form: looseText(),
      /** JSON: a list. */
      kinds: looseText(),
      /** Patterns; empty: all. */
      repositories: looseText(),
      tags: looseText(),
      template: nullable(looseText()),
      is_enabled: integer(),
      created_at: integer(),
      /** Deliveries that failed since the last one that did not. */
      failures: integer(),
      /** Nothing is sent before then; behind it one is tried. */
      opened_until: nullable(integer()),
    },
    key: ["id"],
    uniqueIndexes: {
      webhook_by_project: "(project_id, name) where project_id is not null",
      webhook_by_name: "(name) where project_id is null",
    },
    indexes: { webhook_by_open: "(opened_until) where opened_until is not null" },
    backup: "kept",
  },
  webhook_secret: {
    columns: {
      id: id(),
      webhook_id: refersTo("webhook", "cascade"),
      purpose: word("purpose", ["signature", "authorization"]),
      sealed: looseText(),
      created_at: integer(),
      /** Null: the present one. */
      ends_at: nullable(integer()),
    },
    key: ["id"],
    indexes: { webhook_secret_by_webhook: "(webhook_id, id)" },
    backup: "sealed",
  },
  /** What became of one change for one webhook. */
  webhook_delivery: {
    columns: {
      id: id(),
      webhook_id: refersTo("webhook", "cascade"),
      /** The event as JSON. */
      event: looseText(),
      kind: looseText(),
      state: word("state", ["waiting", "delivered", "failed"]),
      attempts: integer(),
      created_at: integer(),
      ended_at: nullable(integer()),
      status: nullable(integer()),
      error: nullable(looseText()),
      took_ms: nullable(integer()),
      request: nullable(looseText()),
      response: nullable(looseText()),
    },
    key: ["id"],
    indexes: {
      webhook_delivery_by_webhook: "(webhook_id, id)",
      webhook_delivery_by_time: "(created_at)",
      webhook_delivery_by_waiting: "(created_at) where state = 'waiting'",
    },
    backup: "left out",
  },
  /** One row, which rises when webhooks are made, changed or deleted: so that replicas see cheaply whether they know what is wanted. */
  webhook_revision: {
    columns: { id: integer(), revision: integer() },
    key: ["id"],
    // Its only row is made with the table, and processes compare it with what they last saw.
    backup: "left out",
  },
});

declare module "../../platform/database/schema.ts" {
  interface Schema extends RowsOf<typeof webhookTables> {}
}
