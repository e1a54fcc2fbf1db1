// Sessions of browsers over HTTP, on both databases: what signs in, what other sites cannot do with one, when one ends, and that one opens the API alone.
// Not here: who may call which operation (access-matrix.test.ts), idle ends, which take a clock (apps/server/src/http/api/sessions.test.ts).
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ENGINES } from "./engines.testing.ts";
import { ADMIN_PASSWORD, startTestRegistry, type TestRegistry } from "./registry.testing.ts";

const PASSWORD = "session-test-password";
const COOKIE = /^(?:__Host-)?berth_session=(berth_session_[A-Za-z0-9_-]{51})(; .*)$/;

type Headers = Record<string, string>;

/** A browser that keeps one cookie, and sends what browsers send. */
function browserOf(registry: TestRegistry, more: Headers = {}) {
  let cookie: string | undefined;
  const self = {
    cookie: () => cookie,
    use(value: string | undefined) {
      cookie = value;
    },
    async send(method: string, path: string, body?: unknown, headers: Headers = { "sec-fetch-site": "same-origin" }): Promise<Response> {
      const answer = await registry.send(method, path, {
        anonymous: true,
        headers: {
          "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
          ...more,
          ...headers,
          ...(cookie === undefined ? {} : { cookie: `theme=dark; ${cookie}; lang=en` }),
          ...(body === undefined ? {} : { "content-type": "application/json" }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const [set] = answer.headers.getSetCookie();
      if (set !== undefined) cookie = set.includes("Max-Age=0") ? undefined : set.split(";")[0];
      return answer;
    },
    async signIn(name: string, password: string): Promise<Response> {
      return self.send("POST", "/api/v1/session", { name, password });
    },
    async who(): Promise<string | number> {
      const answer = await self.send("GET", "/api/v1/users/me");
      return answer.status === 200 ? ((await answer.json()) as { name: string }).name : answer.status;
    },
  };
  return self;
}

async function addUser(registry: TestRegistry, name: string): Promise<void> {
  const made = await registry.send("POST", "/api/v1/users", {
    body: JSON.stringify({ name, password: PASSWORD }),
    headers: { "content-type": "application/json" },
  });
  assert.equal(made.status, 201, await made.text());
}

async function asAdmin(registry: TestRegistry, method: string, path: string, body?: unknown): Promise<Record<string, unknown>> {
  const answer = await registry.send(method, `/api/v1${path}`, {
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    headers: { "content-type": "application/json" },
  });
  const text = await answer.text();
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
  return text === "" ? {} : (JSON.parse(text) as Record<string, unknown>);
}

interface Listed {
  readonly items: readonly {
    readonly id: string;
    readonly isCurrent: boolean;
    readonly browser: string;
    readonly provider: string | null;
  }[];
}

for (const engine of ENGINES) {
  describe(`sessions on ${engine.name}`, { skip: engine.skip }, () => {
    it("begin with a password, sign the API in and nothing else, and end", async (t) => {
      const { settings, sql } = await engine.make(t);
      const registry = await startTestRegistry(settings);
      t.after(() => registry.stop());
      await addUser(registry, "ann");
      const browser = browserOf(registry);
      const answer = await browser.signIn("ann", PASSWORD);
      assert.equal(answer.status, 201, await answer.clone().text());
      const [set] = answer.headers.getSetCookie();
      const [, secret, attributes] = COOKIE.exec(set ?? "") ?? [];
      assert.equal(attributes!.replace(/Max-Age=\d+/, "Max-Age=N"), "; Path=/; HttpOnly; SameSite=Lax; Max-Age=N");
      assert.doesNotMatch(await answer.text(), /berth_session/);
      assert.equal(await browser.who(), "ann");
      assert.ok((await sql("select secret_hash from credential")).every(({ secret_hash }) => !String(secret_hash).includes(secret!)));

      // What clients push and pull with is not opened by it, nor are tokens given for it.
      const cookie = { cookie: browser.cookie()!, "sec-fetch-site": "same-origin" };
      for (const path of ["/v2/", "/v2/_catalog"])
        assert.equal((await registry.send("GET", path, { anonymous: true, headers: cookie })).status, 401, path);
      const token = await registry.send("GET", "/token?scope=registry:catalog:*", { anonymous: true, headers: cookie });
      assert.doesNotMatch(Buffer.from(((await token.json()) as { token: string }).token.split(".")[1]!, "base64url").toString(), /ann/);
      for (const authorization of [`Bearer ${secret}`, `Basic ${Buffer.from(`ann:${secret}`).toString("base64")}`])
        assert.equal((await registry.send("GET", "/api/v1/users/me", { anonymous: true, headers: { authorization } })).status, 401);

      const listed = (await (await browser.send("GET", "/api/v1/users/me/sessions")).json()) as Listed;
      assert.deepEqual(
        listed.items.map(({ isCurrent, browser: called, provider }) => [isCurrent, called, provider]),
        [[true, "Firefox on Linux", null]],
      );
      const kept = browser.cookie();
      const left = await browser.send("DELETE", "/api/v1/session");
      assert.equal(left.status, 204);
      assert.match(left.headers.getSetCookie()[0]!, /^berth_session=; Path=\/; HttpOnly; SameSite=Lax; Max-Age=0$/);
      browser.use(kept);
      assert.equal(await browser.who(), 401);
      // Whose session has ended sees what everybody sees, and signs in again.
      assert.equal((await browser.send("GET", "/api/v1/projects")).status, 200);
      assert.equal((await browser.signIn("ann", PASSWORD)).status, 201);
      assert.equal(await browser.who(), "ann");
    });

    it("are not begun by wrong passwords, tokens and robots, and guesses are limited as everywhere", async (t) => {
      const { settings } = await engine.make(t);
      const registry = await startTestRegistry({ ...settings, "auth.lockout.freeFailures": "3" });
      t.after(() => registry.stop());
      await addUser(registry, "ann");
      await addUser(registry, "bob");
      const basic = `Basic ${Buffer.from(`ann:${PASSWORD}`).toString("base64")}`;
      const made = await registry.send("POST", "/api/v1/users/me/tokens", {
        headers: { authorization: basic, "content-type": "application/json" },
        body: JSON.stringify({ name: "t", api: "write", scopes: [{ repositories: "**", actions: ["pull"] }] }),
      });
      const { secret } = (await made.json()) as { secret: string };
      const robot = await asAdmin(registry, "POST", "/robots", { name: "r", scopes: [{ repositories: "**", actions: ["pull"] }] });
      const browser = browserOf(registry);
      for (const [name, password] of [
        ["ann", secret],
        [String(robot["login"]), String(robot["secret"])],
        ["nobody", PASSWORD],
        ["ann", "x"],
      ] as const) {
        const refused = await browser.signIn(name, password);
        assert.equal(refused.status, 401, name);
        assert.deepEqual(refused.headers.getSetCookie(), []);
      }
      const statuses: number[] = [];
      for (let i = 0; i < 6; i++) statuses.push((await browser.signIn("bob", `wrong ${i}`)).status);
      assert.ok(statuses.includes(429), statuses.join(" "));
      assert.equal((await browser.signIn("bob", PASSWORD)).status, 429);
    });

    it("are of no use to pages of other sites", async (t) => {
      const { settings } = await engine.make(t);
      const registry = await startTestRegistry(settings);
      t.after(() => registry.stop());
      const { host } = new URL(registry.origin);
      const browser = browserOf(registry);
      assert.equal((await browser.signIn("admin", ADMIN_PASSWORD)).status, 201);
      let count = 0;
      const create = async (headers: Headers): Promise<number> => {
        const kept = browser.cookie();
        const { status } = await browser.send("POST", "/api/v1/projects", { name: `p${++count}` }, headers);
        browser.use(kept);
        return status;
      };
      for (const headers of [
        { "sec-fetch-site": "cross-site" },
        { "sec-fetch-site": "same-site" },
        { "sec-fetch-site": "none" },
        { "sec-fetch-site": "cross-site", "x-requested-with": "x" },
        { "sec-fetch-site": "cross-site", origin: registry.origin },
        { origin: "https://evil.test" },
        { origin: "null" },
        { origin: `http://${host}.evil.test` },
        { origin: "https://evil.test", "x-requested-with": "x" },
        {},
      ] as Headers[])
        assert.equal(await create(headers), 403, JSON.stringify(headers));
      for (const headers of [{ "sec-fetch-site": "same-origin" }, { origin: registry.origin }, { "x-requested-with": "x" }] as Headers[])
        assert.equal(await create(headers), 201, JSON.stringify(headers));
      // Nobody is signed in as somebody else by another site, nor out.
      for (const [method, path, body] of [
        ["POST", "/api/v1/session", { name: "admin", password: ADMIN_PASSWORD }],
        ["DELETE", "/api/v1/session", undefined],
        ["DELETE", "/api/v1/users/me/sessions", undefined],
      ] as const) {
        const fresh = browserOf(registry);
        fresh.use(browser.cookie());
        assert.equal((await fresh.send(method, path, body, { "sec-fetch-site": "cross-site" })).status, 403, path);
      }
      assert.equal(await browser.who(), "admin");
      // A cookie that is there twice is not believed: one of them is somebody else's.
      const twice = { cookie: `${browser.cookie()}; ${browser.cookie()}` };
      assert.equal((await registry.send("GET", "/api/v1/users/me", { anonymous: true, headers: twice })).status, 401);
    });

    it("behind TLS come with a name that no neighbour can set, and only that one counts", async (t) => {
      const { settings } = await engine.make(t);
      const registry = await startTestRegistry({ ...settings, "http.trustedProxies": "127.0.0.1" });
      t.after(() => registry.stop());
      const browser = browserOf(registry, { "x-forwarded-proto": "https", "x-forwarded-host": "registry.test" });
      const answer = await browser.signIn("admin", ADMIN_PASSWORD);
      assert.equal(answer.status, 201);
      assert.match(answer.headers.getSetCookie()[0]!, /^__Host-berth_session=[^;]+; Path=\/; HttpOnly; SameSite=Lax; Secure; Max-Age=\d+$/);
      assert.equal(await browser.who(), "admin");
      browser.use(browser.cookie()!.replace("__Host-", ""));
      assert.equal(await browser.who(), 401);
    });

    it("are replaced at each sign-in, and end with the password, the account, and when somebody may say so", async (t) => {
      const { settings } = await engine.make(t);
      const registry = await startTestRegistry(settings);
      t.after(() => registry.stop());
      await addUser(registry, "ann");
      await addUser(registry, "eve");
      const [one, two, eve] = [browserOf(registry), browserOf(registry), browserOf(registry)];
      await one.signIn("ann", PASSWORD);
      const first = one.cookie();
      await one.signIn("ann", PASSWORD);
      assert.notEqual(one.cookie(), first);
      const old = browserOf(registry);
      old.use(first);
      assert.equal(await old.who(), 401);
      await two.signIn("ann", PASSWORD);
      await eve.signIn("eve", PASSWORD);
      const sessionsOf = async (name: string) => (await asAdmin(registry, "GET", `/users/${name}/sessions`)) as unknown as Listed;
      const listed = await sessionsOf("ann");
      assert.equal(listed.items.length, 2);
      // Nobody ends another's, by number.
      assert.equal((await eve.send("DELETE", `/api/v1/users/me/sessions/${listed.items[0]!.id}`)).status, 404);
      assert.equal((await two.send("DELETE", `/api/v1/users/me/sessions/${listed.items[0]!.id}`)).status, 204);
      assert.deepEqual([await one.who(), await two.who()], [401, "ann"]);
      await one.signIn("ann", PASSWORD);
      assert.deepEqual(await (await one.send("DELETE", "/api/v1/users/me/sessions")).json(), { ended: 2 });
      assert.deepEqual([await one.who(), await two.who()], [401, 401]);
      await one.signIn("ann", PASSWORD);
      await asAdmin(registry, "DELETE", `/users/ann/sessions/${(await sessionsOf("ann")).items[0]!.id}`);
      assert.equal(await one.who(), 401);

      await one.signIn("ann", PASSWORD);
      await asAdmin(registry, "PATCH", "/users/ann", { password: `${PASSWORD}-2` });
      assert.equal(await one.who(), 401);
      assert.equal((await sessionsOf("ann")).items.length, 0);
      await one.signIn("ann", `${PASSWORD}-2`);
      assert.equal(await one.who(), "ann");
      await asAdmin(registry, "PATCH", "/users/ann", { isDisabled: true });
      assert.equal(await one.who(), 401);
      await asAdmin(registry, "PATCH", "/users/ann", { isDisabled: false });
      assert.equal(await one.who(), 401);
      await asAdmin(registry, "DELETE", "/users/eve");
      assert.equal(await eve.who(), 401);
    });
  });
}
