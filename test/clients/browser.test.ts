// A real Chromium and Berth: a script that was pushed as a blob does not run in a page of the same origin, and a page of another site mounts
// nothing with credentials that the browser remembers. Not here: headers one by one (test/flows/browsers.test.ts).
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, request as ask, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { it, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ensureTool, skipOrThrow } from "../tools/install.ts";
import { ADMIN_PASSWORD, startTestRegistry } from "../flows/registry.testing.ts";

/** A page in a browser of its own, driven over the DevTools protocol. */
interface Page {
  open(url: string): Promise<void>;
  /** Polls until the expression is true in the page. */
  until(expression: string): Promise<void>;
}

/** Opens a Chromium that ends with the test. */
async function openPage(t: TestContext, binary: string): Promise<Page> {
  const profile = await mkdtemp(join(tmpdir(), "berth-chromium-"));
  const flags = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    `--user-data-dir=${profile}`,
  ];
  const browser = spawn(binary, [...flags, "--remote-debugging-port=0", "about:blank"], { stdio: ["ignore", "ignore", "pipe"] });
  t.after(async () => {
    const ended = once(browser, "exit");
    browser.kill("SIGKILL");
    await ended;
    await rm(profile, { recursive: true, force: true, maxRetries: 10 });
  });
  let port = "";
  for await (const line of createInterface({ input: browser.stderr })) {
    port = /DevTools listening on ws:\/\/127\.0\.0\.1:(\d+)\//.exec(line)?.[1] ?? "";
    if (port !== "") break;
  }
  browser.stderr.resume();
  const targets = (await (await fetch(`http://127.0.0.1:${port}/json`)).json()) as { type: string; webSocketDebuggerUrl: string }[];
  const socket = new WebSocket(targets.find(({ type }) => type === "page")!.webSocketDebuggerUrl);
  await once(socket, "open");
  t.after(() => socket.close());
  let last = 0;
  const waiting = new Map<number, (result: unknown) => void>();
  socket.addEventListener("message", ({ data }) => {
    const { id, result } = JSON.parse(String(data)) as { id?: number; result: unknown };
    if (id !== undefined) waiting.get(id)?.(result);
  });
  const command = <T>(method: string, params: object): Promise<T> =>
    new Promise((resolve) => {
      waiting.set(++last, resolve as (result: unknown) => void);
      socket.send(JSON.stringify({ id: last, method, params }));
    });
  return {
    async open(url) {
      await command("Page.navigate", { url });
    },
    async until(expression) {
      for (;;) {
        const { result } = await command<{ result: { value?: unknown } }>("Runtime.evaluate", { expression });
        if (result.value === true) return;
        await sleep(50);
      }
    },
  };
}

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

async function serve(t: TestContext, answer: Answer): Promise<number> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => {
    server.listen(0, resolve);
  });
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

/** Passes a request on to the registry under its own host name; resolves with the answer's status and headers. */
function passOn(
  origin: string,
  request: IncomingMessage,
  response: ServerResponse,
  headersOf: (headers: IncomingHttpHeaders) => IncomingHttpHeaders,
  onStatus: (status: number) => void,
): void {
  const further = ask(new URL(request.url!, origin), { method: request.method!, headers: request.headers }, (answer) => {
    onStatus(answer.statusCode!);
    response.writeHead(answer.statusCode!, headersOf(answer.headers));
    answer.pipe(response);
  });
  request.pipe(further);
}

async function chromium(t: TestContext): Promise<string | undefined> {
  try {
    return await ensureTool("chromium");
  } catch (error) {
    skipOrThrow(t, error);
    return undefined;
  }
}

it("Chromium runs no script that was pushed, and would run it without our headers", { timeout: 240_000 }, async (t) => {
  const binary = await chromium(t);
  if (binary === undefined) return;
  const registry = await startTestRegistry();
  t.after(() => registry.stop());
  const digest = await registry.pushBlob("library/evil", Buffer.from(`document.title = "taken over"`));
  const script = `/v2/library/evil/blobs/${digest}`;
  // The page shares the registry's origin, as the console will, and its policy trusts that origin.
  const pageFor = (headersOf: (headers: IncomingHttpHeaders) => IncomingHttpHeaders) =>
    serve(t, (request, response) => {
      if (request.url !== "/page") return passOn(registry.origin, request, response, headersOf, () => undefined);
      response.writeHead(200, { "content-type": "text/html", "content-security-policy": "default-src 'none'; script-src 'self'" });
      response.end(`<!doctype html><title>calm</title><script src="${script}"></script>`);
    });
  const guarded = await pageFor((headers) => headers);
  const bare = await pageFor(({ "x-content-type-options": _, ...headers }) => headers);
  const page = await openPage(t, binary);
  const isOver = `document.readyState === "complete" && location.pathname === "/page"`;
  await page.open(`http://127.0.0.1:${bare}/page`);
  await page.until(`${isOver} && location.port === "${bare}" && document.title === "taken over"`);
  await page.open(`http://127.0.0.1:${guarded}/page`);
  await page.until(`${isOver} && location.port === "${guarded}" && document.title === "calm"`);
});

it("Chromium mounts nothing for a page of another site with credentials that it remembers", { timeout: 240_000 }, async (t) => {
  const binary = await chromium(t);
  if (binary === undefined) return;
  const registry = await startTestRegistry();
  t.after(() => registry.stop());
  assert.equal(
    (await registry.send("POST", "/api/v1/projects", { body: '{"name":"vault"}', headers: { "content-type": "application/json" } })).status,
    201,
  );
  const secret = await registry.pushBlob("vault/app", Buffer.from("a secret layer"));
  const seen: { readonly url: string; readonly isSignedIn: boolean; readonly status: number }[] = [];
  const front = await serve(t, (request, response) => {
    passOn(
      registry.origin,
      request,
      response,
      (headers) => headers,
      (status) => {
        if (request.method === "POST") seen.push({ url: request.url!, isSignedIn: request.headers.authorization !== undefined, status });
      },
    );
  });
  const mount = `/v2/library/open/blobs/uploads/?mount=${secret}&from=vault/app`;
  // "localhost" is another site than "127.0.0.1". A form and a script: the two ways to send a POST along with credentials.
  const foreign = await serve(t, (request, response) => {
    const target = `http://127.0.0.1:${front}${mount}`;
    response.writeHead(200, { "content-type": "text/html" });
    response.end(
      request.url === "/form"
        ? `<form method="post" action="${target}"></form><script>document.forms[0].submit()</script>`
        : `<title>sending</title><script>fetch("${target}", { method: "POST", mode: "no-cors", credentials: "include" }).finally(() => (document.title = "sent"))</script>`,
    );
  });
  const page = await openPage(t, binary);
  await page.open(`http://admin:${ADMIN_PASSWORD}@127.0.0.1:${front}/metrics`);
  // The browser sends the credentials given for the top level to everything below it, without asking.
  await page.until(`document.body?.innerText.includes("berth_build_info") === true`);
  await page.open(`http://localhost:${foreign}/script`);
  await page.until(`document.title === "sent"`);
  await page.open(`http://localhost:${foreign}/form`);
  while (seen.length < 2) await sleep(50);
  assert.ok(
    seen.some(({ isSignedIn }) => isSignedIn),
    "the browser sends what it remembers",
  );
  for (const { url, status } of seen) assert.deepEqual([url, status], [mount, 403]);
  assert.equal((await registry.send("GET", `/v2/library/open/blobs/${secret}`)).status, 404);
});
