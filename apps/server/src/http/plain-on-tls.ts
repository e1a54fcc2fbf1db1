// A client that speaks plain HTTP to a TLS port gets that answer in plain HTTP; otherwise it would only report that the connection was
// reset. Not here: connections whose handshake succeeds (server.ts).
import type { Server, Socket } from "node:net";

/** Node's error code for a handshake that began as an HTTP request. */
const HTTP_REQUEST = "ERR_SSL_HTTP_REQUEST";

const TEXT = "This port speaks HTTPS: use https://, and no setting or flag by which the client speaks plain HTTP to it.\n";
const ANSWER = `HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: ${Buffer.byteLength(TEXT)}\r\nconnection: close\r\n\r\n${TEXT}`;

/** Answers connections that turn out to be plain HTTP. */
export interface PlainOnTls {
  /** Whether the socket failed because of plain HTTP. If so, it has been answered. */
  answers(error: NodeJS.ErrnoException, socket: Socket): boolean;
}

/**
 * Watches the plain connections of a TLS server: only there can the client read an answer. `lingering` closes a connection that the client
 * leaves open.
 */
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
