// Parsing of credentials: any Authorization header gives a caller or a refusal, any scope parameter a list or a refusal, and a form or a
// body that never ends is refused in time. Not here: right and wrong secrets (access/authenticate.test.ts).
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { connect, type AddressInfo } from "node:net";
import { it, type TestContext } from "node:test";
import { RegistryError } from "@berth/oci/errors";
import { parseProjectName, parseRepositoryName } from "@berth/oci/reference";
import fc from "fast-check";
import { pino } from "pino";
import {
  addProject,
  addRobot,
  addUser,
  basic,
  createTestAccess,
  createTestClock,
  TEST_ADDRESS,
  TEST_PASSWORD,
} from "../access/access.testing.ts";
import { createTestFeatures } from "../features/features.testing.ts";
import { challenge, UnauthorizedError } from "../access/challenge.ts";
import { ALL_ACTIONS } from "../access/roles.ts";
import { MAX_SCOPES, parseScopes } from "../access/scopes.ts";
import { forEachDatabase } from "../platform/database/databases.testing.ts";
import { createApi } from "./api/api.ts";
import { createRefuseOtherSites } from "./browsers.ts";
import { sendError } from "./error-response.ts";
import { createTransfer, type Transfer } from "./transfer-rate.ts";
import { createRequestRecord } from "./request-log.ts";
import { answerToken } from "./token.ts";
import { createClientAddressReader } from "./trusted-proxies.ts";

forEachDatabase("credentials", (create) => {
  it("of any form are somebody's, or refused as such", async (t) => {
    const test = await create();
    t.after(() => test.end());
    const access = createTestAccess(test.database, createTestClock());
    const projectId = await addProject(test.database, "one");
    await addUser(test.database, "alice");
    const robot = await addRobot(test.database, "one+ci", projectId, { "one/**": ["pull"] });
    const { token } = await access.tokens.issueToken(
      await access.authenticator.authenticate(basic("alice", TEST_PASSWORD), TEST_ADDRESS),
      [],
    );
    const [header = "", payload = "", signature = ""] = token.split(".");

    const text = fc.string({ unit: "binary", maxLength: 20 });
    const name = fc.oneof(fc.constantFrom("alice", "one+ci", "+", "one+", "+ci", "a\0+ci", "one+ci\0", "x".repeat(300), "__proto__"), text);
    // Only robots' secrets: a user's wrong password is hashed, which is expensive on purpose.
    const secret = fc.oneof(
      fc.constantFrom(robot.secret, `${robot.secret}x`, robot.secret.slice(1), robot.secret.toUpperCase(), "", "x".repeat(3000)),
      text,
    );
    const jwt = fc.oneof(
      fc.constantFrom(
        token,
        `${header}.${payload}.`,
        `${header}.${payload}`,
        `.${payload}.${signature}`,
        `eyJhbGciOiJub25lIn0.${payload}.`,
        "..",
        "a.b.c.d",
        "x".repeat(20_000),
      ),
      fc
        .tuple(fc.nat(token.length - 1), fc.constantFrom("A", "B", "-", ".", "="))
        .map(([at, by]) => token.slice(0, at) + by + token.slice(at + 1)),
      text,
    );
    const scheme = fc.constantFrom("Basic ", "basic ", "BASIC  ", "Basic", "Bearer ", "bEARER ", "Bearer", "Digest ", " ", "");
    const value = fc.oneof(
      fc
        .tuple(
          name.filter((each) => each.includes("+") || !/^[a-z0-9]/.test(each)),
          secret,
        )
        .map(([left, right]) => basic(left, right)),
      fc.tuple(scheme, jwt).map((parts) => parts.join("")),
      fc.tuple(scheme, fc.base64String()).map((parts) => parts.join("")),
      text,
    );
    await fc.assert(
      fc.asyncProperty(value, async (authorization) => {
        try {
          const caller = await access.authenticator.authenticate(authorization, TEST_ADDRESS);
          if (authorization === "") assert.equal(caller.kind, "anonymous");
          else
            assert.ok(
              authorization.includes(token) || authorization === basic("one+ci", robot.secret) || caller.kind === "account",
              authorization,
            );
        } catch (error) {
          if (!(error instanceof RegistryError)) throw error;
          assert.ok(["UNAUTHORIZED", "TOOMANYREQUESTS"].includes(error.code), `${error.code} for ${JSON.stringify(authorization)}`);
          // The error text must fit into one header, whatever the input was.
          if (error instanceof UnauthorizedError)
            assert.match(challenge({ realm: "http://x/token", service: "x" }, error), /^[\x20-\x7e]+$/);
        }
      }),
      { numRuns: 1500 },
    );
    // A secret of the right form with a name that a database's text cannot hold was answered with 500 on PostgreSQL.
    await assert.rejects(async () => access.authenticator.authenticate(basic("one\0+ci", robot.secret), TEST_ADDRESS), UnauthorizedError);
  });

  it("that never come to their end are refused in time, and keep nothing", async (t) => {
    const test = await create();
    t.after(() => test.end());
    const clock = createTestClock();
    const access = createTestAccess(test.database, clock);
    await addUser(test.database, "alice");
    const refuseOtherSites = createRefuseOtherSites({ addressOf: () => ({ scheme: "http", host: undefined }), publicUrl: undefined });
    const transferOf = (kind: Transfer["kind"]): Transfer => createTransfer({ kind, bytesPerSecond: 0, windowMs: 1 });
    const api = await createApi({
      ...access,
      features: createTestFeatures(access, test.database, clock),
      logger: pino({ level: "silent" }),
      bodyTimeoutMs: 100,
      refuseOtherSites,
      requireOwnPage: refuseOtherSites,
      isSecure: () => false,
      stallMs: 5_000,
      stopping: new AbortController().signal,
      addressOf: () => ({ remoteAddress: TEST_ADDRESS }),
      transferOf,
    });
    let running = 0;
    const port = await listen(t, async (request, response) => {
      running++;
      const party = { source: TEST_ADDRESS, isAnonymous: false, transfer: undefined };
      const context = { id: "test", remoteAddress: TEST_ADDRESS, record: createRequestRecord(), party };
      try {
        if (request.url === "/token")
          await answerToken(
            { ...access, hasDockerRefreshTokens: false, refuseOtherSites, transferOf, noteAnonymous: () => undefined, formTimeoutMs: 100 },
            request,
            response,
            context,
          );
        else await api(request, response, context);
      } catch (error) {
        sendError(request, response, error);
      } finally {
        running--;
      }
    });
    for (const path of ["/token", "/api/v1/projects"]) {
      for (const drips of [false, true]) {
        const socket = connect(port, "127.0.0.1");
        socket.write(`POST ${path} HTTP/1.1\r\nhost: x\r\nauthorization: ${basic("alice", TEST_PASSWORD)}\r\n`);
        socket.write("content-type: application/json\r\ncontent-length: 1000\r\n\r\n{");
        // A byte every now and then must not keep the request alive either.
        const timer = drips ? setInterval(() => socket.write(" "), 30) : undefined;
        let got = "";
        socket.on("data", (piece: Buffer) => (got += piece.toString("latin1")));
        socket.on("error", () => undefined);
        await once(socket, "close");
        clearInterval(timer);
        assert.match(got, /^HTTP\/1\.1 408 [\s\S]*REQUEST_TIMEOUT/, `${path} ${drips}`);
      }
    }
    while (running > 0) await new Promise((resolve) => setImmediate(resolve));
  });
});

async function listen(t: TestContext, handle: (request: IncomingMessage, response: ServerResponse) => Promise<void>): Promise<number> {
  const server = createServer((request, response) => void handle(request, response));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

it("scopes of any form are a bounded list of what a token may hold", () => {
  const word = fc.constantFrom(
    "repository",
    "registry",
    "repository(plugin)",
    "catalog",
    ":",
    ":",
    ":",
    ",",
    "*",
    "pull",
    "push",
    "delete",
    " ",
    "a/b",
    "host:5000/a/b",
    "A/B",
    "__proto__",
    "",
  );
  const parameter = fc.array(fc.oneof(word, fc.string({ unit: "binary", maxLength: 3 })), { maxLength: 15 }).map((parts) => parts.join(""));
  fc.assert(
    fc.property(fc.array(parameter, { maxLength: 5 }), (parameters) => {
      const { repositories } = parseScopes(parameters, parseProjectName("library"));
      assert.ok(repositories.size <= MAX_SCOPES);
      for (const [name, { repository, actions }] of repositories) {
        assert.equal(parseRepositoryName(repository), repository);
        assert.equal(repository, name.includes("/") ? name : `library/${name}`);
        for (const action of actions) assert.ok(ALL_ACTIONS.has(action));
      }
    }),
    { numRuns: 3000 },
  );
});

it("addresses are read from any headers without an error, and never from a proxy that is not trusted", () => {
  const text = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.constantFrom("1.2.3.4", "::1", "[::1]:5", "1.2.3.4:5", "https", "evil.test", "a,b", ",", ", ,"),
  );
  const read = createClientAddressReader(["10.0.0.0/8", "::1/128"]);
  const headers = fc.record(
    { host: text, "x-forwarded-for": text, "x-forwarded-proto": text, "x-forwarded-host": text },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(
      headers,
      fc.constantFrom("10.1.2.3", "192.0.2.1", "::1", "::ffff:10.0.0.1", "::ffff:192.0.2.1", "", undefined),
      (each, remoteAddress) => {
        const address = read({ headers: each, socket: { remoteAddress } });
        assert.ok(address.scheme === "http" || address.scheme === "https");
        if (address.host !== undefined) assert.match(address.host, /^[a-z0-9._:[\]-]+$/i);
        if (remoteAddress?.includes("192.0.2.1") === true) assert.deepEqual([address.remoteAddress, address.scheme], ["192.0.2.1", "http"]);
      },
    ),
    { numRuns: 3000 },
  );
});
