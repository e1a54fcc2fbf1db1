// Webhooks, their secrets, and what was sent to them.
import type { Migration } from "./migration.ts";

export const webhooks: Migration = {
  id: 20261126073500,
  name: "webhooks/tables",
  oldestProgram: 3,
  loses: { what: "webhooks, and what was to be sent to them", content: ["webhook", "webhook_secret", "webhook_delivery"] },
  up: ({ id, integer, text }) => [
    `create table webhook (
      id ${id},
      project_id ${integer} references project (id) on delete cascade,
      name ${text} not null,
      address text not null,
      form text not null,
      kinds text not null,
      repositories text not null,
      tags text not null,
      template text,
      is_enabled ${integer} not null,
      created_at ${integer} not null,
      failures ${integer} not null,
      opened_until ${integer}
    )`,
    "create unique index webhook_by_project on webhook (project_id, name) where project_id is not null",
    "create unique index webhook_by_name on webhook (name) where project_id is null",
    "create index webhook_by_open on webhook (opened_until) where opened_until is not null",
    `create table webhook_secret (
      id ${id},
      webhook_id ${integer} not null references webhook (id) on delete cascade,
      purpose ${text} not null check (purpose in ('signature', 'authorization')),
      sealed text not null,
      created_at ${integer} not null,
      ends_at ${integer}
    )`,
    "create index webhook_secret_by_webhook on webhook_secret (webhook_id, id)",
    `create table webhook_delivery (
      id ${id},
      webhook_id ${integer} not null references webhook (id) on delete cascade,
      event text not null,
      kind text not null,
      state ${text} not null check (state in ('waiting', 'delivered', 'failed')),
      attempts ${integer} not null,
      created_at ${integer} not null,
      ended_at ${integer},
      status ${integer},
      error text,
      took_ms ${integer},
      request text,
      response text
    )`,
    "create index webhook_delivery_by_webhook on webhook_delivery (webhook_id, id)",
    "create index webhook_delivery_by_time on webhook_delivery (created_at)",
    "create index webhook_delivery_by_waiting on webhook_delivery (created_at) where state = 'waiting'",
    `create table webhook_revision (id ${integer} not null primary key, revision ${integer} not null)`,
    "insert into webhook_revision (id, revision) values (1, 0)",
  ],
  down: () => ["drop table webhook_revision", "drop table webhook_delivery", "drop table webhook_secret", "drop table webhook"],
};
