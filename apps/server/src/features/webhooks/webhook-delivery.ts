// Sends a delivery: the job's work. Signed with the secrets of now, once more after each failure, not at all while the webhook's breaker is open. A process that
// ends in between leaves the job to the next one, so that a receiver may get an event twice, with the same id. Not here: what follows from a change
// (subscriptions.ts), bodies (webhook-forms.ts), the connection (platform/outbound.ts).
import type { Seal } from "../../access/seal.ts";
import { JobDelayedError, type JobKind, type RunningJob } from "../../events/job-kinds.ts";
import type { Clock } from "../../platform/clock.ts";
import { type Database, type Executor, ON_FULL_DISK } from "../../platform/database/database.ts";
import { OutboundError } from "../../platform/outbound-errors.ts";
import type { OutboundFetch } from "../../platform/outbound.ts";
import { type DeliveryRow, dropOlder, dropSurplus, findDelivery, giveUpDelivery, putAttempt } from "./delivery-store.ts";
import { WEBHOOK_DELIVERY } from "./subscriptions.ts";
import { formBody } from "./webhook-forms.ts";
import { signedHeaders } from "./webhook-signature.ts";
import {
  disableWebhook,
  findWebhook,
  listSecrets,
  listWanted,
  lockWebhook,
  putBreaker,
  type SecretRow,
  type WebhookRow,
} from "./webhook-store.ts";

/** What it needs. */
export interface DeliveryParts {
  readonly database: Database;
  readonly clock: Clock;
  readonly seal: Seal;
  readonly fetch: OutboundFetch;
  /** As clients see the registry. */
  readonly origin: string;
  /** Counts how an attempt ended. */
  readonly onAttempt?: (outcome: DeliveryOutcome) => void;
}

/** How an attempt ended; `dropped`: not made, since the webhook is disabled or its form has no word for the change. */
export const DELIVERY_OUTCOMES = ["delivered", "retried", "failed", "held", "dropped"] as const;
/** One of `DELIVERY_OUTCOMES`. */
export type DeliveryOutcome = (typeof DELIVERY_OUTCOMES)[number];

/** Over about eight hours: longer than a night's outage is noticed, shorter than anybody wants what happened before. */
const RETRY = { attempts: 12, firstDelayMs: 5000, maxDelayMs: 2 * 3_600_000 };
const TIMEOUTS = { connectMs: 10_000, headersMs: 20_000, idleMs: 10_000, wholeMs: 30_000 };
/** What is shown of an answer, and kept of a body. */
const KEPT_ANSWER_BYTES = 4096;
const KEPT_BODY_CHARACTERS = 65_536;
/** A receiver that fails so often in a row is left alone for a while, which doubles to an hour. */
const BREAKER_FAILURES = 10;
const BREAKER_FIRST_MS = 60_000;
const BREAKER_MAX_MS = 3_600_000;
/** A receiver may ask for more patience than we have. */
const RETRY_AFTER_MAX_MS = 3_600_000;
/** History: so long, and so many of a webhook. */
const HISTORY_MS = 7 * 24 * 3_600_000;
const HISTORY_ROWS = 1000;
const HISTORY_BATCH = 500;

interface Outcome {
  readonly status: number | null;
  readonly error: string | null;
  readonly response: string | null;
  readonly retryAfterMs: number;
  /** Nothing that is tried again would end otherwise. */
  readonly isFinal: boolean;
  /** The receiver wants no more. Source: Standard Webhooks, 410. */
  readonly isGone: boolean;
}

/** The kind of jobs that deliver. */
export function deliveryKind(parts: DeliveryParts): JobKind {
  return {
    kind: WEBHOOK_DELIVERY,
    concurrency: 16,
    timeoutMs: 60_000,
    retry: RETRY,
    run: (job) => deliver(parts, job),
    failIn: (tx, job) => giveUpDelivery(tx, deliveryOf(job), "the registry failed while it sent it: the job says why", parts.clock.now()),
  };
}

function deliveryOf({ payload }: Pick<RunningJob, "payload">): number {
  return (payload as { readonly delivery: number }).delivery;
}

async function deliver(parts: DeliveryParts, job: RunningJob): Promise<void> {
  const { database, clock, onAttempt } = parts;
  const delivery = await findDelivery(database, deliveryOf(job));
  const webhook = delivery === undefined ? undefined : await findWebhook(database, delivery.webhookId);
  // Deleted meanwhile.
  if (delivery === undefined || webhook === undefined) return;
  const formed = formBody(webhook.form, delivery.event, { origin: parts.origin, template: webhook.template });
  if (!webhook.isEnabled || formed === undefined) {
    const error = webhook.isEnabled ? `the form ${webhook.form} has no word for ${delivery.event.change.kind}` : "the webhook is disabled";
    onAttempt?.("dropped");
    await writeDown(parts, job, { delivery, webhook, body: null, tookMs: 0 }, { ...NOTHING, error, isFinal: true });
    return;
  }
  await passBreaker(parts, job, webhook);
  const headers = { "content-type": formed.contentType, ...(await headersFor(parts, webhook.id, delivery.event.id, formed.body)) };
  const began = clock.now();
  const outcome = await send(parts, webhook.address, { headers, body: formed.body, signal: job.signal });
  // What this process's end cut short was no attempt.
  job.signal.throwIfAborted();
  await writeDown(parts, job, { delivery, webhook, body: formed.body, tookMs: Math.max(0, clock.now() - began) }, outcome);
}

const NOTHING: Outcome = { status: null, error: null, response: null, retryAfterMs: 0, isFinal: false, isGone: false };

/** Lets nothing through while the breaker is open, and one when its time has come: whoever moves that time on. */
async function passBreaker({ database, clock, onAttempt }: DeliveryParts, job: RunningJob, webhook: WebhookRow): Promise<void> {
  if (webhook.openedUntil === undefined) return;
  const waitMs = await database.transaction(async (tx) => {
    await job.holdIn(tx);
    const present = await lockWebhook(tx, webhook.id);
    const now = clock.now();
    if (present?.openedUntil === undefined) return 0;
    if (present.openedUntil > now) return present.openedUntil - now;
    await putBreaker(tx, present.id, present.failures, now + TIMEOUTS.wholeMs);
    return 0;
  }, ON_FULL_DISK);
  if (waitMs === 0) return;
  onAttempt?.("held");
  // Not all at once when it opens.
  throw new JobDelayedError("the webhook's breaker is open: so many deliveries in a row failed", waitMs + Math.random() * 1000, false);
}

async function headersFor(
  { database, clock, seal }: DeliveryParts,
  webhookId: number,
  eventId: string,
  body: string,
): Promise<Record<string, string>> {
  const now = clock.now();
  const secrets = (await listSecrets(database, webhookId)).filter(({ endsAt }) => endsAt === undefined || endsAt > now);
  const open = (secret: SecretRow): string => seal.open(secret.sealed, secretContext(secret));
  const authorization = secrets.find(({ purpose }) => purpose === "authorization");
  const signing = secrets.filter(({ purpose }) => purpose === "signature").map(open);
  return { ...signedHeaders(signing, eventId, now, body), ...(authorization === undefined ? {} : { authorization: open(authorization) }) };
}

/** To what a sealed secret belongs. */
export function secretContext({ webhookId, purpose }: Pick<SecretRow, "webhookId" | "purpose">): string {
  return `webhook ${webhookId} ${purpose}`;
}

async function send(
  { fetch, clock }: DeliveryParts,
  address: string,
  sent: { readonly headers: Record<string, string>; readonly body: string; readonly signal: AbortSignal },
): Promise<Outcome> {
  try {
    const answer = await fetch(address, { method: "POST", ...sent, timeouts: TIMEOUTS, maxAnswerBytes: Infinity });
    const response = await readSome(answer.body);
    const { status, headers } = answer;
    if (status >= 200 && status < 300) return { ...NOTHING, status, response };
    const isRedirect = status >= 300 && status < 400;
    const error = isRedirect
      ? `it redirects (status ${status}), which is not followed: give the address itself`
      : `it answered with status ${status}`;
    const isGone = status === 410;
    return { status, error, response, retryAfterMs: readRetryAfter(headers["retry-after"], clock.now()), isFinal: isGone, isGone };
  } catch (error) {
    if (!(error instanceof OutboundError)) throw error;
    return { ...NOTHING, error: error.message, isFinal: !error.mayPass };
  }
}

/** The beginning of an answer; what is behind it is not waited for. */
async function readSome(body: AsyncIterable<Buffer>): Promise<string> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of body) {
    pieces.push(piece);
    size += piece.length;
    if (size >= KEPT_ANSWER_BYTES) break;
  }
  // A null character is no text in PostgreSQL.
  return Buffer.concat(pieces).subarray(0, KEPT_ANSWER_BYTES).toString("utf8").replaceAll("\0", "\u{fffd}");
}

/** Seconds, or a date. Source: RFC 9110, 10.2.3. */
export function readRetryAfter(header: string | undefined, now: number): number {
  if (header === undefined) return 0;
  const ms = /^\d{1,9}$/.test(header) ? Number(header) * 1000 : Date.parse(header) - now;
  return Number.isNaN(ms) ? 0 : Math.min(Math.max(ms, 0), RETRY_AFTER_MAX_MS);
}

/** An attempt; without a body none was made. */
interface Made {
  readonly delivery: DeliveryRow;
  readonly webhook: WebhookRow;
  readonly body: string | null;
  readonly tookMs: number;
}

/** Writes an attempt down, with what it means for the webhook's breaker. Throws where the job is to try again. */
async function writeDown(
  { database, clock, onAttempt }: DeliveryParts,
  job: RunningJob,
  { delivery, webhook, body, tookMs }: Made,
  outcome: Outcome,
): Promise<void> {
  const isGood = outcome.error === null;
  const isLast = outcome.isFinal || job.attempt >= RETRY.attempts;
  await database.transaction(async (tx) => {
    await job.holdIn(tx);
    const now = clock.now();
    await putAttempt(tx, delivery.id, {
      state: isGood ? "delivered" : isLast ? "failed" : "waiting",
      attempts: delivery.attempts + (body === null ? 0 : 1),
      endedAt: isGood || isLast ? now : null,
      status: outcome.status,
      error: outcome.error,
      tookMs,
      request: body?.slice(0, KEPT_BODY_CHARACTERS) ?? null,
      response: outcome.response,
    });
    if (body !== null) await countFor(tx, webhook.id, outcome, now);
  }, ON_FULL_DISK);
  if (body === null) return;
  onAttempt?.(isGood ? "delivered" : isLast ? "failed" : "retried");
  if (isGood || isLast) return;
  throw new JobDelayedError(outcome.error, outcome.retryAfterMs, true);
}

async function countFor(tx: Executor, webhookId: number, { error, isGone }: Outcome, now: number): Promise<void> {
  const present = await lockWebhook(tx, webhookId);
  if (present === undefined) return;
  if (isGone) await disableWebhook(tx, webhookId);
  if (error === null) {
    if (present.failures > 0 || present.openedUntil !== undefined) await putBreaker(tx, webhookId, 0, undefined);
    return;
  }
  const failures = present.failures + 1;
  const over = failures - BREAKER_FAILURES;
  const openMs = Math.min(BREAKER_MAX_MS, BREAKER_FIRST_MS * 2 ** Math.min(Math.max(over, 0), 10));
  await putBreaker(tx, webhookId, failures, over < 0 ? undefined : now + openMs);
}

/** Deletes what is old or too much of the history of deliveries. */
export async function trimHistory(database: Database, now: number): Promise<void> {
  const inBatches = async (drop: (tx: Executor) => Promise<boolean>): Promise<void> => {
    while (await database.transaction(drop, ON_FULL_DISK));
  };
  await inBatches((tx) => dropOlder(tx, now - HISTORY_MS, HISTORY_BATCH));
  for (let after = 0; ;) {
    const webhooks = await listWanted(database, after, HISTORY_BATCH);
    for (const { id } of webhooks) await inBatches((tx) => dropSurplus(tx, id, HISTORY_ROWS, HISTORY_BATCH));
    if (webhooks.length < HISTORY_BATCH) return;
    after = webhooks.at(-1)!.id;
  }
}
