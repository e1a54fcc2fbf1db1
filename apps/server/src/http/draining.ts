// The rest of a body that nobody wants: it is read and thrown away, so that the client gets to read the answer instead of a broken connection,
// but only so much of it and only for so long. Not here: why it was refused.
import type { IncomingMessage } from "node:http";

/** Go's clients send what they have begun before they look at the answer: a layer's first megabytes. */
const MAX_DRAINED_BYTES = 16 * 1024 * 1024;

/** Reads what is left of an answered request's body; ends the connection where that is too much or takes too long. */
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
