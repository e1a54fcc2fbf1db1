// The rows of webhooks and their secrets. Not here: deliveries (delivery-store.ts), the rules (webhooks.ts), the tables (webhook-tables.ts).
import type { WebhookForm } from "@berth/api/webhooks";
import type { Executor } from "../../platform/database/database.ts";
import { statement } from "../../platform/database/statement.ts";

/** A webhook. */
export interface WebhookRow {
  readonly id: number;
  /** Undefined: the registry's. */
  readonly projectId: number | undefined;
  readonly name: string;
  readonly address: string;
  readonly form: WebhookForm;
  readonly kinds: readonly string[];
  readonly repositories: string;
  readonly tags: string;
  readonly template: string | null;
  readonly isEnabled: boolean;
  readonly createdAt: number;
  readonly failures: number;
  readonly openedUntil: number | undefined;
}

/** What can be written of one. */
export type WebhookSettings = Pick<WebhookRow, "address" | "form" | "kinds" | "repositories" | "tags" | "template" | "isEnabled">;

/** A secret as it lies there. */
export interface SecretRow {
  readonly webhookId: number;
  readonly purpose: "signature" | "authorization";
  readonly sealed: string;
  readonly createdAt: number;
  readonly endsAt: number | undefined;
}

/** Told after each change of webhooks. */
export const WEBHOOKS_TOPIC = "webhooks";

const COLUMNS = [
  ...(["id", "project_id", "name", "address", "form", "kinds", "repositories", "tags"] as const),
  ...(["template", "is_enabled", "created_at", "failures", "opened_until"] as const),
] as const;

const list = statement<{ projectId: number; after: string; limit: number }>()("webhook.list", (db, p) =>
  db.selectFrom("webhook").select(COLUMNS).where("project_id", "=", p.projectId).where("name", ">", p.after).orderBy("name").limit(p.limit),
);
const listOfRegistry = statement<{ after: string; limit: number }>()("webhook.listOfRegistry", (db, p) =>
  db.selectFrom("webhook").select(COLUMNS).where("project_id", "is", null).where("name", ">", p.after).orderBy("name").limit(p.limit),
);
const findByName = statement<{ projectId: number; name: string }>()("webhook.findByName", (db, p) =>
  db.selectFrom("webhook").select(COLUMNS).where("project_id", "=", p.projectId).where("name", "=", p.name),
);
const findOfRegistry = statement<{ name: string }>()("webhook.findOfRegistry", (db, p) =>
  db.selectFrom("webhook").select(COLUMNS).where("project_id", "is", null).where("name", "=", p.name),
);
const findById = statement<{ id: number }>()("webhook.find", (db, p) => db.selectFrom("webhook").select(COLUMNS).where("id", "=", p.id));
const lockById = statement<{ id: number }>()("webhook.lock", (db, p, tools) =>
  db.selectFrom("webhook").select(COLUMNS).where("id", "=", p.id).modifyEnd(tools.lock("update")),
);
const enabled = statement<{ after: number; limit: number }>()("webhook.enabled", (db, p) =>
  db.selectFrom("webhook").select(["id", "project_id", "kinds", "is_enabled"]).where("id", ">", p.after).orderBy("id").limit(p.limit),
);
const ofProjects = statement<{ ids: number[] }>()("webhook.ofProjects", (db, p, tools) =>
  db
    .selectFrom("webhook")
    .select(COLUMNS)
    .where(({ ref }) => tools.inList(ref("project_id"), p.ids, "bigint"))
    .limit(10_000),
);
const publicProjects = statement<{ ids: number[] }>()("webhook.publicProjects", (db, p, tools) =>
  db
    .selectFrom("project")
    .select(["id"])
    .where(({ ref }) => tools.inList(ref("id"), p.ids, "bigint"))
    .where("is_public", "=", 1),
);

type Written = {
  readonly address: string;
  readonly form: string;
  readonly kinds: string;
  readonly repositories: string;
  readonly tags: string;
  readonly template: string | null;
  readonly isEnabled: number;
};

/** Written of a new webhook and of one that is changed. */
const columnsOf = (p: Written) => ({
  address: p.address,
  form: p.form,
  kinds: p.kinds,
  repositories: p.repositories,
  tags: p.tags,
  template: p.template,
  is_enabled: p.isEnabled,
});
const insert = statement<{ projectId: number | null; name: string; now: number } & Written>()("webhook.insert", (db, p) =>
  db
    .insertInto("webhook")
    .values({
      project_id: p.projectId,
      name: p.name,
      ...columnsOf(p),
      created_at: p.now,
      failures: 0,
      opened_until: null,
    })
    .onConflict((conflict) => conflict.doNothing())
    .returning("id"),
);
const update = statement<{ id: number } & Written>()("webhook.update", (db, p) =>
  db
    .updateTable("webhook")
    .set({
      ...columnsOf(p),
      failures: 0,
      opened_until: null,
    })
    .where("id", "=", p.id),
);
const remove = statement<{ id: number }>()("webhook.delete", (db, p) => db.deleteFrom("webhook").where("id", "=", p.id));
const setBreaker = statement<{ id: number; failures: number; openedUntil: number | null }>()("webhook.setBreaker", (db, p) =>
  db.updateTable("webhook").set({ failures: p.failures, opened_until: p.openedUntil }).where("id", "=", p.id),
);
const disable = statement<{ id: number }>()("webhook.disable", (db, p) =>
  db.updateTable("webhook").set({ is_enabled: 0 }).where("id", "=", p.id),
);
const raise = statement<Record<never, never>>()("webhook.raiseRevision", (db) =>
  db
    .updateTable("webhook_revision")
    .set(({ eb }) => ({ revision: eb("revision", "+", 1) }))
    .where("id", "=", 1),
);
const revision = statement<Record<never, never>>()("webhook.revision", (db) =>
  db.selectFrom("webhook_revision").select("revision").where("id", "=", 1),
);

const secretsOf = statement<{ id: number }>()("webhook.secrets", (db, p) =>
  db
    .selectFrom("webhook_secret")
    .select(["webhook_id", "purpose", "sealed", "created_at", "ends_at"])
    .where("webhook_id", "=", p.id)
    .orderBy("id", "desc")
    .limit(20),
);
const insertSecret = statement<{ webhookId: number; purpose: "signature" | "authorization"; sealed: string; now: number }>()(
  "webhook.insertSecret",
  (db, p) =>
    db
      .insertInto("webhook_secret")
      .values({ webhook_id: p.webhookId, purpose: p.purpose, sealed: p.sealed, created_at: p.now, ends_at: null })
      .returning("id"),
);
const endSecrets = statement<{ webhookId: number; endsAt: number }>()("webhook.endSecrets", (db, p) =>
  db
    .updateTable("webhook_secret")
    .set({ ends_at: p.endsAt })
    .where("webhook_id", "=", p.webhookId)
    .where("purpose", "=", "signature")
    .where("ends_at", "is", null),
);
const dropEnded = statement<{ webhookId: number }>()("webhook.dropEndedSecrets", (db, p) =>
  db.deleteFrom("webhook_secret").where("webhook_id", "=", p.webhookId).where("purpose", "=", "signature").where("ends_at", "is not", null),
);
const dropAuthorization = statement<{ webhookId: number }>()("webhook.dropAuthorization", (db, p) =>
  db.deleteFrom("webhook_secret").where("webhook_id", "=", p.webhookId).where("purpose", "=", "authorization"),
);

/** What the statements give; spelt out, since all of them give the same. */
interface Raw {
  readonly id: number;
  readonly project_id: number | null;
  readonly name: string;
  readonly address: string;
  readonly form: string;
  readonly kinds: string;
  readonly repositories: string;
  readonly tags: string;
  readonly template: string | null;
  readonly is_enabled: number;
  readonly created_at: number;
  readonly failures: number;
  readonly opened_until: number | null;
}

function toRow(raw: Raw): WebhookRow {
  return {
    id: raw.id,
    projectId: raw.project_id ?? undefined,
    name: raw.name,
    address: raw.address,
    form: raw.form as WebhookForm,
    kinds: JSON.parse(raw.kinds) as string[],
    repositories: raw.repositories,
    tags: raw.tags,
    template: raw.template,
    isEnabled: raw.is_enabled === 1,
    createdAt: raw.created_at,
    failures: raw.failures,
    openedUntil: raw.opened_until ?? undefined,
  };
}

const written = ({ kinds, isEnabled, ...rest }: WebhookSettings): Written => ({
  address: rest.address,
  form: rest.form,
  repositories: rest.repositories,
  tags: rest.tags,
  template: rest.template,
  kinds: JSON.stringify(kinds),
  isEnabled: isEnabled ? 1 : 0,
});

/** Webhooks of a project, or of the registry, by name. */
export async function listWebhooks(executor: Executor, projectId: number | undefined, after: string, limit: number): Promise<WebhookRow[]> {
  const rows =
    projectId === undefined ? await executor.all(listOfRegistry, { after, limit }) : await executor.all(list, { projectId, after, limit });
  return rows.map(toRow);
}

/** One of them by its name. */
export async function findWebhookByName(executor: Executor, projectId: number | undefined, name: string): Promise<WebhookRow | undefined> {
  const row =
    projectId === undefined ? await executor.first(findOfRegistry, { name }) : await executor.first(findByName, { projectId, name });
  return row === undefined ? undefined : toRow(row);
}

/** One by its id. */
export async function findWebhook(executor: Executor, id: number): Promise<WebhookRow | undefined> {
  const row = await executor.first(findById, { id });
  return row === undefined ? undefined : toRow(row);
}

/** The same, locked until the transaction's end. */
export async function lockWebhook(tx: Executor, id: number): Promise<WebhookRow | undefined> {
  const row = await tx.first(lockById, { id });
  return row === undefined ? undefined : toRow(row);
}

/** Webhooks of these projects and of the registry, and which of the projects are public. */
export async function findListeners(
  executor: Executor,
  projectIds: number[],
): Promise<{ readonly webhooks: readonly WebhookRow[]; readonly publicIds: ReadonlySet<number> }> {
  const ofThem = (await executor.all(ofProjects, { ids: projectIds })).map(toRow);
  const ofRegistry = await listWebhooks(executor, undefined, "", 1000);
  const open = ofRegistry.length === 0 ? [] : await executor.all(publicProjects, { ids: projectIds });
  return { webhooks: [...ofThem, ...ofRegistry].filter(({ isEnabled }) => isEnabled), publicIds: new Set(open.map(({ id }) => id)) };
}

/** What is wanted by whom: a batch of webhooks behind an id. */
export async function listWanted(executor: Executor, after: number, limit: number) {
  const rows = await executor.all(enabled, { after, limit });
  return rows.map((row) => ({
    id: row.id,
    projectId: row.project_id ?? 0,
    kinds: row.is_enabled === 1 ? (JSON.parse(row.kinds) as string[]) : [],
  }));
}

/** Rises with each change of webhooks. */
export async function findWebhookRevision(executor: Executor): Promise<number> {
  return (await executor.first(revision, {}))?.revision ?? 0;
}

/** Says that webhooks are changed, so that every process reads anew what is wanted; others that change some wait for the transaction's end. */
export async function tellWebhooksChanged(tx: Executor): Promise<void> {
  await tx.run(raise, {}, 1);
  tx.notify?.(WEBHOOKS_TOPIC);
}

/** Adds a webhook, after `tellWebhooksChanged`; gives its id, or undefined where the name is taken. */
export async function insertWebhook(
  tx: Executor,
  { projectId, name, now }: { readonly projectId: number | undefined; readonly name: string; readonly now: number },
  settings: WebhookSettings,
): Promise<number | undefined> {
  const row = await tx.first(insert, { projectId: projectId ?? null, name, now, ...written(settings) });
  return row?.id;
}

/** Changes a webhook, and closes its breaker. */
export async function updateWebhook(tx: Executor, id: number, settings: WebhookSettings): Promise<void> {
  await tx.run(update, { id, ...written(settings) }, 1);
  await tellWebhooksChanged(tx);
}

/** Deletes a webhook with its secrets and deliveries. */
export async function deleteWebhook(tx: Executor, id: number): Promise<void> {
  await tx.run(remove, { id }, 1);
  await tellWebhooksChanged(tx);
}

/** What receiver says that it wants no more. */
export async function disableWebhook(tx: Executor, id: number): Promise<void> {
  await tx.run(disable, { id }, { any: "it may be deleted" });
  await tellWebhooksChanged(tx);
}

/** Says how many deliveries in a row failed, and until when none is tried. */
export async function putBreaker(tx: Executor, id: number, failures: number, openedUntil: number | undefined): Promise<void> {
  await tx.run(setBreaker, { id, failures, openedUntil: openedUntil ?? null }, { any: "it may be deleted" });
}

/** A webhook's secrets, newest first. */
export async function listSecrets(executor: Executor, webhookId: number): Promise<SecretRow[]> {
  const rows = await executor.all(secretsOf, { id: webhookId });
  return rows.map((row) => ({
    webhookId: row.webhook_id,
    purpose: row.purpose,
    sealed: row.sealed,
    createdAt: row.created_at,
    endsAt: row.ends_at ?? undefined,
  }));
}

/** Adds the secret that signs from now on; the one before it ends at that time, and those before that at once. */
export async function rotateSecret(
  tx: Executor,
  webhookId: number,
  sealed: string,
  times: { readonly now: number; readonly endsAt: number },
) {
  await tx.run(dropEnded, { webhookId }, { any: "there may be none" });
  await tx.run(endSecrets, { webhookId, endsAt: times.endsAt }, { any: "a new webhook has none" });
  await tx.first(insertSecret, { webhookId, purpose: "signature", sealed, now: times.now });
}

/** Says what is sent as Authorization; undefined: nothing. */
export async function putAuthorization(tx: Executor, webhookId: number, sealed: string | undefined, now: number): Promise<void> {
  await tx.run(dropAuthorization, { webhookId }, { any: "there may be none" });
  if (sealed !== undefined) await tx.first(insertSecret, { webhookId, purpose: "authorization", sealed, now });
}
