// The safe fetch against real servers of this machine, with name servers that the test plays: what leads inside, redirects, names that change, TLS,
// proxies. Not here: the classes of addresses (outbound-addresses.test.ts), exchanges (outbound-answers.test.ts).
import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer, type IncomingMessage } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { connect, createServer as createTcpServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { promisify } from "node:util";
import { fetcher, listen, refused, serve, text } from "./outbound.testing.ts";

const run = promisify(execFile);
const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;

describe("an address that leads inside", () => {
  it("is refused before anything is connected to, however it is written", async (t) => {
    let connections = 0;
    const server = createServer(text("inside"));
    server.on("connection", () => connections++);
    const port = await listen(t, server);
    const { get, asked } = fetcher(
      t,
      { "name.test": ["127.0.0.1"], "meta.test": ["169.254.169.254"], "six.test": ["::ffff:127.0.0.1"] },
      { classify: undefined },
    );
    for (const host of [
      "127.0.0.1",
      "2130706433",
      "0177.0.0.1",
      "0x7f.1",
      "127.1",
      "[::1]",
      "[::ffff:127.0.0.1]",
      "[64:ff9b::7f00:1]",
      "0.0.0.0",
      "[::]",
    ])
      await refused(get(`http://${host}:${port}/`), "REFUSED");
    assert.deepEqual(asked, [], "an address is not looked up");
    for (const host of ["name.test", "NAME.test", "name.test.", "meta.test", "six.test"])
      await refused(get(`http://${host}:${port}/`), "REFUSED");
    assert.equal(connections, 0);
  });

  it("is connected to where the operator allows its network or name", async (t) => {
    const port = await serve(t, text("inside"));
    const names = { "name.test": ["127.0.0.1"] };
    for (const entry of ["127.0.0.0/8", "127.0.0.1", "name.test", "*.test"]) {
      const { get } = fetcher(t, names, { classify: undefined, allow: [entry] });
      assert.equal(await (await get(`http://name.test:${port}/`)).text(), "inside", entry);
    }
  });

  it("is no better for public addresses beside it: only these are connected to", async (t) => {
    const port = await serve(t, text("outside"));
    let inside = 0;
    const other = createTcpServer(() => inside++);
    other.listen(port, "127.0.0.2");
    await once(other, "listening");
    t.after(() => other.close());
    const { get } = fetcher(t, { "mixed.test": ["127.0.0.2", "127.0.0.1", "10.0.0.1"] });
    assert.equal(await (await get(`http://mixed.test:${port}/`)).text(), "outside");
    assert.equal(inside, 0);
  });

  it("does not become public between the look and the connection: the name is looked up once", async (t) => {
    const port = await serve(t, text("outside"));
    let looks = 0;
    // The second answer is an attacker's: the address of this machine's own services.
    const { get } = fetcher(t, {}, { resolve: async () => (looks++ === 0 ? ["127.0.0.1"] : ["127.0.0.2"]) });
    assert.equal(await (await get(`http://rebinding.test:${port}/`)).text(), "outside");
    assert.equal(looks, 1);
    await refused(get(`http://rebinding.test:${port}/`), "REFUSED");
    assert.equal(looks, 2, "a kept connection does not spare the look");
  });

  it("may be the operator's own, but not what that redirects to", async (t) => {
    const port = await serve(t, (request, response) => {
      if (request.url === "/on") response.writeHead(302, { location: "/off" }).end();
      else if (request.url === "/off") response.writeHead(302, { location: `http://127.0.0.2:${port}/` }).end();
      else response.end("own");
    });
    const { get } = fetcher(t, { "issuer.test": ["127.0.0.1"] }, { classify: undefined, insecureHttp: false });
    assert.equal(await (await get(`http://issuer.test:${port}/`, { isConfigured: true })).text(), "own");
    await refused(get(`http://issuer.test:${port}/`), "ADDRESS");
    await refused(get(`http://issuer.test:${port}/on`, { isConfigured: true, maxRedirects: 3 }), "ADDRESS");
    await refused(
      fetcher(t, { "issuer.test": ["127.0.0.1"] }, { classify: undefined }).get(`http://issuer.test:${port}/on`, {
        isConfigured: true,
        maxRedirects: 3,
      }),
      "REFUSED",
    );
  });
});

describe("an address", () => {
  it("is refused that is not https, unless http is allowed, or has credentials or another scheme", async (t) => {
    const { get } = fetcher(t, {}, { insecureHttp: false });
    for (const address of [
      "http://a.test/",
      "ftp://a.test/",
      "file:///etc/passwd",
      "https://user@a.test/",
      "https://u:p@a.test/",
      "//a.test",
      "",
      "https://",
      `https://a.test/${"x".repeat(8000)}`,
    ])
      await refused(get(address), "ADDRESS");
    await refused(get("https://unknown.test/"), "UNRESOLVED");
  });

  it("that cannot be sent is refused without showing what was to be sent", async (t) => {
    const { get } = fetcher(t);
    const error = await refused(get("http://127.0.0.1:1/", { headers: { authorization: "Bearer geheim\n" } }), "ADDRESS");
    assert.doesNotMatch(JSON.stringify([error.message, error.stack, error.cause]), /geheim/);
  });

  it("is not shown in errors beyond scheme, host and port", async (t) => {
    const port = await serve(t, (_, response) => response.destroy());
    const { get } = fetcher(t, { "a.test": ["127.0.0.1"] });
    const secrets = { headers: { authorization: "Bearer geheim", cookie: "geheim" } };
    const path = "/services/geheim?token=geheim#geheim";
    const errors = [
      await refused(get(`http://a.test:${port}${path}`, secrets), "BROKEN"),
      await refused(get(`http://gone.test:${port}${path}`, secrets), "UNRESOLVED"),
      await refused(get(`http://127.0.0.2:${port}${path}`, secrets), "REFUSED"),
      await refused(get(`http://a.test:1${path}`, secrets), "CONNECT"),
    ];
    for (const { message, stack, cause } of errors) assert.doesNotMatch(JSON.stringify([message, stack, cause]), /geheim/);
  });
});

describe("a redirect", () => {
  it("is the answer where none is followed", async (t) => {
    const port = await serve(t, (_, response) => response.writeHead(302, { location: "http://127.0.0.2/" }).end());
    const answer = await fetcher(t).get(`http://127.0.0.1:${port}/`);
    assert.equal(answer.status, 302);
    answer.discard();
    const posted = await fetcher(t).get(`http://127.0.0.1:${port}/`, { method: "POST", body: "x", maxRedirects: 5 });
    assert.equal(posted.status, 302, "a POST is not sent to another place");
    posted.discard();
  });

  it("is checked as the first address was: none leads inside, by address or by name, in one hop or two", async (t) => {
    let inside = 0;
    const insidePort = await serve(t, (_, response) => response.end(String(inside++)), "127.0.0.2");
    const names = { "a.test": ["127.0.0.1"], "b.test": ["127.0.0.1"], "in.test": ["127.0.0.2"] };
    const port = await serve(t, (request, response) => {
      const to = decodeURIComponent(request.url!.slice(1));
      response
        .writeHead(307, { location: to === "two" ? `http://b.test:${port}/${encodeURIComponent(`http://in.test:${insidePort}/`)}` : to })
        .end();
    });
    const { get } = fetcher(t, names);
    for (const to of [
      `http://127.0.0.2:${insidePort}/`,
      `http://in.test:${insidePort}/`,
      `//in.test:${insidePort}/`,
      "two",
      `http://[::ffff:127.0.0.2]:${insidePort}/`,
    ])
      await refused(get(`http://a.test:${port}/${encodeURIComponent(to)}`, { maxRedirects: 5 }), "REFUSED");
    for (const to of ["file:///etc/passwd", "gopher://a.test/", "http://user:geheim@b.test/"])
      await refused(get(`http://a.test:${port}/${encodeURIComponent(to)}`, { maxRedirects: 5 }), "ADDRESS");
    // Allowed for who names it, and still not for who is sent there from outside.
    const allowed = fetcher(t, names, { allow: ["127.0.0.2"] });
    assert.equal(await (await allowed.get(`http://in.test:${insidePort}/`)).text(), "0");
    await refused(
      allowed.get(`http://a.test:${port}/${encodeURIComponent(`http://in.test:${insidePort}/`)}`, { maxRedirects: 5 }),
      "REFUSED",
    );
    assert.equal(inside, 1);
  });

  it("is followed so many times, and carries secrets to the same origin only", async (t) => {
    const seen: (string | undefined)[][] = [];
    const note = (request: IncomingMessage) =>
      seen.push([request.headers.host, request.headers.authorization, request.headers["x-api-key"] as string, request.headers.accept]);
    const port = await serve(t, (request, response) => {
      note(request);
      const left = Number(request.url!.slice(1));
      if (Number.isNaN(left)) response.writeHead(302, { location: `http://b.test:${port}/0` }).end();
      else if (left === 0) response.end("there");
      else response.writeHead(302, { location: `/${left - 1}` }).end();
    });
    const { get } = fetcher(t, { "a.test": ["127.0.0.1"], "b.test": ["127.0.0.1"] });
    const headers = { authorization: "Bearer x", "x-api-key": "y", accept: "z" };
    assert.equal(await (await get(`http://a.test:${port}/3`, { headers, maxRedirects: 3 })).text(), "there");
    assert.deepEqual(seen.at(-1), [`a.test:${port}`, "Bearer x", "y", "z"]);
    await refused(get(`http://a.test:${port}/4`, { maxRedirects: 3 }), "REDIRECT");
    const answer = await get(`http://a.test:${port}/other`, { headers, maxRedirects: 3 });
    assert.equal(await answer.text(), "there");
    assert.equal(answer.url.host, `b.test:${port}`);
    assert.deepEqual(seen.at(-1), [`b.test:${port}`, undefined, undefined, "z"]);
  });
});

describe("TLS", { skip: !hasOpenssl && "cannot run here: openssl is not installed" }, () => {
  async function pair(t: TestContext, name: string, days = "1") {
    const directory = await mkdtemp(join(tmpdir(), "berth-outbound-"));
    t.after(() => rm(directory, { recursive: true, force: true }));
    const key = [
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:prime256v1",
      "-nodes",
      "-keyout",
      join(directory, "key"),
      "-out",
      join(directory, "cert"),
    ];
    await run("openssl", ["req", "-x509", ...key, "-subj", `/CN=${name}`, "-days", days, "-addext", `subjectAltName=DNS:${name}`]);
    return { key: await readFile(join(directory, "key")), cert: await readFile(join(directory, "cert"), "utf8") };
  }

  it("is believed by authorities that are configured or given, for the name that was asked for", async (t) => {
    const own = await pair(t, "own.test");
    const port = await listen(t, createTlsServer(own, text("secure")));
    const names = { "own.test": ["127.0.0.1"], "other.test": ["127.0.0.1"] };
    await refused(fetcher(t, names).get(`https://own.test:${port}/`), "TLS");
    assert.equal(await (await fetcher(t, names).get(`https://own.test:${port}/`, { ca: own.cert })).text(), "secure");
    const configured = fetcher(t, names, { ca: own.cert });
    assert.equal(await (await configured.get(`https://own.test:${port}/`)).text(), "secure");
    await refused(configured.get(`https://other.test:${port}/`), "TLS");
    await refused(configured.get(`https://127.0.0.1:${port}/`), "TLS");
    const plain = await serve(t, text("plain"));
    await refused(configured.get(`https://own.test:${plain}/`), "TLS");
  });

  it("is not left by a redirect", async (t) => {
    const own = await pair(t, "own.test");
    const plain = await serve(t, text("plain"));
    const port = await listen(
      t,
      createTlsServer(own, (_, response) => response.writeHead(302, { location: `http://own.test:${plain}/` }).end()),
    );
    const { get } = fetcher(t, { "own.test": ["127.0.0.1"] }, { ca: own.cert });
    await refused(get(`https://own.test:${port}/`, { maxRedirects: 2 }), "REDIRECT");
  });

  it("goes through a proxy, which gets the address that was checked", async (t) => {
    const own = await pair(t, "own.test");
    const port = await listen(t, createTlsServer(own, text("secure")));
    const plain = await serve(t, text("plain"));
    const asked: (string | undefined)[] = [];
    const proxy = createServer(text("no proxy"));
    proxy.on("connect", (request: IncomingMessage, socket: Socket) => {
      asked.push(request.url, request.headers["proxy-authorization"]);
      if (request.headers["proxy-authorization"] === undefined)
        return void socket.end("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
      const inner = connect(Number(request.url!.split(":")[1]), "127.0.0.1", () => socket.write("HTTP/1.1 200 OK\r\n\r\n"));
      inner.on("error", () => socket.destroy());
      socket.on("error", () => inner.destroy());
      inner.pipe(socket).pipe(inner);
    });
    const proxyPort = await listen(t, proxy);
    const names = { "own.test": ["127.0.0.1"], "in.test": ["127.0.0.2"] };
    const options = { ca: own.cert, proxy: `http://user:geheim@127.0.0.1:${proxyPort}` };
    const { get } = fetcher(t, names, options);
    assert.equal(await (await get(`https://own.test:${port}/`)).text(), "secure");
    assert.deepEqual(asked, [`127.0.0.1:${port}`, `Basic ${Buffer.from("user:geheim").toString("base64")}`]);
    assert.equal(await (await get(`http://own.test:${plain}/`)).text(), "plain");
    await refused(get(`https://in.test:${port}/`), "REFUSED");
    await refused(get(`https://far.test:${port}/`), "UNRESOLVED");
    asked.length = 0;
    assert.equal(await (await fetcher(t, names, { ...options, noProxy: ["own.test"] }).get(`https://own.test:${port}/`)).text(), "secure");
    assert.deepEqual(asked, []);
    await refused(fetcher(t, names, { ...options, proxyResolves: true }).get(`https://far.test:${port}/`), "TLS");
    assert.equal(asked[0], `far.test:${port}`);
    const error = await refused(
      fetcher(t, names, { ...options, proxy: `http://127.0.0.1:${proxyPort}` }).get(`https://own.test:${port}/`),
      "CONNECT",
    );
    assert.doesNotMatch(error.message, /geheim/);
    await refused(fetcher(t, names, { ...options, proxy: "http://127.0.0.1:1" }).get(`https://own.test:${port}/`), "CONNECT");
    await refused(fetcher(t, names, { ...options, proxy: `http://127.0.0.1:${plain}` }).get(`https://own.test:${port}/`), "CONNECT");
  });
});
