// The raw client against servers that answer in awkward pieces: what it counts is what every read figure rests on.
import assert from "node:assert/strict";
import { createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { runRaw } from "./raw-client.ts";
import type { RawRun } from "./raw-client.ts";

async function serve(t: TestContext, answer: (socket: Socket, request: string) => void): Promise<string> {
  const server = createServer((socket) => {
    socket.on("error", () => socket.destroy());
    socket.on("data", (part) => answer(socket, part.toString("latin1")));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const once = { method: "GET", once: true, headers: {}, connections: 1, seconds: 30 } as const satisfies Partial<RawRun>;

test("raw client: counts a body that comes byte by byte, the blank line cut in two", async (t) => {
  const origin = await serve(t, async (socket) => {
    const bytes = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n\r\n\r\nabcde";
    socket.setNoDelay(true);
    for (const byte of bytes) {
      socket.write(byte);
      await new Promise((resolve) => setImmediate(resolve));
    }
  });
  const outcome = await runRaw({ ...once, origin, paths: ["/a", "/b", "/c"] });
  assert.equal(outcome.bytes, 27);
  assert.equal(outcome.latencies.length, 3);
  assert.equal(outcome.errors, 0);
});

test("raw client: asks for each path once, with its headers", async (t) => {
  const requests: string[] = [];
  const origin = await serve(t, (socket, request) => {
    requests.push(request);
    socket.write("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n");
  });
  const headers = { authorization: "Bearer x" };
  const paths = ["/1", "/2", "/3", "/4", "/5"];
  const outcome = await runRaw({ ...once, origin, method: "DELETE", headers, connections: 2, paths });
  assert.equal(outcome.latencies.length, 5);
  assert.deepEqual(
    requests.map((request) => request.split(" ")[1]).toSorted((a, b) => (a ?? "").localeCompare(b ?? "")),
    paths,
  );
  assert.ok(requests.every((request) => request.includes("\r\nauthorization: Bearer x\r\n")));
});

test("raw client: takes no body after HEAD and counts other statuses than 2xx as errors", async (t) => {
  let turn = 0;
  const origin = await serve(t, (socket) => {
    const status = turn++ === 0 ? "200 OK" : "404 Not Found";
    socket.write(`HTTP/1.1 ${status}\r\nContent-Length: 700\r\n\r\n`);
  });
  const outcome = await runRaw({ ...once, origin, method: "HEAD", paths: ["/a", "/b"] });
  assert.equal(outcome.bytes, 0);
  assert.equal(outcome.errors, 1);
  assert.equal(outcome.firstError, "HEAD /b answered 404");
});

test("raw client: refuses to count an answer without a length", async (t) => {
  const origin = await serve(t, (socket) => socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"));
  await assert.rejects(runRaw({ ...once, origin, paths: ["/a"] }), /without a length/);
});

test("raw client: fails when the server goes away in the middle of a body", async (t) => {
  const origin = await serve(t, (socket) => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"));
  await assert.rejects(runRaw({ ...once, origin, paths: ["/a"] }), /closed the connection/);
});
