// The rows of deliveries. Not here: sending (webhook-delivery.ts), the tables (webhook-tables.ts).
import type { Executor } from "../../platform/database/database.ts";
import { statement } from "../../platform/database/statement.ts";
import type { WebhookEvent } from "./webhook-events.ts";

/** What became of one change for one webhook. */
export interface DeliveryRow {
  readonly id: number;
  readonly webhookId: number;
  readonly event: WebhookEvent;
  readonly state: "waiting" | "delivered" | "failed";
  readonly attempts: number;
  readonly createdAt: number;
  readonly endedAt: number | undefined;
  readonly status: number | undefined;
  readonly error: string | undefined;
  readonly tookMs: number | undefined;
}

/** The bodies of one. */
export interface DeliveryBodies {
  readonly request: string | null;
  readonly response: string | null;
}

/** What an attempt changes. */
export interface Attempt extends DeliveryBodies {
  readonly state: DeliveryRow["state"];
  readonly attempts: number;
  readonly endedAt: number | null;
  readonly status: number | null;
  readonly error: string | null;
  readonly tookMs: number;
}

const COLUMNS = ["id", "webhook_id", "event", "state", "attempts", "created_at", "ended_at", "status", "error", "took_ms"] as const;

const insert = statement<{ webhookId: number; event: string; kind: string; now: number }>()("webhook_delivery.insert", (db, p) =>
  db
    .insertInto("webhook_delivery")
    .values({
      webhook_id: p.webhookId,
      event: p.event,
      kind: p.kind,
      state: "waiting",
      attempts: 0,
      created_at: p.now,
      ended_at: null,
      status: null,
      error: null,
      took_ms: null,
      request: null,
      response: null,
    })
    .returning("id"),
);
const find = statement<{ id: number }>()("webhook_delivery.find", (db, p) =>
  db.selectFrom("webhook_delivery").select(COLUMNS).where("id", "=", p.id),
);
const bodies = statement<{ id: number }>()("webhook_delivery.bodies", (db, p) =>
  db.selectFrom("webhook_delivery").select(["request", "response"]).where("id", "=", p.id),
);
const list = statement<{ webhookId: number; before: number; limit: number }>()("webhook_delivery.list", (db, p) =>
  db
    .selectFrom("webhook_delivery")
    .select(COLUMNS)
    .where("webhook_id", "=", p.webhookId)
    .where("id", "<", p.before)
    .orderBy("webhook_id", "desc")
    .orderBy("id", "desc")
    .limit(p.limit),
);
const attempt = statement<{
  id: number;
  state: DeliveryRow["state"];
  attempts: number;
  endedAt: number | null;
  status: number | null;
  error: string | null;
  tookMs: number;
  request: string | null;
  response: string | null;
}>()("webhook_delivery.attempt", (db, p) =>
  db
    .updateTable("webhook_delivery")
    .set({
      state: p.state,
      attempts: p.attempts,
      ended_at: p.endedAt,
      status: p.status,
      error: p.error,
      took_ms: p.tookMs,
      request: p.request,
      response: p.response,
    })
    .where("id", "=", p.id),
);
const giveUp = statement<{ id: number; error: string; now: number }>()("webhook_delivery.giveUp", (db, p) =>
  db
    .updateTable("webhook_delivery")
    .set({ state: "failed", error: p.error, ended_at: p.now })
    .where("id", "=", p.id)
    .where("state", "=", "waiting"),
);
const reopen = statement<{ id: number }>()("webhook_delivery.reopen", (db, p) =>
  db.updateTable("webhook_delivery").set({ state: "waiting", ended_at: null }).where("id", "=", p.id),
);
const older = statement<{ before: number; limit: number }>()("webhook_delivery.older", (db, p) =>
  db.selectFrom("webhook_delivery").select("id").where("created_at", "<", p.before).orderBy("created_at").limit(p.limit),
);
const surplus = statement<{ webhookId: number; keep: number; limit: number }>()("webhook_delivery.surplus", (db, p) =>
  db
    .selectFrom("webhook_delivery")
    .select("id")
    .where("webhook_id", "=", p.webhookId)
    .orderBy("webhook_id", "desc")
    .orderBy("id", "desc")
    .limit(p.limit)
    .offset(p.keep),
);
const remove = statement<{ ids: number[] }>()("webhook_delivery.delete", (db, p, tools) =>
  db.deleteFrom("webhook_delivery").where(({ ref }) => tools.inList(ref("id"), p.ids, "bigint")),
);

const waiting = statement<{ limit: number }>()("webhook_delivery.waiting", (db, p) =>
  db
    .selectFrom("webhook_delivery")
    .select("created_at")
    .where("state", "=", "waiting")
    .where("created_at", ">", 0)
    .orderBy("created_at")
    .limit(p.limit),
);
const openBreakers = statement<{ limit: number }>()("webhook.openBreakers", (db, p) =>
  db.selectFrom("webhook").select("id").where("opened_until", "is not", null).where("is_enabled", "=", 1).limit(p.limit),
);

interface Raw {
  readonly id: number;
  readonly webhook_id: number;
  readonly event: string;
  readonly state: DeliveryRow["state"];
  readonly attempts: number;
  readonly created_at: number;
  readonly ended_at: number | null;
  readonly status: number | null;
  readonly error: string | null;
  readonly took_ms: number | null;
}

function toRow(raw: Raw): DeliveryRow {
  return {
    id: raw.id,
    webhookId: raw.webhook_id,
    event: JSON.parse(raw.event) as WebhookEvent,
    state: raw.state,
    attempts: raw.attempts,
    createdAt: raw.created_at,
    endedAt: raw.ended_at ?? undefined,
    status: raw.status ?? undefined,
    error: raw.error ?? undefined,
    tookMs: raw.took_ms ?? undefined,
  };
}

/** Adds one that waits; gives its id. */
export async function insertDelivery(tx: Executor, webhookId: number, event: WebhookEvent, now: number): Promise<number> {
  return (await tx.first(insert, { webhookId, event: JSON.stringify(event), kind: event.change.kind, now }))!.id;
}

/** One of them. */
export async function findDelivery(executor: Executor, id: number): Promise<DeliveryRow | undefined> {
  const row = await executor.first(find, { id });
  return row === undefined ? undefined : toRow(row);
}

/** What was sent and answered. */
export async function findBodies(executor: Executor, id: number): Promise<DeliveryBodies> {
  return (await executor.first(bodies, { id })) ?? { request: null, response: null };
}

/** A webhook's, the newest first. */
export async function listDeliveries(executor: Executor, webhookId: number, before: number, limit: number): Promise<DeliveryRow[]> {
  return (await executor.all(list, { webhookId, before, limit })).map(toRow);
}

/** Writes down an attempt. */
export async function putAttempt(tx: Executor, id: number, made: Attempt): Promise<void> {
  await tx.run(attempt, { id, ...made }, { any: "its webhook may be deleted" });
}

/** Writes down that one that still waits is not tried again. */
export async function giveUpDelivery(tx: Executor, id: number, error: string, now: number): Promise<void> {
  await tx.run(giveUp, { id, error, now }, { any: "its webhook may be deleted" });
}

/** Has one tried again. */
export async function reopenDelivery(tx: Executor, id: number): Promise<void> {
  await tx.run(reopen, { id }, 1);
}

/** Deletes some that are older; true where there may be more. */
export async function dropOlder(tx: Executor, before: number, limit: number): Promise<boolean> {
  const ids = (await tx.all(older, { before, limit })).map(({ id }) => id);
  if (ids.length > 0) await tx.run(remove, { ids }, { any: "others may have gone meanwhile" });
  return ids.length === limit;
}

/** Deletes some of a webhook's beyond the newest; true where there may be more. */
export async function dropSurplus(tx: Executor, webhookId: number, keep: number, limit: number): Promise<boolean> {
  const ids = (await tx.all(surplus, { webhookId, keep, limit })).map(({ id }) => id);
  if (ids.length > 0) await tx.run(remove, { ids }, { any: "others may have gone meanwhile" });
  return ids.length === limit;
}

/** That more than this many wait says no more. */
const COUNTED_MAX = 1000;

/** Breakers that are not closed, deliveries that wait, and when the oldest of those was asked for. */
export async function countWebhooks(
  executor: Executor,
): Promise<{ readonly open: number; readonly waiting: number; readonly oldestAt: number | undefined }> {
  const open = await executor.all(openBreakers, { limit: COUNTED_MAX });
  const found = await executor.all(waiting, { limit: COUNTED_MAX });
  return { open: open.length, waiting: found.length, oldestAt: found[0]?.created_at };
}
