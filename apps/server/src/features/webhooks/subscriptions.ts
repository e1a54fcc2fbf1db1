// Which changes webhooks want, known in memory of every process, and which deliveries follow from one. A process that does not know for certain takes
// everything for wanted, so that nothing is missed and a push looks nothing up (docs/decisions/0056-who-wants-which-change.md). Not here: the outbox that asks (events/outbox.ts), sending.
import { setTimeout as sleep } from "node:timers/promises";
import type { NewJob } from "../../events/job-kinds.ts";
import type { Event, Subscriptions } from "../../events/outbox.ts";
import type { Database, Executor } from "../../platform/database/database.ts";
import { insertDelivery } from "./delivery-store.ts";
import { isKind, projectOfChange, type RegistryChange, wantsChange, wantsKind, type WebhookEvent } from "./webhook-events.ts";
import { findListeners, findWebhookRevision, listWanted, WEBHOOKS_TOPIC, type WebhookRow } from "./webhook-store.ts";

/** The kind of jobs that deliver. */
export const WEBHOOK_DELIVERY = "webhook-delivery";

/** How often a process of several looks whether it still knows, and for how long it may be certain. Whoever makes a webhook waits that long. */
const LOOK_EVERY_MS = 400;
const CERTAIN_MS = 1000;
const BATCH = 1000;

/** What is wanted, as a process knows it. */
export interface Wanted extends Subscriptions<RegistryChange> {
  /** Resolves when every process writes what the webhooks want that were committed before the call. */
  settle(): Promise<void>;
  start(): void;
  stop(): Promise<void>;
}

/** Makes it. Before the first look everything is wanted. */
export function createWanted(database: Database): Wanted {
  const isAlone = database.dialect === "sqlite";
  let wanted: ReadonlyMap<number, readonly string[]> = new Map();
  /** Of all projects together: a push asks for each of its changes, however many webhooks there are. */
  let anywhere: readonly string[] = [];
  let revision = -1;
  let certainUntil = -Infinity;
  // Told of a change since the last look began.
  let isStale = true;
  let looking = Promise.resolve();
  let timer: NodeJS.Timeout | undefined;
  let unsubscribe: (() => void) | undefined;

  async function lookOnce(): Promise<void> {
    isStale = false;
    const began = performance.now();
    try {
      const present = await findWebhookRevision(database);
      if (present !== revision) {
        wanted = await readWanted();
        anywhere = [...new Set([...wanted.values()].flat())];
      }
      revision = present;
      certainUntil = isAlone ? Infinity : began + CERTAIN_MS;
    } catch (error) {
      isStale = true;
      throw error;
    }
  }

  async function readWanted(): Promise<ReadonlyMap<number, readonly string[]>> {
    const found = new Map<number, string[]>();
    for (let after = 0; ;) {
      const rows = await listWanted(database, after, BATCH);
      for (const { projectId, kinds } of rows) found.set(projectId, [...new Set([...(found.get(projectId) ?? []), ...kinds])]);
      if (rows.length < BATCH) return found;
      after = rows.at(-1)!.id;
    }
  }

  function look(): Promise<void> {
    const next = looking.then(lookOnce);
    looking = next.catch(() => undefined);
    return next;
  }
  // A database that is out of reach is told of by whoever needs it; meanwhile everything is wanted.
  const lookQuietly = (): void => void look().catch(() => undefined);
  const isCertain = (): boolean => !isStale && performance.now() < certainUntil;
  const has = (projectId: number, kind: string): boolean => wantsKind(wanted.get(projectId) ?? [], kind);

  return {
    knows: isKind,
    wants: (kind) => !isCertain() || wantsKind(anywhere, kind),
    wantsChange: (change) => !isCertain() || has(0, change.kind) || has(projectOfChange(change), change.kind),
    follow: deliveriesOf,
    async settle() {
      await look();
      if (!isAlone) await sleep(CERTAIN_MS);
    },
    start() {
      unsubscribe ??= database.subscribe?.(WEBHOOKS_TOPIC, () => {
        isStale = true;
        lookQuietly();
      });
      lookQuietly();
      if (!isAlone) timer ??= setInterval(lookQuietly, LOOK_EVERY_MS);
      timer?.unref();
    },
    async stop() {
      clearInterval(timer);
      unsubscribe?.();
      await looking;
    },
  };
}

/** The job that sends a delivery. */
export function deliveryJob(webhook: Pick<WebhookRow, "id" | "projectId">, delivery: number): NewJob {
  return {
    kind: WEBHOOK_DELIVERY,
    subject: `webhook ${webhook.id} delivery ${delivery}`,
    projectId: webhook.projectId ?? 0,
    payload: { delivery },
  };
}

async function deliveriesOf(tx: Executor, events: readonly Event<RegistryChange>[]): Promise<readonly NewJob[]> {
  const projectIds = [...new Set(events.map(({ change }) => projectOfChange(change)))].filter((id) => id !== 0);
  const { webhooks, publicIds } = await findListeners(tx, projectIds);
  const jobs: NewJob[] = [];
  for (const event of events) {
    for (const webhook of webhooks) {
      if (!hears(webhook, event.change, publicIds) || !wantsChange(webhook, event.change)) continue;
      const sent: WebhookEvent = { id: `change-${event.id}`, at: event.at, actor: event.actor, change: event.change };
      jobs.push(deliveryJob(webhook, await insertDelivery(tx, webhook.id, sent, event.at)));
    }
  }
  return jobs;
}

/** What happens in a private project is its own webhooks' alone. */
function hears({ projectId }: WebhookRow, change: RegistryChange, publicIds: ReadonlySet<number>): boolean {
  const place = projectOfChange(change);
  return projectId === undefined ? place === 0 || publicIds.has(place) : projectId === place;
}
