// Time limits while a blob is sent: a client that takes nothing is disconnected, a slow store is waited for. Not here: ranges and headers
// (test/flows/distribution-api.test.ts).
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { connect, type AddressInfo } from "node:net";
import { afterEach, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { digestOf } from "@berth/oci/digest";
import type { StorageKey } from "../../content/blobs/blob-store.ts";
import type { BlobReader } from "../../distribution/open-blob.ts";
import { ClientGoneError } from "../client-gone.ts";
import { sendBlob } from "./blob-response.ts";

/** Short, so that the tests stay quick; long enough for a client that shares the thread with its server on a busy machine. */
const STALL_MS = 600;
const PIECE_BYTES = 1024 * 1024;

describe("sending a blob", () => {
  let server: Server;
  afterEach(() => {
    server.closeAllConnections();
    server.close();
  });

  /** Serves a blob of that many pieces, each after a pause; reports how each answer ended. */
  async function serve(pieces: number, pauseMs: number) {
    const content = randomBytes(pieces * PIECE_BYTES);
    const reader: BlobReader = {
      readSmall: () => undefined,
      async *read(_blob, start, end) {
        for (let at = start; at <= end; at += PIECE_BYTES) {
          if (pauseMs > 0) await sleep(pauseMs);
          yield content.subarray(at, Math.min(end + 1, at + PIECE_BYTES));
        }
      },
    };
    const blob = { id: 1, digest: digestOf(content), sizeBytes: content.length, key: "blobs/a" as StorageKey };
    const ended = Promise.withResolvers<unknown>();
    server = createServer((request, response) => {
      const send = { blob, head: false, rangeHeader: request.headers.range, headers: [], stallMs: STALL_MS };
      sendBlob(reader, response, send).then(() => ended.resolve("sent"), ended.resolve);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    return { content, port, ended: ended.promise };
  }

  for (const range of [undefined, "bytes=0-2097151", "bytes=0-9,1048576-1048580"]) {
    it(`waits for a store that takes its time over each piece (${range ?? "whole"})`, async () => {
      const { content, port, ended } = await serve(2, 2 * STALL_MS);
      const answer = await fetch(`http://127.0.0.1:${port}/`, range === undefined ? {} : { headers: { range } });
      const bytes = Buffer.from(await answer.arrayBuffer());
      if (range === undefined) assert.ok(bytes.equals(content));
      assert.equal(Number(answer.headers.get("content-length")), bytes.length);
      assert.equal(await ended, "sent");
    });
  }

  it("cuts off a client that takes nothing", async () => {
    // More than the kernel buffers on both sides.
    const { port, ended } = await serve(32, 0);
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => undefined);
    socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    socket.pause();
    assert.ok((await ended) instanceof ClientGoneError);
    socket.destroy();
  });
});
