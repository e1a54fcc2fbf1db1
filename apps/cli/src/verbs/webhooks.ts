// Verbs on webhooks and their deliveries. Not here: what runs them (../call.ts).
import { projectWebhooks, registryWebhooks } from "@berth/api/webhooks";
import { timeText } from "../print.ts";
import type { Argument, CallVerb, Column, Option } from "../verb.ts";

const PROJECT: Argument = { name: "PROJECT", kind: "text", into: "params.project", optional: true, help: "a project's name" };
const WEBHOOK: Argument = { name: "WEBHOOK", kind: "webhook", help: "PROJECT/NAME, or NAME for a webhook of the registry" };
const DELIVERY: Argument = { name: "DELIVERY", kind: "text", into: "params.delivery", help: "a delivery's number" };

const COLUMNS: readonly Column[] = [
  { title: "NAME", of: "name" },
  { title: "ADDRESS", of: "address" },
  { title: "FORM", of: "form" },
  { title: "KINDS", of: ({ kinds }: { kinds: readonly string[] }) => kinds.join(",") },
  { title: "ENABLED", of: "isEnabled" },
  { title: "BREAKER", of: "breaker.state" },
  { title: "REPOSITORIES", of: "repositories", wide: true },
  { title: "TAGS", of: "tags", wide: true },
];
const SECRET_COLUMNS: readonly Column[] = [...COLUMNS, { title: "SECRET", of: "secret" }];
const DELIVERY_COLUMNS: readonly Column[] = [
  { title: "DELIVERY", of: "id" },
  { title: "EVENT", of: "event" },
  { title: "KIND", of: "kind" },
  { title: "STATE", of: "state" },
  { title: "ATTEMPTS", of: "attempts" },
  { title: "STATUS", of: "status" },
  { title: "CREATED", of: ({ createdAt }: { createdAt: string }) => timeText(createdAt) },
  { title: "ERROR", of: "error", wide: true },
];
const SETTINGS: readonly Option[] = [
  { name: "form", kind: "text", into: "body.form", help: "what is sent" },
  {
    name: "kind",
    kind: "texts",
    into: "body.kinds",
    value: "KIND",
    help: "which changes, such as tag.moved, tag.* or *; can be given several times",
  },
  { name: "repositories", kind: "text", into: "body.repositories", value: "PATTERN", help: "of which repositories, such as team/**" },
  { name: "tags", kind: "text", into: "body.tags", value: "PATTERN", help: "of which tags, such as v*" },
  { name: "template", kind: "text", into: "body.template", value: "JSON", help: "JSON of one's own, for the form template" },
  { name: "authorization", kind: "text", into: "body.authorization", value: "VALUE", help: "what is sent as the header Authorization" },
  { name: "disable", kind: "false", into: "body.isEnabled", help: "nothing is sent" },
];

/** Verbs on webhooks, of a project and of the registry. */
export const WEBHOOK_VERBS: readonly CallVerb[] = [
  {
    words: "webhook list",
    summary: "List the webhooks of a project, or those of the registry where no project is given",
    operations: [projectWebhooks.list, registryWebhooks.list],
    arguments: [PROJECT],
    options: [],
    columns: COLUMNS,
  },
  {
    words: "webhook show",
    summary: "Show a webhook",
    operations: [projectWebhooks.get, registryWebhooks.get],
    arguments: [WEBHOOK],
    options: [],
    columns: COLUMNS,
  },
  {
    words: "webhook create",
    summary: "Create a webhook; its secret is printed this once",
    operations: [projectWebhooks.create, registryWebhooks.create],
    arguments: [{ ...WEBHOOK, into: "body.name" }],
    options: [{ name: "address", kind: "text", into: "body.address", help: "where changes are sent", required: true }, ...SETTINGS],
    columns: SECRET_COLUMNS,
  },
  {
    words: "webhook update",
    summary: "Change where a webhook sends what; a breaker that is open is closed",
    operations: [projectWebhooks.update, registryWebhooks.update],
    arguments: [WEBHOOK],
    options: [
      { name: "address", kind: "text", into: "body.address", help: "where changes are sent" },
      ...SETTINGS,
      { name: "enable", kind: "true", into: "body.isEnabled", help: "changes are sent again" },
      { name: "no-authorization", kind: "none", into: "body.authorization", help: "no header Authorization is sent any more" },
    ],
    columns: COLUMNS,
  },
  {
    words: "webhook delete",
    summary: "Delete a webhook with its deliveries",
    operations: [projectWebhooks.delete, registryWebhooks.delete],
    arguments: [WEBHOOK],
    options: [],
    columns: [],
    destroys: "Delete the webhook {} with its deliveries?",
    done: "The webhook {} is deleted.",
  },
  {
    words: "webhook rotate",
    summary: "Give a webhook a new secret, and print it this once; for a day both sign",
    operations: [projectWebhooks.rotateSecret, registryWebhooks.rotateSecret],
    arguments: [WEBHOOK],
    options: [],
    columns: SECRET_COLUMNS,
  },
  {
    words: "webhook test",
    summary: "Send a ping to a webhook",
    operations: [projectWebhooks.test, registryWebhooks.test],
    arguments: [WEBHOOK],
    options: [],
    columns: DELIVERY_COLUMNS,
  },
  {
    words: "webhook deliveries",
    summary: "List what was sent to a webhook, the newest first",
    operations: [projectWebhooks.listDeliveries, registryWebhooks.listDeliveries],
    arguments: [WEBHOOK],
    options: [],
    columns: DELIVERY_COLUMNS,
  },
  {
    words: "webhook delivery",
    summary: "Show a delivery with what was sent and answered",
    operations: [projectWebhooks.getDelivery, registryWebhooks.getDelivery],
    arguments: [WEBHOOK, DELIVERY],
    options: [],
    columns: [...DELIVERY_COLUMNS, { title: "REQUEST", of: "request", wide: true }, { title: "ANSWER", of: "response", wide: true }],
  },
  {
    words: "webhook redeliver",
    summary: "Send a delivery again",
    operations: [projectWebhooks.redeliver, registryWebhooks.redeliver],
    arguments: [WEBHOOK, DELIVERY],
    options: [],
    columns: DELIVERY_COLUMNS,
  },
];
