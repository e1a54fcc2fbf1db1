// The forms of webhooks, table by table, against what receivers document; patterns; templates; signatures. Pure. Not here: delivery (test/flows/webhooks.test.ts).
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { describe, it } from "node:test";
import { WEBHOOK_FORMS, type WebhookForm } from "@berth/api/webhooks";
import type { Digest } from "@berth/oci/digest";
import type { RepositoryName, Tag } from "@berth/oci/reference";
import fc from "fast-check";
import { readRetryAfter } from "./webhook-delivery.ts";
import { fits, namesKinds, wantsChange, type WebhookEvent, wrongKind } from "./webhook-events.ts";
import { formBody } from "./webhook-forms.ts";
import { generateWebhookSecret, signedHeaders } from "./webhook-signature.ts";
import { findTemplateProblem, renderTemplate, TEMPLATE_FIELDS, type TemplateField } from "./webhook-template.ts";

const digest = `sha256:${"a".repeat(64)}` as Digest;
const place = { repository: "team/web/app" as RepositoryName, repositoryId: 7, projectId: 3 };
const context = { origin: "https://registry.test", template: '{"text":"{{repository}}:{{tag}}"}' };
const event = (change: WebhookEvent["change"]): WebhookEvent => ({
  id: "change-9",
  at: 1_767_225_600_000,
  actor: { kind: "user", name: "ann" },
  change,
});
const PUSHED = event({ ...place, kind: "tag.moved", tag: "v1" as Tag, from: undefined, to: digest });
const DELETED = event({ ...place, kind: "manifest.deleted", digest });
const MEMBER = event({ kind: "member.removed", project: "team", projectId: 3, account: "bob", accountId: 4 });
const say = (form: WebhookForm, which: WebhookEvent) => {
  const formed = formBody(form, which, context);
  return formed === undefined ? undefined : (JSON.parse(formed.body) as Record<string, unknown>);
};

const EVENT_DATA = {
  resources: [{ digest, tag: "v1", resource_url: "registry.test/team/web/app:v1" }],
  repository: { date_created: 1_767_225_600, name: "web/app", namespace: "team", repo_full_name: "team/web/app", repo_type: "private" },
};

describe("a pushed tag", () => {
  it("is said as each form has it", () => {
    assert.deepEqual(say("harbor", PUSHED), { type: "PUSH_ARTIFACT", occur_at: 1_767_225_600, operator: "ann", event_data: EVENT_DATA });
    const harbor = say("harbor-cloudevents", PUSHED)!;
    assert.deepEqual([harbor["type"], harbor["operator"], harbor["data"]], ["harbor.artifact.pushed", "ann", EVENT_DATA]);
    const hub = say("dockerhub", PUSHED) as { push_data: { tag: string; pusher: string }; repository: { repo_name: string } };
    assert.deepEqual([hub.push_data.tag, hub.push_data.pusher, hub.repository.repo_name], ["v1", "ann", "team/web/app"]);
    const { events } = say("distribution", PUSHED) as { events: { action: string; target: Record<string, unknown> }[] };
    assert.equal(events[0]!.action, "push");
    assert.deepEqual(events[0]!.target, {
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      digest,
      repository: "team/web/app",
      url: `https://registry.test/v2/team/web/app/manifests/${digest}`,
      tag: "v1",
    });
    const cd = say("cdevents", PUSHED) as { context: { type: string }; subject: { id: string } };
    assert.equal(cd.context.type, "dev.cdevents.artifact.published.0.2.0");
    assert.equal(cd.subject.id, `pkg:oci/app@sha256%3A${"a".repeat(64)}?repository_url=registry.test%2Fteam%2Fweb%2Fapp&tag=v1`);
    assert.deepEqual(say("slack", PUSHED), { text: "*tag.moved* team/web/app:v1 by ann" });
    assert.deepEqual(say("template", PUSHED), { text: "team/web/app:v1" });
    const cloud = say("cloudevents", PUSHED)!;
    assert.deepEqual(
      [cloud["specversion"], cloud["type"], cloud["subject"], cloud["time"], cloud["id"]],
      ["1.0", "dev.berth.tag.moved", "team/web/app:v1", "2026-01-01T00:00:00.000Z", "change-9"],
    );
  });
});

it("other changes: are said by forms that know them, and by no other; a trial by all", () => {
  for (const form of WEBHOOK_FORMS) {
    const knows = ["cloudevents", "slack", "template"].includes(form);
    assert.equal(say(form, MEMBER) !== undefined, knows, form);
    assert.equal(say(form, DELETED) !== undefined, form !== "dockerhub", form);
    assert.ok(say(form, event({ kind: "ping", webhook: "ci" })), form);
  }
  assert.equal(say("harbor", DELETED)!["type"], "DELETE_ARTIFACT");
});

it("receivers: what Flux, Argo and Jenkins look at is there", () => {
  // Flux, dockerhub and harbor: `push_data.tag`, `repository.repo_name`; `event_data` is not looked into, `type` is. Argo Events, webhook: JSON of any kind.
  for (const form of ["dockerhub", "harbor", "distribution"] as const)
    assert.equal(formBody(form, PUSHED, context)!.contentType.includes("json"), true);
  // Jenkins, CloudBees Docker Hub/Registry Notification: `events[].action` push with `target.repository` and `request.host`; `repository.repo_name`.
  const { events } = say("distribution", PUSHED) as { events: { request: { host: string }; target: { repository: string } }[] };
  assert.deepEqual([events[0]!.request.host, events[0]!.target.repository], ["registry.test", "team/web/app"]);
  // Flux, generic-hmac: `X-Signature: sha256=HEX` over the body with the token's bytes.
  const secret = generateWebhookSecret();
  const { "x-signature": signature } = signedHeaders([secret], "id", 0, "body");
  assert.equal(signature, `sha256=${createHmac("sha256", secret).update("body").digest("hex")}`);
});

it("a signature: is that of Standard Webhooks' own example", () => {
  const headers = signedHeaders(
    ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    "msg_p5jXN8AQM9LWM0D4loKWxJek",
    1_614_265_330_000,
    '{"test": 2432232314}',
  );
  assert.equal(headers["webhook-signature"], "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
  assert.equal(headers["webhook-timestamp"], "1614265330");
});

it("patterns: * stays within a segment, ** does not, and none takes long", () => {
  for (const [pattern, text, wanted] of [
    ["team/*", "team/app", true],
    ["team/*", "team/web/app", false],
    ["team/**", "team/web/app", true],
    ["**", "team/app", true],
    ["v*", "v1.2", true],
    ["v*", "dev", false],
    ["*-rc", "v1-rc", true],
    ["a*b*c", "abc", true],
    ["a", "aa", false],
  ] as const)
    assert.equal(fits(pattern, text), wanted, `${pattern} ${text}`);
  assert.equal(fits(`${"*a".repeat(120)}b`, "a".repeat(4000)), false);
  const filter = { kinds: ["tag.*"], repositories: "team/**", tags: "v*" };
  assert.ok(wantsChange(filter, PUSHED.change as never));
  assert.ok(!wantsChange({ ...filter, tags: "dev*" }, PUSHED.change as never));
  assert.ok(!wantsChange(filter, MEMBER.change as never));
});

it("kinds name changes that there are, and what is wrong is said", () => {
  for (const good of ["*", "tag.*", "tag.moved", "setting.changed"]) assert.ok(namesKinds(good), good);
  for (const wrong of ["tag", "tag.move", "tags.*", "ta.*", "toString", "tag.*.*"]) assert.ok(!namesKinds(wrong), wrong);
  assert.match(wrongKind("tag.move"), /^names no change: those of tag are tag\.moved, tag\.deleted$/);
  assert.match(wrongKind("tags.*"), /^names no change: they are of .*\bmanifest, .*\btag\b/);
});

describe("a template", () => {
  const fields = Object.fromEntries(TEMPLATE_FIELDS.map((name) => [name, name])) as Record<TemplateField, string>;
  it("puts fields into texts and nowhere else, whatever they hold", () => {
    fc.assert(
      fc.property(fc.string(), (hostile) => {
        const rendered = JSON.parse(renderTemplate('{"a":"<{{tag}}>","b":[1,"{{ kind }}"]}', { ...fields, tag: hostile })) as unknown;
        assert.deepEqual(rendered, { a: `<${hostile}>`, b: [1, "kind"] });
      }),
    );
  });
  it("is refused that is no JSON, names other fields, or may grow too large; any text is judged", () => {
    for (const wrong of [
      "",
      "{",
      '"text"',
      '{"a":"{{constructor}}"}',
      '{"a":"{{tag.x}}"}',
      '{"a":"{{#each}}"}',
      String.raw`{"a":"\u007b\u007bconstructor}}"}`,
      String.raw`{"a":"{{\ttag.x\n}}"}`,
      `{"a":"${"{{tag}}".repeat(1000)}"}`,
    ])
      assert.ok(findTemplateProblem(wrong) !== undefined, wrong.slice(0, 40));
    assert.equal(findTemplateProblem('{"a":"{{tag}} {{ repository }}"}'), undefined);
    // No field, so only text; and it is judged at once.
    assert.equal(findTemplateProblem(`{"a":"{{${" ".repeat(7000)}"}`), undefined);
    fc.assert(fc.property(fc.string(), (text) => void findTemplateProblem(text)));
  });
});

it("Retry-After: is seconds or a date, and an hour at most", () => {
  const now = Date.parse("2026-01-01T00:00:00Z");
  assert.equal(readRetryAfter("5", now), 5000);
  assert.equal(readRetryAfter("Thu, 01 Jan 2026 00:01:00 GMT", now), 60_000);
  for (const useless of [undefined, "soon", "-1", "Thu, 01 Jan 2015 00:01:00 GMT"]) assert.equal(readRetryAfter(useless, now), 0);
  assert.equal(readRetryAfter("999999999", now), 3_600_000);
});
