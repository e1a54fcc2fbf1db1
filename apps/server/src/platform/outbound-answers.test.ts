// Exchanges of the safe fetch with real servers of this machine: slow, huge and broken answers, bodies, signals, kept connections, numbers.
// Not here: where it may go (outbound.test.ts).
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { createServer as createTcpServer, type Socket } from "node:net";
import { describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createMetrics } from "./metrics.ts";
import { fetcher, listen, type Options, refused, serve } from "./outbound.testing.ts";

describe("a place that is slow, huge or broken", () => {
  const short = { connectMs: 10_000, headersMs: 10_000, idleMs: 10_000, wholeMs: 10_000 };

  it("is given up in each part of an exchange", { timeout: 60_000 }, async (t) => {
    const silent = await listen(
      t,
      createTcpServer(() => undefined),
    );
    const { get } = fetcher(t);
    assert.match(
      (await refused(get(`http://127.0.0.1:${silent}/`, { timeouts: { ...short, headersMs: 100 } }), "TIMEOUT")).message,
      /did not answer/,
    );
    assert.match(
      (await refused(get(`https://127.0.0.1:${silent}/`, { timeouts: { ...short, connectMs: 100 } }), "TIMEOUT")).message,
      /connection/,
    );
    // One byte of a header at a time keeps the connection busy for ever.
    const loris = await listen(
      t,
      createTcpServer((socket: Socket) => {
        socket.on("error", () => undefined).write("HTTP/1.1 200 OK\r\nx: ");
        const timer = setInterval(() => socket.write("y"), 20);
        socket.on("close", () => clearInterval(timer));
      }),
    );
    await refused(get(`http://127.0.0.1:${loris}/`, { timeouts: { ...short, headersMs: 300 } }), "TIMEOUT");
    const drip = await serve(t, (_, response) => {
      const timer = setInterval(() => response.write("y"), 20);
      response.on("close", () => clearInterval(timer));
    });
    assert.match(
      (await refused((await get(`http://127.0.0.1:${drip}/`, { timeouts: { ...short, wholeMs: 300 } })).bytes(), "TIMEOUT")).message,
      /as a whole/,
    );
    const stuck = await serve(t, (_, response) => void response.write("y"));
    assert.match(
      (await refused((await get(`http://127.0.0.1:${stuck}/`, { timeouts: { ...short, idleMs: 100 } })).bytes(), "TIMEOUT")).message,
      /middle/,
    );
    const names = fetcher(t, {}, { resolve: () => new Promise(() => undefined) });
    const timer = t.mock.timers;
    timer.enable({ apis: ["setTimeout"] });
    const late = refused(names.get("http://slow.test/"), "TIMEOUT");
    timer.tick(10_000);
    await late;
    timer.reset();
  });

  it("that takes no body is given up, and nothing is read ahead of it", { timeout: 60_000 }, async (t) => {
    const port = await listen(
      t,
      createTcpServer((socket) => void socket.on("error", () => undefined).pause()),
    );
    let given = 0;
    async function* body() {
      for (;;) yield Buffer.alloc(65_536, (given += 65_536) & 0xff);
    }
    await refused(
      fetcher(t).get(`http://127.0.0.1:${port}/`, { method: "PUT", body: body(), timeouts: { ...short, idleMs: 300 } }),
      "TIMEOUT",
    );
    assert.ok(given < 64 * 1024 * 1024, `${given} bytes were taken from the body for buffers that nobody reads`);
  });

  it("sends no more than the limit, whether it says so or not; a reader that takes his time holds it up", async (t) => {
    let written = 0;
    const port = await serve(t, async (request, response) => {
      if (request.url === "/says") return void response.writeHead(200, { "content-length": "1001" }).end(Buffer.alloc(1001));
      if (request.url === "/fits") return void response.end(Buffer.alloc(1000));
      response.setMaxListeners(0);
      while (!response.destroyed) {
        written += 65_536;
        if (!response.write(Buffer.alloc(65_536))) await Promise.race([once(response, "drain"), once(response, "close")]);
      }
    });
    const { get } = fetcher(t);
    await refused(get(`http://127.0.0.1:${port}/says`), "TOO_LARGE");
    assert.equal((await (await get(`http://127.0.0.1:${port}/fits`)).bytes()).length, 1000);
    await refused((await get(`http://127.0.0.1:${port}/endless`)).bytes(), "TOO_LARGE");
    written = 0;
    const answer = await get(`http://127.0.0.1:${port}/endless`, { maxAnswerBytes: Infinity });
    for await (const piece of answer.body) {
      assert.ok(piece.length > 0);
      await sleep(300);
      break;
    }
    assert.ok(written < 64 * 1024 * 1024, `${written} bytes were read ahead`);
  });

  it("that ends too early, or speaks no HTTP, is broken", async (t) => {
    const speak = (words: string) =>
      listen(
        t,
        createTcpServer((socket) => void socket.on("error", () => undefined).end(words)),
      );
    const { get } = fetcher(t);
    await refused(get(`http://127.0.0.1:${await speak("")}/`), "BROKEN");
    await refused(get(`http://127.0.0.1:${await speak("SSH-2.0-OpenSSH\r\n")}/`), "BROKEN");
    const half = await get(`http://127.0.0.1:${await speak("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")}/`);
    await refused(half.bytes(), "BROKEN");
    await refused(
      get(`http://127.0.0.1:${await speak("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n")}/`),
      "BROKEN",
    );
  });
});

describe("a request", () => {
  it("is ended by its signal, before the answer and in its body", async (t) => {
    const port = await serve(t, (request, response) => void (request.url === "/body" && response.write("y")));
    const { get } = fetcher(t);
    await refused(get(`http://127.0.0.1:${port}/`, { signal: AbortSignal.abort() }), "ABORTED");
    const giving = new AbortController();
    const waiting = refused(get(`http://127.0.0.1:${port}/`, { signal: giving.signal }), "ABORTED");
    setTimeout(() => giving.abort(), 50);
    await waiting;
    const reading = new AbortController();
    const answer = await get(`http://127.0.0.1:${port}/body`, { signal: reading.signal });
    setTimeout(() => reading.abort(), 50);
    await refused(answer.bytes(), "ABORTED");
  });

  it("sends a body that comes in pieces, and passes that body's own error on", async (t) => {
    const port = await serve(t, async (request, response) => {
      let size = 0;
      try {
        for await (const piece of request) size += (piece as Buffer).length;
        response.end(String(size));
      } catch {
        response.destroy();
      }
    });
    async function* body(fails: boolean) {
      for (let i = 0; i < 50; i++) yield Buffer.alloc(100_000);
      if (fails) throw new RangeError("the source is broken");
    }
    const { get } = fetcher(t);
    assert.equal(await (await get(`http://127.0.0.1:${port}/`, { method: "PUT", body: body(false) })).text(), "5000000");
    await assert.rejects(get(`http://127.0.0.1:${port}/`, { method: "PUT", body: body(true) }), RangeError);
  });

  it("keeps connections that were read to the end, and sends anew what met one that had been closed", async (t) => {
    const sockets = new Set<Socket>();
    const server = createServer((request, response) => {
      sockets.add(request.socket);
      response.end("x");
    });
    const port = await listen(t, server);
    const { get } = fetcher(t);
    for (let i = 0; i < 3; i++) await (await get(`http://127.0.0.1:${port}/`, { method: "POST", body: "x" })).text();
    assert.equal(sockets.size, 1);
    // Closed at the very moment at which it is used again.
    server.prependOnceListener("request", (request) => request.socket.destroy());
    assert.equal(await (await get(`http://127.0.0.1:${port}/`, { method: "POST", body: "x" })).text(), "x");
    assert.equal(sockets.size, 2);
  });

  it("counts by purpose and by what became of it, and says its trace", async (t) => {
    let traceparent: unknown;
    const port = await serve(t, (request, response) => {
      traceparent = request.headers["traceparent"];
      response.end("x");
    });
    const metrics = createMetrics();
    const tracing = {
      span: (_: string, __: string, ___: unknown, work: () => Promise<unknown>) => work(),
      logFields: () => ({ trace_id: "1".repeat(32), span_id: "2".repeat(16), trace_flags: "01" }),
    } as unknown as NonNullable<Options["tracing"]>;
    const { get } = fetcher(t, {}, { metrics, tracing });
    await (await get(`http://127.0.0.1:${port}/`)).text();
    await refused(get("http://127.0.0.2/"), "REFUSED");
    const { page } = await metrics.render();
    assert.match(page, /berth_outbound_requests_total\{purpose="test",outcome="answered"\} 1/);
    assert.match(page, /berth_outbound_requests_total\{purpose="test",outcome="refused"\} 1/);
    assert.match(page, /berth_outbound_seconds_count\{kind="test"\} 2/);
    assert.equal(traceparent, `00-${"1".repeat(32)}-${"2".repeat(16)}-01`);
  });
});
