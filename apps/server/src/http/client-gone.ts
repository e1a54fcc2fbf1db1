// Clients that leave before their request or its answer is complete. That is nobody's fault, and nobody is left to read an answer.
// Not here: detecting it while bytes are sent (write-piece.ts).
import type { IncomingMessage, ServerResponse } from "node:http";

/**
 * The status under which such requests are counted. It is separate, so that no alarm takes them for server errors; nginx and HAProxy log
 * the same status.
 */
export const CLIENT_GONE_STATUS = 499;

/** The client closed the connection before it had everything. */
export class ClientGoneError extends Error {
  constructor() {
    super("the client closed the connection");
    this.name = "ClientGoneError";
  }
}

/** Whether an error only says that the client left. An error after the request arrived completely is the server's. */
export function isClientGone(request: IncomingMessage, error: unknown): boolean {
  return error instanceof ClientGoneError || (request.destroyed && !request.complete);
}

/** Ends the request, which is then counted as aborted by its client. */
export function leaveAlone(response: ServerResponse): void {
  response.statusCode = CLIENT_GONE_STATUS;
  response.destroy();
}
