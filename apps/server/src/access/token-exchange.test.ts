// What is wrong with a token, and what may happen to an issuer: a real one that serves discovery and keys over HTTP, on both databases, with a clock
// that the test holds. Not here: conditions (trust-rules.test.ts), the way over HTTP (test/flows/ci-tokens.test.ts).
import assert from "node:assert/strict";
import { after, before, beforeEach, it } from "node:test";
import { CompactSign, exportJWK, generateKeyPair, SignJWT, UnsecuredJWT } from "jose";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import { HOUR_MS, MINUTE_MS, SECOND_MS } from "../platform/clock.ts";
import {
  addProject,
  addRobot,
  basic,
  createTestAccess,
  createTestClock,
  TEST_ADDRESS,
  type TestAccess,
  type TestClock,
} from "./access.testing.ts";
import { isRefused } from "./id-tokens.ts";
import { FETCH_GAP_MS, KEPT_MS, type FetchJson } from "./issuer-keys.ts";
import { findIssuer, insertIssuer } from "./issuer-store.ts";
import { startTestIssuer, type TestIssuer } from "./issuer.testing.ts";
import { putTrustRule } from "./trust-store.ts";

const AUDIENCE = "https://registry.example.com";

forEachDatabase("tokens of an issuer", (create) => {
  let test: TestDatabase;
  let clock: TestClock;
  let access: TestAccess;
  let issuer: TestIssuer;
  let count = 0;
  const issuers: TestIssuer[] = [];

  const fetchJson: FetchJson = async (url, { maxBytes }) => {
    const answer = await fetch(url);
    const text = await answer.text();
    if (answer.status !== 200) throw new Error(`status ${answer.status}`);
    if (text.length > maxBytes) throw new Error("the answer is too large");
    return JSON.parse(text) as unknown;
  };

  before(async () => {
    test = await create();
  });
  after(async () => {
    await Promise.all(issuers.map((each) => each.stop()));
    await test.end();
  });
  beforeEach(async () => {
    clock = createTestClock();
    access = createTestAccess(test.database, clock, [], fetchJson);
    issuer = await add(await startTestIssuer({ nowMs: clock.now }));
  });

  /** Registers an issuer, with a robot of its own for everybody whom it calls "somebody". */
  async function add(each: TestIssuer, options: { algorithms?: string[]; url?: string } = {}): Promise<TestIssuer> {
    issuers.push(each);
    const { database } = test;
    const name = `issuer${++count}`;
    const robot = await addRobot(database, `team${count}+ci`, await addProject(database, `team${count}`), {});
    await database.transaction(async (tx) => {
      const issuerId = (await insertIssuer(
        tx,
        {
          name,
          url: options.url ?? each.url,
          audiences: [AUDIENCE, "second"],
          algorithms: options.algorithms ?? ["RS256", "ES256"],
          isDisabled: false,
          isSingleUse: false,
          hasGivenKeys: false,
          keys: undefined,
          keysAt: undefined,
        },
        1,
      ))!;
      await putTrustRule(tx, { accountId: robot.id, name: "rule", issuerId, conditions: [{ claim: "sub", equals: "somebody" }] }, 1);
    });
    return each;
  }

  /** "accepted", or the fault. */
  async function outcome(token: string, at: TestAccess = access): Promise<string> {
    const verified = await at.tokenExchange.verify(token);
    if (isRefused(verified)) return verified.fault;
    const match = await at.tokenExchange.match(verified, undefined);
    if ("fault" in match) return match.fault;
    const caller = await at.authenticator.authenticate(basic("oidc", token), TEST_ADDRESS);
    assert.equal(caller.kind, "account");
    assert.deepEqual(caller.via, { kind: "oidc", issuer: issuer.url });
    return "accepted";
  }
  const sign = (claims: object = {}, header?: Readonly<Record<string, unknown>>): Promise<string> =>
    issuer.sign({ aud: AUDIENCE, ...claims }, header);

  it("count with their audience, subject and time, and not without", async () => {
    const now = Math.floor(clock.now() / 1000);
    const cases: [string, object, string][] = [
      ["nothing wrong", {}, "accepted"],
      ["its second audience", { aud: "second" }, "accepted"],
      ["one of many audiences", { aud: ["other", AUDIENCE] }, "accepted"],
      ["another audience", { aud: "https://other.example.com" }, "audience-wrong"],
      ["an audience that only begins so", { aud: `${AUDIENCE}.evil.example` }, "audience-wrong"],
      ["no audience", { aud: undefined }, "audience-wrong"],
      ["no subject", { sub: undefined }, "claims-wrong"],
      ["another subject", { sub: "Somebody" }, "no-rule"],
      ["no end", { exp: undefined }, "claims-wrong"],
      ["an end that is text", { exp: "never" }, "claims-wrong"],
      ["an end that was", { exp: now - 1 }, "expired"],
      ["an end that is now", { exp: now }, "expired"],
      ["a clock that is ahead of ours by less than a minute", { iat: now + 55, nbf: now + 55 }, "accepted"],
      ["a clock that is ahead of ours by more", { nbf: now + 65 }, "not-yet-valid"],
      ["an issue that is still to come", { iat: now + 65 }, "not-yet-valid"],
      ["an issuer that nobody knows", { iss: "https://nobody.example.com" }, "issuer-unknown"],
      ["a slash behind the issuer", { iss: `${issuer.url}/` }, "issuer-unknown"],
      ["an issuer that is no text", { iss: [issuer.url] }, "malformed"],
      ["a logout token's events", { events: { "http://schemas.openid.net/event/backchannel-logout": {} } }, "malformed"],
      ["too much in it", { padding: "x".repeat(8192) }, "malformed"],
    ];
    for (const [name, claims, expected] of cases) assert.equal(await outcome(await sign(claims)), expected, name);
    assert.equal(await outcome(await sign({}, { typ: "logout+jwt" })), "malformed");
    assert.equal(await outcome(await sign({}, { crit: ["unknown"], unknown: 1 }).catch(() => "")), "malformed");
  });

  it("tell a stranger no name that an administrator gave to an issuer", async () => {
    const secret = /issuer\d/;
    const closed = await add(await startTestIssuer({ nowMs: clock.now }), { algorithms: ["RS256"] });
    const now = Math.floor(clock.now() / 1000);
    const claims = { iss: closed.url, aud: AUDIENCE, sub: "somebody", exp: now + 60 };
    const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
    const of = (header: object): string => `${part(header)}.${part(claims)}.AAAA`;
    const kid = (JSON.parse(Buffer.from((await closed.sign({ aud: AUDIENCE })).split(".")[0]!, "base64url").toString()) as { kid: string })
      .kid;
    const faults: string[] = [];
    for (const header of [
      { alg: "PS512", kid },
      { alg: "RS256", kid: "another" },
      { alg: "RS256", kid },
    ]) {
      const refused = await access.tokenExchange.verify(of(header));
      assert.ok(isRefused(refused));
      assert.doesNotMatch(refused.message, secret);
      faults.push(refused.fault);
    }
    await test.database.script(`update oidc_issuer set is_disabled = 1 where url = '${closed.url}'`);
    const refused = await access.tokenExchange.verify(of({ alg: "RS256", kid }));
    assert.ok(isRefused(refused));
    assert.doesNotMatch(refused.message, secret);
    assert.deepEqual(faults, ["algorithm-refused", "key-unknown", "signature-wrong"]);
    assert.equal(refused.fault, "issuer-disabled");
  });

  it("count for no longer than they last, wherever they were taken", async () => {
    const token = await sign({ exp: Math.floor(clock.now() / 1000) + 90 });
    const caller = await access.authenticator.authenticate(basic("oidc", token), TEST_ADDRESS);
    const given = await access.tokens.issueToken(caller, []);
    assert.equal(given.expires_in, 90);
    await access.tokens.readToken(given.token);
    clock.advance(91 * SECOND_MS);
    await assert.rejects(async () => access.tokens.readToken(given.token), /expired/);
    assert.equal(await outcome(token), "expired");
    await assert.rejects(access.tokens.issueToken(caller, []), /expired/, "who was recognised before");
  });

  it("with another's signature, or with none, do not count", async () => {
    const claims = { iss: issuer.url, sub: "somebody", aud: AUDIENCE, exp: Math.floor(clock.now() / 1000) + 300 };
    const genuine = await sign();
    const [head = "", body = "", signature = ""] = genuine.split(".");
    const kid = issuer.jwks().keys[0]!.kid!;
    const stranger = await generateKeyPair("RS256", { extractable: true });
    const signWith = (header: object, key: Parameters<SignJWT["sign"]>[0]): Promise<string> =>
      new SignJWT(claims).setProtectedHeader({ alg: "RS256", ...header }).sign(key);
    const publicKey = Buffer.from(JSON.stringify(issuer.jwks().keys[0]));
    const forged = (header: object, changed: object = {}): string =>
      [header, { ...claims, ...changed }].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
    const cases: Record<string, [string, string]> = {
      "no signature": [new UnsecuredJWT(claims).encode(), "malformed"],
      "alg none with something behind it": [`${forged({ alg: "none", kid })}.${signature}`, "algorithm-refused"],
      "alg None": [`${forged({ alg: "None", kid })}.AA`, "algorithm-refused"],
      "a shared secret made of the public key": [
        await new CompactSign(Buffer.from(JSON.stringify(claims))).setProtectedHeader({ alg: "HS256", kid }).sign(publicKey),
        "algorithm-refused",
      ],
      "an algorithm that the issuer may not use": [`${forged({ alg: "PS512", kid })}.${signature}`, "algorithm-refused"],
      "an algorithm of another kind of key": [`${forged({ alg: "ES256", kid })}.${signature}`, "key-unknown"],
      "another's key under the same id": [await signWith({ kid }, stranger.privateKey), "signature-wrong"],
      "another's key without an id": [await signWith({}, stranger.privateKey), "signature-wrong"],
      "another's key in its own header": [
        await signWith({ kid, jwk: await exportJWK(stranger.publicKey) }, stranger.privateKey),
        "signature-wrong",
      ],
      "another's key at an address in its header": [
        await signWith({ kid, jku: "http://127.0.0.1:1/jwks" }, stranger.privateKey),
        "signature-wrong",
      ],
      "other claims under a genuine signature": [`${forged({ alg: "RS256", kid }, { sub: "admin" })}.${signature}`, "signature-wrong"],
      "a signature that was cut": [`${head}.${body}.${signature.slice(0, -4)}`, "signature-wrong"],
      "four parts": [`${genuine}.AA`, "malformed"],
      "claims that are a list": [`${head}.${Buffer.from("[]").toString("base64url")}.${signature}`, "malformed"],
      "bytes that are no text": [`${head}.${Buffer.from([0x7b, 0xff, 0x7d]).toString("base64url")}.${signature}`, "malformed"],
    };
    for (const [name, [token, expected]] of Object.entries(cases)) assert.equal(await outcome(token), expected, name);
    assert.equal(await outcome(genuine), "accepted");
  });

  it("of one issuer are nothing to another's rules, whatever they say of themselves", async () => {
    const other = await add(await startTestIssuer({ nowMs: clock.now }));
    await other.rotate();
    assert.equal(await outcome(await other.sign({ aud: AUDIENCE, iss: issuer.url })), "key-unknown");
    // One that answers with another's documents.
    const liar = await startTestIssuer({ nowMs: clock.now });
    liar.lie((path) => (path === "/jwks" ? undefined : { body: JSON.stringify({ issuer: issuer.url, jwks_uri: `${issuer.url}/jwks` }) }));
    await add(liar);
    assert.equal(await outcome(await issuer.sign({ aud: AUDIENCE, iss: liar.url })), "keys-away");
    const { keysError } = (await findIssuer(test.database, `issuer${count}`))!;
    assert.match(keysError!, /another issuer's/);
  });

  it("with a new key count at once, and their issuer is asked twice a minute at most, however many come to however many replicas", async () => {
    assert.equal(await outcome(await sign()), "accepted");
    assert.equal(issuer.fetches(), 1);
    const old = await sign();
    await issuer.rotate();
    const other = createTestAccess(test.database, clock, [], fetchJson);
    assert.equal(await outcome(await sign(), other), "key-unknown", "it was asked a moment ago");
    clock.advance(FETCH_GAP_MS);
    const answers = await Promise.all(Array.from({ length: 20 }, async (_, i) => outcome(await sign(), i % 2 === 0 ? access : other)));
    assert.deepEqual(new Set(answers), new Set(["accepted"]), "those that came while another replica fetched wait for it");
    assert.equal(await outcome(await sign()), "accepted");
    assert.equal(issuer.fetches(), 2);
    for (let i = 0; i < 20; i++) assert.equal(await outcome(await sign({}, { kid: `made-up-${i}` })), "key-unknown");
    assert.equal(issuer.fetches(), 2);
    assert.equal(await outcome(old), "key-unknown", "what the issuer withdrew");
  });

  it("with a key that the issuer withdrew count for an hour at most, while it answers", async () => {
    assert.equal(await outcome(await sign()), "accepted");
    const long = await sign({ exp: Math.floor(clock.now() / 1000) + 10 * 3600 });
    await issuer.rotate();
    assert.equal(await outcome(long), "accepted", "nobody has looked yet");
    clock.advance(HOUR_MS + SECOND_MS);
    await outcome(long);
    while (issuer.fetches() < 2) await new Promise((resolve) => setTimeout(resolve, 10));
    while ((await findIssuer(test.database, `issuer${count}`))!.keys![0]!["kid"] !== "key-2")
      await new Promise((resolve) => setTimeout(resolve, 10));
    assert.equal(await outcome(long), "key-unknown");
  });

  it("of an issuer that is away count for a day by its last keys, also after a restart, and then not until it is back", async () => {
    assert.equal(await outcome(await sign()), "accepted");
    issuer.lie(() => ({ status: 503, body: "{}" }));
    const day = await sign({ exp: Math.floor((clock.now() + 3 * KEPT_MS) / 1000) });
    clock.advance(KEPT_MS - MINUTE_MS);
    assert.equal(await outcome(day, createTestAccess(test.database, clock, [], fetchJson)), "accepted");
    clock.advance(2 * MINUTE_MS);
    assert.equal(await outcome(day), "keys-away");
    issuer.lie(undefined);
    clock.advance(FETCH_GAP_MS);
    assert.equal(await outcome(day), "accepted");
  });

  it("of an issuer whose documents are hostile do not count, and the documents are not kept", async () => {
    const [jwk] = issuer.jwks().keys;
    const { privateKey } = await generateKeyPair("RS256", { extractable: true });
    const lies: Record<string, string> = {
      "no JSON": "<html>",
      null: "null",
      "no keys": "{}",
      "an empty list": '{"keys":[]}',
      "a shared secret": '{"keys":[{"kty":"oct","k":"AAAA"}]}',
      "a private key": JSON.stringify({ keys: [await exportJWK(privateKey)] }),
      "a short key": JSON.stringify({ keys: [{ kty: "RSA", n: Buffer.alloc(128, 0xff).toString("base64url"), e: "AQAB" }] }),
      "a key for encryption": JSON.stringify({ keys: [{ ...jwk, use: "enc" }] }),
      "a thousand keys": JSON.stringify({ keys: Array.from({ length: 1000 }, () => jwk) }),
      "a document without end": JSON.stringify({ keys: [jwk], padding: "x".repeat(300 * 1024) }),
    };
    for (const [name, body] of Object.entries(lies)) {
      issuer.lie((path) => (path === "/jwks" ? { body } : undefined));
      clock.advance(FETCH_GAP_MS);
      assert.equal(await outcome(await sign()), "keys-away", name);
    }
    issuer.lie((path) => (path === "/jwks" ? undefined : { body: JSON.stringify({ issuer: issuer.url, jwks_uri: "file:///etc/passwd" }) }));
    clock.advance(FETCH_GAP_MS);
    assert.equal(await outcome(await sign()), "keys-away");
  });

  it("that are anything at all are refused, and break nothing", async () => {
    const seed = Number(process.env["BERTH_TEST_SEED"] ?? Math.floor(Math.random() * 1e9));
    console.log(`BERTH_TEST_SEED=${seed}`);
    let state = seed;
    // Numerical Recipes' generator: what was tried can be tried again.
    const random = (below: number): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state % below;
    };
    const genuine = await sign();
    const values = [
      null,
      0,
      -1,
      1e308,
      "",
      "\0",
      "\ud800",
      [],
      {},
      [[]],
      true,
      "x".repeat(2000),
      { __proto__: null, a: { b: { c: { d: { e: 1 } } } } },
    ];
    const names = ["iss", "aud", "exp", "nbf", "iat", "sub", "jti", "__proto__", "constructor", "alg", "kid", "/x/y", ""];
    for (let round = 0; round < 400; round++) {
      let token: string;
      if (round % 2 === 0) {
        // A character that is another one.
        const at = random(genuine.length);
        const characters = "AZaz09-_.=+/ \0é";
        token = genuine.slice(0, at) + characters[random(characters.length)] + genuine.slice(at + 1);
        if (token === genuine) continue;
        // The last character of a signature has bits that say nothing.
        if (at === genuine.length - 1) continue;
      } else {
        const part = (): string =>
          Buffer.from(
            JSON.stringify(
              Object.fromEntries(Array.from({ length: random(5) }, () => [names[random(names.length)], values[random(values.length)]])),
            ),
          ).toString("base64url");
        token = `${part()}.${random(2) === 0 ? genuine.split(".")[1] : part()}.${genuine.split(".")[2]}`;
      }
      assert.notEqual(await outcome(token), "accepted", `round ${round}: ${token}`);
      await assert.rejects(
        async () => access.authenticator.authenticate(basic("oidc", token), TEST_ADDRESS),
        { code: "UNAUTHORIZED" },
        `round ${round}`,
      );
    }
  });

  it("are a password of nobody else: users and robots with such names sign in as ever", async () => {
    const token = await sign();
    for (const name of ["oidcx", "admin", `team${count}+ci`, "oidc+", "oidc++", "oidc+x+y+z", "OIDC"]) {
      await assert.rejects(async () => access.authenticator.authenticate(basic(name, token), TEST_ADDRESS), { code: "UNAUTHORIZED" }, name);
    }
    const project = await addProject(test.database, `oidc`).catch(() => undefined);
    if (project === undefined) return;
    const { id, secret } = await addRobot(test.database, "oidc+ci", project, {});
    const caller = await access.authenticator.authenticate(basic("oidc+ci", secret), TEST_ADDRESS);
    assert.equal(caller.kind === "account" && caller.accountId, id);
  });
});
