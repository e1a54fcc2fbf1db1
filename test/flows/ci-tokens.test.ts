// Signing in without a stored secret: issuers, trust rules, `docker login -u oidc` and the exchange, over HTTP on both databases, with the tokens of
// GitHub, GitLab and Kubernetes. Not here: conditions case by case (access/trust-rules.test.ts), what is wrong with a token (access/token-exchange.test.ts).
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { codeOf, ENGINES } from "./engines.testing.ts";
import {
  GITHUB_CLAIMS,
  GITLAB_CLAIMS,
  KUBERNETES_CLAIMS,
  startTestIssuer,
  type TestIssuer,
} from "../../apps/server/src/access/issuer.testing.ts";
import { startTestRegistry, type TestRegistry } from "./registry.testing.ts";

/** An answer, looked into as its contract says. */
// oxlint-disable-next-line typescript/no-explicit-any
type Json = Record<string, any>;

const AUDIENCE = "https://registry.example.com";
const EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
const ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token";

const basic = (name: string, secret: string): string => `Basic ${Buffer.from(`${name}:${secret}`).toString("base64")}`;

for (const engine of ENGINES) {
  describe(`tokens of other issuers, ${engine.name}`, { skip: engine.skip }, () => {
    async function start(t: TestContext): Promise<{ registry: TestRegistry; issuer: TestIssuer; api: ReturnType<typeof apiOf> }> {
      const { settings } = await engine.make(t);
      const registry = await startTestRegistry(settings);
      t.after(() => registry.stop());
      const issuer = await startTestIssuer();
      t.after(() => issuer.stop());
      return { registry, issuer, api: apiOf(registry) };
    }

    function apiOf(registry: TestRegistry) {
      return async (method: string, path: string, body?: unknown, status = 200): Promise<Json> => {
        const json = body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
        const answer = await registry.send(method, `/api/v1${path}`, json);
        const text = await answer.text();
        assert.equal(answer.status, status, `${method} ${path}: ${text}`);
        return text === "" ? {} : (JSON.parse(text) as Json);
      };
    }

    /** A robot that may push to the project, with a rule. */
    async function prepare(
      { api, issuer }: Awaited<ReturnType<typeof start>>,
      { project = "team", robot = "ci", conditions }: { project?: string; robot?: string; conditions: readonly object[] },
    ): Promise<void> {
      await api("POST", "/projects", { name: project }, 201);
      await api(
        "POST",
        `/projects/${project}/robots`,
        { name: robot, scopes: [{ repositories: `${project}/**`, actions: ["pull", "push"] }] },
        201,
      );
      const made = { name: "ci", url: issuer.url, audiences: [AUDIENCE], keys: JSON.stringify(issuer.jwks()) };
      if ((await api("GET", "/issuers"))["items"].length === 0) await api("POST", "/issuers", made, 201);
      await api("PUT", `/projects/${project}/robots/${robot}/trust/rule`, { issuer: "ci", conditions });
    }

    async function exchange(registry: TestRegistry, token: string, more: Readonly<Record<string, string>> = {}): Promise<Response> {
      const form = new URLSearchParams({ grant_type: EXCHANGE, subject_token: token, subject_token_type: ID_TOKEN, ...more });
      return registry.send("POST", "/oauth/token", {
        anonymous: true,
        headers: { "content-type": "application/x-www-form-urlencoded" },
        body: form.toString(),
      });
    }

    const SHAPES = {
      GitHub: {
        claims: GITHUB_CLAIMS,
        conditions: [
          { claim: "repository_id", equals: "74" },
          { claim: "ref", equals: "refs/heads/main" },
        ],
        other: { repository_id: "75" },
      },
      GitLab: {
        claims: GITLAB_CLAIMS,
        conditions: [
          { claim: "project_id", equals: "20" },
          { claim: "ref", matches: "feature-branch-*" },
        ],
        other: { ref: "main" },
      },
      Kubernetes: {
        claims: KUBERNETES_CLAIMS,
        conditions: [
          { claim: "/kubernetes.io/namespace", equals: "builds" },
          { claim: "/kubernetes.io/serviceaccount/uid", equals: "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798" },
        ],
        other: { "kubernetes.io": { ...KUBERNETES_CLAIMS["kubernetes.io"], serviceaccount: { name: "pusher", uid: "another" } } },
      },
    } as const;
    for (const [shape, { claims, conditions, other }] of Object.entries(SHAPES)) {
      it(`of the shape of ${shape} push and pull by docker's way and by exchange, and others do not`, async (t) => {
        const all = await start(t);
        const { registry, issuer } = all;
        await prepare(all, { conditions });
        const token = await issuer.sign({ ...claims, aud: AUDIENCE });
        // docker login, and what docker does with what it keeps.
        for (const name of ["oidc", "oidc+team+ci"]) {
          const answer = await registry.send("GET", "/token?service=berth&scope=repository:team/app:pull,push", {
            anonymous: true,
            headers: { authorization: basic(name, token) },
          });
          assert.equal(answer.status, 200, await answer.clone().text());
          const { token: given } = (await answer.json()) as { token: string };
          const begun = await registry.send("POST", "/v2/team/app/blobs/uploads/", { headers: { authorization: `Bearer ${given}` } });
          assert.equal(begun.status, 202);
          const direct = await registry.send("GET", "/v2/team/app/tags/list", { headers: { authorization: basic(name, token) } });
          assert.equal(direct.status, 200);
        }
        const answer = await exchange(registry, token, { scope: "repository:team/app:pull,push repository:other/app:pull" });
        const given = (await answer.json()) as Json;
        assert.equal(answer.status, 200, JSON.stringify(given));
        assert.equal(given["issued_token_type"], "urn:ietf:params:oauth:token-type:access_token");
        assert.equal(given["token_type"], "Bearer");
        assert.equal(given["scope"], "repository:team/app:pull,push");
        assert.ok(given["expires_in"] > 0 && given["expires_in"] <= 300);
        const push = await registry.send("POST", "/v2/team/app/blobs/uploads/", {
          headers: { authorization: `Bearer ${given["access_token"]}` },
        });
        assert.equal(push.status, 202);
        const elsewhere = await registry.send("POST", "/v2/team/else/blobs/uploads/", {
          headers: { authorization: `Bearer ${given["access_token"]}` },
        });
        assert.equal(elsewhere.status, 401, "the token is bounded by its scopes");

        const wrong = await issuer.sign({ ...claims, ...other, aud: AUDIENCE });
        assert.equal((await registry.send("GET", "/token", { headers: { authorization: basic("oidc", wrong) } })).status, 401);
        const refused = await exchange(registry, wrong, { client_id: "team+ci" });
        assert.equal(refused.status, 400);
        const said = (await refused.json()) as Record<string, string>;
        assert.equal(said["error"], "invalid_request");
        assert.match(said["error_description"]!, /no trust rule/);
      });
    }

    it("give no longer than they last, and what they gave ends with the rule, the issuer and the robot", async (t) => {
      const all = await start(t);
      const { registry, issuer, api } = all;
      const conditions = [{ claim: "repository_id", equals: "74" }];
      await prepare(all, { conditions });
      const give = async (): Promise<string> => {
        const token = await issuer.sign({ ...GITHUB_CLAIMS, aud: AUDIENCE, exp: Math.floor(Date.now() / 1000) + 100 });
        const answer = await exchange(registry, token, { scope: "repository:team/app:pull,push" });
        const given = (await answer.json()) as { access_token: string; expires_in: number };
        assert.equal(answer.status, 200, JSON.stringify(given));
        assert.ok(given.expires_in <= 100, `${given.expires_in}`);
        return given.access_token;
      };
      const works = async (token: string): Promise<boolean> =>
        (await registry.send("POST", "/v2/team/app/blobs/uploads/", { headers: { authorization: `Bearer ${token}` } })).status === 202;
      const rule = "/projects/team/robots/ci/trust/rule";
      const ends: Record<string, () => Promise<unknown>> = {
        "the rule is replaced": () =>
          api("PUT", rule, { issuer: "ci", conditions: [...conditions, { claim: "ref", equals: "refs/heads/main" }] }),
        "the issuer gets other keys": async () => {
          await issuer.rotate();
          await api("PATCH", "/issuers/ci", { keys: JSON.stringify(issuer.jwks()) });
        },
        "the issuer is disabled": async () => {
          await api("PATCH", "/issuers/ci", { isDisabled: true });
          const token = await issuer.sign({ ...GITHUB_CLAIMS, aud: AUDIENCE });
          assert.equal((await exchange(registry, token)).status, 400);
        },
        "the rule is deleted": async () => {
          await api("PATCH", "/issuers/ci", { isDisabled: false });
          const given = await give();
          assert.ok(await works(given));
          await api("DELETE", rule, undefined, 204);
          assert.equal(await works(given), false, "the rule was deleted");
        },
      };
      for (const [what, end] of Object.entries(ends)) {
        const given = what.includes("deleted") ? "" : await give();
        if (given !== "") assert.ok(await works(given), what);
        await end();
        if (given !== "") assert.equal(await works(given), false, what);
      }
      await api("DELETE", "/issuers/ci", undefined, 204);
    });

    it("that fit several robots are refused until one is named, and say nothing of robots that they do not fit", async (t) => {
      const all = await start(t);
      const { registry, issuer, api } = all;
      const conditions = [{ claim: "repository_id", equals: "74" }];
      await prepare(all, { conditions });
      await prepare(all, { project: "elsewhere", robot: "theirs", conditions });
      const token = await issuer.sign({ ...GITHUB_CLAIMS, aud: AUDIENCE });
      const both = await exchange(registry, token);
      const { error_description } = (await both.json()) as { error_description: string };
      assert.equal(both.status, 400);
      assert.match(error_description, /more than one robot: name the one/);
      assert.doesNotMatch(error_description, /theirs|elsewhere/);
      assert.equal((await exchange(registry, token, { client_id: "team+ci" })).status, 200);
      assert.equal((await exchange(registry, token, { client_id: "elsewhere+theirs" })).status, 200);
      await api("POST", "/projects/team/robots", { name: "other", scopes: [{ repositories: "team/**", actions: ["pull"] }] }, 201);
      const of = async (client_id: string): Promise<string> =>
        ((await (await exchange(registry, token, { client_id })).json()) as { error_description: string }).error_description.replaceAll(
          client_id,
          "NAME",
        );
      assert.equal(await of("team+other"), await of("team+absent"), "whether there is such a robot");
    });

    it("of a robot that is disabled or over are refused, and those of one without a secret are not", async (t) => {
      const all = await start(t);
      const { registry, issuer, api } = all;
      await prepare(all, { conditions: [{ claim: "repository_id", equals: "74" }] });
      const bare = await api(
        "POST",
        "/projects/team/robots",
        { name: "bare", scopes: [{ repositories: "team/**", actions: ["pull"] }], withoutSecret: true },
        201,
      );
      assert.equal(bare["secret"], null);
      assert.equal(bare["hasSecret"], false);
      await api("PUT", "/projects/team/robots/bare/trust/rule", { issuer: "ci", conditions: [{ claim: "repository_id", equals: "76" }] });
      const token = await issuer.sign({ ...GITHUB_CLAIMS, repository_id: "76", aud: AUDIENCE });
      assert.equal((await exchange(registry, token)).status, 200);
      await api("PATCH", "/projects/team/robots/bare", { isDisabled: true });
      const refused = await exchange(registry, token);
      assert.match(((await refused.json()) as { error_description: string }).error_description, /disabled/);
    });

    it("of clusters that share an address are told apart by their keys", async (t) => {
      const all = await start(t);
      const { registry, issuer, api } = all;
      const url = "https://kubernetes.default.svc.cluster.local";
      const [one, two] = [await startTestIssuer({ url }), await startTestIssuer({ url, algorithm: "ES256" })];
      t.after(() => Promise.all([one.stop(), two.stop()]));
      await prepare(all, { conditions: [{ claim: "repository_id", equals: "74" }] });
      const conditions = [{ claim: "/kubernetes.io/serviceaccount/uid", equals: "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798" }];
      for (const [name, cluster] of [
        ["one", one],
        ["two", two],
      ] as const) {
        await api("POST", "/issuers", { name, url, audiences: [AUDIENCE], keys: JSON.stringify(cluster.jwks()) }, 201);
        await api("POST", "/projects/team/robots", { name, scopes: [{ repositories: "team/**", actions: ["pull"] }] }, 201);
        await api("PUT", `/projects/team/robots/${name}/trust/rule`, { issuer: name, conditions });
      }
      for (const [name, cluster] of [
        ["one", one],
        ["two", two],
      ] as const) {
        const token = await cluster.sign({ ...KUBERNETES_CLAIMS, aud: [AUDIENCE] });
        const tested = await api("POST", "/projects/team/token-tests", { token });
        assert.equal(tested["becomes"], `team+${name}`, JSON.stringify(tested));
      }
      const stranger = await issuer.sign({ ...KUBERNETES_CLAIMS, iss: url, aud: AUDIENCE });
      assert.match(
        ((await (await exchange(registry, stranger)).json()) as { error_description: string }).error_description,
        /signature is not one/,
      );
    });

    it("of an issuer that counts each once are exchanged once, and are no password", async (t) => {
      const all = await start(t);
      const { registry, issuer, api } = all;
      await prepare(all, { conditions: [{ claim: "repository_id", equals: "74" }] });
      await api("PATCH", "/issuers/ci", { isSingleUse: true });
      const sign = (jti?: string) => issuer.sign({ ...GITHUB_CLAIMS, aud: AUDIENCE, jti });
      for (const jti of ["one", undefined]) {
        const token = await sign(jti);
        const login = await registry.send("GET", "/token", { headers: { authorization: basic("oidc", token) } });
        assert.equal(login.status, 401);
        assert.match(await login.text(), /counts once/);
        const tested = await api("POST", "/projects/team/token-tests", { token });
        assert.equal(tested["becomes"], "team+ci", "a test uses nothing up");
        const answers = await Promise.all([1, 2, 3, 4].map(() => exchange(registry, token)));
        assert.deepEqual(
          answers.map(({ status }) => status).toSorted((a, b) => a - b),
          [200, 400, 400, 400],
        );
        for (const answer of answers) await answer.body?.cancel();
      }
      assert.equal((await exchange(registry, await sign("one"))).status, 400, "another token with the same jti");
    });

    it("rules that are too wide are refused, or must be meant, and say what is wide", async (t) => {
      const all = await start(t);
      const { registry, api } = all;
      await prepare(all, { conditions: [{ claim: "repository_id", equals: "74" }] });
      const path = "/projects/team/robots/ci/trust/wide";
      const put = (conditions: readonly object[], isWide?: boolean, issuer = "ci"): Promise<Response> =>
        registry.send("PUT", `/api/v1${path}`, {
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ issuer, conditions, ...(isWide === undefined ? {} : { isWide }) }),
        });
      assert.equal(await codeOf(await put([{ claim: "repository", equals: "octo-org/octo-repo" }])), "400 TRUST_RULE_TOO_WIDE");
      const meant = await put([{ claim: "repository", equals: "octo-org/octo-repo" }], true);
      assert.equal(meant.status, 200);
      assert.equal(((await meant.json()) as { warnings: { code: string }[] }).warnings[0]?.code, "names-can-change");
      const github = "https://token.actions.githubusercontent.com";
      await api("POST", "/issuers", { name: "github", url: github, audiences: [AUDIENCE], keys: JSON.stringify(all.issuer.jwks()) }, 201);
      assert.equal(await codeOf(await put([{ claim: "ref", equals: "refs/heads/main" }], true, "github")), "400 TRUST_RULE_TOO_WIDE");
      for (const condition of [
        { claim: "repository_id" },
        { claim: "repository_id", equals: "74", matches: "7*" },
        { claim: "repository_id", matches: "*4" },
        { claim: "/repository_id", equals: "74" },
        { claim: "iss", equals: "x" },
        { claim: "aud", equals: "x" },
      ]) {
        assert.equal(await codeOf(await put([condition], true)), "400 FIELD_INVALID", JSON.stringify(condition));
      }
      assert.equal(await codeOf(await put([{ claim: "repository_id", equals: "74" }], true, "absent")), "404 ISSUER_UNKNOWN");
      for (let i = 0; i < 18; i++)
        await api("PUT", `/projects/team/robots/ci/trust/more-${i}`, {
          issuer: "ci",
          conditions: [{ claim: "repository_id", equals: `${i}` }],
        });
      assert.equal((await api("GET", "/projects/team/robots/ci/trust"))["items"].length, 20);
      const more = await registry.send("PUT", "/api/v1/projects/team/robots/ci/trust/one-too-many", {
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ issuer: "ci", conditions: [{ claim: "repository_id", equals: "x" }] }),
      });
      assert.equal(await codeOf(more), "409 TRUST_RULES_TOO_MANY");
      assert.equal(await codeOf(await registry.send("DELETE", "/api/v1/issuers/ci")), "409 ISSUER_IN_USE");
    });

    it("say in a test what they would become, and which condition is not met", async (t) => {
      const all = await start(t);
      const { issuer, api } = all;
      await prepare(all, {
        conditions: [
          { claim: "repository_id", equals: "74" },
          { claim: "environment", oneOf: ["prod", "stage"] },
        ],
      });
      await prepare(all, { project: "elsewhere", robot: "theirs", conditions: [{ claim: "repository_id", equals: "75" }] });
      const token = await issuer.sign({ ...GITHUB_CLAIMS, aud: AUDIENCE });
      const good = await api("POST", "/projects/team/token-tests", { token });
      assert.deepEqual([good["becomes"], good["reason"], good["issuers"]], ["team+ci", null, ["ci"]]);
      assert.ok(good["claims"].some(({ claim, value }: Record<string, string>) => claim === "repository_id" && value === "74"));
      const other = await issuer.sign({ ...GITHUB_CLAIMS, environment: "dev", aud: AUDIENCE });
      const bad = await api("POST", "/projects/team/token-tests", { token: other, robot: "team+ci" });
      assert.equal(bad["becomes"], null);
      assert.deepEqual(
        bad["rules"][0].conditions.map((each: Record<string, unknown>) => [each["claim"], each["wanted"], each["found"], each["isMet"]]),
        [
          ["repository_id", "74", ["74"], true],
          ["environment", "prod or stage", ["dev"], false],
        ],
      );
      const theirs = await issuer.sign({ ...GITHUB_CLAIMS, repository_id: "75", aud: AUDIENCE });
      const hidden = await api("POST", "/projects/team/token-tests", { token: theirs });
      assert.deepEqual([hidden["becomes"], hidden["rules"]], [null, []]);
      assert.doesNotMatch(JSON.stringify(hidden), /theirs/);
      assert.equal((await api("POST", "/token-tests", { token: theirs }))["becomes"], "elsewhere+theirs", "an administrator sees all");
      const spoilt = await api("POST", "/projects/team/token-tests", { token: `${token.slice(0, -6)}AAAAAA` });
      assert.deepEqual([spoilt["fault"], spoilt["claims"]], ["signature-wrong", []], "what is not proved is not shown");
    });
  });
}
