// Operations on webhooks: where changes are sent, and what became of each; of a project or of the registry. Not here: their rules (the server's
// features/webhooks), who receives them.
import Type, { type Static, type TObject } from "typebox";
import { closed, CountField, Nothing, page, PageQuery, ProjectNameField, TimeField } from "./fields.ts";
import type { Home } from "./home.ts";
import { LOCATION, operation } from "./operation.ts";
import type { Permission } from "./permissions.ts";

export const WebhookNameField = Type.String({
  pattern: "^[a-z0-9]+(?:[._-][a-z0-9]+)*$",
  minLength: 1,
  maxLength: 64,
  description: "The webhook's name among those of its project, or of the registry.",
});

/** The forms in which changes are sent. */
export const WEBHOOK_FORMS = [
  "cloudevents",
  "harbor",
  "harbor-cloudevents",
  "dockerhub",
  "distribution",
  "cdevents",
  "slack",
  "template",
] as const;
const FormField = Type.Enum(WEBHOOK_FORMS, {
  description:
    "What is sent: cloudevents (CloudEvents 1.0, structured JSON), harbor and harbor-cloudevents (as Harbor sends them), dockerhub (as Docker Hub), distribution (notifications of the CNCF registry), cdevents, slack (a text), template (JSON of one's own). Forms that know images only send nothing of other changes.",
});
/** One of `WEBHOOK_FORMS`. */
export type WebhookForm = Static<typeof FormField>;

const KindsField = Type.Array(Type.String({ pattern: "^(?:\\*|[a-z]+\\.(?:\\*|[a-z-]+))$", maxLength: 64 }), {
  minItems: 1,
  maxItems: 50,
  description: "Which changes: kinds such as tag.moved, all of a thing such as tag.*, or * for all.",
});
const PatternField = (what: string) =>
  Type.String({
    pattern: "^[a-z0-9._/*-]*$",
    maxLength: 255,
    description: `${what}: * stands for any characters without /, ** for any. Empty: all.`,
  });
const TagPatternField = Type.String({
  pattern: "^[A-Za-z0-9._*-]*$",
  maxLength: 128,
  description: "Tags whose changes are sent: * stands for any characters. Empty: all, and changes that have no tag.",
});
const AddressField = Type.String({
  minLength: 1,
  maxLength: 2000,
  description: "Where changes are sent by POST: an https address that is public or allowed.",
});
const TemplateField = Type.String({
  maxLength: 8000,
  description:
    "JSON with {{fields}} in its texts, which are escaped: {{kind}}, {{repository}}, {{tag}}, {{digest}}, {{project}}, {{actor}}, {{time}}, {{id}}, {{registry}}.",
});
const AuthorizationField = Type.String({
  minLength: 1,
  maxLength: 1000,
  pattern: "^[\\x21-\\x7e][\\x20-\\x7e]*$",
  description: "Sent as the header Authorization, for receivers that know nothing else; not shown again.",
});

const settings = {
  address: AddressField,
  form: FormField,
  kinds: KindsField,
  repositories: PatternField("Repositories, PROJECT/NAME, whose changes are sent"),
  tags: TagPatternField,
  template: Type.Union([TemplateField, Type.Null()]),
  isEnabled: Type.Boolean(),
};

const fields = {
  name: WebhookNameField,
  ...settings,
  hasAuthorization: Type.Boolean({ description: "Whether a header Authorization is sent." }),
  breaker: closed(
    {
      state: Type.Enum(["closed", "open", "half-open"], {
        description:
          "closed: changes are sent; open: nothing is sent until `until`, since so many deliveries in a row failed; half-open: one is tried.",
      }),
      failures: CountField,
      until: Type.Union([TimeField, Type.Null()]),
    },
    { description: "Whether deliveries are held back." },
  ),
  secrets: Type.Array(closed({ createdAt: TimeField, endsAt: Type.Union([TimeField, Type.Null()]) }), {
    description: "The secrets that sign now, newest first: two while one is being replaced.",
  }),
  createdAt: TimeField,
};
export const Webhook = closed(fields, { description: "A webhook, without its secrets." });
/** A webhook. */
export type WebhookView = Static<typeof Webhook>;
export const WebhookWithSecret = closed({
  ...fields,
  secret: Type.String({ description: "Signs what is sent (docs/guide/webhooks.md). Shown this once." }),
});
/** A webhook with its new secret. */
export type WebhookWithSecretView = Static<typeof WebhookWithSecret>;

const choices = {
  form: Type.Optional(FormField),
  kinds: Type.Optional(KindsField),
  repositories: Type.Optional(settings.repositories),
  tags: Type.Optional(TagPatternField),
  template: Type.Optional(settings.template),
  isEnabled: Type.Optional(Type.Boolean()),
};
export const NewWebhook = closed({
  name: WebhookNameField,
  address: AddressField,
  ...choices,
  authorization: Type.Optional(AuthorizationField),
});
/** What a new webhook is made of. */
export type CreateWebhookBody = Static<typeof NewWebhook>;
const UpdateBody = closed({
  address: Type.Optional(AddressField),
  ...choices,
  authorization: Type.Optional(Type.Union([AuthorizationField, Type.Null()])),
});
/** What can be changed of a webhook. */
export type UpdateWebhookBody = Static<typeof UpdateBody>;

const DeliveryIdField = Type.String({ pattern: "^[1-9][0-9]{0,14}$", maxLength: 15, description: "A delivery's number." });
const deliveryFields = {
  id: DeliveryIdField,
  event: Type.String({ description: "The id that receivers get as webhook-id: the same in each attempt, and when it is sent again." }),
  kind: Type.String({ description: "What happened; ping for a trial." }),
  state: Type.Enum(["waiting", "delivered", "failed"], {
    description: "waiting: it is tried until it succeeds or the attempts are used up.",
  }),
  attempts: CountField,
  status: Type.Union([Type.Integer(), Type.Null()], { description: "The status of the last answer." }),
  error: Type.Union([Type.String(), Type.Null()], { description: "Why the last attempt failed." }),
  tookMs: Type.Union([CountField, Type.Null()]),
  createdAt: TimeField,
  endedAt: Type.Union([TimeField, Type.Null()]),
};
export const Delivery = closed(deliveryFields, { description: "What became of one change for one webhook." });
/** A delivery. */
export type DeliveryView = Static<typeof Delivery>;
const BodyOrNull = Type.Union([Type.String(), Type.Null()]);
export const DeliveryWithBodies = closed({
  ...deliveryFields,
  request: BodyOrNull,
  response: Type.Union([Type.String(), Type.Null()], { description: "The beginning of the last answer's body." }),
});
/** A delivery with what was sent and answered. */
export type DeliveryWithBodiesView = Static<typeof DeliveryWithBodies>;

// The same operations twice: below a project, and for the registry.
function define<L extends TObject, I extends TObject, D extends TObject, const R extends Permission, const W extends Permission>(
  kind: Home<"ProjectWebhook" | "RegistryWebhook", R, W>,
  params: { list: L; item: I; delivery: D },
) {
  const { suffix, path, of, read, write, missing } = kind;
  const common = { tag: "webhooks", query: Nothing, body: undefined } as const;
  const itemErrors = ["DENIED", ...missing, "WEBHOOK_UNKNOWN"] as const;
  const deliveryErrors = [...itemErrors, "DELIVERY_UNKNOWN"] as const;
  const item = `${path}/{webhook}`;
  return {
    list: operation({
      ...common,
      permission: read,
      id: `list${suffix}s`,
      method: "GET",
      path,
      summary: `List the webhooks of ${of}`,
      params: params.list,
      query: PageQuery,
      status: 200,
      answer: page(Webhook),
      errors: ["DENIED", ...missing],
    }),
    create: operation({
      ...common,
      permission: write,
      id: `create${suffix}`,
      method: "POST",
      path,
      summary: `Create a webhook of ${of}; the answer has its secret, which is not shown again`,
      params: params.list,
      body: NewWebhook,
      status: 201,
      answer: WebhookWithSecret,
      headers: LOCATION,
      errors: ["DENIED", ...missing, "WEBHOOK_EXISTS", "WEBHOOKS_EXCEEDED"],
    }),
    get: operation({
      ...common,
      permission: read,
      id: `get${suffix}`,
      method: "GET",
      path: item,
      summary: `Read a webhook of ${of}`,
      params: params.item,
      status: 200,
      answer: Webhook,
      errors: itemErrors,
    }),
    update: operation({
      ...common,
      permission: write,
      id: `update${suffix}`,
      method: "PATCH",
      path: item,
      summary: `Change a webhook of ${of}; enabling it closes its breaker`,
      params: params.item,
      body: UpdateBody,
      status: 200,
      answer: Webhook,
      errors: itemErrors,
    }),
    delete: operation({
      ...common,
      permission: write,
      id: `delete${suffix}`,
      method: "DELETE",
      path: item,
      summary: `Delete a webhook of ${of} with its deliveries`,
      params: params.item,
      status: 204,
      answer: undefined,
      errors: itemErrors,
    }),
    rotateSecret: operation({
      ...common,
      permission: write,
      id: `rotate${suffix}Secret`,
      method: "POST",
      path: `${item}/secret`,
      summary: `Give a webhook of ${of} a new secret; for a day what is sent is signed with both`,
      params: params.item,
      status: 200,
      answer: WebhookWithSecret,
      errors: itemErrors,
    }),
    test: operation({
      ...common,
      permission: write,
      id: `test${suffix}`,
      method: "POST",
      path: `${item}/test`,
      summary: `Send a ping to a webhook of ${of}; the delivery says what became of it`,
      params: params.item,
      status: 202,
      answer: Delivery,
      errors: itemErrors,
    }),
    listDeliveries: operation({
      ...common,
      permission: read,
      id: `list${suffix}Deliveries`,
      method: "GET",
      path: `${item}/deliveries`,
      summary: `List what was sent to a webhook of ${of}, the newest first`,
      params: params.item,
      query: PageQuery,
      status: 200,
      answer: page(Delivery),
      errors: [...itemErrors, "PAGE_INVALID"],
    }),
    getDelivery: operation({
      ...common,
      permission: read,
      id: `get${suffix}Delivery`,
      method: "GET",
      path: `${item}/deliveries/{delivery}`,
      summary: "Read a delivery with what was sent and answered",
      params: params.delivery,
      status: 200,
      answer: DeliveryWithBodies,
      errors: deliveryErrors,
    }),
    redeliver: operation({
      ...common,
      permission: write,
      id: `redeliver${suffix}Delivery`,
      method: "POST",
      path: `${item}/deliveries/{delivery}/redeliver`,
      summary: "Send a delivery again, with the same id",
      params: params.delivery,
      status: 202,
      answer: Delivery,
      errors: deliveryErrors,
    }),
  };
}

const webhook = WebhookNameField;
const delivery = DeliveryIdField;
const project = ProjectNameField;

/** Operations on the webhooks of a project. */
export const projectWebhooks = define(
  {
    suffix: "ProjectWebhook",
    path: "/projects/{project}/webhooks",
    of: "a project",
    read: { kind: "project", may: "webhooks.read" },
    write: { kind: "project", may: "webhooks.write" },
    missing: ["PROJECT_UNKNOWN"],
  },
  { list: closed({ project }), item: closed({ project, webhook }), delivery: closed({ project, webhook, delivery }) },
);

/** Operations on the webhooks of the registry. */
export const registryWebhooks = define(
  {
    suffix: "RegistryWebhook",
    path: "/webhooks",
    of: "the registry",
    read: { kind: "system", may: "webhooks.read" },
    write: { kind: "administrator" },
    missing: [],
  },
  { list: Nothing, item: closed({ webhook }), delivery: closed({ webhook, delivery }) },
);
