// How webhooks, of a project or of the registry, differ from files. Pure. Not here: the order of steps (plan.ts); secrets, which no file has.
import type { WebhookDocumentValue } from "@berth/api/apply";
import { type projectWebhooks, registryWebhooks, type WebhookView } from "@berth/api/webhooks";
import { changed, changesOf, planList, type Step } from "./step.ts";

type WantedWebhook = Omit<WebhookDocumentValue, "apiVersion" | "kind">;

/** Where webhooks are: in a project, or in the registry. */
export interface WebhookPlace {
  readonly operations: typeof projectWebhooks | typeof registryWebhooks;
  readonly params: object;
  /** Of names, as people write them. */
  readonly prefix: string;
}

const FIELDS = ["address", "form", "kinds", "repositories", "tags", "template", "isEnabled"] as const;
const FORMS = { kinds: (kinds: readonly string[]) => kinds.toSorted() };

/** The differences of a whole list. */
export function planWebhooks(wanted: readonly WantedWebhook[], found: readonly WebhookView[], place: WebhookPlace): readonly Step[] {
  return planList(
    wanted,
    found,
    (webhook, known) => planWebhook(webhook, known, place),
    ({ name: webhook }) => ({
      kind: "webhook",
      name: place.prefix + webhook,
      changes: [],
      call: { operation: place.operations.delete, params: { ...place.params, webhook } },
    }),
  );
}

/** The differences of a webhook of the registry. */
export function planRegistryWebhook(
  { apiVersion: _version, kind: _kind, ...wanted }: WebhookDocumentValue,
  found: readonly WebhookView[],
): readonly Step[] {
  const known = found.find(({ name }) => name === wanted.name);
  return planWebhook(wanted, known, { operations: registryWebhooks, params: {}, prefix: "" });
}

function planWebhook(wanted: WantedWebhook, known: WebhookView | undefined, { operations, params, prefix }: WebhookPlace): readonly Step[] {
  const name = prefix + wanted.name;
  const changes = changesOf(FIELDS, wanted, known, FORMS);
  if (known === undefined)
    return [{ action: "create", kind: "webhook", name, changes, call: { operation: operations.create, params, body: wanted } }];
  if (changes.length === 0) return [];
  const call = { operation: operations.update, params: { ...params, webhook: wanted.name }, body: changed(wanted, changes) };
  return [{ action: "update", kind: "webhook", name, changes, call }];
}
