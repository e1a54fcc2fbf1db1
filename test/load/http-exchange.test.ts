// The token flow that the bench follows for any registry: none, Basic, or Bearer with renewal before expiry.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { createAgent, createAuthorizer } from "./http-exchange.ts";
import type { Authorizer } from "./http-exchange.ts";

const credentials = { user: "admin", password: "geheim:ü" };
const basic = `Basic ${Buffer.from("admin:geheim:ü", "utf8").toString("base64")}`;

async function authorizerFor(t: TestContext, listener: RequestListener): Promise<Authorizer> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const base = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const agent = createAgent(base, 1);
  t.after(() => {
    agent.destroy();
    server.close();
  });
  return createAuthorizer(agent, base, credentials);
}

test("http exchange: sends nothing to a registry that asks for nothing", async (t) => {
  const authorize = await authorizerFor(t, (_request, response) => response.end());
  assert.equal(await authorize("repository:a/b:pull"), undefined);
});

test("http exchange: answers a Basic challenge with the credentials", async (t) => {
  const authorize = await authorizerFor(t, (_request, response) => {
    response.writeHead(401, { "www-authenticate": 'Basic realm="here"' }).end();
  });
  assert.equal(await authorize("repository:a/b:pull"), basic);
});

test("http exchange: fetches one Bearer token a scope and another when it has aged", async (t) => {
  const asked: { scope: string | null; service: string | null; authorization: string | undefined }[] = [];
  // One token that is good for an hour, and for the other scope one that has expired when it comes.
  const authorize = await authorizerFor(t, (request, response) => {
    const url = new URL(request.url ?? "/", `http://${request.headers.host}`);
    if (url.pathname === "/v2/") {
      const challenge = `Bearer realm="http://${request.headers.host}/token?x=1",service="bench"`;
      response.writeHead(401, { "www-authenticate": challenge }).end();
      return;
    }
    const scope = url.searchParams.get("scope");
    asked.push({ scope, service: url.searchParams.get("service"), authorization: request.headers.authorization });
    response.end(JSON.stringify({ token: `t${asked.length}`, expires_in: scope?.includes("old") ? 0 : 3600 }));
  });
  assert.equal(await authorize("repository:a/new:pull"), "Bearer t1");
  assert.equal(await authorize("repository:a/new:pull"), "Bearer t1");
  assert.equal(await authorize("repository:a/old:pull"), "Bearer t2");
  assert.equal(await authorize("repository:a/old:pull"), "Bearer t3");
  assert.deepEqual(asked[0], { scope: "repository:a/new:pull", service: "bench", authorization: basic });
});
