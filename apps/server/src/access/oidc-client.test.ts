// What a provider's answers prove, against a provider in memory that answers wrongly in one thing at a time. Not here: cookies and pages, a real provider
// (test/flows/oidc-sign-in.test.ts).
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { before, describe, it } from "node:test";
import { type CryptoKey, exportJWK, generateKeyPair, SignJWT } from "jose";
import { createOidcClient, type OidcChecks, type OidcClient, OidcRefused, type ProviderFetch } from "./oidc-client.ts";
import { type OidcProvider, readOidcProviders } from "./oidc-providers.ts";

const ISSUER = "https://idp.test";
const OTHER = "https://other.test";
const CLIENT = "berth";
const CALLBACK = "https://registry.test/signin/idp/callback";
const LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout";

const SETTINGS = {
  issuer: `${ISSUER}/`,
  clientId: CLIENT,
  clientSecret: "idp-secret",
  title: undefined,
  scopes: "openid profile email",
  nameClaim: "preferred_username",
  groupsClaim: "groups",
  requiredClaims: undefined,
  requiredGroups: undefined,
  administratorGroup: undefined,
  auditorGroup: undefined,
  creatorGroup: undefined,
  createsAccounts: true,
  makesGroups: false,
  algorithms: "RS256 ES256",
  formerIssuer: undefined,
};

function providerOf(more: Partial<Record<keyof typeof SETTINGS, unknown>> = {}): OidcProvider {
  return readOidcProviders({ idp: { ...SETTINGS, ...more } as typeof SETTINGS })[0]!;
}

/** What the provider does besides what it should. */
interface Wrong {
  readonly claims?: (claims: Record<string, unknown>) => Record<string, unknown>;
  readonly metadata?: Record<string, unknown>;
  readonly key?: CryptoKey | Uint8Array;
  readonly alg?: string;
  readonly userinfo?: Record<string, unknown>;
  /** The ID token itself. */
  readonly token?: string;
}

describe("an OpenID provider's answer", () => {
  let right: { publicKey: CryptoKey; privateKey: CryptoKey };
  let foreign: CryptoKey;
  before(async () => {
    right = await generateKeyPair("RS256");
    foreign = (await generateKeyPair("RS256")).privateKey;
  });
  const now = (): number => Math.floor(Date.now() / 1000);

  /** A client, and what one whole sign-in gives. */
  function start(wrong: Wrong = {}, provider: OidcProvider = providerOf()) {
    const asked: { url: string; body: URLSearchParams }[] = [];
    let nonce = "";
    const fetch: ProviderFetch = async (url, { body }) => {
      asked.push({ url, body: new URLSearchParams(body instanceof URLSearchParams ? body : "") });
      const json = (value: unknown): Response => Response.json(value);
      if (url.endsWith("/.well-known/openid-configuration"))
        return json({
          issuer: ISSUER,
          authorization_endpoint: `${ISSUER}/authorize`,
          token_endpoint: `${ISSUER}/token`,
          jwks_uri: `${ISSUER}/keys`,
          userinfo_endpoint: `${ISSUER}/userinfo`,
          id_token_signing_alg_values_supported: ["RS256", "ES256", "HS256", "none"],
          authorization_response_iss_parameter_supported: true,
          ...wrong.metadata,
        });
      if (url === `${ISSUER}/keys`) return json({ keys: [{ ...(await exportJWK(right.publicKey)), kid: "k1", alg: "RS256", use: "sig" }] });
      if (url === `${ISSUER}/userinfo`) return json(wrong.userinfo ?? { sub: "someone-else" });
      if (url !== `${ISSUER}/token`) throw new Error(`asked for ${url}`);
      const claims = {
        iss: ISSUER,
        aud: CLIENT,
        sub: "s1",
        nonce,
        iat: now(),
        exp: now() + 300,
        preferred_username: "ann",
        email: "ann@idp.test",
        groups: ["devs"],
        at_hash: createHash("sha256").update("access").digest().subarray(0, 16).toString("base64url"),
        sid: "session-1",
      };
      const signed =
        wrong.token ??
        (await new SignJWT(wrong.claims?.(claims) ?? claims)
          .setProtectedHeader({ alg: wrong.alg ?? "RS256", kid: "k1" })
          .sign(wrong.key ?? right.privateKey));
      return json({ access_token: "access", token_type: "Bearer", id_token: signed });
    };
    const client = createOidcClient(provider, fetch, { now: Date.now });
    return {
      client,
      asked,
      async signIn(change: (answer: URL, checks: OidcChecks) => OidcChecks = (_, checks) => checks) {
        const { address, checks } = await client.begin(CALLBACK);
        nonce = address.searchParams.get("nonce")!;
        const answer = new URL(CALLBACK);
        for (const [name, value] of Object.entries({ code: "c1", state: checks.state, iss: ISSUER })) answer.searchParams.set(name, value);
        return client.finish(answer, change(answer, checks));
      },
    };
  }

  async function faultOf(wrong: Wrong, provider?: OidcProvider): Promise<string> {
    return start(wrong, provider)
      .signIn()
      .then(
        () => "signed in",
        (error: unknown) => (error instanceof OidcRefused ? error.fault : `thrown: ${String(error)}`),
      );
  }

  it("signs in with PKCE by S256, a nonce and a state, and gives who it is", async () => {
    const { signIn, asked, client } = start();
    const { address, checks } = await client.begin(CALLBACK);
    assert.equal(address.searchParams.get("code_challenge_method"), "S256");
    assert.equal(address.searchParams.get("code_challenge"), createHash("sha256").update(checks.verifier).digest("base64url"));
    assert.equal(address.searchParams.get("redirect_uri"), CALLBACK);
    assert.notEqual((await client.begin(CALLBACK)).checks.state, checks.state);
    const { identity, sid } = await signIn();
    assert.deepEqual(identity, {
      kind: "oidc",
      provider: "idp",
      realm: ISSUER,
      subject: "s1",
      name: "ann",
      email: "ann@idp.test",
      fullName: undefined,
      groups: ["devs"],
    });
    assert.equal(sid, "session-1");
    const exchange = asked.find(({ url }) => url.endsWith("/token"))!;
    assert.ok(exchange.body.get("code_verifier")!.length >= 43);
    assert.equal(asked.filter(({ url }) => url.includes("well-known")).length, 1);
  });

  const changed = (more: Record<string, unknown>): Wrong => ({ claims: (claims) => ({ ...claims, ...more }) });
  const WRONG: Readonly<Record<string, () => Wrong>> = {
    "another nonce": () => changed({ nonce: "x" }),
    "no nonce": () => changed({ nonce: undefined }),
    "another audience": () => changed({ aud: "other" }),
    "several audiences of which another is authorized": () => changed({ aud: [CLIENT, "other"], azp: "other" }),
    "another issuer": () => changed({ iss: OTHER }),
    "no subject": () => changed({ sub: undefined }),
    "an end that is over": () => changed({ exp: now() - 120, iat: now() - 400 }),
    "a beginning that is to come": () => changed({ nbf: now() + 120 }),
    "no end": () => changed({ exp: undefined }),
    "the hash of another access token": () => changed({ at_hash: "AAAAAAAAAAAAAAAAAAAAAA" }),
    "a key that the provider does not publish": () => ({ key: foreign }),
    "a signature with the public key as a secret": () => ({
      alg: "HS256",
      key: new TextEncoder().encode("idp-secret-idp-secret-idp-secret"),
    }),
    "no signature": () => ({
      token: `${Buffer.from('{"alg":"none"}').toString("base64url")}.${Buffer.from('{"sub":"s1"}').toString("base64url")}.`,
    }),
    "no token": () => ({ token: "" }),
  };
  for (const [what, wrong] of Object.entries(WRONG)) {
    it(`does not count with ${what}`, async () => assert.equal(await faultOf(wrong()), "answer-wrong"));
  }

  it("counts within a minute of difference between two clocks", async () => {
    assert.equal(await faultOf(changed({ exp: now() - 30 })), "signed in");
    assert.equal(await faultOf(changed({ nbf: now() + 30 })), "signed in");
  });

  it("does not count with a signature that the settings leave out", async () => {
    assert.equal(await faultOf({}, providerOf({ algorithms: "ES256" })), "answer-wrong");
  });

  it("does not count in answer to another sign-in, nor from another provider", async () => {
    const { signIn } = start();
    const tries: ((answer: URL, checks: OidcChecks) => OidcChecks)[] = [
      (_, checks) => ({ ...checks, state: "x" }),
      (answer, checks) => (answer.searchParams.set("state", "x"), checks),
      (answer, checks) => (answer.searchParams.delete("state"), checks),
      // Mix-up: the code of one provider is brought to another. Source: RFC 9207.
      (answer, checks) => (answer.searchParams.set("iss", OTHER), checks),
      (answer, checks) => (answer.searchParams.delete("iss"), checks),
      (answer, checks) => (answer.searchParams.append("state", "x"), checks),
      (answer, checks) => (answer.searchParams.delete("code"), checks),
    ];
    for (const change of tries) await assert.rejects(() => signIn(change), OidcRefused, String(change));
    await assert.rejects(
      () => signIn((answer, checks) => (answer.searchParams.set("error", "access_denied"), checks)),
      (error: OidcRefused) => error.fault === "provider-refused" && error.message.includes("access_denied"),
    );
  });

  it("is not asked of a provider that says it is another one, or cannot be asked", async () => {
    assert.equal(await faultOf({ metadata: { issuer: OTHER } }), "provider-away");
    const away = createOidcClient(providerOf(), () => Promise.reject(new Error("refused")), { now: Date.now });
    await assert.rejects(
      () => away.begin(CALLBACK),
      (error: OidcRefused) => error.fault === "provider-away" && !error.message.includes("refused"),
    );
  });

  it("must have the claims that the settings want", async () => {
    const provider = providerOf({ requiredClaims: "hd=corp.test, aud=berth, realm.tier=1" });
    assert.equal(await faultOf(changed({ hd: "corp.test", realm: { tier: 1 } }), provider), "signed in");
    assert.equal(await faultOf(changed({ hd: "evil.test", realm: { tier: 1 } }), provider), "claims-wrong");
    assert.equal(await faultOf(changed({ hd: "corp.test" }), provider), "claims-wrong");
  });

  it("is completed by what the provider says elsewhere of the same subject, and of no other", async () => {
    const bare = (claims: Record<string, unknown>) => ({ ...claims, groups: undefined });
    const { identity } = await start({ claims: bare, userinfo: { sub: "s1", groups: ["ops", 7, ""], email: "x@y.test" } }).signIn();
    assert.deepEqual([identity.groups, identity.email], [["ops"], "ann@idp.test"]);
    assert.equal(await faultOf({ claims: bare, userinfo: { sub: "s2", groups: ["ops"] } }), "answer-wrong");
    const nested = { claims: (claims: Record<string, unknown>) => ({ ...claims, realm: { roles: ["a"] } }) };
    assert.deepEqual((await start(nested, providerOf({ groupsClaim: "realm.roles" })).signIn()).identity.groups, ["a"]);
    const overage = {
      claims: (claims: Record<string, unknown>) => ({ ...bare(claims), _claim_names: { groups: "src1" } }),
      userinfo: { sub: "s1" },
    };
    assert.equal(await faultOf(overage), "claims-wrong");
    // An address that is not proved is nobody's.
    assert.equal((await start(changed({ email_verified: false })).signIn()).identity.email, undefined);
  });

  describe("a logout token", () => {
    async function tokenOf(more: Record<string, unknown> = {}, key: CryptoKey = right.privateKey): Promise<string> {
      const claims = {
        iss: ISSUER,
        aud: CLIENT,
        iat: now(),
        exp: now() + 60,
        jti: "j1",
        sub: "s1",
        sid: "x",
        events: { [LOGOUT_EVENT]: {} },
        ...more,
      };
      return new SignJWT(claims).setProtectedHeader({ alg: "RS256", kid: "k1", typ: "logout+jwt" }).sign(key);
    }
    const read = async (client: OidcClient, token: string): Promise<string> =>
      client.readLogoutToken(token).then(
        ({ jti }) => `taken ${jti}`,
        (error: unknown) => (error instanceof OidcRefused ? error.fault : String(error)),
      );

    it("names a subject or a session, and is signed, fresh and meant for this registry", async () => {
      const { client } = start();
      assert.equal(await read(client, await tokenOf()), "taken j1");
      assert.equal(await read(client, await tokenOf({ sub: undefined })), "taken j1");
      assert.equal(await read(client, await tokenOf({ sid: undefined })), "taken j1");
      for (const more of [
        { sub: undefined, sid: undefined },
        { events: undefined },
        { events: { other: {} } },
        { events: { [LOGOUT_EVENT]: "x" } },
        { nonce: "n" },
        { iss: OTHER },
        { aud: "other" },
        { jti: undefined },
        { iat: undefined },
        { iat: now() - 3600, exp: now() + 60 },
        { exp: now() - 120 },
      ])
        assert.match(await read(client, await tokenOf(more)), /^(?:answer|claims)-wrong$/, JSON.stringify(more));
      assert.equal(await read(client, await tokenOf({}, foreign)), "answer-wrong");
      assert.equal(await read(client, "x.y.z"), "answer-wrong");
      assert.equal(await read(client, "x".repeat(20_000)), "answer-wrong");
    });
  });
});
