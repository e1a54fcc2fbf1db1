// `berth login --web`: the program, the page, and who says yes; and what others try with codes. Not here: the logins themselves on both databases
// (access/device-logins.test.ts of the server).
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { describe, it } from "node:test";
import { cliUser } from "./cli.testing.ts";
import { startBrowser } from "./openid-provider.testing.ts";
import { ADMIN_PASSWORD, startTestRegistry, temporaryFolder, type TestRegistry } from "./registry.testing.ts";

const BIN = join(import.meta.dirname, "../../apps/cli/bin/berth.mjs");
const GRANT = "urn:ietf:params:oauth:grant-type:device_code";

async function post({ origin }: TestRegistry, path: string, form: Readonly<Record<string, string>>) {
  const answer = await fetch(origin + path, { method: "POST", body: new URLSearchParams(form) });
  return { status: answer.status, body: (await answer.json()) as Readonly<Record<string, string>> };
}

describe("logging in by the web", () => {
  it("gives the command line a token of who says yes in a browser, which is listed and revoked", async (t) => {
    const registry = await startTestRegistry();
    t.after(() => registry.stop());
    const folder = await temporaryFolder();
    t.after(() => folder.end());
    const child = spawn(process.execPath, [BIN, "login", registry.origin, "--web"], {
      env: { HOME: folder.path, XDG_CONFIG_HOME: join(folder.path, "config") },
    });
    t.after(() => child.kill());
    const ended = once(child, "close") as Promise<[number | null]>;
    let said = "";
    const asked = Promise.withResolvers<{ page: string; code: string }>();
    child.stderr.on("data", (piece: Buffer) => {
      said += piece.toString();
      const [, page, code] = /Open (\S+) in a browser, and type the code (\S+)\n/.exec(said) ?? [];
      if (page !== undefined) asked.resolve({ page, code: code! });
    });
    void ended.then(() => asked.reject(new Error(said)));
    const { page, code } = await asked.promise;
    assert.equal(page, `${registry.origin}/device`);

    // Who is not signed in does that first, and comes back to the code.
    const browser = startBrowser();
    const first = await browser.open(`${page}?code=${code}`);
    assert.equal(first.url.pathname, "/signin");
    const back = /name="return" value="([^"]+)"/.exec(first.text)![1]!.replaceAll("&amp;", "&");
    const shown = await browser.post(`${registry.origin}/signin`, { name: "admin", password: ADMIN_PASSWORD, return: back });
    assert.match(shown.text, /<strong>berth on [^<]+<\/strong> asks to be logged in as you[\s\S]*<strong>127\.0\.0\.1<\/strong>/);
    assert.match(shown.text, /signed in as <strong>admin<\/strong>/);
    // Another site's page says yes for nobody.
    assert.equal((await browser.post(page, { code, decision: "allow" }, "https://evil.test")).status, 403);
    assert.equal((await startBrowser().post(page, { code, decision: "allow" })).url.pathname, "/signin");
    assert.match((await browser.post(page, { code, decision: "allow" })).text, /The program is logged in/);
    assert.deepEqual((await ended)[0], 0, said);
    const user = cliUser(folder.path);
    assert.match(await user.ok("whoami"), /admin/);
    const tokens = await user.run(["token", "list"]);
    assert.match(tokens.stderr, /personal token does not do that/);
    const listed = await registry.send("GET", "/api/v1/users/me/tokens");
    const { items } = (await listed.json()) as { items: { id: string; name: string; api: string }[] };
    assert.match(items[0]!.name, /^berth on /);
    assert.equal((await registry.send("DELETE", `/api/v1/users/me/tokens/${items[0]!.id}`)).status, 204);
    assert.notEqual((await user.run(["whoami"])).code, 0);
  });

  it("is refused where it is denied, and codes are not guessed", async (t) => {
    const registry = await startTestRegistry({ "auth.lockout.freeFailures": "3" });
    t.after(() => registry.stop());
    const browser = startBrowser("zh");
    await browser.post(`${registry.origin}/signin`, { name: "admin", password: ADMIN_PASSWORD });
    const begun = await post(registry, "/oauth/device", { client_id: "<script>x" });
    assert.equal(begun.status, 200);
    const { device_code, user_code } = begun.body as { device_code: string; user_code: string };
    const polled = async () => post(registry, "/oauth/device/token", { grant_type: GRANT, device_code });
    assert.deepEqual(await polled(), { status: 400, body: { error: "authorization_pending" } });
    assert.deepEqual((await post(registry, "/oauth/device/token", { grant_type: "password", device_code })).body, {
      error: "unsupported_grant_type",
    });
    const page = await browser.open(`${registry.origin}/device?code=${user_code}`);
    assert.match(page.text, /授权程序登录/);
    assert.doesNotMatch(page.text, /<script/);
    const denied = await browser.post(`${registry.origin}/device`, { code: user_code, decision: "deny" });
    assert.match(denied.text, /已拒绝该程序/);
    assert.deepEqual((await polled()).body, { error: "access_denied" });
    const statuses: number[] = [];
    for (let i = 0; i < 6; i++) statuses.push((await browser.open(`${registry.origin}/device?code=BBBB-BBB${"BCDFGH"[i]}`)).status);
    assert.deepEqual(statuses.slice(0, 3), [404, 404, 404]);
    assert.ok(statuses.includes(429), statuses.join(" "));
  });
});
