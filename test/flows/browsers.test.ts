// The registry's headers for browsers: answers are inert, pages of other sites change nothing on any plane, the console's requests are
// answered without a dialog, and other clients notice none of it. Not here: a browser (test/clients/browser.test.ts).
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { ADMIN_PASSWORD, expectStatus, sha256, startTestRegistry, type PushedImage, type TestRegistry } from "./registry.testing.ts";
import { openRawClient, requestHead, type RawAnswer } from "./raw-client.testing.ts";

const AUTH = { authorization: `Basic ${Buffer.from(`admin:${ADMIN_PASSWORD}`).toString("base64")}` };
const APP = "/v2/library/app";

/** Requests of every plane that change something, or need credentials; each would otherwise be accepted. */
const FOREIGN_TARGETS: [method: string, path: string][] = [
  ["POST", `${APP}/blobs/uploads/`],
  ["POST", `${APP}/blobs/uploads/?mount=${sha256("x")}&from=library/other`],
  ["PATCH", `${APP}/blobs/uploads/abc`],
  ["PUT", `${APP}/blobs/uploads/abc?digest=${sha256("x")}`],
  ["DELETE", `${APP}/blobs/uploads/abc`],
  ["PUT", `${APP}/manifests/v1`],
  ["DELETE", `${APP}/manifests/v1`],
  ["DELETE", `${APP}/blobs/${sha256("x")}`],
  ["GET", "/token?service=x&scope=repository:library/app:push"],
  ["POST", "/token"],
  ["POST", "/api/v1/projects"],
  ["PUT", "/api/v1/users/me/password"],
  ["PATCH", "/api/v1/projects/library"],
  ["DELETE", "/api/v1/projects/library"],
];

describe("browsers", () => {
  let registry: TestRegistry;
  let image: PushedImage;
  before(async () => {
    registry = await startTestRegistry({ "http.trustedProxies": "127.0.0.0/8" });
    image = await registry.pushImage("library/app", "v1");
  });
  after(() => registry.stop());

  /** Over a bare socket: fetch sets some of these headers itself. */
  async function ask(method: string, path: string, headers: Record<string, string>, of: TestRegistry = registry): Promise<RawAnswer> {
    const client = await openRawClient(of.origin);
    try {
      await client.send(requestHead(method, path, { "content-length": 0, ...AUTH, ...headers }));
      return await client.answer(method === "HEAD");
    } finally {
      client.destroy();
    }
  }

  const isRefused = ({ status, code }: RawAnswer): boolean => status === 403 && code === "CROSS_SITE_REFUSED";

  it("run nothing of an answer, save what was pushed, and keep nothing else", async () => {
    const begun = await registry.send("POST", `${APP}/blobs/uploads/`);
    const location = (await expectStatus(begun, 202)).headers.get("location")!;
    const stored: [string, string, Record<string, string>?][] = [
      ["GET", `${APP}/manifests/v1`],
      ["HEAD", `${APP}/manifests/${image.digest}`],
      ["GET", `${APP}/manifests/v1`, { "if-none-match": `"${image.digest}"` }],
      ["GET", `${APP}/blobs/${image.layerDigest}`],
      ["HEAD", `${APP}/blobs/${image.layerDigest}`],
      ["GET", `${APP}/blobs/${image.configDigest}`],
      ["GET", `${APP}/blobs/${image.layerDigest}`, { range: "bytes=0-9" }],
      ["GET", `${APP}/blobs/${image.layerDigest}`, { range: "bytes=0-9,20-29" }],
      ["GET", `${APP}/blobs/${image.layerDigest}`, { "if-none-match": "*" }],
    ];
    const other: [string, string, Record<string, string>?][] = [
      ["GET", "/v2/"],
      ["GET", "/v2/_catalog"],
      ["GET", `${APP}/tags/list`],
      ["GET", `${APP}/referrers/${image.digest}`],
      ["POST", `${APP}/blobs/uploads/`],
      ["GET", location],
      ["PATCH", location],
      ["DELETE", location],
      ["POST", `${APP}/blobs/uploads/?mount=${image.layerDigest}&from=library/app`],
      ["GET", `${APP}/manifests/absent`],
      ["GET", `${APP}/blobs/${sha256("absent")}`],
      ["GET", `${APP}/blobs/${image.layerDigest}`, { range: "bytes=999999999-" }],
      ["GET", "/v2/private/app/manifests/v1", { authorization: "Basic eDp5" }],
      ["POST", "/v2/"],
      ["GET", "/v2/UPPER/x/tags/list"],
      ["DELETE", `${APP}/manifests/absent`],
      ["GET", "/token"],
      ["GET", "/api/v1/projects"],
      ["GET", "/api/v1/openapi.json"],
      ["POST", "/api/v1/projects"],
      ["GET", "/healthz"],
      ["GET", "/readyz"],
      ["GET", "/elsewhere"],
    ];
    for (const [kind, requests] of [
      ["stored", stored],
      ["other", other],
    ] as const) {
      for (const [method, path, headers = {}] of requests) {
        const answer = await ask(method, path, headers);
        const what = `${method} ${path} ${answer.status}`;
        assert.ok(answer.status < 500, what);
        assert.equal(answer.headers.get("x-content-type-options"), "nosniff", what);
        assert.match(answer.headers.get("content-security-policy") ?? "", /^sandbox; default-src 'none'$/, what);
        assert.equal(answer.headers.get("cross-origin-resource-policy"), "same-origin", what);
        if (kind === "stored") {
          assert.equal(answer.headers.get("content-disposition"), "attachment", what);
          assert.doesNotMatch(answer.headers.get("cache-control") ?? "", /no-store/, what);
        } else {
          assert.equal(answer.headers.get("content-disposition"), undefined, what);
          if (path !== "/api/v1/openapi.json") assert.equal(answer.headers.get("cache-control"), "no-store", what);
        }
      }
    }
  });

  it("are refused where another site's page sends them, on every plane", async () => {
    const host = "registry.test";
    const foreign: Record<string, string>[] = [
      { "sec-fetch-site": "cross-site" },
      { "sec-fetch-site": "same-site" },
      { "sec-fetch-site": "cross-site", origin: `http://${host}` },
      { "sec-fetch-site": "CROSS-SITE" },
      { "sec-fetch-site": "same-origin, cross-site" },
      { "sec-fetch-site": "" },
      { origin: "http://evil.test" },
      { origin: "null" },
      { origin: "" },
      { origin: `http://${host}.evil.test` },
      { origin: `http://evil.test/${host}` },
      { origin: `http://${host}@evil.test` },
      { origin: `http://sub.${host}` },
      { origin: `http://${host}:8080` },
      { origin: `https://${host}:8443` },
      { origin: `http://${host}, http://evil.test` },
      { origin: `ftp://${host}` },
      { origin: `chrome-extension://${host}` },
      { origin: host },
    ];
    for (const [method, path] of FOREIGN_TARGETS) {
      for (const headers of foreign)
        assert.ok(isRefused(await ask(method, path, { host, ...headers })), `${method} ${path} ${JSON.stringify(headers)}`);
    }
    assert.equal((await registry.send("HEAD", `${APP}/manifests/v1`)).status, 200, "nothing was deleted");
  });

  it("are let through where a page of ours sends them, and so is whoever says nothing", async () => {
    const own: Record<string, string>[] = [
      {},
      { "sec-fetch-site": "same-origin", origin: "http://registry.test" },
      { "sec-fetch-site": "same-origin", origin: "https://registry.test" },
      { "sec-fetch-site": "none" },
      { origin: "http://registry.test" },
      { origin: "http://REGISTRY.test" },
      { origin: "https://registry.test" },
      { host: "registry.test:80", origin: "http://registry.test" },
      { host: "registry.test:5000", origin: "http://registry.test:5000" },
      { host: "[::1]:5000", origin: "http://[::1]:5000" },
      // Behind proxies that are trusted.
      { host: "inside:5000", "x-forwarded-host": "registry.test", "x-forwarded-proto": "https", origin: "https://registry.test" },
      { host: "inside:5000", "x-forwarded-host": "registry.test:8443", "x-forwarded-proto": "https", origin: "https://registry.test:8443" },
    ];
    for (const [method, path] of FOREIGN_TARGETS) {
      if (path === "/api/v1/projects/library" || path.endsWith("/manifests/v1")) continue;
      for (const headers of own) {
        const answer = await ask(method, path, { host: "registry.test", ...headers });
        assert.notEqual(answer.status, 403, `${method} ${path} ${JSON.stringify(headers)}: ${answer.body.toString()}`);
      }
    }
    const secured = { host: "inside", "x-forwarded-host": "registry.test", "x-forwarded-proto": "https" };
    assert.ok(
      isRefused(await ask("POST", "/token", { ...secured, origin: "http://registry.test" })),
      "a plain page is not the secured one",
    );
    for (const [method, path] of [
      ["GET", "/v2/"],
      ["GET", `${APP}/manifests/v1`],
      ["HEAD", `${APP}/manifests/v1`],
      ["GET", "/api/v1/projects"],
    ] as const)
      assert.equal((await ask(method, path, { "sec-fetch-site": "cross-site", origin: "http://evil.test" })).status, 200, path);
  });

  it("know the registry by its public address as well, and a stranger's forwarded host is not believed", async () => {
    const behind = await startTestRegistry({ "http.publicUrl": "https://registry.example:8443" });
    try {
      const post = (headers: Record<string, string>): Promise<RawAnswer> => ask("POST", `${APP}/blobs/uploads/`, headers, behind);
      assert.equal((await post({ host: "inside", origin: "https://registry.example:8443" })).status, 202);
      assert.equal((await post({ host: "inside", origin: "http://inside" })).status, 202);
      assert.ok(isRefused(await post({ host: "inside", origin: "https://registry.example" })));
      assert.ok(isRefused(await post({ host: "inside", "x-forwarded-host": "evil.test", origin: "http://evil.test" })));
    } finally {
      await behind.stop();
    }
  });

  it("show no dialog of their own over the console, and one where somebody typed the address", async () => {
    const wrong = { authorization: "Basic eDp5" };
    for (const path of ["/api/v1/users/me", "/api/v1/users", "/metrics"]) {
      for (const headers of [
        { "sec-fetch-site": "same-origin" },
        { "x-requested-with": "XMLHttpRequest" },
        { "x-requested-with": "berth" },
      ] as Record<string, string>[]) {
        const answer = await ask("GET", path, { ...wrong, ...headers });
        assert.deepEqual([answer.status, answer.code, answer.headers.get("www-authenticate")], [401, "UNAUTHORIZED", undefined], path);
      }
      for (const headers of [{}, { "sec-fetch-site": "none" }] as Record<string, string>[])
        assert.match((await ask("GET", path, { ...wrong, ...headers })).headers.get("www-authenticate") ?? "", /^Basic /, path);
    }
  });
});
