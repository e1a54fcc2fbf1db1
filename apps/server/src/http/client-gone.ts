// Clients that leave before their request or its answer is whole: nobody's fault, and nobody is left to tell.
// Not here: noticing it while bytes are sent (write-piece.ts).
import type { IncomingMessage, ServerResponse } from "node:http";

/** What their requests are counted as: a class of its own, so that no alarm takes them for faults. nginx and HAProxy's peers write the same. */
export const CLIENT_GONE_STATUS = 499;

/** The client closed the connection before it had everything. */
export class ClientGoneError extends Error {
  constructor() {
    super("the client closed the connection");
    this.name = "ClientGoneError";
  }
}

/** Whether an error only says that the client left. A request that came whole and then went wrong went wrong by itself. */
export function isClientGone(request: IncomingMessage, error: unknown): boolean {
  return error instanceof ClientGoneError || (request.destroyed && !request.complete);
}

/** Ends what is left of the request, which then counts as one of a client that left. */
export function leaveAlone(response: ServerResponse): void {
  response.statusCode = CLIENT_GONE_STATUS;
  response.destroy();
}
