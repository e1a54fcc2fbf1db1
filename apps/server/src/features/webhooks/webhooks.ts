// Webhooks: where changes of a project or of the registry are sent, by whom that may be said, and what became of each. Not here: which change is wanted
// (subscriptions.ts), sending (webhook-delivery.ts), rows (webhook-store.ts, delivery-store.ts).
import { ApiError } from "@berth/api/errors";
import { DEFAULT_PAGE_SIZE } from "@berth/api/limits";
import type {
  CreateWebhookBody,
  DeliveryView,
  DeliveryWithBodiesView,
  UpdateWebhookBody,
  WebhookView,
  WebhookWithSecretView,
} from "@berth/api/webhooks";
import { RegistryError } from "@berth/oci/errors";
import type { AccountChange } from "../../access/account-changes.ts";
import type { ChangeSink } from "../../access/changes.ts";
import { grantedTransaction } from "../../access/granted-transaction.ts";
import type { Seal } from "../../access/seal.ts";
import { putJob } from "../../events/job-store.ts";
import type { Clock } from "../../platform/clock.ts";
import type { Database, Executor } from "../../platform/database/database.ts";
import { OutboundError } from "../../platform/outbound-errors.ts";
import { type Home, type HomeGrant, homeOf } from "../home.ts";
import { listed, type Listed, type PageRequest } from "../paging.ts";
import { type DeliveryRow, findBodies, findDelivery, insertDelivery, listDeliveries, reopenDelivery } from "./delivery-store.ts";
import { deliveryJob, type Wanted } from "./subscriptions.ts";
import { secretContext } from "./webhook-delivery.ts";
import { generateWebhookSecret } from "./webhook-signature.ts";
import {
  deleteWebhook,
  findWebhookByName,
  insertWebhook,
  listSecrets,
  listWebhooks,
  lockWebhook,
  putAuthorization,
  rotateSecret,
  type SecretRow,
  tellWebhooksChanged,
  updateWebhook,
  type WebhookRow,
  type WebhookSettings,
} from "./webhook-store.ts";
import { namesKinds, wrongKind } from "./webhook-events.ts";
import { findTemplateProblem } from "./webhook-template.ts";

export { createWanted, type Wanted } from "./subscriptions.ts";
export { countWebhooks } from "./delivery-store.ts";
export { DELIVERY_OUTCOMES, deliveryKind, trimHistory } from "./webhook-delivery.ts";

/** What the rules need. */
export interface WebhooksParts {
  readonly database: Database;
  readonly clock: Clock;
  readonly webhookSeal: Seal;
  readonly wanted: Pick<Wanted, "settle">;
  readonly changes: ChangeSink<AccountChange>;
  /** Whether an address may be asked for; nothing is looked up. Errors: `OutboundError`. */
  readonly checkAddress: (address: string) => void;
}

/** The rules, for whoever has the proof that he may. Their errors are those of the operations of the same name. */
export interface Webhooks {
  list(grant: HomeGrant, page: PageRequest): Promise<Listed<WebhookView>>;
  create(grant: HomeGrant, webhook: CreateWebhookBody): Promise<WebhookWithSecretView>;
  get(grant: HomeGrant, name: string): Promise<WebhookView>;
  update(grant: HomeGrant, name: string, change: UpdateWebhookBody): Promise<WebhookView>;
  delete(grant: HomeGrant, name: string): Promise<void>;
  rotateSecret(grant: HomeGrant, name: string): Promise<WebhookWithSecretView>;
  test(grant: HomeGrant, name: string): Promise<DeliveryView>;
  listDeliveries(grant: HomeGrant, name: string, page: PageRequest): Promise<Listed<DeliveryView>>;
  getDelivery(grant: HomeGrant, name: string, id: string): Promise<DeliveryWithBodiesView>;
  redeliver(grant: HomeGrant, name: string, id: string): Promise<DeliveryView>;
}

/** Each change is matched with all of them, and each may hold back a worker for half a minute. */
const WEBHOOKS_MAX = 20;
/** How long the secret before still signs. */
const OVERLAP_MS = 24 * 3_600_000;
const NEWEST = Number.MAX_SAFE_INTEGER;

/** Makes the rules. */
export function createWebhooks({ database, clock, webhookSeal: seal, wanted, changes, checkAddress }: WebhooksParts): Webhooks {
  async function find(executor: Executor, { projectId }: Home, name: string): Promise<WebhookRow> {
    const row = await findWebhookByName(executor, projectId, name);
    if (row === undefined) throw new ApiError("WEBHOOK_UNKNOWN");
    return row;
  }

  async function lock(tx: Executor, home: Home, name: string): Promise<WebhookRow> {
    const row = await lockWebhook(tx, (await find(tx, home, name)).id);
    if (row === undefined) throw new ApiError("WEBHOOK_UNKNOWN");
    return row;
  }

  const sealed = (text: string, webhookId: number, purpose: SecretRow["purpose"]): string =>
    seal.seal(text, secretContext({ webhookId, purpose }));
  const viewOf = async (executor: Executor, row: WebhookRow): Promise<WebhookView> =>
    toView(row, await listSecrets(executor, row.id), clock.now());
  const said = (home: Home, { name, id }: Pick<WebhookRow, "name" | "id">) => ({
    webhook: name,
    webhookId: id,
    project: home.projectName ?? null,
    projectId: home.projectId ?? null,
  });

  function check(settings: WebhookSettings): void {
    const refuse = (field: string, reason: string): never => {
      throw new ApiError("FIELD_INVALID", { detail: [{ field: `body.${field}`, reason }] });
    };
    try {
      checkAddress(settings.address);
    } catch (error) {
      if (!(error instanceof OutboundError)) throw error;
      refuse("address", error.message);
    }
    for (const [index, kind] of settings.kinds.entries()) if (!namesKinds(kind)) refuse(`kinds.${index}`, wrongKind(kind));
    if (settings.form !== "template") {
      if (settings.template !== null) refuse("template", "is for the form template only");
      return;
    }
    const problem = settings.template === null ? "is missing: the form is template" : findTemplateProblem(settings.template);
    if (problem !== undefined) refuse("template", problem);
  }

  async function findOf(executor: Executor, home: Home, name: string, id: string): Promise<{ webhook: WebhookRow; delivery: DeliveryRow }> {
    const webhook = await find(executor, home, name);
    const delivery = await findDelivery(executor, Number(id));
    if (delivery?.webhookId !== webhook.id) throw new ApiError("DELIVERY_UNKNOWN");
    return { webhook, delivery };
  }

  return {
    async list(grant, { after = "", limit = DEFAULT_PAGE_SIZE }) {
      const found = await listWebhooks(database, homeOf(grant).projectId, after, limit + 1);
      const toViews = (rows: readonly WebhookRow[]): Promise<WebhookView[]> => Promise.all(rows.map((row) => viewOf(database, row)));
      return listed(found, limit, toViews, ({ name }) => name, WEBHOOKS_MAX);
    },
    async create(grant, { name, authorization, ...rest }) {
      const settings: WebhookSettings = { ...DEFAULTS, ...rest };
      check(settings);
      const secret = generateWebhookSecret();
      const made = await grantedTransaction(database, homeOf(grant), async (tx, home) => {
        const now = clock.now();
        // First of all, so that two that come at once do not both find room.
        await tellWebhooksChanged(tx);
        const present = await listWebhooks(tx, home.projectId, "", WEBHOOKS_MAX);
        if (present.some((each) => each.name === name)) throw new ApiError("WEBHOOK_EXISTS", { detail: { name } });
        if (present.length >= WEBHOOKS_MAX) throw new ApiError("WEBHOOKS_EXCEEDED", { detail: { limit: WEBHOOKS_MAX } });
        const id = await insertWebhook(tx, { projectId: home.projectId, name, now }, settings);
        if (id === undefined) throw new ApiError("WEBHOOK_EXISTS", { detail: { name } });
        await rotateSecret(tx, id, sealed(secret, id, "signature"), { now, endsAt: now });
        if (authorization !== undefined) await putAuthorization(tx, id, sealed(authorization, id, "authorization"), now);
        await changes.record(tx, home.actor, [{ kind: "webhook.created", ...said(home, { name, id }), ...changedSettings(settings) }]);
        return viewOf(tx, await find(tx, home, name));
      });
      await wanted.settle();
      return { ...made, secret };
    },
    async get(grant, name) {
      return viewOf(database, await find(database, homeOf(grant), name));
    },
    async update(grant, name, { authorization, ...rest }) {
      const view = await grantedTransaction(database, homeOf(grant), async (tx, home) => {
        const row = await lock(tx, home, name);
        const settings: WebhookSettings = { ...settingsOf(row), ...rest };
        check(settings);
        if (authorization === undefined) await keepAuthorization(tx, row, settings.address);
        await updateWebhook(tx, row.id, settings);
        if (authorization !== undefined)
          await putAuthorization(
            tx,
            row.id,
            authorization === null ? undefined : sealed(authorization, row.id, "authorization"),
            clock.now(),
          );
        await changes.record(tx, home.actor, [{ kind: "webhook.updated", ...said(home, row), ...changedSettings(settings) }]);
        return viewOf(tx, await find(tx, home, name));
      });
      await wanted.settle();
      return view;
    },
    async delete(grant, name) {
      await grantedTransaction(database, homeOf(grant), async (tx, home) => {
        const row = await lock(tx, home, name);
        await deleteWebhook(tx, row.id);
        await changes.record(tx, home.actor, [{ kind: "webhook.deleted", ...said(home, row) }]);
      });
    },
    async rotateSecret(grant, name) {
      const secret = generateWebhookSecret();
      const view = await grantedTransaction(database, homeOf(grant), async (tx, home) => {
        const row = await lock(tx, home, name);
        const now = clock.now();
        await rotateSecret(tx, row.id, sealed(secret, row.id, "signature"), { now, endsAt: now + OVERLAP_MS });
        await changes.record(tx, home.actor, [{ kind: "webhook.secret-rotated", ...said(home, row) }]);
        return viewOf(tx, row);
      });
      return { ...view, secret };
    },
    test: (grant, name) =>
      grantedTransaction(database, homeOf(grant), async (tx, home) => {
        const row = await lock(tx, home, name);
        const now = clock.now();
        const { kind, name: by } = home.actor;
        const id = await insertDelivery(
          tx,
          row.id,
          { id: `ping-${row.id}-${now}`, at: now, actor: { kind, name: by }, change: { kind: "ping", webhook: name } },
          now,
        );
        await putJob(tx, deliveryJob(row, id), now);
        return toDeliveryView((await findDelivery(tx, id))!);
      }),
    async listDeliveries(grant, name, { after, limit = DEFAULT_PAGE_SIZE }) {
      if (after !== undefined && !/^[1-9]\d{0,14}$/.test(after)) throw new RegistryError("PAGE_INVALID");
      const { id } = await find(database, homeOf(grant), name);
      const found = await listDeliveries(database, id, after === undefined ? NEWEST : Number(after), limit + 1);
      return listed(
        found,
        limit,
        (rows) => rows.map(toDeliveryView),
        (row) => String(row.id),
      );
    },
    async getDelivery(grant, name, id) {
      const { delivery } = await findOf(database, homeOf(grant), name, id);
      return { ...toDeliveryView(delivery), ...(await findBodies(database, delivery.id)) };
    },
    redeliver: (grant, name, id) =>
      grantedTransaction(database, homeOf(grant), async (tx, home) => {
        const { webhook, delivery } = await findOf(tx, home, name, id);
        await reopenDelivery(tx, delivery.id);
        // One that waits already is only made due.
        await putJob(tx, deliveryJob(webhook, delivery.id), clock.now());
        return toDeliveryView((await findDelivery(tx, delivery.id))!);
      }),
  };
}

/** Refuses to send to another place what was given for one: whoever changes the address would get to know it. Errors: FIELD_INVALID. */
async function keepAuthorization(tx: Executor, { id, address }: WebhookRow, next: string): Promise<void> {
  if (new URL(next).origin === new URL(address).origin) return;
  if (!(await listSecrets(tx, id)).some(({ purpose }) => purpose === "authorization")) return;
  const reason = "was given for another address: give it again, or null, along with the new one";
  throw new ApiError("FIELD_INVALID", { detail: [{ field: "body.authorization", reason }] });
}

const DEFAULTS: Omit<WebhookSettings, "address"> = {
  form: "cloudevents",
  kinds: ["tag.*", "manifest.deleted"],
  repositories: "",
  tags: "",
  template: null,
  isEnabled: true,
};

function settingsOf({ address, form, kinds, repositories, tags, template, isEnabled }: WebhookRow): WebhookSettings {
  return { address, form, kinds, repositories, tags, template, isEnabled };
}

/** What others are told of a webhook: of its address the origin, since the rest of it may be a secret. */
function changedSettings({ address, form, kinds, repositories, tags, isEnabled }: WebhookSettings) {
  return { address: new URL(address).origin, form, kinds: [...kinds], repositories, tags, isEnabled };
}

const iso = (ms: number): string => new Date(ms).toISOString();

function toView(row: WebhookRow, secrets: readonly SecretRow[], now: number): WebhookView {
  const { openedUntil, failures } = row;
  const state = openedUntil === undefined ? "closed" : openedUntil > now ? "open" : "half-open";
  return {
    name: row.name,
    ...settingsOf(row),
    kinds: [...row.kinds],
    hasAuthorization: secrets.some(({ purpose }) => purpose === "authorization"),
    breaker: { state, failures, until: openedUntil === undefined ? null : iso(openedUntil) },
    secrets: secrets
      .filter(({ purpose, endsAt }) => purpose === "signature" && (endsAt === undefined || endsAt > now))
      .map(({ createdAt, endsAt }) => ({ createdAt: iso(createdAt), endsAt: endsAt === undefined ? null : iso(endsAt) })),
    createdAt: iso(row.createdAt),
  };
}

function toDeliveryView({ id, event, state, attempts, status, error, tookMs, createdAt, endedAt }: DeliveryRow): DeliveryView {
  return {
    id: String(id),
    event: event.id,
    kind: event.change.kind,
    state,
    attempts,
    status: status ?? null,
    error: error ?? null,
    tookMs: tookMs ?? null,
    createdAt: iso(createdAt),
    endedAt: endedAt === undefined ? null : iso(endedAt),
  };
}
