// Signing in by a real OpenID provider with a browser, on both databases: accounts, groups, sessions, logouts on both sides, and what others try with it.
// Not here: a provider that answers wrongly (access/oidc-client.test.ts of the server).
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { type Engine, ENGINES, until } from "./engines.testing.ts";
import { type OpenidProvider, startBrowser, startOpenidProvider, type TestBrowser } from "./openid-provider.testing.ts";
import { ADMIN_PASSWORD, startTestRegistry, type TestRegistry } from "./registry.testing.ts";

interface Setting {
  readonly registry: TestRegistry;
  readonly idp: OpenidProvider;
}

async function start(t: TestContext, engine: Engine, more: Readonly<Record<string, string>> = {}): Promise<Setting> {
  const { settings } = await engine.make(t);
  const idp = await startOpenidProvider();
  t.after(() => idp.end());
  const at = "auth.oidc.corp";
  const registry = await startTestRegistry({
    ...settings,
    [`${at}.issuer`]: idp.issuer,
    [`${at}.clientId`]: "berth",
    [`${at}.clientSecret`]: "berth-secret",
    [`${at}.scopes`]: "openid profile email groups",
    [`${at}.title`]: "Corp <SSO>",
    ...Object.fromEntries(Object.entries(more).map(([name, value]) => [name.startsWith("auth.") ? name : `${at}.${name}`, value])),
  });
  t.after(() => registry.stop());
  await idp.begin(registry.origin, "corp");
  idp.people.set("id-ann", { preferred_username: "Ann", email: "ann@corp.test", groups: ["devs"] });
  idp.people.set("id-eve", { preferred_username: "admin", email: "admin@corp.test", groups: [] });
  return { registry, idp };
}

async function whoIs({ origin }: TestRegistry, browser: TestBrowser): Promise<string | number> {
  const answer = await browser.open(`${origin}/api/v1/users/me`);
  return answer.status === 200 ? (JSON.parse(answer.text) as { name: string }).name : answer.status;
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

for (const engine of ENGINES) {
  describe(`signing in by a provider on ${engine.name}`, { skip: engine.skip }, () => {
    it("gives an account of one's own, with the groups of the provider, and leads back to where it began", async (t) => {
      const { registry, idp } = await start(t, engine);
      await asAdmin(registry, "POST", "/groups", {
        name: "developers",
        source: { kind: "oidc", provider: "corp", key: "devs" },
        systemRole: "auditor",
      });
      const browser = startBrowser();
      const page = await browser.open(`${registry.origin}/signin?return=/api/v1/users/me`);
      assert.match(page.text, /href="\/signin\/corp\?return=%2Fapi%2Fv1%2Fusers%2Fme">Sign in with Corp &lt;SSO&gt;</);
      const policy = page.headers.get("content-security-policy")!;
      assert.match(
        policy,
        /^default-src 'none'; style-src 'sha256-[^']+'; form-action 'self' http:\/\/127\.0\.0\.1:\d+; base-uri 'none'; frame-ancestors 'none'$/,
      );
      assert.doesNotMatch(page.text, /<script|\son\w+=|javascript:/);

      idp.next = "id-ann";
      const back = await browser.open(`${registry.origin}/signin/corp?return=/api/v1/users/me`);
      assert.equal(back.url.href, `${registry.origin}/api/v1/users/me`, back.text);
      assert.deepEqual(JSON.parse(back.text), { name: "ann", kind: "user", isAdmin: false, systemRoles: ["auditor"] });
      assert.match((await browser.open(`${registry.origin}/signin`)).text, /signed in as <strong>ann<\/strong>/);
      const { items } = (await asAdmin(registry, "GET", "/users/ann/sessions")) as { items: { provider: string }[] };
      assert.deepEqual(
        items.map(({ provider }) => provider),
        ["corp"],
      );

      // What the provider says next time counts from then on.
      idp.people.set("id-ann", { preferred_username: "Ann", groups: [] });
      const again = await browser.open(`${registry.origin}/signin/corp?return=/api/v1/users/me`);
      assert.deepEqual(JSON.parse(again.text), { name: "ann", kind: "user", isAdmin: false, systemRoles: [] });
      // Whoever calls himself as somebody here does is nobody but himself.
      idp.next = "id-eve";
      const eve = startBrowser();
      await eve.open(`${registry.origin}/signin/corp`);
      assert.equal(await whoIs(registry, eve), "admin-2");
    });

    it("is of use to the browser alone that began it, once, and leads nowhere else", async (t) => {
      const { registry, idp } = await start(t, engine);
      const { origin } = registry;
      idp.next = "id-ann";
      const isCallback = (next: URL): boolean => next.pathname === "/signin/corp/callback";
      const browser = startBrowser();
      const { url: answer } = await browser.open(`${origin}/signin/corp`, isCallback);
      const kept = browser.cookies.get(answer.host)!.get("berth_sign_in")!;
      assert.doesNotMatch(kept, new RegExp(answer.searchParams.get("state")!));
      // Another browser is led to it: he would be signed in as somebody else, and not know it.
      const victim = startBrowser();
      const forced = await victim.open(answer.href);
      assert.equal(forced.status, 403);
      assert.match(forced.text, /not begun in this browser/);
      // One that began another sign-in itself.
      await victim.open(`${origin}/signin/corp`, (next) => next.origin !== origin);
      assert.equal((await victim.open(answer.href)).status, 403);
      assert.equal(await whoIs(registry, victim), 401);
      for (const [name, value] of [
        ["state", "x"],
        ["iss", "https://other.test"],
      ] as const) {
        const changed = new URL(answer);
        changed.searchParams.set(name, value);
        const thief = startBrowser();
        thief.cookies.set(answer.host, new Map([["berth_sign_in", name === "state" ? kept : "v1.garbage"]]));
        assert.equal((await thief.open(changed.href)).status, 403, name);
      }
      const first = await browser.open(answer.href);
      assert.equal(first.status, 200);
      assert.equal(await whoIs(registry, browser), "ann");
      // The same answer again, with the cookie that was copied before.
      const copy = startBrowser();
      copy.cookies.set(answer.host, new Map([["berth_sign_in", kept]]));
      const replayed = await copy.open(answer.href);
      assert.equal(replayed.status, 403);
      assert.match(replayed.text, /was used before/);
      assert.equal(await whoIs(registry, copy), 401);

      for (const to of [
        "https://evil.test/",
        "//evil.test",
        "/\\evil.test",
        "/%0d%0aset-cookie:x",
        "\\\\evil.test",
        "javascript:alert(1)",
        "/../..//evil.test",
        "/a\tb",
        "http:evil",
      ]) {
        const other = startBrowser();
        const back = await other.open(`${origin}/signin/corp?return=${encodeURIComponent(to)}`);
        assert.equal(back.url.origin, origin, to);
        const form = await other.post(`${origin}/signin`, { name: "admin", password: ADMIN_PASSWORD, return: to });
        assert.equal(form.url.origin, origin, to);
      }
    });

    it("says why it was refused, without a word of others' that would be markup", async (t) => {
      const { registry, idp } = await start(t, engine, { requiredGroups: "staff", createsAccounts: "true" });
      idp.next = "";
      const browser = startBrowser("zh-CN,zh;q=0.9,en;q=0.1");
      const refused = await browser.open(`${registry.origin}/signin/corp`);
      assert.equal(refused.status, 403);
      assert.match(refused.text, /<html lang="zh-CN">[\s\S]*登录未成功[\s\S]*access_denied/);
      assert.doesNotMatch(refused.text, /<b>/);
      idp.next = "id-ann";
      const missing = await browser.open(`${registry.origin}/signin/corp`);
      assert.equal(missing.status, 403);
      assert.match(missing.text, /takes a group/);
      assert.equal((await registry.send("GET", "/api/v1/users/ann")).status, 404);
    });

    it("ends here and there: by signing out, and by a logout that the provider sends", async (t) => {
      const { registry, idp } = await start(t, engine);
      const { origin } = registry;
      idp.next = "id-ann";
      const [browser, second] = [startBrowser(), startBrowser()];
      await browser.open(`${origin}/signin/corp`);
      await second.open(`${origin}/signin/corp`);
      assert.deepEqual([await whoIs(registry, browser), await whoIs(registry, second)], ["ann", "ann"]);
      // Another site's page signs nobody out.
      assert.equal((await browser.post(`${origin}/signout`, {}, "https://evil.test")).status, 403);
      const left = await browser.post(`${origin}/signout`, {});
      assert.equal(left.url.origin, idp.issuer, left.text);
      assert.equal(left.url.pathname, "/session/end");
      assert.ok(left.url.searchParams.has("id_token_hint"));
      assert.equal(left.url.searchParams.get("post_logout_redirect_uri"), `${origin}/signin`);
      assert.equal(await whoIs(registry, browser), 401);
      assert.equal(await whoIs(registry, second), "ann");

      // In the second browser he signs out at the provider, which tells the registry.
      const there = await second.open(`${idp.issuer}/session/end`);
      const xsrf = /name="xsrf" value="([^"]+)"/.exec(there.text)![1]!;
      const confirmed = await second.post(`${idp.issuer}/session/end/confirm`, { xsrf, logout: "yes" });
      assert.equal(confirmed.text, "left");
      await until("the provider ended the session", async () => (await whoIs(registry, second)) === 401);

      for (const form of [{}, { logout_token: "x" }, { logout_token: "eyJhbGciOiJub25lIn0.e30." }] as Record<string, string>[]) {
        const answer = await second.post(`${origin}/signin/corp/logout`, form);
        assert.equal(answer.status, 400);
        assert.match(answer.text, /"error":"invalid_request"/);
      }
    });

    it("takes a password too, in the page's own form alone, and counts guesses", async (t) => {
      const { registry } = await start(t, engine, { "auth.lockout.freeFailures": "3" });
      const { origin } = registry;
      const browser = startBrowser();
      assert.equal((await browser.post(`${origin}/signin`, { name: "admin", password: ADMIN_PASSWORD }, "https://evil.test")).status, 403);
      const wrong = await browser.post(`${origin}/signin`, { name: '"><script>', password: "x" });
      assert.equal(wrong.status, 401);
      assert.doesNotMatch(wrong.text, /<script/);
      const right = await browser.post(`${origin}/signin`, { name: "admin", password: ADMIN_PASSWORD, return: "/api/v1/users/me" });
      assert.match(right.text, /"name":"admin"/);
      const guesser = startBrowser();
      const statuses: number[] = [];
      for (let i = 0; i < 6; i++) statuses.push((await guesser.post(`${origin}/signin`, { name: "bob", password: `wrong ${i}` })).status);
      assert.ok(statuses.includes(429), statuses.join(" "));
    });
  });
}
