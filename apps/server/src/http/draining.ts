// The rest of a body that is not wanted: it is read and discarded, so that the client can read the answer instead of seeing a broken
// connection, up to a limit of bytes and time. Not here: why it was refused.
import type { IncomingMessage } from "node:http";

/** Clients written in Go send what they have buffered before they read the answer: the first megabytes of a layer. */
const MAX_DRAINED_BYTES = 16 * 1024 * 1024;

/** Reads the rest of an answered request's body, and closes the connection if that is too large or too slow. */
export function drain(request: IncomingMessage, timeoutMs: number): void {
  if (request.complete || request.destroyed) return;
  let drainedBytes = 0;
  const timer = setTimeout(() => request.destroy(), timeoutMs);
  request.on("data", (piece: Uint8Array) => {
    drainedBytes += piece.length;
    if (drainedBytes > MAX_DRAINED_BYTES) request.destroy();
  });
  request.once("end", () => clearTimeout(timer));
  request.once("close", () => clearTimeout(timer));
  request.resume();
}
