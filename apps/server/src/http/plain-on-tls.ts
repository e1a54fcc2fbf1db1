// Who speaks plain HTTP to a port of TLS is told so, in plain HTTP: else a client says nothing but that the connection was reset.
// Not here: everything that gets through its handshake (server.ts).
import type { Server, Socket } from "node:net";

/** What Node says of a handshake that began as a request. */
const HTTP_REQUEST = "ERR_SSL_HTTP_REQUEST";

const TEXT = "This port speaks HTTPS: use https://, and no setting or flag by which the client speaks plain HTTP to it.\n";
const ANSWER = `HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: ${Buffer.byteLength(TEXT)}\r\nconnection: close\r\n\r\n${TEXT}`;

/** Answers connections that turn out to be plain HTTP. */
export interface PlainOnTls {
  /** Whether that is what is wrong with the socket; it has its answer then. */
  answers(error: NodeJS.ErrnoException, socket: Socket): boolean;
}

/** Watches the plain connections of a TLS server, over which alone an answer can be read. `lingering` ends one that does not go by itself. */
export function createPlainOnTls(server: Server, lingering: (socket: Socket) => void): PlainOnTls {
  const connections = new Map<string, Socket>();
  const peerOf = (socket: Socket): string => `${socket.remoteAddress} ${socket.remotePort}`;
  server.on("connection", (socket: Socket) => {
    const peer = peerOf(socket);
    connections.set(peer, socket);
    socket.on("close", () => {
      if (connections.get(peer) === socket) connections.delete(peer);
    });
  });
  return {
    answers(error, socket) {
      if (error.code !== HTTP_REQUEST) return false;
      const plain = connections.get(peerOf(socket));
      if (plain === undefined) socket.destroy();
      else lingering(plain.end(ANSWER));
      return true;
    },
  };
}
