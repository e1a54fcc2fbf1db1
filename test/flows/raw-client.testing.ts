// A client over bare sockets: sends exactly the bytes that a test gives, and reads answers one by one. Not here: servers, tests.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";

/** An answer as it arrived. */
export interface RawAnswer {
  readonly status: number;
  readonly version: string;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
  /** The first error's code; empty where there is none. */
  readonly code: string;
}

/** One connection. */
export interface RawClient {
  readonly socket: Socket;
  /** Writes; resolves when the kernel has the bytes or the connection is closed. */
  send(...parts: (string | Uint8Array)[]): Promise<void>;
  /** The next answer. `toHead`: it answers a HEAD and has no body. Fails if the connection ends before the answer does. */
  answer(toHead?: boolean): Promise<RawAnswer>;
  /** Resolves when the server has closed; returns the remaining bytes that belong to no answer. */
  closed(): Promise<Buffer>;
  /** Ends it from this side at once. */
  destroy(): void;
}

/** Opens a connection to `http://host:port`, from a local address where one is given. */
export async function openRawClient(origin: string, localAddress?: string): Promise<RawClient> {
  const { hostname, port } = new URL(origin);
  const socket = connect({ port: Number(port), host: hostname, localAddress });
  // Joined only when they are read: joining at each piece of a large body would take longer than sending it.
  let pieces: Buffer[] = [];
  let receivedBytes = 0;
  let isClosed = false;
  let wake = (): void => undefined;
  socket.on("data", (piece: Buffer) => {
    pieces.push(piece);
    receivedBytes += piece.length;
    wake();
  });
  // A reset appears as a connection that closed too early, which tests check.
  socket.on("error", () => undefined);
  socket.on("end", () => socket.end());
  socket.on("close", () => {
    isClosed = true;
    wake();
  });
  await once(socket, "connect");

  function received(): Buffer {
    if (pieces.length !== 1) pieces = [Buffer.concat(pieces)];
    return pieces[0]!;
  }

  async function until<T>(find: () => T | undefined, what: string): Promise<T> {
    for (;;) {
      const found = find();
      if (found !== undefined) return found;
      if (isClosed)
        throw new Error(`the connection ended before ${what}; it left ${JSON.stringify(received().toString("latin1").slice(0, 300))}`);
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  }

  return {
    socket,
    async send(...parts) {
      for (const part of parts) {
        if (socket.destroyed) return;
        await new Promise<void>((resolve) => {
          socket.write(part, () => resolve());
        });
      }
    },
    async answer(toHead = false) {
      const end = await until(() => {
        const at = received().indexOf("\r\n\r\n");
        return at === -1 ? undefined : at;
      }, "the headers");
      const [first = "", ...lines] = received().subarray(0, end).toString("latin1").split("\r\n");
      const match = /^(HTTP\/1\.[01]) (\d{3})/.exec(first);
      assert.ok(match !== null, `not a status line: ${first}`);
      const headers = new Map(
        lines.map((line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 1).trim()]),
      );
      const status = Number(match[2]);
      const hasBody = !toHead && status >= 200 && status !== 204 && status !== 304;
      if (hasBody && headers.get("transfer-encoding") === "chunked") {
        const [body, size] = await until(() => readChunks(received().subarray(end + 4)), "the last chunk");
        pieces = [received().subarray(end + 4 + size)];
        receivedBytes = pieces[0]!.length;
        return { status, version: match[1]!, headers, body, code: "" };
      }
      const length = hasBody ? Number(headers.get("content-length") ?? "0") : 0;
      await until(() => (receivedBytes >= end + 4 + length ? true : undefined), "the body");
      const all = received();
      const body = all.subarray(end + 4, end + 4 + length);
      pieces = [all.subarray(end + 4 + length)];
      receivedBytes = pieces[0]!.length;
      const isJson = headers.get("content-type")?.startsWith("application/json") === true && body.length > 0;
      const code = isJson ? ((JSON.parse(body.toString("utf8")) as { errors?: { code: string }[] }).errors?.[0]?.code ?? "") : "";
      return { status, version: match[1]!, headers, body, code };
    },
    async closed() {
      await until(() => (isClosed ? true : undefined), "its end");
      return received();
    },
    destroy: () => socket.destroy(),
  };
}

/** The body that chunks make, and how many bytes they are as sent; undefined before the last one is there. Source: RFC 9112, section 7.1. */
function readChunks(sent: Buffer): readonly [Buffer, number] | undefined {
  const chunks: Buffer[] = [];
  for (let at = 0; ;) {
    const line = sent.indexOf("\r\n", at);
    if (line === -1) return undefined;
    const size = Number.parseInt(sent.subarray(at, line).toString("latin1"), 16);
    const next = line + 2 + size + 2;
    if (sent.length < next) return undefined;
    if (size === 0) return [Buffer.concat(chunks), next];
    chunks.push(sent.subarray(line + 2, line + 2 + size));
    at = next;
  }
}

/** A request's head: the line, `host`, and headers. */
export function requestHead(
  method: string,
  target: string,
  headers: Readonly<Record<string, string | number>> = {},
  version = "1.1",
): string {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${target} HTTP/${version}\r\n${version === "1.1" && !("host" in headers) ? "host: registry.test\r\n" : ""}${lines.join("")}\r\n`;
}
