// A TCP link to a server that can be told to misbehave: to answer 503, to say nothing, or to refuse. Not here: what runs over it.
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

/** How the link behaves, to connections that stand and to new ones. */
export type LinkMode = "pass" | "503" | "silent" | "refuse";

/** A link. */
export interface FaultyLink {
  /** `http://127.0.0.1:PORT` */
  readonly origin: string;
  set(mode: LinkMode): void;
  stop(): Promise<void>;
}

// As S3 says that it is overloaded. Source: Amazon S3 API reference, Error responses.
const SLOW_DOWN_BODY = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code><Message>Reduce your request rate</Message></Error>`;
const SLOW_DOWN = [
  "HTTP/1.1 503 Slow Down",
  "Content-Type: application/xml",
  `Content-Length: ${SLOW_DOWN_BODY.length}`,
  "Connection: close",
  "",
  SLOW_DOWN_BODY,
].join("\r\n");

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
        client.destroy();
        upstream.destroy();
      });
    }
    client.on("data", (piece) => {
      if (mode === "pass") upstream.write(piece);
      else if (mode === "503") client.end(SLOW_DOWN);
    });
    upstream.on("data", (piece) => {
      if (mode !== "silent") client.write(piece);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    set(next) {
      // What was held back cannot be told later: those connections end.
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
