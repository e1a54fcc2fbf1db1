// Writes an answer piece by piece, no faster than its client takes it. Not here: what is written (v2/blob-response.ts,
// api/stream-answer.ts).
import type { ServerResponse } from "node:http";
import { ClientGoneError } from "./client-gone.ts";
import type { Transfer } from "./transfer-rate.ts";

/** How long to wait for the client. */
export interface WriteRules {
  /** The longest time without progress before the client is disconnected. */
  readonly stallMs: number;
  readonly transfer?: Transfer | undefined;
}

/** Writes one piece; resolves when the kernel has taken it, so that its memory may be reused. Errors: `ClientGoneError`. */
export function writePiece(response: ServerResponse, piece: Uint8Array, { stallMs, transfer }: WriteRules): Promise<void> {
  return new Promise((resolve, reject) => {
    const gone = (): void => reject(new ClientGoneError());
    const { socket } = response;
    if (response.destroyed || socket === null) return gone();
    response.once("close", gone);
    // The socket's own timer runs only while the server waits for the client: the time of a slow store is not the client's fault. Node
    // resets it after the answer.
    socket.setTimeout(stallMs);
    transfer?.wait(performance.now(), () => response.destroy());
    response.write(piece, (error) => {
      response.off("close", gone);
      socket.setTimeout(0);
      transfer?.moved(performance.now(), piece.length);
      if (error) gone();
      else resolve();
    });
  });
}
