// From where the registry, a project and a robot may be used, over HTTP: every way to content and every kind of caller; what a stranger learns; what is
// on record. Not here: how networks are written (platform/networks.test.ts), who may change lists (access-matrix.test.ts).
import assert from "node:assert/strict";
import { it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { AuditRecordView } from "@berth/api/audit";
import { ENGINES } from "./engines.testing.ts";
import { type SendOptions, startTestRegistry } from "./registry.testing.ts";

const INSIDE = "10.1.2.3";
const OUTSIDE = "203.0.113.9";
const MANIFEST = { accept: "application/vnd.oci.image.manifest.v1+json" };

for (const engine of ENGINES) {
  it(`networks on ${engine.name}`, { skip: engine.skip }, async (t) => {
    const registry = await startTestRegistry({
      ...(await engine.make(t)).settings,
      "http.trustedProxies": "127.0.0.1",
      "http.deniedNetworks": "198.51.100.0/24, 2001:db8:bad::/48",
    });
    t.after(() => registry.stop());

    interface Answered {
      readonly secret: string;
      readonly items: readonly AuditRecordView[];
    }
    interface Sent extends SendOptions {
      readonly from?: string;
      readonly as?: string;
      readonly json?: unknown;
    }
    async function send(method: string, path: string, { from = INSIDE, as, json, ...options }: Sent = {}) {
      const answer = await registry.send(method, path, {
        ...options,
        ...(json === undefined ? {} : { body: JSON.stringify(json) }),
        headers: {
          "x-forwarded-for": from,
          ...(as === undefined ? {} : { authorization: as }),
          ...(json === undefined ? {} : { "content-type": "application/json" }),
          ...options.headers,
        },
      });
      const text = await answer.text();
      const code = /"code":"(\w+)"/.exec(text)?.[1];
      return { status: answer.status, text, code, challenge: answer.headers.get("www-authenticate") };
    }
    async function api(method: string, path: string, json?: unknown, sent: Sent = {}): Promise<Answered> {
      const answer = await send(method, `/api/v1${path}`, { ...sent, ...(json === undefined ? {} : { json }) });
      assert.ok(answer.status < 300, `${method} ${path}: ${answer.text}`);
      return JSON.parse(answer.text === "" ? "{}" : answer.text) as Answered;
    }
    const basic = (name: string, password: string): string => `Basic ${Buffer.from(`${name}:${password}`).toString("base64")}`;
    async function tokenOf(as: string | undefined, scope: string, from: string): Promise<string> {
      const answer = await send("GET", `/token?scope=${scope}`, { from, ...(as === undefined ? { anonymous: true } : { as }) });
      assert.equal(answer.status, 200, answer.text);
      return `Bearer ${(JSON.parse(answer.text) as { token: string }).token}`;
    }
    async function refusals(query: string, count: number): Promise<AuditRecordView[]> {
      for (;;) {
        const { items } = await api("GET", `/audit?action=request.refused&${query}`);
        const found = items.filter(({ after }) => (after as { code?: string } | null)?.code === "NETWORK_REFUSED");
        if (found.length >= count) return found;
        await sleep(50);
      }
    }

    for (const project of ["team", "open"])
      await api("POST", "/projects", { name: project, visibility: project === "open" ? "public" : "private" });
    for (const user of ["mia", "stranger"]) await api("POST", "/users", { name: user, password: "a long password" });
    const [mia, stranger] = [basic("mia", "a long password"), basic("stranger", "a long password")];
    for (const project of ["team", "open"]) await api("PUT", `/projects/${project}/members/mia`, { role: "owner" });
    const { digest, layerDigest } = await registry.pushImage("team/app", "one");
    await registry.pushImage("open/app", "one");

    await t.test("the registry's: nobody gets in from a denied one, and is told so; health checks are answered", async () => {
      for (const from of ["198.51.100.7", "::ffff:198.51.100.7", "::ffff:c633:6407", "2001:db8:bad::1"]) {
        for (const path of ["/v2/", "/v2/team/app/manifests/one", "/api/v1/projects", "/token", "/metrics", "/nothing"]) {
          const answer = await send("GET", path, { from });
          assert.deepEqual([answer.status, answer.code], [403, "NETWORK_REFUSED"], `${path} from ${from}`);
        }
        for (const path of ["/healthz", "/readyz"]) assert.equal((await send("GET", path, { from })).status, 200);
      }
      assert.equal((await send("POST", "/v2/team/app/blobs/uploads/", { from: "198.51.100.7" })).code, "NETWORK_REFUSED");
      const [record] = await refusals("address=198.51.100.7", 1);
      assert.deepEqual([record?.outcome, record?.actor.name], ["refused", ""]);
      // A client in front of the trusted proxy cannot choose its address.
      assert.equal((await send("GET", "/v2/", { from: "10.0.0.1, 198.51.100.7" })).code, "NETWORK_REFUSED");
    });

    await t.test("a project's: are put, read, cleared, and put in one form; bad ones are refused with what is wrong", async () => {
      assert.deepEqual(await api("GET", "/projects/team/networks"), { allow: [], deny: [] });
      const lists = { allow: ["10.0.0.0/8", "::ffff:10.0.0.0/104", "2001:DB8:0::/32"], deny: ["10.9.0.0/16"] };
      const put = { allow: ["10.0.0.0/8", "2001:db8::/32"], deny: ["10.9.0.0/16"] };
      assert.deepEqual(await api("PUT", "/projects/team/networks", lists), put);
      assert.deepEqual(await api("GET", "/projects/team/networks"), put);
      const bad: readonly (readonly [object, RegExp])[] = [
        [{}, /give one of them/],
        [{ allow: ["10.0.0.1/8"] }, /body\.allow\.0.*10\.0\.0\.0\/8/],
        [{ allow: ["10.0.0.0/8"], deny: ["10.0.0.0/33"] }, /body\.deny\.0/],
        [{ allow: Array.from({ length: 101 }, (_, i) => `10.0.0.${i}`) }, /FIELD_INVALID/],
      ];
      for (const [json, reason] of bad) {
        const answer = await send("PUT", "/api/v1/projects/team/networks", { json });
        assert.equal(answer.status, 400);
        assert.match(answer.text, reason);
      }
      await api("DELETE", "/projects/team/networks");
      assert.deepEqual(await api("GET", "/projects/team/networks"), { allow: [], deny: [] });
    });

    await t.test("nobody excludes his own address without insisting", async () => {
      const json = { allow: ["192.0.2.0/24"] };
      for (const as of [mia, undefined]) {
        const answer = await send("PUT", "/api/v1/projects/team/networks", { json, ...(as === undefined ? {} : { as }) });
        assert.deepEqual([answer.status, answer.code], [409, "NETWORKS_EXCLUDE_CALLER"]);
        assert.match(answer.text, /10\.1\.2\.3/);
      }
      await api("PUT", "/projects/team/networks", { ...json, force: true }, { as: mia });
      assert.equal((await send("DELETE", "/api/v1/projects/team/networks", { as: mia })).code, "NETWORK_REFUSED");
      // An administrator can put it right from anywhere.
      await api("DELETE", "/projects/team/networks", undefined, { from: OUTSIDE });
    });

    for (const project of ["team", "open"]) await api("PUT", `/projects/${project}/networks`, { allow: ["10.0.0.0/8"] });

    await t.test(
      "a project's: refuse pulls, pushes and the API from elsewhere, also to owners, and to administrators where content is",
      async () => {
        const content: readonly (readonly [string, string])[] = [
          ["GET", "/v2/team/app/manifests/one"],
          ["HEAD", `/v2/team/app/manifests/${digest}`],
          ["GET", `/v2/team/app/blobs/${layerDigest}`],
          ["GET", "/v2/team/app/tags/list"],
          ["GET", `/v2/team/app/referrers/${digest}`],
          ["POST", "/v2/team/app/blobs/uploads/"],
          ["PUT", "/v2/team/app/manifests/two"],
          ["DELETE", "/v2/team/app/manifests/one"],
          ["GET", `/api/v1/projects/team/repositories/app/manifests/${digest}/content`],
        ];
        for (const as of [undefined, mia]) {
          for (const [method, path] of content) {
            const answer = await send(method, path, { from: OUTSIDE, headers: MANIFEST, ...(as === undefined ? {} : { as }) });
            // An administrator gets to the project in the API, and to no content.
            const isHidden = as === undefined && path.startsWith("/api/");
            assert.equal(answer.status, isHidden ? 404 : 403, `${method} ${path}: ${answer.text}`);
            if (method !== "HEAD" && !isHidden) assert.equal(answer.code, "NETWORK_REFUSED");
          }
        }
        assert.match(
          (await send("GET", "/v2/team/app/manifests/one", { from: OUTSIDE, as: mia })).text,
          /project team may not be used from 203\.0\.113\.9/,
        );
        for (const path of ["", "/members", "/repositories", "/robots", "/networks", "/audit"])
          assert.equal((await send("GET", `/api/v1/projects/team${path}`, { from: OUTSIDE, as: mia })).code, "NETWORK_REFUSED", path);
        for (const path of ["/v2/team/app/manifests/one", "/v2/open/app/manifests/one"])
          assert.equal((await send("GET", path, { as: mia, headers: MANIFEST })).status, 200);
        const [record] = await refusals("actor=mia&repository=team/app", 1);
        assert.equal(record?.address, OUTSIDE);
        assert.notEqual(record?.actor.id, null);
      },
    );

    await t.test("a project's: a stranger learns no more of a public one than of one that is not there", async () => {
      const like = (text: string): string => text.replaceAll("nothere", "open").replaceAll(/[0-9a-f-]{36}/g, "ID");
      const paths = ["/v2/NAME/app/manifests/one", "/v2/NAME/app/tags/list", "/api/v1/projects/NAME", "/api/v1/projects/NAME/repositories"];
      const tokens = [
        await tokenOf(stranger, "repository:open/app:pull", OUTSIDE),
        await tokenOf(stranger, "repository:open/app:pull", INSIDE),
        await tokenOf(undefined, "repository:open/app:pull", OUTSIDE),
      ];
      for (const path of paths) {
        const callers: readonly Sent[] = [{ anonymous: true }, { as: stranger }, ...tokens.map((as) => ({ as }))];
        for (const sent of callers) {
          if (sent.as?.startsWith("Bearer") === true && path.startsWith("/api/")) continue;
          const [there, not] = await Promise.all(
            ["open", "nothere"].map((name) => send("GET", path.replace("NAME", name), { ...sent, from: OUTSIDE, headers: MANIFEST })),
          );
          if (sent.as === undefined || !sent.as.startsWith("Bearer")) {
            assert.deepEqual([there?.status, like(there?.text ?? "")], [not?.status, like(not?.text ?? "")], path);
            assert.equal(like(there?.challenge ?? ""), like(not?.challenge ?? ""));
          } else assert.ok(there?.status === 404 || there?.status === 401, there?.text ?? "");
        }
      }
      // A token that was given for it elsewhere is no way in, and one that was given here is none there.
      for (const as of tokens)
        assert.notEqual((await send("GET", "/v2/open/app/manifests/one", { from: OUTSIDE, as, headers: MANIFEST })).status, 200);
      for (const sent of [{ anonymous: true }, { as: stranger }]) {
        assert.ok(!(await send("GET", "/api/v1/projects", { from: OUTSIDE, ...sent })).text.includes('"open"'));
        assert.ok((await send("GET", "/api/v1/projects", { from: INSIDE, ...sent })).text.includes('"open"'));
      }
      assert.ok(!(await send("GET", "/v2/_catalog", { from: OUTSIDE, as: stranger })).text.includes("open/app"));
      assert.ok((await send("GET", "/v2/_catalog", { from: INSIDE, as: stranger })).text.includes("open/app"));
      const [record] = await refusals("repository=open/app", 1);
      assert.equal(record?.address, OUTSIDE);
    });

    await t.test("a project's: a token that was got inside does not count outside, nor the other way round", async () => {
      const scope = "repository:team/app:pull,push";
      const [inside, outside] = [await tokenOf(mia, scope, INSIDE), await tokenOf(mia, scope, OUTSIDE)];
      assert.equal((await send("GET", "/v2/team/app/manifests/one", { as: inside, headers: MANIFEST })).status, 200);
      assert.equal(
        (await send("GET", "/v2/team/app/manifests/one", { as: inside, from: OUTSIDE, headers: MANIFEST })).code,
        "NETWORK_REFUSED",
      );
      assert.equal((await send("GET", "/v2/team/app/manifests/one", { as: outside, headers: MANIFEST })).status, 401);
      assert.equal(
        (await send("GET", "/v2/team/app/manifests/one", { as: outside, from: OUTSIDE, headers: MANIFEST })).code,
        "NETWORK_REFUSED",
      );
      // An upload that was begun inside is not gone on with outside.
      const begun = await registry.send("POST", "/v2/team/app/blobs/uploads/", {
        headers: { authorization: inside, "x-forwarded-for": INSIDE },
      });
      const location = begun.headers.get("location")!;
      const patch = await send("PATCH", location, {
        as: inside,
        from: OUTSIDE,
        body: "x",
        headers: { "content-type": "application/octet-stream" },
      });
      assert.equal(patch.code, "NETWORK_REFUSED");
      // A blob of it is no source of a mount.
      await api("POST", "/projects", { name: `other` });
      const mount = await send("POST", `/v2/other/app/blobs/uploads/?mount=${layerDigest}&from=team/app`, { from: OUTSIDE });
      assert.equal(mount.status, 202);
      const found = await send("POST", `/v2/other/app/blobs/uploads/?mount=${layerDigest}&from=team/app`);
      assert.equal(found.status, 201);
    });

    await t.test("a robot's: it gets in nowhere from elsewhere, with its secret or a token, and its keeper learns it", async () => {
      const made = await api("POST", "/projects/open/robots", {
        name: "ci",
        scopes: [{ repositories: "open/**", actions: ["pull", "push"] }],
      });
      const as = basic("open+ci", made.secret);
      const before = await tokenOf(as, "repository:open/app:pull", INSIDE);
      assert.deepEqual(await api("PUT", "/projects/open/robots/ci/networks", { allow: ["10.2.0.0/16"] }), {
        allow: ["10.2.0.0/16"],
        deny: [],
      });
      assert.deepEqual(await api("GET", "/projects/open/robots/ci/networks"), { allow: ["10.2.0.0/16"], deny: [] });
      const there = "10.2.0.9";
      const token = await tokenOf(as, "repository:open/app:pull", there);
      for (const auth of [as, before, token]) {
        for (const path of ["/v2/", "/v2/open/app/manifests/one", ...(auth === as ? ["/token", "/api/v1/users/me"] : [])]) {
          const answer = await send("GET", path, { as: auth, headers: MANIFEST });
          assert.deepEqual([answer.status, answer.code], [403, "NETWORK_REFUSED"], `${path}: ${answer.text}`);
        }
        assert.equal((await send("GET", "/v2/open/app/manifests/one", { as: auth, from: there, headers: MANIFEST })).status, 200);
      }
      // A wrong secret is a wrong secret everywhere.
      assert.equal((await send("GET", "/v2/", { as: basic("open+ci", `${made.secret.slice(0, -1)}x`) })).status, 401);
      const [record] = await refusals("actor=open%2Bci", 1);
      assert.equal(record?.address, INSIDE);
      const [change] = (await api("GET", "/audit?action=robot.networks-changed")).items;
      assert.deepEqual(
        [change?.before, change?.after],
        [
          { allow: [], deny: [] },
          { allow: ["10.2.0.0/16"], deny: [] },
        ],
      );
      await api("DELETE", "/projects/open/robots/ci/networks");
      assert.equal((await send("GET", "/v2/open/app/manifests/one", { as, headers: MANIFEST })).status, 200);
      await api("POST", "/robots", { name: "all", scopes: [{ repositories: "**", actions: ["pull"] }] });
      await api("PUT", "/robots/all/networks", { deny: ["0.0.0.0/0"] });
      assert.deepEqual(await api("GET", "/robots/all/networks"), { allow: [], deny: ["0.0.0.0/0"] });
    });
  });
}
