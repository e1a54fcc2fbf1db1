// The forms in which changes are sent: each is a pure function from an event to a body, or undefined where the form has no word for it. Not here: a template
// of one's own (webhook-template.ts), signatures and how it is sent (webhook-delivery.ts).
import type { WebhookForm } from "@berth/api/webhooks";
import { actorName, type WebhookEvent } from "./webhook-events.ts";
import { renderTemplate } from "./webhook-template.ts";

/** Where the registry is. */
export interface FormContext {
  /** As clients see it: https://registry.example.com. */
  readonly origin: string;
  readonly template: string | null;
}

/** A body, and what it is. */
export interface FormedBody {
  readonly contentType: string;
  readonly body: string;
}

/** An image as its forms say it. */
interface ImageChange {
  readonly verb: "pushed" | "deleted";
  readonly repository: string;
  readonly project: string;
  /** Below its project. */
  readonly name: string;
  readonly tag: string | undefined;
  readonly digest: string | undefined;
  readonly mediaType: string | undefined;
}

/** A trial is told as a push of what is not there, in forms that know nothing else: so that a receiver can be tried as a whole. */
const PING_IMAGE = {
  verb: "pushed",
  repository: "berth/ping",
  project: "berth",
  name: "ping",
  tag: "ping",
  digest: `sha256:${"0".repeat(64)}`,
  mediaType: undefined,
} as const;

function imageOf({ change }: WebhookEvent): ImageChange | undefined {
  if (change.kind === "ping") return PING_IMAGE;
  if (!("repository" in change)) return undefined;
  const { repository } = change;
  const slash = repository.indexOf("/");
  const place = { repository, project: repository.slice(0, slash), name: repository.slice(slash + 1) };
  switch (change.kind) {
    case "manifest.pushed":
      return { ...place, verb: "pushed", tag: undefined, digest: change.digest, mediaType: change.mediaType };
    case "tag.moved":
      return { ...place, verb: "pushed", tag: change.tag, digest: change.to, mediaType: undefined };
    case "tag.deleted":
      return { ...place, verb: "deleted", tag: change.tag, digest: undefined, mediaType: undefined };
    case "manifest.deleted":
      return { ...place, verb: "deleted", tag: undefined, digest: change.digest, mediaType: undefined };
    default:
      return undefined;
  }
}

const hostOf = (origin: string): string => URL.parse(origin)?.host ?? origin;
const json = (value: unknown, contentType = "application/json"): FormedBody => ({ contentType, body: JSON.stringify(value) });
const iso = (at: number): string => new Date(at).toISOString();
const referenceOf = ({ tag, digest }: ImageChange): string => tag ?? digest ?? "";
const CLOUD_EVENTS = "application/cloudevents+json";

function subjectOf({ change }: WebhookEvent): string | undefined {
  if ("tag" in change) return `${change.repository}:${change.tag}`;
  if ("digest" in change) return `${change.repository}@${change.digest}`;
  if ("repository" in change) return change.repository;
  if ("account" in change) return change.account;
  return "project" in change ? (change.project ?? undefined) : undefined;
}

function withoutIds(change: WebhookEvent["change"]): Record<string, unknown> {
  return Object.fromEntries(Object.entries(change).filter(([name]) => name !== "kind" && !/^(?:repository|project|account)Id$/.test(name)));
}

/** Source: CloudEvents 1.0.2, JSON Event Format. */
function cloudEvents(event: WebhookEvent, { origin }: FormContext): FormedBody {
  const { change, actor, id, at } = event;
  const data = { ...withoutIds(change), actor: { kind: actor.kind, name: actor.name } };
  const attributes = { specversion: "1.0", id, source: origin, type: `dev.berth.${change.kind}`, subject: subjectOf(event), time: iso(at) };
  return json({ ...attributes, datacontenttype: "application/json", data }, CLOUD_EVENTS);
}

function harborData(image: ImageChange, event: WebhookEvent, origin: string) {
  const { repository, project, name, tag, digest } = image;
  const resourceUrl = `${hostOf(origin)}/${repository}${tag === undefined ? "@" : ":"}${referenceOf(image)}`;
  return {
    resources: [{ ...(digest === undefined ? {} : { digest }), ...(tag === undefined ? {} : { tag }), resource_url: resourceUrl }],
    repository: { date_created: Math.floor(event.at / 1000), name, namespace: project, repo_full_name: repository, repo_type: "private" },
  };
}

/** Source: Harbor's documentation, Configure Webhook Notifications, Default payload. */
function harbor(event: WebhookEvent, { origin }: FormContext): FormedBody | undefined {
  const image = imageOf(event);
  if (image === undefined) return undefined;
  const type = image.verb === "pushed" ? "PUSH_ARTIFACT" : "DELETE_ARTIFACT";
  return json({ type, occur_at: Math.floor(event.at / 1000), operator: actorName(event), event_data: harborData(image, event, origin) });
}

/** Source: the same, CloudEvents payload. */
function harborCloudEvents(event: WebhookEvent, { origin }: FormContext): FormedBody | undefined {
  const image = imageOf(event);
  if (image === undefined) return undefined;
  return json(
    {
      specversion: "1.0",
      id: event.id,
      requestid: event.id,
      source: `/projects/${image.project}/webhook/policies`,
      type: `harbor.artifact.${image.verb}`,
      datacontenttype: "application/json",
      time: iso(event.at),
      data: harborData(image, event, origin),
      operator: actorName(event),
    },
    CLOUD_EVENTS,
  );
}

/** Pushed tags only. Source: Docker Hub's documentation, Webhooks, Example webhook payload. */
function dockerHub(event: WebhookEvent, { origin }: FormContext): FormedBody | undefined {
  const image = imageOf(event);
  if (image?.verb !== "pushed" || image.tag === undefined) return undefined;
  const { repository, project, name, tag } = image;
  const at = Math.floor(event.at / 1000);
  const address = `${origin}/${repository}`;
  return json({
    callback_url: address,
    push_data: { pushed_at: at, pusher: actorName(event), tag, images: [] },
    repository: {
      repo_name: repository,
      repo_url: address,
      name,
      namespace: project,
      owner: project,
      status: "Active",
      is_private: true,
      date_created: at,
    },
  });
}

/** Source: the CNCF registry's documentation, Work with notifications, Envelope. */
function distribution(event: WebhookEvent, { origin }: FormContext): FormedBody | undefined {
  const image = imageOf(event);
  if (image === undefined) return undefined;
  const { repository, tag, digest, verb } = image;
  const mediaType = image.mediaType ?? "application/vnd.oci.image.manifest.v1+json";
  const target = {
    mediaType,
    ...(digest === undefined ? {} : { digest }),
    repository,
    url: `${origin}/v2/${repository}/manifests/${digest ?? tag}`,
    ...(tag === undefined ? {} : { tag }),
  };
  return json(
    {
      events: [
        {
          id: event.id,
          timestamp: iso(event.at),
          action: verb === "pushed" ? "push" : "delete",
          target,
          request: { id: event.id, addr: "", host: hostOf(origin), method: verb === "pushed" ? "PUT" : "DELETE", useragent: "" },
          actor: { name: actorName(event) },
          source: { addr: hostOf(origin), instanceID: "berth" },
        },
      ],
    },
    "application/vnd.docker.distribution.events.v1+json",
  );
}

/** Source: CDEvents 0.4, artifact.published and artifact.deleted; package-url, type oci. */
function cdEvents(event: WebhookEvent, { origin }: FormContext): FormedBody | undefined {
  const image = imageOf(event);
  if (image === undefined) return undefined;
  const { name, repository, tag, digest, verb } = image;
  const where = `repository_url=${encodeURIComponent(`${hostOf(origin)}/${repository}`)}${tag === undefined ? "" : `&tag=${encodeURIComponent(tag)}`}`;
  const purl = `pkg:oci/${name.split("/").at(-1)}${digest === undefined ? "" : `@${encodeURIComponent(digest)}`}?${where}`;
  const type = verb === "pushed" ? "dev.cdevents.artifact.published.0.2.0" : "dev.cdevents.artifact.deleted.0.1.0";
  return json({
    context: { version: "0.4.1", id: event.id, source: origin, type, timestamp: iso(event.at) },
    subject: { id: purl, source: origin, type: "artifact", content: { user: actorName(event) } },
  });
}

/** What Slack's text may not hold as it is. Source: Slack, Formatting text for app surfaces, Escaping text. */
const slackText = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

function slack(event: WebhookEvent): FormedBody {
  const what = subjectOf(event);
  return json({ text: slackText(`*${event.change.kind}*${what === undefined ? "" : ` ${what}`} by ${actorName(event)}`) });
}

function ownTemplate(event: WebhookEvent, { origin, template }: FormContext): FormedBody {
  const image = imageOf(event);
  const { change } = event;
  const project = image?.project ?? ("project" in change ? (change.project ?? "") : "");
  const fields = {
    kind: change.kind,
    repository: image?.repository ?? ("repository" in change ? change.repository : ""),
    tag: image?.tag ?? "",
    digest: image?.digest ?? "",
    project,
  };
  return {
    contentType: "application/json",
    body: renderTemplate(template ?? "{}", {
      ...fields,
      actor: actorName(event),
      time: iso(event.at),
      id: event.id,
      registry: hostOf(origin),
    }),
  };
}

const FORMS: Readonly<Record<WebhookForm, (event: WebhookEvent, context: FormContext) => FormedBody | undefined>> = {
  cloudevents: cloudEvents,
  harbor,
  "harbor-cloudevents": harborCloudEvents,
  dockerhub: dockerHub,
  distribution,
  cdevents: cdEvents,
  slack,
  template: ownTemplate,
};

/** Says a change in a form; undefined where the form has no word for it. */
export function formBody(form: WebhookForm, event: WebhookEvent, context: FormContext): FormedBody | undefined {
  return FORMS[form](event, context);
}
