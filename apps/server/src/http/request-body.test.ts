// Request bodies as pieces, over real connections: order, waiting, ends, time limits, memory. Not here: how bodies share places
// (limits.test.ts).
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, request as sendRequest, type ClientRequest, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { RegistryError } from "@berth/oci/errors";
import { createPrefixBuffer } from "../distribution/prefix-buffer.ts";
import { pump, type PieceSource } from "../platform/pieces.ts";
import { createTransfer } from "./transfer-rate.ts";
import { bodyOf, type BodyLimits } from "./request-body.ts";

/** Longer than any test takes. */
const LONG_MS = 60_000;
/** Larger than the buffers of both sides and of the connection. */
const LARGE_BYTES = 32 * 1024 * 1024;

let server: ReturnType<typeof createServer>;
let clients: ClientRequest[];
let onRequest: (request: IncomingMessage, response: ServerResponse) => void;

beforeEach(async () => {
  clients = [];
  server = createServer((request, response) => onRequest(request, response));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
});

afterEach(async () => {
  for (const client of clients) client.destroy();
  server.closeAllConnections();
  server.close();
  await once(server, "close");
});

/** Sends a request whose body the test writes; returns what the server sees. */
async function open(): Promise<{ client: ClientRequest; request: IncomingMessage; response: ServerResponse }> {
  const { port } = server.address() as AddressInfo;
  const seen = new Promise<[IncomingMessage, ServerResponse]>((resolve) => (onRequest = (...both) => resolve(both)));
  const client = sendRequest({ host: "127.0.0.1", port, method: "PUT", agent: false });
  // A test that ends the connection ends it for the client as well.
  client.on("error", () => undefined);
  clients.push(client);
  client.flushHeaders();
  const [request, response] = await seen;
  return { client, request, response };
}

async function collect(body: AsyncIterable<Uint8Array>, way: "iterator" | "pump"): Promise<Buffer> {
  const pieces: Buffer[] = [];
  if (way === "iterator") for await (const piece of body) pieces.push(Buffer.from(piece));
  else await pump(body, (piece) => void pieces.push(Buffer.from(piece)));
  return Buffer.concat(pieces);
}

const isTimeout = (error: unknown): boolean => error instanceof RegistryError && error.code === "REQUEST_TIMEOUT";

for (const way of ["iterator", "pump"] as const) {
  describe(`a body read by ${way}`, () => {
    const read = (request: IncomingMessage, limits: Partial<BodyLimits> = {}) =>
      collect(bodyOf(request, { idleTimeoutMs: LONG_MS, ...limits }), way);

    it("has all bytes in order, in one chunk, in many, and none", async () => {
      for (const sizes of [[1], [100, 70_000, 3, 1_000_000], [LARGE_BYTES], []]) {
        const { client, request } = await open();
        const parts = sizes.map((size) => randomBytes(size));
        const reading = read(request);
        for (const part of parts) {
          client.write(part);
          await sleep(1);
        }
        client.end();
        assert.ok((await reading).equals(Buffer.concat(parts)), `sizes ${sizes.join(", ")}`);
      }
    });

    it("has all bytes where they came before anybody read", async () => {
      const { client, request } = await open();
      const sent = randomBytes(200_000);
      client.end(sent);
      await sleep(30);
      assert.ok((await read(request)).equals(sent));
    });

    it("fails when the client leaves in its middle, and when it left before", async () => {
      const { client, request } = await open();
      const reading = assert.rejects(read(request), { code: "ECONNRESET" });
      client.write(randomBytes(1000));
      await sleep(20);
      client.destroy();
      await reading;
      await assert.rejects(read(request), Error);
    });

    it("fails when nothing comes, also in its middle, but takes the reader's time for the reader's", async () => {
      const first = await open();
      await assert.rejects(read(first.request, { idleTimeoutMs: 20 }), isTimeout);
      const second = await open();
      second.client.write("x");
      await assert.rejects(read(second.request, { idleTimeoutMs: 50 }), isTimeout);
      const third = await open();
      third.client.end(randomBytes(300_000));
      let length = 0;
      const slowly = async (piece: Uint8Array): Promise<void> => {
        length += piece.length;
        await sleep(60);
      };
      const body = bodyOf(third.request, { idleTimeoutMs: 50 });
      if (way === "pump") await body.pump(slowly);
      else for await (const piece of body) await slowly(piece);
      assert.equal(length, 300_000);
    });

    it("fails when it is broken off because others wait", async () => {
      for (const [reason, words] of [
        ["slow", /too slowly/],
        ["share", /more than its share/],
      ] as const) {
        const { client, request } = await open();
        const timer = setInterval(() => client.write("x"), 20);
        const transfer = createTransfer({ kind: "upload", bytesPerSecond: 1_000_000, windowMs: 100 });
        const looking = setInterval(() => {
          if (transfer.isTooSlow(performance.now())) transfer.breakOff(reason);
        }, 20);
        try {
          await assert.rejects(read(request, { transfer }), (error) => isTimeout(error) && words.test(String(error)));
        } finally {
          clearInterval(timer);
          clearInterval(looking);
        }
      }
    });
  });
}

describe("a reader of a body", () => {
  it("holds the client back while it is busy", async () => {
    const { client, request } = await open();
    let takenBytes = 0;
    const gate = Promise.withResolvers<void>();
    const reading = bodyOf(request, { idleTimeoutMs: LONG_MS }).pump((piece) => {
      takenBytes += piece.length;
      return takenBytes > 100_000 ? gate.promise : undefined;
    });
    client.end(Buffer.alloc(LARGE_BYTES));
    // Waits until no more bytes arrive.
    for (let before = -1; before !== request.socket.bytesRead; await sleep(50)) before = request.socket.bytesRead;
    assert.ok(request.socket.bytesRead < LARGE_BYTES / 2, `${request.socket.bytesRead} bytes were read`);
    gate.resolve();
    await reading;
    assert.equal(takenBytes, LARGE_BYTES);
  });

  it("that stops or fails leaves the connection open, and the answer comes through", async () => {
    const stopping: Record<string, (body: PieceSource) => Promise<void>> = {
      stops: async (body) => {
        for await (const piece of body) if (piece.length > 0) break;
      },
      fails: (body) =>
        assert.rejects(
          body.pump(() => Promise.reject(new Error("full"))),
          /full/,
        ),
      throws: (body) =>
        assert.rejects(
          body.pump(() => {
            throw new Error("full");
          }),
          /full/,
        ),
    };
    for (const [name, stop] of Object.entries(stopping)) {
      const { client, request, response } = await open();
      const answered = once(client, "response");
      client.write(Buffer.alloc(LARGE_BYTES));
      await stop(bodyOf(request, { idleTimeoutMs: LONG_MS }));
      assert.ok(!request.destroyed, name);
      response.writeHead(507).end();
      const [answer] = (await answered) as [IncomingMessage];
      assert.equal(answer.statusCode, 507, name);
    }
  });

  it("may read the head of a body first and the rest at once, and gets each byte once", async () => {
    const { client, request } = await open();
    const sent = randomBytes(2_000_000);
    client.end(sent);
    const prefix = createPrefixBuffer(bodyOf(request, { idleTimeoutMs: LONG_MS }), 16 * 1024);
    const head = await prefix.head(() => undefined);
    assert.ok(!head.isWhole && head.bytes.equals(sent.subarray(0, head.bytes.length)));
    const all = await collect(prefix.all(Buffer.from("before")), "pump");
    assert.ok(all.equals(Buffer.concat([Buffer.from("before"), sent])));
  });

  it("finds the memory of a piece freed once it has asked for the next", async () => {
    const { client, request } = await open();
    client.end(Buffer.alloc(1_000_000));
    const seen: Uint8Array[] = [];
    for await (const piece of bodyOf(request, { idleTimeoutMs: LONG_MS })) {
      assert.ok(piece.length > 0);
      seen.push(piece);
    }
    assert.ok(seen.length > 1);
    assert.deepEqual(
      seen.map((piece) => piece.length),
      seen.map(() => 0),
    );
  });
});
