// The token flow as docker and similar clients use it: scopes, form, refusals, lock-out. Authorization is in access-matrix.test.ts.
import assert from "node:assert/strict";
import { NO_CREDENTIALS, WRONG_PASSWORD, WRONG_ROBOT_SECRET } from "../../apps/server/src/access/refusals.ts";
import { after, before, describe, it } from "node:test";
import { ADMIN_PASSWORD, startTestRegistry, type TestRegistry } from "./registry.testing.ts";

const PASSWORD = "token-test-password";

interface TokenAnswer {
  readonly token: string;
  readonly access_token: string;
  readonly expires_in: number;
  readonly issued_at: string;
}
interface Claims {
  readonly iss: string;
  readonly aud: string;
  readonly sub: string;
  readonly exp: number;
  readonly iat: number;
  readonly access: readonly { readonly type: string; readonly name: string; readonly actions: readonly string[] }[];
}

function basic(name: string, secret: string): string {
  return `Basic ${Buffer.from(`${name}:${secret}`).toString("base64")}`;
}

function claimsOf({ token }: TokenAnswer): Claims {
  return JSON.parse(Buffer.from(token.split(".")[1]!, "base64url").toString("utf8")) as Claims;
}

describe("token endpoint", () => {
  let registry: TestRegistry;
  before(async () => {
    registry = await startTestRegistry({ "auth.refreshTokens.forDocker": "true" });
    for (const body of [
      { name: "alice", password: PASSWORD },
      { name: "locked", password: PASSWORD },
    ]) {
      const made = await registry.send("POST", "/api/v1/users", {
        body: JSON.stringify(body),
        headers: { "content-type": "application/json" },
      });
      assert.equal(made.status, 201);
    }
  });
  after(() => registry.stop());

  async function get(query: string, authorization?: string): Promise<Response> {
    return registry.send("GET", `/token?${query}`, { anonymous: true, headers: authorization === undefined ? {} : { authorization } });
  }
  async function post(form: Record<string, string> | string, headers: Record<string, string> = {}): Promise<Response> {
    return registry.send("POST", "/token", {
      anonymous: true,
      body: typeof form === "string" ? form : new URLSearchParams(form).toString(),
      headers: { "content-type": "application/x-www-form-urlencoded", ...headers },
    });
  }
  async function answerOf(response: Response): Promise<TokenAnswer> {
    assert.equal(response.status, 200);
    assert.equal(response.headers.get("cache-control"), "no-store");
    return (await response.json()) as TokenAnswer;
  }
  async function errorOf(response: Response): Promise<[number, string]> {
    assert.match(response.headers.get("content-type")!, /^application\/json/);
    const { errors } = (await response.json()) as { errors: { code: string; message: string }[] };
    assert.ok(errors.length === 1 && errors[0]!.message !== "");
    return [response.status, errors[0]!.code];
  }

  it("gives what the account has of several scopes, in one parameter or in several", async () => {
    const admin = basic("admin", ADMIN_PASSWORD);
    const scopes = [
      "repository:library/app:pull,push",
      "repository:library/base:pull",
      "repository(plugin):library/plug:pull",
      "registry:catalog:*",
    ];
    for (const query of [
      scopes.map((scope) => `scope=${encodeURIComponent(scope)}`).join("&"),
      `scope=${encodeURIComponent(scopes.join(" "))}`,
      `scope=${encodeURIComponent(scopes.slice(0, 2).join(" "))}&scope=${encodeURIComponent(scopes.slice(2).join(" "))}`,
    ]) {
      const answer = await answerOf(await get(`service=berth&account=admin&client_id=docker&${query}`, admin));
      assert.equal(answer.access_token, answer.token);
      assert.equal(answer.expires_in, 300);
      const claims = claimsOf(answer);
      assert.deepEqual([claims.iss, claims.aud, claims.sub, claims.exp - claims.iat], ["berth", "berth", "admin", 300]);
      assert.equal(new Date(answer.issued_at).getTime(), claims.iat * 1000);
      assert.deepEqual(claims.access, [
        { type: "repository", name: "library/app", actions: ["pull", "push"] },
        { type: "repository", name: "library/base", actions: ["pull"] },
        { type: "repository", name: "library/plug", actions: ["pull"] },
        { type: "registry", name: "catalog", actions: ["*"] },
      ]);
    }
    const twice = claimsOf(await answerOf(await get("scope=repository:library/app:pull&scope=repository:library/app:push,*", admin)));
    assert.deepEqual(
      twice.access.map((each) => new Set(each.actions)),
      [new Set(["pull", "push", "delete"])],
    );
  });

  it("gives an account without rights, and nobody, a token with no action; and leaves out what it does not know", async () => {
    const alice = basic("alice", PASSWORD);
    const scope = "scope=repository:private/app:pull,push&scope=repository:library/app:pull,push";
    for (const authorization of [alice, undefined]) {
      const { access, sub } = claimsOf(await answerOf(await get(scope, authorization)));
      assert.equal(sub, authorization === undefined ? "" : "alice");
      assert.deepEqual(access, [
        { type: "repository", name: "private/app", actions: [] },
        { type: "repository", name: "library/app", actions: ["pull"] },
      ]);
    }
    for (const odd of [
      "",
      "scope=",
      "scope=repository:library/app:",
      "scope=repository:UPPER/x:pull",
      "scope=repository:single:delete",
      "scope=other:a:b",
      "scope=registry:other:*",
      "scope=repository",
      "scope=repository:x",
      "scope=:a:b",
      `scope=${"x".repeat(5000)}`,
    ]) {
      const { access } = claimsOf(await answerOf(await get(odd, alice)));
      assert.ok(
        access.every((each) => each.actions.length === 0),
        odd,
      );
    }
  });

  it("takes the OAuth 2 form, and gives a refresh token to who asks for one", async () => {
    const form = {
      grant_type: "password",
      username: "alice",
      password: PASSWORD,
      service: "berth",
      client_id: "containerd",
      scope: "repository:library/app:pull",
    };
    const answer = await answerOf(await post({ ...form, access_type: "offline" }));
    assert.deepEqual(claimsOf(answer).access, [{ type: "repository", name: "library/app", actions: ["pull"] }]);
    assert.equal("refresh_token" in answer, true);
    const offline = await answerOf(await get("offline_token=true&scope=repository:library/app:pull", basic("alice", PASSWORD)));
    assert.deepEqual(Object.keys(offline).toSorted(), ["access_token", "expires_in", "issued_at", "refresh_token", "token"]);
    assert.equal(
      claimsOf(await answerOf(await post({ grant_type: "password" }, { authorization: basic("alice", PASSWORD) }))).sub,
      "alice",
    );

    // 400 for another grant: clients then fall back to GET.
    const { grant_type: _, ...unsaid } = form;
    assert.equal(claimsOf(await answerOf(await post(unsaid))).sub, "alice");
    assert.deepEqual(await errorOf(await post({ ...form, grant_type: "refresh_token", refresh_token: "x" })), [401, "UNAUTHORIZED"]);
    assert.deepEqual(await errorOf(await post({ ...form, grant_type: "client_credentials" })), [400, "UNSUPPORTED"]);
    assert.equal(claimsOf(await answerOf(await post(""))).sub, "");
    assert.deepEqual(await errorOf(await post({ ...form, password: "wrong" })), [401, "UNAUTHORIZED"]);
    assert.deepEqual(await errorOf(await post({ ...form, password: "" })), [401, "UNAUTHORIZED"]);
    assert.deepEqual(await errorOf(await post({ ...form, padding: "x".repeat(20_000) })), [413, "REQUEST_INVALID"]);
    for (const method of ["PUT", "DELETE", "PATCH"]) {
      const answered = await registry.send(method, "/token", { anonymous: true });
      assert.equal(answered.headers.get("allow"), "GET, POST");
      assert.deepEqual(await errorOf(answered), [405, "UNSUPPORTED"]);
    }
  });

  it("refuses wrong credentials the same, whatever is wrong with them, and says which it wants", async () => {
    const answers = new Set<string>();
    for (const authorization of [
      basic("alice", "wrong-password"),
      basic("nobody", "wrong-password"),
      basic("library+nobody", `berth_${"x".repeat(40)}`),
      basic("a\0b+c", PASSWORD),
      basic("alice", ""),
      basic("", ""),
      basic("ALICE", PASSWORD),
      "Basic !!!!",
      "Basic",
    ]) {
      const answer = await get("scope=repository:library/app:pull", authorization);
      assert.equal(answer.headers.get("www-authenticate"), 'Basic realm="Berth", charset="UTF-8"', authorization);
      answers.add(`${answer.status} ${await answer.text()}`);
    }
    // One text for each form of credentials, whether or not the account exists.
    const textOf = (message: string): string => `401 {"errors":[{"code":"UNAUTHORIZED","message":"${message}"}]}`;
    assert.deepEqual([...answers], [WRONG_PASSWORD, WRONG_ROBOT_SECRET, NO_CREDENTIALS].map(textOf));
    const { token } = await answerOf(await get("", basic("alice", PASSWORD)));
    assert.deepEqual(await errorOf(await get("", `Bearer ${token}`)), [401, "UNAUTHORIZED"]);
    assert.deepEqual(await errorOf(await get("", "Negotiate abc")), [401, "UNAUTHORIZED"]);
  });

  it("gives a refresh token to who asks for one with a password, and registry tokens for it until it is revoked", async () => {
    type Offline = TokenAnswer & { readonly refresh_token?: string };
    const scope = "repository:library/app:pull";
    const offline = (await answerOf(await get(`offline_token=true&client_id=docker&scope=${scope}`, basic("alice", PASSWORD)))) as Offline;
    assert.match(offline.refresh_token!, /^berth_refresh_[\w-]{43}[0-9a-f]{8}$/);
    const form = { grant_type: "password", username: "alice", password: PASSWORD, access_type: "offline", client_id: "crane <1>" };
    const other = (await answerOf(await post(form))) as Offline;
    assert.notEqual(other.refresh_token, offline.refresh_token);
    // Nobody who does not ask, and nobody without a password of his own, gets one.
    assert.equal(((await answerOf(await get("", basic("alice", PASSWORD)))) as Offline).refresh_token, undefined);
    assert.equal(((await answerOf(await get("offline_token=true"))) as Offline).refresh_token, undefined);

    const refresh = { grant_type: "refresh_token", refresh_token: offline.refresh_token!, service: "berth" };
    const again = (await answerOf(
      await post(`${new URLSearchParams(refresh).toString()}&scope=${scope}&scope=repository:library/b:push`),
    )) as Offline;
    // docker keeps the one that it got at the login.
    assert.equal(again.refresh_token, offline.refresh_token);
    assert.equal(claimsOf(again).sub, "alice");
    assert.deepEqual(
      claimsOf(again).access.map(({ name }) => name),
      ["library/app", "library/b"],
    );
    const bearer = { authorization: `Bearer ${again.token}` };
    assert.equal((await registry.send("GET", "/v2/", { anonymous: true, headers: bearer })).status, 200);

    const me = { anonymous: true, headers: { authorization: basic("alice", PASSWORD) } };
    const listOf = async (): Promise<{ id: string; name: string; kind: string }[]> =>
      (
        (await (await registry.send("GET", "/api/v1/users/me/tokens", me)).json()) as {
          items: { id: string; name: string; kind: string }[];
        }
      ).items;
    const names = (await listOf()).map(({ kind, name }) => `${kind} ${name}`);
    assert.ok(names.includes("refresh docker") && names.includes("refresh crane 1"), names.join());
    const { id } = (await listOf()).find(({ name }) => name === "docker")!;
    assert.equal((await registry.send("DELETE", `/api/v1/users/me/tokens/${id}`, me)).status, 204);
    assert.deepEqual(await errorOf(await post(refresh)), [401, "UNAUTHORIZED"]);
    assert.equal((await registry.send("GET", "/v2/", { anonymous: true, headers: bearer })).status, 401);
    // It opens nothing but the endpoint.
    for (const secret of [other.refresh_token!, offline.refresh_token!]) {
      for (const authorization of [basic("alice", secret), `Bearer ${secret}`]) {
        assert.equal((await registry.send("GET", "/api/v1/users/me", { anonymous: true, headers: { authorization } })).status, 401);
        assert.equal((await registry.send("GET", "/v2/", { anonymous: true, headers: { authorization } })).status, 401);
      }
    }
  });

  it("locks out who guesses, at every door alike, and nobody else", async () => {
    const right = basic("locked", PASSWORD);
    const doors: ((authorization: string) => Promise<Response>)[] = [
      (authorization) => get("", authorization),
      (authorization) => registry.send("GET", "/v2/", { headers: { authorization } }),
      (authorization) => registry.send("GET", "/api/v1/users/me", { headers: { authorization } }),
      (authorization) => registry.send("GET", "/metrics", { headers: { authorization } }),
      (authorization) => {
        const [, password = ""] = Buffer.from(authorization.slice("Basic ".length), "base64").toString().split(":");
        return post({ grant_type: "password", username: "locked", password });
      },
    ];
    // Five guesses are free; one at each endpoint.
    for (const [i, door] of doors.entries()) assert.deepEqual((await errorOf(await door(basic("locked", `guess-${i}`))))[0], 401);
    for (const door of doors) {
      const answer = await door(right);
      const seconds = Number(answer.headers.get("retry-after"));
      assert.ok(seconds >= 1 && seconds <= 10, String(seconds));
      assert.deepEqual(await errorOf(answer), [429, "TOOMANYREQUESTS"]);
    }
    // A guess that was already counted is only wrong.
    assert.deepEqual(await errorOf(await get("", basic("locked", "guess-0"))), [401, "UNAUTHORIZED"]);
    assert.equal((await get("", basic("alice", PASSWORD))).status, 200);
    assert.equal((await get("")).status, 200);
  });
});
