// Writing an answer piece by piece, no faster than its client takes it. Not here: what is written (v2/blob-response.ts, api/stream-answer.ts).
import type { ServerResponse } from "node:http";
import { ClientGoneError } from "./client-gone.ts";
import type { Transfer } from "./transfer-rate.ts";

/** How the client is waited for. */
export interface WriteRules {
  /** How long it may take nothing before it is broken off. */
  readonly stallMs: number;
  readonly transfer?: Transfer | undefined;
}

/** Writes one piece; resolves when the kernel has it, so that its memory may be used again. Errors: `ClientGoneError`. */
export function writePiece(response: ServerResponse, piece: Uint8Array, { stallMs, transfer }: WriteRules): Promise<void> {
  return new Promise((resolve, reject) => {
    const gone = (): void => reject(new ClientGoneError());
    const { socket } = response;
    if (response.destroyed || socket === null) return gone();
    response.once("close", gone);
    // The socket's own timer, and only while it is the client that is waited for: what a slow store takes is not the client's fault. Node
    // sets it anew for what follows the answer.
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
