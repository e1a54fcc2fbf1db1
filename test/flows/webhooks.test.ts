// Webhooks over HTTP with a real receiver, on both databases: from a push to a signed request, with retries, rotation, redelivery and the breaker.
// Not here: the forms (webhook-forms.test.ts), who may (access-matrix.test.ts).
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, it, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ENGINES } from "./engines.testing.ts";
import { startTestRegistry, type TestRegistry } from "./registry.testing.ts";

interface Received {
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** A receiver that answers as `answer` says, by the number of the request. */
async function receiver(
  t: TestContext,
  answer: (count: number) => { status: number; headers?: Record<string, string> } = () => ({ status: 200 }),
) {
  const received: Received[] = [];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const piece of request.setEncoding("utf8")) body += piece as string;
    received.push({ headers: request.headers, body });
    const { status, headers = {} } = answer(received.length);
    response.writeHead(status, headers).end(`answer ${received.length}`);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  t.after(() => server.closeAllConnections());
  const take = async (count: number): Promise<Received[]> => {
    while (received.length < count) await sleep(20);
    return received;
  };
  return { address: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook/secret`, received, take };
}

async function start(t: TestContext, settings: Record<string, string>, more: Record<string, string> = {}) {
  const registry = await startTestRegistry(
    { ...settings, "outbound.allow": "127.0.0.0/8", "outbound.insecureHttp": "true", "http.publicUrl": "https://registry.test", ...more },
    { jobs: true },
  );
  t.after(() => registry.stop());
  return { registry, api: apiOf(registry) };
}

function apiOf(registry: TestRegistry) {
  return async <T = Record<string, unknown>>(method: string, path: string, body?: unknown): Promise<{ status: number; json: T }> => {
    const json = body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
    const answer = await registry.send(method, `/api/v1${path}`, json);
    const text = await answer.text();
    return { status: answer.status, json: (text === "" ? {} : JSON.parse(text)) as T };
  };
}

interface Hook {
  readonly secret: string;
  readonly secrets: readonly unknown[];
}
interface Delivery {
  readonly id: string;
  readonly event: string;
  readonly kind: string;
  readonly state: string;
  readonly attempts: number;
  readonly status: number | null;
  readonly error: string | null;
  readonly request: string;
  readonly response: string;
}
interface Page {
  readonly items: readonly Delivery[];
}

/** As docs/guide/webhooks.md says. */
function isSigned({ headers, body }: Received, secret: string): boolean {
  const key = Buffer.from(secret.replace("whsec_", ""), "base64");
  const wanted = createHmac("sha256", key)
    .update(`${String(headers["webhook-id"])}.${String(headers["webhook-timestamp"])}.${body}`)
    .digest("base64");
  return String(headers["webhook-signature"]).split(" ").includes(`v1,${wanted}`);
}

for (const engine of ENGINES) {
  describe(`webhooks on ${engine.name}`, { skip: engine.skip }, () => {
    it("get what they want of their project, signed, once, and nothing else", async (t) => {
      const { registry, api } = await start(t, (await engine.make(t)).settings);
      const own = await receiver(t);
      const all = await receiver(t);
      await api("POST", "/projects", { name: "team" });
      const made = await api<Hook>("POST", "/projects/team/webhooks", {
        name: "ci",
        address: own.address,
        kinds: ["tag.moved"],
        repositories: "team/**",
        tags: "v*",
      });
      assert.equal(made.status, 201);
      const misspelt = await api("PATCH", "/projects/team/webhooks/ci", { kinds: ["tag.moved", "tag.move"] });
      assert.match(JSON.stringify([misspelt.status, misspelt.json]), /^\[400,.*FIELD_INVALID.*body\.kinds\.1.*those of tag are tag\.moved/);
      assert.match(made.json.secret, /^whsec_/);
      assert.doesNotMatch(JSON.stringify((await api("GET", "/projects/team/webhooks/ci")).json), /whsec_/);
      assert.equal((await api("POST", "/webhooks", { name: "all", address: all.address, kinds: ["*"] })).status, 201);
      await registry.pushImage("team/app", "latest");
      await registry.pushImage("library/app", "v1");
      const { digest } = await registry.pushImage("team/app", "v1");
      const [first] = await own.take(1);
      assert.ok(isSigned(first!, made.json.secret));
      assert.equal(first!.headers["x-signature"], `sha256=${createHmac("sha256", made.json.secret).update(first!.body).digest("hex")}`);
      assert.equal(first!.headers["content-type"], "application/cloudevents+json");
      const event = JSON.parse(first!.body) as { type: string; subject: string; source: string; data: unknown };
      assert.deepEqual([event.type, event.subject, event.source], ["dev.berth.tag.moved", "team/app:v1", "https://registry.test"]);
      assert.deepEqual(event.data, { repository: "team/app", tag: "v1", to: digest, actor: { kind: "user", name: "admin" } });
      // Of the registry's: what happened in the public project; nothing of the private one, and its own making.
      while (!all.received.some(({ body }) => body.includes("library/app:v1"))) await sleep(20);
      assert.ok(!all.received.some(({ body }) => body.includes("team/app")));
      await sleep(300);
      assert.equal(own.received.length, 1);
      const deliveries = await api<Page>("GET", "/projects/team/webhooks/ci/deliveries");
      assert.deepEqual(
        deliveries.json.items.map(({ kind, state, status }) => [kind, state, status]),
        [["tag.moved", "delivered", 200]],
      );
      const shown = await api<Delivery>("GET", `/projects/team/webhooks/ci/deliveries/${deliveries.json.items[0]!.id}`);
      assert.deepEqual([shown.json.request, shown.json.response], [first!.body, "answer 1"]);
    });

    it("of the registry are told of settings that change", async (t) => {
      const { api } = await start(t, (await engine.make(t)).settings);
      const hook = await receiver(t);
      await api("POST", "/webhooks", { name: "all", address: hook.address, kinds: ["*"] });
      assert.equal((await api("PATCH", "/settings", { "projects.creation": "everyone" })).status, 200);
      while (!hook.received.some(({ body }) => body.includes("dev.berth.setting.changed"))) await sleep(20);
      const { json } = await api<Page>("GET", "/webhooks/all/deliveries");
      assert.ok(json.items.some(({ kind }) => kind === "setting.changed"));
    });

    it("are tried again when they fail, with the same id, and not before they want it", async (t) => {
      const { api } = await start(t, (await engine.make(t)).settings);
      const hook = await receiver(t, (count) => (count === 1 ? { status: 503, headers: { "retry-after": "1" } } : { status: 204 }));
      await api("POST", "/projects/library/webhooks", { name: "ci", address: hook.address });
      const sent = await api<Delivery>("POST", "/projects/library/webhooks/ci/test");
      assert.equal(sent.status, 202);
      const [first, second] = await hook.take(2);
      assert.equal(first!.headers["webhook-id"], second!.headers["webhook-id"]);
      assert.equal(first!.body, second!.body);
      const path = `/projects/library/webhooks/ci/deliveries/${sent.json.id}`;
      while ((await api<Delivery>("GET", path)).json.state !== "delivered") await sleep(20);
      assert.equal((await api<Delivery>("GET", path)).json.attempts, 2);
      assert.equal((await api("POST", `${path}/redeliver`)).status, 202);
      const [, , third] = await hook.take(3);
      assert.equal(third!.headers["webhook-id"], first!.headers["webhook-id"]);
    });

    it("sign with both secrets while one is replaced, and send what receivers ask for besides", async (t) => {
      const { api } = await start(t, (await engine.make(t)).settings);
      const hook = await receiver(t);
      const made = await api<Hook>("POST", "/webhooks", { name: "ci", address: hook.address, authorization: "Bearer flux" });
      const rotated = await api<Hook>("POST", "/webhooks/ci/secret");
      assert.equal(rotated.json.secrets.length, 2);
      await api("POST", "/webhooks/ci/test");
      const [first] = await hook.take(1);
      assert.ok(isSigned(first!, made.json.secret) && isSigned(first!, rotated.json.secret));
      assert.equal(first!.headers.authorization, "Bearer flux");
      const elsewhere = hook.address.replace("127.0.0.1", "127.0.0.2");
      const moved = await api("PATCH", "/webhooks/ci", { address: elsewhere });
      assert.deepEqual([moved.status, JSON.stringify(moved.json).includes("body.authorization")], [400, true]);
      assert.equal((await api("PATCH", "/webhooks/ci", { address: `${hook.address}/same-place` })).status, 200);
      const third = await api<Hook>("POST", "/webhooks/ci/secret");
      await api("PATCH", "/webhooks/ci", { authorization: null });
      await api("POST", "/webhooks/ci/test");
      const [, second] = await hook.take(2);
      assert.ok(!isSigned(second!, made.json.secret) && isSigned(second!, rotated.json.secret) && isSigned(second!, third.json.secret));
      assert.equal(second!.headers.authorization, undefined);
    });

    it("that fail again and again are left alone until they are enabled; one that is gone is disabled", async (t) => {
      const { api } = await start(t, (await engine.make(t)).settings);
      let status = 500;
      const hook = await receiver(t, () => ({ status }));
      await api("POST", "/webhooks", { name: "ci", address: hook.address });
      const ids: string[] = [];
      for (let i = 0; i < 10; i++) ids.push((await api<Delivery>("POST", "/webhooks/ci/test")).json.id);
      await hook.take(10);
      type View = { readonly breaker: { readonly state: string; readonly failures: number }; readonly isEnabled: boolean };
      while ((await api<View>("GET", "/webhooks/ci")).json.breaker.state !== "open") await sleep(20);
      const before = hook.received.length;
      const held = await api<Delivery>("POST", "/webhooks/ci/test");
      await sleep(500);
      assert.equal(hook.received.length, before, "nothing is sent through an open breaker");
      assert.equal((await api<Delivery>("GET", `/webhooks/ci/deliveries/${held.json.id}`)).json.state, "waiting");
      status = 200;
      assert.equal((await api<View>("PATCH", "/webhooks/ci", { isEnabled: true })).json.breaker.state, "closed");
      await api("POST", `/webhooks/ci/deliveries/${ids[0]}/redeliver`);
      await hook.take(before + 1);
      status = 410;
      await api("POST", "/webhooks/ci/test");
      while ((await api<View>("GET", "/webhooks/ci")).json.isEnabled) await sleep(20);
    });

    it("to addresses that are not allowed are refused: when they are written, or when they are looked up", async (t) => {
      const { api } = await start(t, (await engine.make(t)).settings, { "outbound.allow": "10.0.0.0/8", "outbound.insecureHttp": "false" });
      const hook = await receiver(t);
      assert.equal((await api("POST", "/webhooks", { name: "ci", address: hook.address })).status, 400);
      assert.equal((await api("POST", "/webhooks", { name: "ci", address: "https://u:p@hooks.test/" })).status, 400);
      const port = new URL(hook.address).port;
      assert.equal((await api("POST", "/webhooks", { name: "ci", address: `https://127.0.0.1:${port}/` })).status, 201);
      const { json } = await api<Delivery>("POST", "/webhooks/ci/test");
      const path = `/webhooks/ci/deliveries/${json.id}`;
      while ((await api<Delivery>("GET", path)).json.state === "waiting") await sleep(20);
      assert.match((await api<Delivery>("GET", path)).json.error!, /not public/);
      assert.equal(hook.received.length, 0);
    });

    it("are so many at most, have names of their own, and go with their project", async (t) => {
      const { api } = await start(t, (await engine.make(t)).settings);
      await api("POST", "/projects", { name: "team" });
      // At once: of those that are too many none finds room.
      const names = Array.from({ length: 22 }, (_, i) => `h${i}`);
      const made = await Promise.all(names.map((name) => api("POST", "/projects/team/webhooks", { name, address: "https://hooks.test/" })));
      assert.equal(made.filter(({ status }) => status === 201).length, 20);
      const taken = names[made.findIndex(({ status }) => status === 201)]!;
      assert.match(
        JSON.stringify((await api("POST", "/projects/team/webhooks", { name: "one", address: "https://hooks.test/" })).json),
        /WEBHOOKS_EXCEEDED/,
      );
      assert.match(
        JSON.stringify((await api("POST", "/projects/team/webhooks", { name: taken, address: "https://hooks.test/" })).json),
        /WEBHOOK_EXISTS/,
      );
      assert.equal((await api("DELETE", `/projects/team/webhooks/${taken}`)).status, 204);
      assert.equal((await api("DELETE", "/projects/team")).status, 204);
      assert.equal((await api("GET", "/projects/team/webhooks")).status, 404);
    });
  });
}
