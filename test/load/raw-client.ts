// The cheapest HTTP/1.1 client we can write: fixed request bytes on kept-alive sockets, answers counted and not kept.
// For requests without a body whose answers declare a length. wrk is used where it can do the same (it cannot send
// HEAD, nor each path once); requests with bodies are in registry-session.ts.
import { connect } from "node:net";
import type { Socket } from "node:net";
import { connect as connectTls } from "node:tls";

/** What to send: every path in turn, for ever or each once, until `seconds` have passed. */
export interface RawRun {
  readonly origin: string;
  readonly method: "GET" | "HEAD" | "DELETE";
  readonly paths: readonly string[];
  readonly once: boolean;
  readonly headers: Readonly<Record<string, string>>;
  readonly connections: number;
  readonly seconds: number;
  /** Spreads the requests over the time instead of sending as fast as answers come. Requests a second, all together. */
  readonly perSecond?: number;
}

/** What came of it: latencies in milliseconds, in no order; any answer but 2xx counts as an error. */
export interface RawOutcome {
  readonly latencies: readonly number[];
  readonly bytes: number;
  readonly seconds: number;
  readonly errors: number;
  readonly firstError: string | undefined;
}

/** Enough for one read of a hot blob to take what the kernel has; twice as much was no quicker. */
const readBytes = 512 * 1024;

/** Runs the requests over plain TCP. Errors: a connection that fails, or an answer without a length. */
export async function runRaw(run: RawRun): Promise<RawOutcome> {
  const origin = new URL(run.origin);
  const latencies: number[] = [];
  const startedAt = performance.now();
  const deadline = startedAt + run.seconds * 1000;
  let next = 0;
  let bytes = 0;
  let errors = 0;
  let firstError: string | undefined;

  const takePath = (): string | undefined => {
    if (performance.now() >= deadline) return undefined;
    if (run.once && next >= run.paths.length) return undefined;
    return run.paths[next++ % run.paths.length];
  };
  const worker = async (): Promise<void> => {
    const connection = openConnection(origin);
    try {
      for (;;) {
        const path = takePath();
        if (path === undefined) return;
        if (run.perSecond !== undefined) await pause(startedAt + (next / run.perSecond) * 1000 - performance.now());
        const sentAt = performance.now();
        const answer = await connection.send(requestBytes(run, origin, path), run.method === "HEAD");
        latencies.push(performance.now() - sentAt);
        bytes += answer.bytes;
        if (answer.status >= 200 && answer.status < 300) continue;
        errors++;
        firstError ??= `${run.method} ${path} answered ${answer.status}`;
      }
    } finally {
      connection.close();
    }
  };
  await Promise.all(Array.from({ length: run.connections }, worker));
  return { latencies, bytes, seconds: (performance.now() - startedAt) / 1000, errors, firstError };
}

function pause(milliseconds: number): Promise<void> | undefined {
  return milliseconds < 1 ? undefined : new Promise((resolve) => setTimeout(resolve, milliseconds));
}

function requestBytes(run: RawRun, origin: URL, path: string): string {
  const headers = Object.entries(run.headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${run.method} ${path} HTTP/1.1\r\nhost: ${origin.host}\r\n${headers.join("")}\r\n`;
}

interface RawAnswer {
  readonly status: number;
  readonly bytes: number;
}

interface RawConnection {
  send(request: string, headOnly: boolean): Promise<RawAnswer>;
  close(): void;
}

/** One socket, one request at a time; opened anew when the server has closed it between two requests. */
function openConnection(origin: URL): RawConnection {
  let socket: Socket | undefined;
  let waiting: { resolve(answer: RawAnswer): void; reject(error: Error): void; headOnly: boolean } | undefined;
  let head = "";
  let body = { status: 0, left: 0, total: 0 };

  const fail = (error: Error): void => {
    const failed = waiting;
    waiting = undefined;
    socket = undefined;
    failed?.reject(error);
  };
  const finishBody = (): void => {
    const settled = waiting;
    waiting = undefined;
    head = "";
    settled?.resolve({ status: body.status, bytes: body.total });
  };
  const take = (length: number, buffer: Uint8Array): void => {
    let from = 0;
    if (body.left === 0) {
      const view = Buffer.from(buffer.buffer, buffer.byteOffset, length);
      const before = head.length;
      const blank = view.indexOf("\r\n\r\n");
      head += view.toString("latin1", 0, blank < 0 ? length : blank + 4);
      // Searched again in the whole: the blank line may have come in two reads.
      const end = head.indexOf("\r\n\r\n");
      if (end < 0) return;
      const status = Number(head.slice(9, 12));
      const declared = /\r\ncontent-length: *(\d+)/i.exec(head.slice(0, end))?.[1];
      const bodiless = waiting?.headOnly === true || status === 204 || status === 304;
      if (declared === undefined && !bodiless) {
        socket?.destroy(new Error(`an answer of status ${status} without a length`));
        return;
      }
      const total = bodiless ? 0 : Number(declared);
      body = { status, left: total, total };
      from = end + 4 - before;
    }
    body.left -= length - from;
    if (body.left === 0) finishBody();
  };
  const open = (): Promise<Socket> =>
    new Promise((resolve, reject) => {
      const secure = origin.protocol === "https:";
      const options = {
        host: origin.hostname,
        port: Number(origin.port || (secure ? 443 : 80)),
        noDelay: true,
        // One buffer for all reads: what arrives is counted, never kept.
        onread: {
          buffer: Buffer.allocUnsafe(readBytes),
          callback: (length: number, buffer: Uint8Array) => {
            take(length, buffer);
            return true;
          },
        },
      };
      const opened = secure ? connectTls({ ...options, servername: origin.hostname }) : connect(options);
      opened.once(secure ? "secureConnect" : "connect", () => resolve(opened));
      opened.on("error", (error) => {
        reject(error);
        fail(error);
      });
      opened.once("close", () => fail(new Error("the server closed the connection before it had answered")));
    });

  return {
    send: async (request, headOnly) => {
      socket ??= await open();
      const current = socket;
      return new Promise((resolve, reject) => {
        waiting = { resolve, reject, headOnly };
        current.write(request, "latin1");
      });
    },
    close: () => {
      waiting = undefined;
      socket?.destroy();
    },
  };
}
