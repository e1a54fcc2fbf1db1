// A TCP link to an S3 service that can be made faulty: it refuses, is silent, answers wrongly, is slow, or breaks off. Not here: what runs
// over it.
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

/** The behaviour of the link, for open connections and new ones. */
export type LinkMode =
  | "pass"
  /** Overloaded: 503 SlowDown to every request. */
  | "503"
  /** Out of space: 507 to every request with a body, however large. */
  | "full"
  /** Takes requests and never answers. */
  | "silent"
  | "refuse"
  /** Takes the connection and resets it at the first byte. */
  | "reset"
  /** Passes everything on, late and in small pieces. */
  | "slow"
  /** Breaks off every answer after its first 40 KiB. */
  | "truncate"
  /** Answers with the tags of other objects. */
  | "wrong-tags";

/** A link. */
export interface FaultyLink {
  /** `http://127.0.0.1:PORT` */
  readonly origin: string;
  set(mode: LinkMode): void;
  stop(): Promise<void>;
}

/** An answer as S3 gives it. Source: Amazon S3 API reference, Error responses. */
function refusal(status: string, code: string): string {
  const body = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>injected</Message></Error>`;
  const head = [`HTTP/1.1 ${status}`, "Content-Type: application/xml", `Content-Length: ${body.length}`, "Connection: close"];
  return `${head.join("\r\n")}\r\n\r\n${body}`;
}
const SLOW_DOWN = refusal("503 Slow Down", "SlowDown");
const FULL = refusal("507 Insufficient Storage", "QuotaExceeded");

/** The delay that `slow` adds to each piece, and the size of a piece: 640 KB/s, as over a bad line. */
const DELAY_MS = 100;
const SLOW_PIECE_BYTES = 64 * 1024;
const LAST_PIECES_MS = 20 * DELAY_MS;
/** The beginning of a request that needs space; deletions are POSTs too. */
const WRITING = /^(?:PUT|POST) /;
const TRUNCATE_AFTER_BYTES = 40 * 1024;

/** Opens a link to `http://HOST:PORT`. */
export async function openFaultyLink(target: string): Promise<FaultyLink> {
  const { hostname, port } = new URL(target);
  const open = new Set<Socket>();
  let mode: LinkMode = "pass";

  const server = createServer((client) => {
    if (mode === "refuse") {
      client.destroy();
      return;
    }
    const upstream = connect(Number(port), hostname);
    for (const socket of [client, upstream]) {
      open.add(socket);
      socket.on("error", () => undefined);
      socket.once("close", () => {
        open.delete(socket);
        // Data in flight may still arrive.
        setTimeout(
          () => {
            client.destroy();
            upstream.destroy();
          },
          mode === "slow" ? LAST_PIECES_MS : 0,
        );
      });
    }
    // A refused request is followed by its body, which is discarded; the client closes the connection when it has read the refusal.
    let isRefused = false;
    client.on("data", (piece: Buffer) => {
      const refused = mode === "503" ? SLOW_DOWN : mode === "full" && WRITING.test(piece.toString("latin1", 0, 8)) ? FULL : undefined;
      if (refused !== undefined && !isRefused) client.write(refused);
      isRefused ||= refused !== undefined;
      if (isRefused || mode === "silent") return;
      if (mode === "reset") client.resetAndDestroy();
      else if (mode === "slow") slowly(client, upstream, piece);
      else upstream.write(piece);
    });
    let answeredBytes = 0;
    // Each request starts a new count; nothing is pipelined here.
    client.on("data", () => {
      answeredBytes = 0;
    });
    upstream.on("data", (piece: Buffer) => {
      if (mode === "silent") return;
      if (mode === "slow") return slowly(upstream, client, piece);
      if (mode === "wrong-tags") return void client.write(withWrongTag(piece));
      answeredBytes += piece.length;
      if (mode !== "truncate" || answeredBytes <= TRUNCATE_AFTER_BYTES) return void client.write(piece);
      client.end(piece.subarray(0, Math.max(0, piece.length - (answeredBytes - TRUNCATE_AFTER_BYTES))));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    set(next) {
      // Withheld data cannot be sent later, so those connections are closed.
      if (mode === "silent" || next === "refuse") for (const socket of open) socket.destroy();
      mode = next;
    },
    async stop() {
      server.close();
      for (const socket of open) socket.destroy();
      await once(server, "close");
    },
  };
}

/** Passes a piece on bit by bit, and reads no more meanwhile. */
function slowly(from: Socket, to: Socket, piece: Buffer): void {
  from.pause();
  const rest = piece.subarray(SLOW_PIECE_BYTES);
  setTimeout(() => {
    to.write(piece.subarray(0, SLOW_PIECE_BYTES));
    if (rest.length > 0) slowly(from, to, rest);
    else from.resume();
  }, DELAY_MS);
}

/** The same bytes, except that an ETag of hexadecimal digits is replaced by another of the same length. */
function withWrongTag(piece: Buffer): Buffer {
  const text = piece.toString("latin1");
  return Buffer.from(
    text.replace(
      /(\r\netag: ?"?)([0-9a-f]{32})/i,
      (_all, head: string, tag: string) => head + tag.replaceAll(/./g, (digit) => (digit === "0" ? "1" : "0")),
    ),
    "latin1",
  );
}
